"""The paper's own figures as the rules take a run's: each rule is tried on them, so that none fails what it restates.

Values alone: the paper prints few intervals, and none of a difference. Who is matched with whom is what it says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from engine.stats.intervals import Resampled
from precompute.claims.measured import Measured, Overlap, Pairing, rows_of

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = Path(__file__).resolve().parents[2] / "assets" / "published"
TABLES = ("accuracy", "agreement", "erasure", "lens", "noise", "probes", "prose", "sufficiency")
PAIRINGS = (
    Pairing("ultravox", "casc_llama31", "exact"),
    Pairing("qwen2_audio", "casc_qwen2", "ancestor"),
    Pairing("phi4_mm", "casc_phi4mini", "paper"),
)
RIGHT = "transcript right among joint errors"
FALL = "fall of text decodability under acoustic erasure"
STRONG, WEAK = (
    "cascade_s",
    "cascade_w",
)  # two cascades on one LLM; the first stands for a mismatched backbone, too
# The paper drew one random subspace, as large as the text eraser's: it is the only control there is.
ONLY_RANDOM = {("acoustic", "rank_matched"): ("text", "rank_matched")}


@dataclass(frozen=True)
class Published(Measured):
    """The paper's tables, with what `Measured` gives of a run."""

    def pairings(self, *matches: str) -> list[Pairing]:
        return [one for one in PAIRINGS if one.match in (matches or ("exact", "ancestor", "paper"))]

    def closest(self) -> list[Pairing]:
        return list(PAIRINGS)

    @property
    def frozen(self) -> set[str]:
        return {"ultravox"}

    @property
    def trained_on(self) -> set[str]:
        return {"qwen2_audio"}

    @property
    def speech_llms(self) -> set[str]:
        return {one.speech for one in PAIRINGS}

    def ceilings(self, pairing: Pairing) -> list[tuple[str, str]]:
        return [(STRONG, WEAK)]

    def mismatched(self, pairing: Pairing) -> list[str]:
        return [STRONG]

    def tasks(self, wanted: Callable[[str], bool]) -> list[str]:
        return sorted(filter(wanted, set(self.tables["accuracy"]["task"])))

    def _pair_row(self, one: str, other: str, task: str) -> Any | None:
        rows = self.tables["agreement"]
        mine = (rows["system_a"] == one) & (rows["system_b"] == other)
        both = mine | ((rows["system_a"] == other) & (rows["system_b"] == one))
        return next(rows_of(rows[both], task=task), None)

    def kappa(self, one: str, other: str, task: str) -> Resampled | None:
        row = self._pair_row(one, other, task)
        return None if row is None or math.isnan(row.kappa) else Resampled.known(float(row.kappa))

    def overlap(self, one: str, other: str, task: str) -> Overlap | None:
        row = self._pair_row(one, other, task)
        if row is None or math.isnan(row.error_overlap):
            return None
        return Overlap(Resampled.known(float(row.error_overlap)), float(row.overlap_chance), math.nan, 0)

    def accuracy_lead(self, one: str, other: str, task: str) -> tuple[Resampled, str] | None:
        # Accuracies of the matched cascades are not printed anywhere: the strong one stands for each.
        found = [
            next(rows_of(self.tables["accuracy"], system=system, task=task, noise="clean"), None)
            for system in (STRONG, other)
        ]
        printed = [float(row.accuracy) for row in found if row is not None]
        if len(printed) < len(found):
            return None
        mine, theirs = printed
        return Resampled.known(mine - theirs), f"Accuracy {mine:.2f} ({STRONG}) and {theirs:.2f}."

    def heard_rightly(self, pairing: Pairing, task: str) -> tuple[Resampled, Resampled, int] | None:
        row = next(rows_of(self.tables["prose"], measure=RIGHT, system=pairing.speech, task=task), None)
        return None if row is None else (Resampled.known(float(row.value)), Resampled.known(math.nan), 0)

    def extra_loss(self, pairing: Pairing, task: str) -> tuple[Resampled, str] | None:
        # Curves print no points. What is stated is of Gemini and the strong cascade on SST-2.
        if pairing != PAIRINGS[0]:
            return None
        drops = {
            row.system: float(row.drop_low)
            for row in rows_of(self.tables["noise"], task=task, noise="babble", snr_db=0.0)
        }
        if not {"gemini", STRONG} <= drops.keys():
            return None
        return Resampled.known(drops["gemini"] - drops[STRONG]), f"gemini against {STRONG}, babble at 0 dB"

    def probes(self, target: str) -> Iterator[tuple[Any, Resampled]]:
        for row in rows_of(self.tables["probes"], target=target):
            if row.system in self.speech_llms and not math.isnan(row.score):
                about = SimpleNamespace(
                    system=row.system, layer=row.layer, shuffled=math.nan, random_model=math.nan
                )
                yield about, Resampled.known(float(row.score))

    def damage(self, system: str, condition: str, target: str) -> Iterator[tuple[Any, Resampled]]:
        for row in rows_of(self.tables["prose"], measure=FALL, system=system):
            layer = "not said" if math.isnan(row.layer) else int(row.layer)
            about = SimpleNamespace(layer=layer, plain=math.nan, erased=math.nan, random=math.nan)
            yield about, Resampled.known(float(row.value))

    def lens(self, system: str) -> dict[int, tuple[Resampled, Resampled]]:
        return {
            int(row.layer): (Resampled.known(float(row.score)), Resampled.known(math.nan))
            for row in rows_of(self.tables["lens"], system=system, measure="precision")
        }

    def implicit(self, system: str) -> dict[str, tuple[int, Resampled]]:
        return {
            row.task: (int(row.layer), Resampled.known(float(row.kappa)))
            for row in rows_of(self.tables["sufficiency"], system=system)
        }

    def erased_tasks(self, system: str) -> list[str]:
        rows = self.tables["erasure"]
        return sorted(set(rows.loc[rows["system"] == system, "task"]))

    def arms(
        self, system: str, task: str, *wanted: tuple[str, str], column: str = "correct"
    ) -> list[Resampled] | None:
        if column != "correct":
            return None
        found = []
        for one in wanted:
            condition, arm = ONLY_RANDOM.get(one, one)
            rows = rows_of(self.tables["erasure"], system=system, task=task, condition=condition, arm=arm)
            row = next(rows, None)
            if row is None:
                return None
            found.append(Resampled.known(float(row.accuracy)))
        return found


@cache
def published() -> Published:
    """Return the paper's figures, as assets/published has them."""
    import pandas as pd

    tables: dict[str, pd.DataFrame] = {name: pd.read_csv(PUBLISHED / f"{name}.csv") for name in TABLES}
    return Published(tables, {}, seed=0)
