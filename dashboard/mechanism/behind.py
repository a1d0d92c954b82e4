"""What the sections of the mechanism page share: which tables a source has, its systems, and the clips of a point.

Tables of clips are long, so only the rows of a point are read. Nothing here knows Gradio or a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dashboard.figures.noise_curves import COLOURS
from dashboard.names import in_order, name_of
from dashboard.published import published_names
from dashboard.tables import MECHANISM_TABLES, folder_of, manifest, table
from engine.columns import MECHANISM_CLIP_TABLES
from engine.tables import file_of

if TYPE_CHECKING:
    import pandas as pd

COMMAND = "python -m precompute run --stage mechanism"
NO_MECHANISM = (
    f"This run measured answers only; measure the mechanism with `{COMMAND} --out DIR`, and then "
    "`python -m precompute summarize --out DIR`."
)
NOT_YET = "This run has no such measurement yet; let it finish, and then summarize it again."
PUBLISHED_NAME = "Published, arXiv 2602.17598"
# The paper's last layer; it counts from 0.
PUBLISHED_LAYERS = 31
LONGEST_TEXT = 160

# A system and the published one that it is built after, so that both have one colour.
_COUNTERPARTS = {"mini-ultravox": "ultravox", "mini-qwen2-audio": "qwen2_audio", "mini-whisper": "whisper"}
_ENCODERS = {"mini-whisper": "mini-Whisper's encoder", "whisper": "Whisper's encoder"}


def where_measured(source: str) -> str:
    """Return on which machine and when a source was measured, as a sentence; "" where it does not say.

    Raises:
        TableError: the source is not here, or its manifest is damaged.
    """
    about = manifest(source)
    facts = [
        f"on {about['hardware']}" if about.get("hardware") else "",
        str(about.get("summarized_at") or "")[:10],
    ]
    where = ", ".join(filter(None, facts))
    return f"Measured {where}." if where else ""


def has_table(source: str, name: str) -> bool:
    """Whether a source is here and has this table."""
    folder = folder_of(source)
    if folder is None:
        return False
    return name in published_names() if source == "published" else file_of(folder, name).is_file()


def mechanism_names(source: str) -> tuple[str, ...]:
    """Return the tables of mechanism that a source has, those of clips last."""
    return tuple(name for name in (*MECHANISM_TABLES, *MECHANISM_CLIP_TABLES) if has_table(source, name))


def why_not_measured(source: str, name: str) -> str:
    """Return why a source has no rows of this table, and how to get some; plain text."""
    return NOT_YET if has_table(source, name) else NO_MECHANISM.replace("`", "")


def measured(source: str, name: str) -> pd.DataFrame | None:
    """Return a table of a source, None where it was not measured or has no row.

    Raises:
        TableError: it is there and cannot be read.
    """
    if not has_table(source, name):
        return None
    found = table(source, name)
    return found if len(found) else None


def system_name(source: str, system: str) -> str:
    """Return a system's name; a transcriber is its encoder here."""
    return _ENCODERS.get(system) or name_of(source, system)


def systems_of(source: str, frame: pd.DataFrame) -> list[str]:
    """Return the systems of a table, speech LLMs first and the control last."""
    return sorted(in_order(source, set(frame["system"])), key=lambda system: system in _ENCODERS)


def colour_of(source: str, system: str) -> str:
    """Return a system's colour: the same in every chart, and that of the published system that it is built after."""
    published = list(_COUNTERPARTS.values())
    key = _COUNTERPARTS.get(system, system)
    if key in published:
        return COLOURS[published.index(key)]
    others = [one for one in in_order(source, {system}) if one not in published]
    return COLOURS[len(published) + sum(map(ord, others[0])) % (len(COLOURS) - len(published))]


def shortened(text: str) -> str:
    """Return a text that fits into a cell."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1] + "…"


def sizes_of(rows: pd.DataFrame, *columns: tuple[str, str]) -> str:
    """Return how many stand behind the rows, such as "100 items, 100 to 300 clips".

    Args:
        rows: of a table.
        columns: each a column of counts, and what it counts; left out where it is 0 throughout or not there.
    """
    said = []
    for column, noun in columns:
        if column not in rows:
            continue
        low, high = int(rows[column].min()), int(rows[column].max())
        if high:
            said.append(f"{low:,} {noun}" if low == high else f"{low:,} to {high:,} {noun}")
    return ", ".join(said)


def doubts_of(rows: pd.DataFrame) -> str:
    """Return what speaks against some published rows, each reason once; "" where nothing does."""
    reasons = [f"{one.strip().rstrip('.')}." for doubt in rows["doubt"] for one in doubt.split(". ") if one]
    return f"Open marks are doubtful: {' '.join(dict.fromkeys(reasons))}" if reasons else ""


def published_cell(row: Mapping[str, Any], text: str) -> str:
    """Return a published value for a table, with a question mark where it is doubtful."""
    return f"{text} ?" if row.get("doubt") else text
