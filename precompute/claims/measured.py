"""What the claims are tried on: figures of a run with their resamples, and who in it stands for whom in the paper.

Whatever is measured on the same clips is resampled with the same draws, task by task, so that differences are of
paired resamples.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.columns import ALL_TASKS
from engine.noise import BABBLES
from engine.stats.agreement import confusion, kappa_of_counts
from engine.stats.intervals import (
    N_RESAMPLES,
    Estimate,
    Resampled,
    alike_interval,
    from_ends,
    ratio,
    resampled_sums,
)
from engine.stats.scores import word_errors
from engine.tasks import asked_task
from precompute.claims.verdict import BOOTSTRAP
from precompute.mechanism.sufficiency_tables import classes_of
from precompute.stages.cells import Cell, cells_of
from precompute.stages.pairs import Paired, pair_up

if TYPE_CHECKING:
    import pandas as pd

CLOSE = ("exact", "self", "ancestor")  # matches that the checkpoints themselves bear out
TRAINED_ON = ("self", "ancestor")
# Erasures are tried in the paper's own setting: linear erasers at every position, nine layers at once.
PAPER_SETTING = {"method": "linear", "scope": "all", "layers": "nine layers"}
FORMER_RESAMPLES = 1000  # of intervals that were taken inside runs of mechanism before these said how many
PLAIN = ("none", "plain")
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Pairing:
    """A speech LLM and the cascade with the best ears of one kind of match."""

    speech: str
    cascade: str
    match: str


@dataclass(frozen=True)
class Overlap:
    """How often two systems that are both wrong give the same answer.

    Attributes:
        chance: of blind guessing; `dealt`: with the second system's wrong answers dealt anew. NaN where not defined.
        n_joint: clips on which both are wrong.
    """

    share: Resampled
    chance: float
    dealt: float
    n_joint: int


@dataclass(frozen=True)
class Measured:
    """A run's tables, answers and clips.

    Attributes:
        tables: by name, as `engine.tables` declares them; without those that the run does not have.
        kinds: system -> speech_llm, cascade or text_llm.
        probe_resamples: behind the intervals that probes and damage took inside the run.
    """

    tables: Mapping[str, pd.DataFrame]
    kinds: Mapping[str, str]
    seed: int
    probe_resamples: int = FORMER_RESAMPLES

    def has(self, *names: str) -> bool:
        """Whether the run has all these tables, with rows."""
        return all(name in self.tables and len(self.tables[name]) for name in names)

    # Who stands for whom.

    @cached_property
    def _matches(self) -> dict[str, dict[str, list[str]]]:
        """Speech LLM -> match -> its cascades, the one with the fewest word errors first."""
        found: dict[str, dict[str, list[str]]] = {}
        clean = self.tables["accuracy"][self.tables["accuracy"]["noise"] == "clean"]
        word_errors = {str(key): float(wer) for key, wer in clean.groupby("system")["wer"].mean().items()}
        pairs = self.tables["agreement"][["system_a", "system_b", "match"]].drop_duplicates()
        for pair in pairs.sort_values(["system_a", "system_b"]).itertuples(index=False):
            kinds = (self.kinds.get(pair.system_a), self.kinds.get(pair.system_b))
            if kinds == ("speech_llm", "cascade") and pair.match in CLOSE:
                found.setdefault(pair.system_a, {}).setdefault(pair.match, []).append(pair.system_b)
        for by_match in found.values():
            for cascades in by_match.values():
                cascades.sort(key=lambda key: (word_errors.get(key, 1.0), key))
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

    @property
    def speech_llms(self) -> set[str]:
        return {system for system, kind in self.kinds.items() if kind == "speech_llm"}

    def ceilings(self, pairing: Pairing) -> list[tuple[str, str]]:
        """Return the pairs of two cascades on this speech LLM's very backbone: how alike two ears make them."""
        twins = self._matches.get(pairing.speech, {}).get("exact", [])
        return [(pairing.cascade, other) for other in twins if other != pairing.cascade]

    def mismatched(self, pairing: Pairing) -> list[str]:
        """Return the cascades with the same transcripts as the matched one and another backbone."""
        rows = self.tables.get("confound")
        if rows is None:
            return []
        mine = rows[(rows["system"] == pairing.speech) & (rows["matched"] == pairing.cascade)]
        return sorted(set(mine["mismatched"]))

    # What they answered to clean speech.

    @cached_property
    def _cells(self) -> dict[str, Cell]:
        if not self.has("answers", "clips"):
            return {}
        answers, clips = (self.tables[name] for name in ("answers", "clips"))
        clean = (one[one["noise"] == "clean"] for one in (answers, clips))
        return {cell.task: cell for cell in cells_of(*clean)}

    def tasks(self, wanted: Callable[[str], bool]) -> list[str]:
        """Return the tasks of a kind, e.g. `words_only`."""
        return sorted(filter(wanted, self._cells))

    @cached_property
    def _pairs(self) -> dict[tuple[str, ...], Paired | None]:
        return {}

    def _pair(self, one: str, other: str, task: str) -> Paired | None:
        key = (one, other, task)
        if key not in self._pairs:
            self._pairs[key] = pair_up([self._cells[task]], one, other) if task in self._cells else None
        return self._pairs[key]

    @cached_property
    def _kappas(self) -> dict[tuple[str, ...], Resampled | None]:
        return {}

    def kappa(self, one: str, other: str, task: str) -> Resampled | None:
        """Return kappa of two systems; None where they were not given the same clips, or answers are open."""
        key = (*sorted((one, other)), task)
        if key not in self._kappas:
            paired = self._pair(*key)
            closed = paired is not None and all(clip.offered for clip in paired.clips)
            self._kappas[key] = self._kappa_of(paired, task) if paired is not None and closed else None
        return self._kappas[key]

    def _kappa_of(self, paired: Paired, task: str) -> Resampled:
        counts = paired.confusion()
        shape = counts.shape[1:]
        return self._resampled(
            task,
            paired.groups,
            counts.reshape(len(counts), -1),
            lambda sums: kappa_of_counts(sums.reshape(*shape, *sums.shape[1:])),
            max(self._cells[task].groups) + 1,
        )

    def accuracy_lead(self, one: str, other: str, task: str) -> tuple[Resampled, str] | None:
        """Return accuracy of one system minus that of another on the clips that both were given, and both in words."""
        paired = self._pair(one, other, task)
        if paired is None:
            return None
        _, _, mine, theirs = (np.array(values) for values in paired.labels)
        lead = self._mean(task, paired.groups, mine.astype(float) - theirs, max(self._cells[task].groups) + 1)
        return lead, f"Accuracy {mine.mean():.2f} and {theirs.mean():.2f}."

    def overlap(self, one: str, other: str, task: str) -> Overlap | None:
        """Return the share of equal answers among those that both got wrong; None where that is not defined."""
        rows = self.tables["agreement"]
        rows = rows[(rows["noise"] == "clean") & (rows["task"] == task)]
        mine = rows[(rows["system_a"] == one) & (rows["system_b"] == other)]
        paired = self._pair(one, other, task)
        if paired is None or not len(mine) or not paired.telling_errors().any():
            return None
        row, telling = next(mine.itertuples(index=False)), paired.telling_errors()
        a, b, _, _ = paired.labels
        same = np.array([telling[n] and a[n] == b[n] for n in range(len(a))], dtype=float)
        counts = np.stack([same, telling.astype(float)], axis=1)
        n_groups = max(self._cells[task].groups) + 1
        share = self._resampled(task, paired.groups, counts, _ratio, n_groups, within=(0.0, 1.0))
        return Overlap(share, float(row.overlap_chance), float(row.overlap_null), int(telling.sum()))

    def heard_rightly(self, pairing: Pairing, task: str) -> tuple[Resampled, Resampled, int] | None:
        """Return the share of right transcripts where both err alike, that of all clips, and the number of errors."""
        paired = self._pair(pairing.speech, pairing.cascade, task)
        if paired is None:
            return None
        heard = [word_errors(clip.reference, b.heard) for clip, b in zip(paired.clips, paired.b, strict=True)]
        known = np.array([n_words > 0 for _, n_words in heard])
        right = known & np.array([errors == 0 for errors, _ in heard])
        a, b, a_right, b_right = paired.labels
        wrong = np.array(
            [
                x is not None and x == y and not p and not q
                for x, y, p, q in zip(a, b, a_right, b_right, strict=True)
            ]
        )
        if not (wrong & known).any():
            return None
        n_groups = max(self._cells[task].groups) + 1
        shares = [
            self._resampled(
                task,
                paired.groups,
                np.stack([(right & chosen).astype(float), (known & chosen).astype(float)], axis=1),
                _ratio,
                n_groups,
                within=(0.0, 1.0),
            )
            for chosen in (wrong, np.ones_like(wrong))
        ]
        return shares[0], shares[1], int((wrong & known).sum())

    def extra_loss(self, pairing: Pairing, task: str) -> tuple[Resampled, str] | None:
        """Return the accuracy that the speech LLM loses in the loudest babble minus what its cascade loses.

        Over the items that were said both ways; None where there is no babble.
        """
        answers = self.tables["answers"]
        chosen = answers["system"].isin((pairing.speech, pairing.cascade)) & (answers["task"] == task)
        rows = answers[chosen]
        ratios = rows.loc[rows["noise"].isin(BABBLES), "snr_db"]
        if not len(ratios):
            return None
        loudest = float(ratios.min())
        about = rows.drop_duplicates("clip_id").set_index("clip_id")[["item_id", "group", "noise", "snr_db"]]
        marks = rows.pivot(index="clip_id", columns="system", values="correct").astype(float)
        both = about.join(marks.reindex(columns=[pairing.speech, pairing.cascade])).dropna(
            subset=[pairing.speech, pairing.cascade]
        )
        clean = both[both["noise"] == "clean"]
        loud = both[both["noise"].isin(BABBLES) & (both["snr_db"] == loudest)]
        shared = set(clean["item_id"]) & set(loud["item_id"])
        detail = f"{pairing.match} match, babble at {loudest:g} dB"
        if not shared:
            note = "No item was said both clean and in this noise."
            return Resampled(Estimate(math.nan, math.nan, math.nan, 0, "none", note)), detail
        kept = both[both["item_id"].isin(shared)]
        kept = kept[(kept["noise"] == "clean") | (kept["noise"].isin(BABBLES) & (kept["snr_db"] == loudest))]
        kept = kept.sort_index()
        lead = (kept[pairing.speech] - kept[pairing.cascade]).to_numpy(float)
        is_clean = (kept["noise"] == "clean").to_numpy(float)
        sums = np.stack([lead * is_clean, is_clean, lead * (1 - is_clean), 1 - is_clean], axis=1)
        names = kept["group"].where(kept["group"] != "", kept["item_id"]).to_numpy(str)
        numbers = np.unique(names, return_inverse=True)[1]
        found = self._resampled(
            f"noise|{task}",
            numbers,
            sums,
            lambda s: _ratio(s[:2]) - _ratio(s[2:]),
            int(numbers.max()) + 1,
        )
        return found, detail

    # What was measured inside.

    def probes(self, target: str) -> Iterator[tuple[Any, Resampled]]:
        """Yield the rows of probes of speech LLMs, each with its score."""
        for row in rows_of(self.tables["probes"], target=target):
            if row.system in self.speech_llms and not math.isnan(row.score):
                yield row, self._of_row(row, "score", "low", "high", int(row.n_groups))

    def damage(self, system: str, condition: str, target: str) -> Iterator[tuple[Any, Resampled]]:
        """Yield the rows of damage, each with random minus erased: what the erasure took beyond random directions."""
        for row in rows_of(self.tables["damage"], system=system, condition=condition, target=target):
            if not math.isnan(row.erased) and not math.isnan(row.random):
                # The random control is a mean over seeds; its spread is in damage.csv.
                erased = self._of_row(row, "erased", "low", "high", int(row.n_clips))
                yield row, erased.turned().shifted(row.random)

    def _of_row(self, row: Any, value: str, low: str, high: str, n: int) -> Resampled:
        figure, lower, upper = (getattr(row, name) for name in (value, low, high))
        return from_ends(figure, lower, upper, n, BOOTSTRAP, row.note, n_resamples=self.probe_resamples)

    def lens(self, system: str) -> dict[int, tuple[Resampled, Resampled]]:
        """Return layer -> precision of the clip's own words, and of the control's, over all tasks.

        It is the paper's plain reading where the run has it; runs made before it was measured have our own alone.
        """
        rows = self.tables["lens_clips"]
        rows = rows[(rows["system"] == system) & (rows["noise"] == "clean")]
        has_paper_reading = "set_precision" in rows and bool(rows["set_precision"].notna().any())
        measure, control = ("set_precision", "set_control") if has_paper_reading else ("precision", "control")
        rows = rows[rows[measure].notna()]
        everyone = rows["task"] + "|" + rows["group"].where(rows["group"] != "", rows["item_id"])
        names = np.unique(everyone.to_numpy(str))
        found = {}
        for layer, group in rows.groupby("layer", sort=True):
            numbers = np.searchsorted(names, everyone[group.index].to_numpy(str))
            found[int(layer)] = tuple(
                self._mean(f"lens|{ALL_TASKS}", numbers, group[name].to_numpy(float), len(names), (0.0, 1.0))
                for name in (measure, control)
            )
        return found  # type: ignore[return-value]

    def implicit(self, system: str) -> dict[str, tuple[int, Resampled]]:
        """Return task -> the last layer, and kappa of the implicit cascade there with the speech LLM."""
        rows = self.tables["implicit_clips"]
        rows = rows[rows["system"] == system]
        found = {}
        for task, of_task in rows.groupby("task", sort=True):
            last = of_task[of_task["layer"] == of_task["layer"].max()].sort_values(["item_id", "clip_id"])
            if last["choices"].eq("").any():
                continue
            labels = classes_of(last, by_place=of_task["choices"].nunique() > 1)
            numbers, n_groups = _numbered(last)
            counts = confusion(labels["label"], labels["speech_label"])
            shape = counts.shape[1:]
            kappa = self._resampled(
                f"implicit|{task}",
                numbers,
                counts.reshape(len(counts), -1),
                lambda sums, shape=shape: kappa_of_counts(sums.reshape(*shape, *sums.shape[1:])),  # type: ignore[misc]
                n_groups,
            )
            if not math.isnan(kappa.value):
                found[str(task)] = (int(last["layer"].iloc[0]), kappa)
        return found

    def erased_tasks(self, system: str) -> list[str]:
        """Return the tasks on which erasures of a system were answered."""
        rows = self.tables["erasure_clips"]
        return sorted(set(rows.loc[rows["system"] == system, "task"]))

    @cached_property
    def _erasures(self) -> dict[tuple[str, str], pd.DataFrame]:
        rows = self.tables["erasure_clips"]
        in_setting = rows["arm"] == "plain"
        here = True
        for name, value in PAPER_SETTING.items():
            here = here & (rows[name] == value)
        return {
            (str(s), str(t)): part for (s, t), part in rows[in_setting | here].groupby(["system", "task"])
        }

    def arms(
        self, system: str, task: str, *wanted: tuple[str, str], column: str = "correct"
    ) -> list[Resampled] | None:
        """Return the share of right answers under each (condition, arm), over the clips answered under all of them.

        Means over seeds come first. None where no clip was answered under all.
        """
        rows = self._erasures.get((system, task))
        if rows is None:
            return None
        by_arm = {
            (str(condition), str(arm)): part
            for (condition, arm), part in rows[rows[column].notna()].groupby(["condition", "arm"])
        }
        if not set(wanted) <= by_arm.keys():
            return None
        means = [by_arm[one].groupby("clip_id")[column].mean().astype(float) for one in wanted]
        clips = sorted(set(means[0].index).intersection(*(mean.index for mean in means[1:])))
        if not clips:
            return None
        about = rows.drop_duplicates("clip_id").set_index("clip_id")
        numbers, n_groups = _numbered(about)
        places = dict(zip(about.index, numbers.tolist(), strict=True))
        mine = np.array([places[clip] for clip in clips])
        # The same clips in the same order for both systems: their groups, and so their draws, are the same.
        return [
            self._mean(f"erasure|{task}", mine, mean[clips].to_numpy(float), n_groups, (0.0, 1.0))
            for mean in means
        ]

    # From groups to figures.

    def _mean(
        self,
        stratum: str,
        numbers: np.ndarray,
        values: np.ndarray,
        n_groups: int,
        within: tuple[float, float] = (-1.0, 1.0),
    ) -> Resampled:
        counts = np.stack([values, np.ones(len(values))], axis=1)
        return self._resampled(stratum, numbers, counts, _ratio, n_groups, within=within)

    def _resampled(
        self,
        stratum: str,
        numbers: np.ndarray,
        contributions: np.ndarray,
        statistic: Statistic,
        n_groups: int,
        *,
        within: tuple[float, float] | None = None,
    ) -> Resampled:
        """Return a statistic of summed contributions; figures of one stratum get the same draws of its groups.

        Args:
            stratum: what is resampled by itself, a task as a rule.
            contributions: of each clip, 0 throughout for one that does not count.
            numbers: of each clip's group among the stratum's `n_groups`.
            n_groups: of the stratum.
            statistic: takes sums (features, ...) and returns (...).
            within: the range of a mean, for Wilson's interval where all groups are alike.
        """
        sums = np.zeros((n_groups, contributions.shape[1]))
        np.add.at(sums, np.asarray(numbers), contributions)
        value = float(statistic(sums.sum(axis=0)[:, None])[0])
        n_counted = int((sums != 0).any(axis=1).sum())
        if n_counted < 2 or math.isnan(value):
            return Resampled.of(value, np.empty(0), n_counted)
        seed = zlib.crc32(f"{self.seed}|{stratum}".encode())
        found = Resampled.of(value, statistic(resampled_sums(sums, N_RESAMPLES, seed)), n_counted)
        alike = alike_interval(sums, value, within) if within else None
        return Resampled(alike, found.samples) if alike else found

    def of_interleaved(self, row: Any, value: str, low: str, high: str) -> Resampled:
        """Return a figure of a row of the tables of interleaved models, which `summarize` resampled."""
        figure, lower, upper = (getattr(row, name) for name in (value, low, high))
        n = int(row.n_groups)
        return from_ends(figure, lower, upper, n, BOOTSTRAP, row.note, n_resamples=N_RESAMPLES)


def _ratio(sums: np.ndarray) -> np.ndarray:
    return ratio(np.moveaxis(sums, 0, -1))


def _numbered(rows: pd.DataFrame) -> tuple[np.ndarray, int]:
    """Return the number of each row's group of related items, and how many there are."""
    names, numbers = np.unique(
        rows["group"].where(rows["group"] != "", rows["item_id"]).to_numpy(str), return_inverse=True
    )
    return numbers, len(names)


def recorded_resamples(record: str) -> int:
    """Return how many resamples a run of mechanism took, from its mechanism.json; 1,000 where it does not say."""
    try:
        return int(json.loads(record).get("resamples", FORMER_RESAMPLES))
    except (ValueError, TypeError, AttributeError):
        return FORMER_RESAMPLES


def words_only(task: str) -> bool:
    """Whether the words decide and the answers are among given ones."""
    asked = asked_task(task)
    return asked is not None and not asked.needs_voice and asked.kind in ("choice", "choices")


def words_decide(task: str) -> bool:
    """Whether the words decide, be the answers given or free."""
    asked = asked_task(task)
    return asked is not None and not asked.needs_voice


def needs_voice(task: str) -> bool:
    """Whether the voice decides."""
    asked = asked_task(task)
    return asked is not None and asked.needs_voice


def given_answers(task: str) -> bool:
    """Whether the answers are among given ones."""
    return words_only(task) or needs_voice(task)


def rows_of(frame: pd.DataFrame, **wanted: Any) -> Iterator[Any]:
    """Yield the rows in which every named column has this value, in the order of the table's first columns."""
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    yield from frame.itertuples(index=False)
