"""What the claims are tried on: the tables of a run, and who in it stands for whom in the paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from engine.stats.estimate import Estimate
from engine.tasks import asked_task

if TYPE_CHECKING:
    import pandas as pd

POOLED = "all words-only"
CLOSE = ("exact", "self", "ancestor")  # matches that the checkpoints themselves bear out
TRAINED_ON = ("self", "ancestor")


@dataclass(frozen=True)
class Pairing:
    """A speech LLM and the cascade with the best ears of one kind of match."""

    speech: str
    cascade: str
    match: str


@dataclass(frozen=True)
class Measured:
    """The tables of one run.

    Attributes:
        tables: by name, as `engine.records` declares them; without those that the run does not have.
        kinds: system -> speech_llm, cascade or text_llm.
    """

    tables: Mapping[str, pd.DataFrame]
    kinds: Mapping[str, str]
    seed: int

    def has(self, *names: str) -> bool:
        """Whether the run has all these tables, with rows."""
        return all(name in self.tables and len(self.tables[name]) for name in names)

    def clean(self, name: str) -> pd.DataFrame:
        """Return the rows of clean speech."""
        rows = self.tables[name]
        return rows[rows["noise"] == "clean"]

    @cached_property
    def _word_errors(self) -> dict[str, float]:
        """Mean word error rate on clean speech by cascade."""
        rows = self.clean("accuracy")
        return {str(key): float(wer) for key, wer in rows.groupby("system")["wer"].mean().items()}

    @cached_property
    def _matches(self) -> dict[str, dict[str, list[str]]]:
        """Speech LLM -> match -> its cascades, the one with the fewest word errors first."""
        found: dict[str, dict[str, list[str]]] = {}
        pairs = self.tables["agreement"][["system_a", "system_b", "match"]].drop_duplicates()
        for pair in pairs.sort_values(["system_a", "system_b"]).itertuples(index=False):
            kinds = (self.kinds.get(pair.system_a), self.kinds.get(pair.system_b))
            if kinds == ("speech_llm", "cascade") and pair.match in CLOSE:
                found.setdefault(pair.system_a, {}).setdefault(pair.match, []).append(pair.system_b)
        for by_match in found.values():
            for cascades in by_match.values():
                cascades.sort(key=lambda key: (self._word_errors.get(key, 1.0), key))
        return found

    def pairings(self, *matches: str) -> list[Pairing]:
        """Return each speech LLM with its cascade of each of these matches (of every close one by default)."""
        return [
            Pairing(speech, cascades[0], match)
            for speech, by_match in sorted(self._matches.items())
            for match, cascades in by_match.items()
            if match in (matches or CLOSE)
        ]

    def closest(self) -> list[Pairing]:
        """Return each speech LLM with the cascade that is matched best: exact, else self, else ancestor."""
        best: dict[str, Pairing] = {}
        for pairing in sorted(self.pairings(), key=lambda one: CLOSE.index(one.match)):
            best.setdefault(pairing.speech, pairing)
        return [best[speech] for speech in sorted(best)]

    @property
    def frozen(self) -> set[str]:
        """Speech LLMs whose backbone is that of a cascade, weight by weight: Ultravox's part."""
        return {one.speech for one in self.pairings("exact")}

    @property
    def trained_on(self) -> set[str]:
        """Speech LLMs whose LLM was trained further on audio: Qwen2-Audio's part."""
        return {one.speech for one in self.pairings(*TRAINED_ON)} - self.frozen

    def twins(self, speech: str) -> list[str]:
        """Return the cascades on this speech LLM's very backbone, best ears first."""
        return self._matches.get(speech, {}).get("exact", [])

    def agreement(self, one: str, other: str) -> dict[str, Any]:
        """Return task -> row of agreement.csv on clean speech, whichever way round the pair stands."""
        rows = self.clean("agreement")
        a, b = rows["system_a"], rows["system_b"]
        mine = rows[((a == one) & (b == other)) | ((a == other) & (b == one))]
        return {row.task: row for row in mine.sort_values("task").itertuples(index=False)}

    def words_kappa(self, pairing: Pairing) -> Estimate | None:
        """Return kappa over the words-only tasks together, of the one such task where there are no more."""
        rows = self.agreement(pairing.speech, pairing.cascade)
        mine = [POOLED] if POOLED in rows else [task for task in rows if words_only(task)]
        return kappa_of(rows[mine[0]]) if len(mine) == 1 else None


def words_only(task: str) -> bool:
    """Whether the words decide and the answers are among given ones."""
    asked = asked_task(task)
    return asked is not None and not asked.needs_voice and asked.kind in ("choice", "choices")


def needs_voice(task: str) -> bool:
    """Whether the voice decides."""
    asked = asked_task(task)
    return asked is not None and asked.needs_voice


def kappa_of(row: Any) -> Estimate:
    """Return the kappa of a row of agreement.csv."""
    return Estimate(row.kappa, row.low, row.high, int(row.n_groups), "bootstrap of groups", row.note)


def rows_of(frame: pd.DataFrame, **wanted: Any) -> Iterator[Any]:
    """Yield the rows in which every named column has this value, in the order of the table's first columns."""
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    yield from frame.itertuples(index=False)
