"""Results as the page reads them: which sources there are, their tables, and rows picked from them.

Nothing here knows Gradio or a model. A source is a results folder written by `python -m precompute`, or the
paper's own figures in assets/published. What is missing is said in one sentence and never filled in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashboard.published import PUBLISHED, published_as_declared
from engine.columns import TABLES
from engine.errors import EngineError, TableError, UnknownKeyError
from engine.noise import MUSAN
from engine.tables import file_of, read_table
from engine.tasks import CORPUS_TASKS, TASKS, asked_task

if TYPE_CHECKING:
    import pandas as pd

_ASSETS = Path(__file__).resolve().parents[1] / "assets"
SHIPPED = _ASSETS / "benchmark"

SOURCES = {"measured": "Measured here", "published": "Published", "own": "Own run"}
SUMMARY_TABLES = ("accuracy", "agreement", "shared_errors", "confound", "cost")
# What `precompute` takes together: the words decide, and the answers are among given ones.
POOLED = "all words-only"
WORDS_TASKS = tuple(
    key
    for key in (*TASKS, *CORPUS_TASKS)
    if (task := asked_task(key)) and not task.needs_voice and task.kind in ("choice", "choices")
)
CLIP_TABLES = ("answers", "clips")
MECHANISM_TABLES = ("probes", "lens", "noise_lens", "sufficiency", "erasure", "effects", "damage")

_NOT_SHIPPED = (
    "No measured run ships with this copy yet; make one with `python -m precompute run --profile mini --quick "
    "--out results/try`, then `python -m precompute summarize --out results/try`, and start the page with "
    "`--results results/try`."
)
_NOT_GIVEN = "No run of your own is open; start the page with `python app.py --results DIR`."


class _OwnRun:
    """The folder given with --results; set once, when the app starts."""

    folder: Path | None = None


def use_results(folder: Path | None) -> str:
    """Make this folder the source "own run"; return "", or why it cannot be one, in one sentence."""
    _OwnRun.folder = None
    if folder is None:
        return ""
    try:
        _manifest(folder.resolve(), "The folder given with --results")
    except TableError as error:
        return str(error)
    _OwnRun.folder = folder.resolve()
    return ""


def folder_of(source: str) -> Path | None:
    """Return the folder of a source; None where this copy or this start of the app has none.

    Raises:
        UnknownKeyError: there is no such source.
    """
    if source not in SOURCES:
        raise UnknownKeyError(f'There is no source "{source[:40]}". Choose one of: {", ".join(SOURCES)}.')
    if source == "published":
        return PUBLISHED
    if source == "own":
        return _OwnRun.folder
    return SHIPPED if (SHIPPED / "manifest.json").is_file() else None


def why_empty(source: str) -> str:
    """Return why a source has nothing to show, and how to change that; "" when it has."""
    if folder_of(source) is not None:
        return ""
    return _NOT_SHIPPED if source == "measured" else _NOT_GIVEN


def first_source() -> str:
    """Return what the page opens on: an own run, else the shipped one, else the published figures."""
    return next(source for source in ("own", "measured", "published") if folder_of(source) is not None)


def manifest(source: str) -> dict[str, Any]:
    """Return the manifest of a measured source; {} for the published figures.

    Raises:
        TableError: there is no such run here, or its manifest is damaged.
    """
    folder = folder_of(source)
    if folder is None:
        raise TableError(why_empty(source))
    return {} if source == "published" else _manifest(folder, SOURCES[source])


def _manifest(folder: Path, what: str) -> dict[str, Any]:
    file = folder / "manifest.json"
    try:
        found = _json(file, file.stat().st_mtime_ns)
    except OSError as error:
        raise TableError(
            f"{what} has no manifest.json; finish it with `python -m precompute summarize --out DIR`."
        ) from error
    except ValueError as error:
        raise TableError(f"{what} has a damaged manifest.json; run summarize on it again.") from error
    if not isinstance(found, dict):
        raise TableError(f"{what} has a manifest.json of another making; run summarize on it again.")
    return found


@lru_cache(maxsize=8)
def _json(path: Path, changed: int) -> Any:
    del changed
    return json.loads(path.read_text(encoding="utf-8"))


def table(source: str, name: str) -> pd.DataFrame:
    """Return a table of a source with the declared columns; the published ones have some more.

    Raises:
        UnknownKeyError: there is no such source or table.
        TableError: the source is not here, or the file is missing, half-written or of another making.
    """
    if name not in TABLES:
        raise UnknownKeyError(f'There is no table "{name[:40]}". Choose one of: {", ".join(TABLES)}.')
    folder = folder_of(source)
    if folder is None:
        raise TableError(why_empty(source))
    if source == "published":
        return published_as_declared(name)
    path = file_of(folder, name)
    # A run that was summarised again is read again.
    return _read(path, name, changed_ns(path))


@lru_cache(maxsize=24)
def _read(path: Path, name: str, changed: int) -> pd.DataFrame:
    del changed
    return read_table(path, name)


@dataclass(frozen=True, order=True)
class Level:
    """One noise condition; `snr_db` is None for clean clips and for the room."""

    noise: str
    snr_db: float | None = None

    @property
    def key(self) -> str:
        """Short form for links, such as "clean" or "babble-5"."""
        return self.noise if self.snr_db is None else f"{self.noise}-{self.snr_db:g}"

    @property
    def phrase(self) -> str:
        """Words inside a sentence, such as "in babble at 5 dB"."""
        known = {"clean": "on clean speech", "room": "in a reverberant room", MUSAN: "in MUSAN's babble"}
        plain = known.get(self.noise, f"in {self.noise}")
        return plain if self.snr_db is None else f"{plain} at {self.snr_db:g} dB"

    @property
    def name(self) -> str:
        """Words for the page, such as "babble, 5 dB"."""
        plain = {"room": "reverberant room", MUSAN: "MUSAN's babble"}.get(self.noise, self.noise)
        return plain if self.snr_db is None else f"{plain}, {self.snr_db:g} dB"


CLEAN = Level("clean")


def levels_of(frame: pd.DataFrame) -> list[Level]:
    """Return the noise conditions of a table: clean, babble from quiet to loud, then the others."""
    pairs = frame[["noise", "snr_db"]].drop_duplicates().itertuples(index=False)
    found = [Level(noise, None if snr_db != snr_db else float(snr_db)) for noise, snr_db in pairs]
    order = {"clean": 0, "babble": 1, MUSAN: 1, "white": 2, "room": 3}
    return sorted(found, key=lambda level: (order.get(level.noise, 4), level.noise, -(level.snr_db or 0)))


def at(frame: pd.DataFrame, *, task: str | None = None, level: Level | None = None) -> pd.DataFrame:
    """Return the rows of a task, of a noise condition, or of both."""
    keep = frame["task"].notna()
    if task is not None:
        keep &= frame["task"] == task
    if level is not None:
        keep &= frame["noise"] == level.noise
        keep &= frame["snr_db"].isna() if level.snr_db is None else frame["snr_db"] == level.snr_db
    return frame[keep]


def answers_at(source: str, task: str, level: Level | None, systems: tuple[str, ...]) -> pd.DataFrame:
    """Return the answers of these systems to a task, at one noise condition or at all.

    Raises:
        TableError: the source has no single answers, or its file cannot be read.
    """
    rows = answers_to(source, task)
    return at(rows[rows["system"].isin(systems)], level=level)


def answers_to(source: str, task: str) -> pd.DataFrame:
    """Return all answers to a task, without what the page does not show; raises as `answers_at`."""
    folder = folder_of(source)
    if folder is None or source == "published":
        raise TableError("There are no single answers to show here: only totals were published.")
    path = file_of(folder, "answers")
    return _answers(path, WORDS_TASKS if task == POOLED else (task,), changed_ns(path))


def changed_ns(path: Path) -> int:
    """Return when a file was last changed, so that what is kept of an older one is not used; 0 without it."""
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=6)
def _answers(path: Path, tasks: tuple[str, ...], changed: int) -> pd.DataFrame:
    del changed
    unused = {"aliases", "forced_choice", "forced_label", "seconds", "audio_s"} | {
        column.name for column in TABLES["answers"] if column.later
    }
    columns = [column.name for column in TABLES["answers"] if column.name not in unused]
    return filtered(path, [("task", "in", list(tasks))], columns)


def clip_of(source: str, clip_id: str) -> dict[str, Any] | None:
    """Return the row of a clip, None where the source has no such clip."""
    found = clips_of(source, (clip_id,))
    return found.get(clip_id)


def clips_of(source: str, clip_ids: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the rows of these clips by clip_id, of the run or of its probes; others are left out."""
    folder = folder_of(source)
    if folder is None or source == "published":
        return {}
    found: dict[str, dict[str, Any]] = {}
    for path in (file_of(folder, "clips"), file_of(folder, "probe_clips")):
        missing = [clip_id for clip_id in clip_ids if clip_id not in found]
        # A run of behaviour alone has no clips of probes.
        if missing and (path.stem == "clips" or path.is_file()):
            frame = filtered(path, [("clip_id", "in", missing)])
            found |= {str(row["clip_id"]): row for row in frame.to_dict("records")}
    return found


def answers_of(source: str, clip_id: str) -> list[dict[str, Any]]:
    """Return the systems' rows of answers to this clip; none where there is none."""
    folder = folder_of(source)
    if folder is None or source == "published":
        return []
    frame = filtered(file_of(folder, "answers"), [("clip_id", "==", clip_id)])
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def filtered(
    path: Path, filters: list[tuple[str, str, Any]], columns: list[str] | None = None
) -> pd.DataFrame:
    """Return the rows of a Parquet file that pass the filters, without the others being kept in memory.

    Raises:
        TableError: the file is missing or damaged.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        return parquet.read_table(path, columns=columns, filters=filters).to_pandas()
    except (OSError, pyarrow.ArrowException) as error:
        raise TableError(f"{path.name} is missing or damaged; make the run's tables again.") from error


def problem_of(source: str) -> str:
    """Return one sentence when a source that is there cannot be read, else ""."""
    try:
        for name in ("accuracy", "agreement"):
            table(source, name)
    except EngineError as error:
        return str(error)
    return ""
