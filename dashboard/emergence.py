"""Where a live clip lies among the shipped run's clips of its task: lens precision by layer, and a percentile.

What is shipped is read as it stands; where it has no such clips, there is nothing to draw and nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from dashboard.beside import OTHER_WEIGHTS, is_of_these_weights
from dashboard.tables import CLEAN, Level, at, changed_ns, folder_of, levels_of
from engine.errors import EngineError, TableError
from engine.results import RunResult
from engine.systems.catalogue import get_pair
from engine.tasks import TASKS

if TYPE_CHECKING:
    import pandas as pd

LOW, HIGH = 10, 90  # percentiles of the band
FEWEST_FOR_BAND = 10  # below that the tenth of the clips is less than one clip
_COLUMNS = ["system", "layer", "task", "clip_id", "noise", "snr_db", "precision"]


@dataclass(frozen=True)
class Spread:
    """Lens precision over the shipped run's clips of one task, by layer.

    Attributes:
        layers: in rising order.
        values: layer -> the clips' precisions, range 0 to 1; a clip that reads no word at a layer has none there.
        n_clips: clips behind it.
        level: their noise; `asked` is the live clip's.
    """

    task: str
    layers: tuple[int, ...]
    values: dict[int, Float[np.ndarray, " clips"]]
    n_clips: int
    level: Level
    asked: Level

    @property
    def has_band(self) -> bool:
        """Whether there are enough clips for the 10th and the 90th percentile."""
        return self.n_clips >= FEWEST_FOR_BAND

    def mean(self) -> list[float]:
        """Return the mean at each layer; NaN where no clip reads a word."""
        return [_or_nan(self.values[layer], np.mean) for layer in self.layers]

    def percentile(self, percent: float) -> list[float]:
        """Return a percentile of the clips at each layer, between neighbours by a straight line."""
        return [_or_nan(self.values[layer], np.percentile, percent) for layer in self.layers]

    @property
    def phrase(self) -> str:
        """Which clips these are, such as "100 topic clips on clean speech"."""
        clips = "clip" if self.n_clips == 1 else "clips"
        return f"{self.n_clips:,} {TASKS[self.task].name.lower()} {clips} {self.level.phrase}"


def spread_beside(result: RunResult) -> tuple[Spread | None, str]:
    """Return the shipped run's spread for a run's task, speech LLM and noise, and one sentence for the page.

    Without one the sentence says why, where there is something to mend, else it is "".
    """
    try:
        spread = _spread(result)
    except EngineError as error:
        return None, str(error)
    return spread, "" if spread is None else place_of(result, spread)


def _spread(result: RunResult) -> Spread | None:
    folder = folder_of("measured")
    path = None if folder is None else folder / "mechanism" / "lens_clips.parquet"
    if path is None or not path.is_file():
        return None
    system = get_pair(result.pair).speech_llm
    asked = Level(result.noise, result.snr_db) if result.noise else CLEAN
    spread = _spread_of(path, system, result.task, asked, changed_ns(path))
    if spread is not None and not is_of_these_weights((system,)):
        raise TableError(OTHER_WEIGHTS)
    return spread


@lru_cache(maxsize=64)
def _spread_of(path: Path, system: str, task: str, asked: Level, changed: int) -> Spread | None:
    """Sum up one system's clips of one task; kept, so that the next run of the task does not wait for it."""
    del changed
    rows = _clips(path, system, task)
    if rows.empty:
        return None
    level = nearest(asked, levels_of(rows))
    rows = at(rows, level=level)
    if rows.empty:
        return None
    values = {int(layer): part["precision"].dropna().to_numpy(float) for layer, part in rows.groupby("layer")}
    return Spread(task, tuple(sorted(values)), values, rows["clip_id"].nunique(), level, asked)


def _clips(path: Path, system: str, task: str) -> pd.DataFrame:
    """Read what is needed of one system's clips of one task: the whole table is large."""
    import pyarrow
    import pyarrow.parquet as parquet

    wanted = [("system", "==", system), ("task", "==", task)]
    try:
        return parquet.read_table(path, columns=_COLUMNS, filters=wanted).to_pandas()
    except (OSError, pyarrow.ArrowException) as error:
        raise TableError(f"{path.name} is missing or damaged; make the run's tables again.") from error


def nearest(asked: Level, levels: list[Level]) -> Level:
    """Return the level of the same noise with the closest ratio, clean speech where there is no such noise."""
    same = [level for level in levels if level.noise == asked.noise]
    return min(same, key=lambda one: abs((one.snr_db or 0) - (asked.snr_db or 0)), default=CLEAN)


def percentile_of(value: float, values: Float[np.ndarray, " clips"]) -> float:
    """Return the share of values below this one, in percent; those equal to it count half. NaN without values."""
    if not len(values):
        return float("nan")
    return 100 * float(np.mean(values < value) + np.mean(values == value) / 2)


def place_of(result: RunResult, spread: Spread) -> str:
    """Return one sentence on where the clip lies at the layer of its highest precision, and what to know of it."""
    lens = result.lens
    assert lens is not None, "only what was read has a place"
    known = [
        (precision, layer)
        for layer, precision in zip(lens.layers, lens.precision, strict=True)
        if np.isfinite(precision) and len(spread.values.get(layer, ()))
    ]
    if not known:
        return ""
    precision, layer = max(known, key=lambda one: one[0])
    others = spread.values[layer]
    sentence = (
        f"At layer {layer}, where its precision peaks ({precision:.2f}), this clip lies at percentile "
        f"{percentile_of(precision, others):.0f} of the benchmark's {spread.phrase} "
        f"(n = {len(others):,}, median {np.median(others):.2f}; ties count half)."
    )
    return " ".join([sentence, *_notes(lens.words_from, spread)])


def _notes(words_from: str, spread: Spread) -> list[str]:
    notes = []
    if spread.level != spread.asked:
        which = "clean speech" if spread.level == CLEAN else "the nearest that it has"
        notes.append(f"The benchmark has no lens {spread.asked.phrase}: these clips are {which}.")
    if not words_from.startswith("reference"):
        notes.append(
            f"This clip is judged against the words of {words_from}, those against their true words."
        )
    if not spread.has_band:
        notes.append(f"No band is drawn for fewer than {FEWEST_FOR_BAND} clips.")
    return notes


def _or_nan(values: Float[np.ndarray, " clips"], reduce: Callable[..., Any], *arguments: float) -> float:
    return float(reduce(values, *arguments)) if len(values) else float("nan")
