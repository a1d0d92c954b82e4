"""The example clips that ship: unseen sentences in unseen voices, with what was said and when."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from engine.result import SpokenWord

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "examples"
RESULTS = FOLDER / "results"  # of pairs, by `engine.stored_result.stored_file`


@dataclass(frozen=True)
class Example:
    """One shipped clip.

    Attributes:
        key: also the file's name without its ending.
        title: what a person reads in the gallery.
        file: the FLAC.
        task, prompt: what is asked of it, as in `RunRequest`.
        reference, words: what was said, with the synthesiser's own times (empty for Festival).
        gold, aliases: the right answer.
        voice: who speaks, in words.
    """

    key: str
    title: str
    file: Path
    task: str
    prompt: str
    reference: str
    words: tuple[SpokenWord, ...]
    gold: str
    aliases: tuple[str, ...]
    voice: str


def _read() -> tuple[Example, ...]:
    index = FOLDER / "index.json"
    if not index.exists():
        return ()
    rows = json.loads(index.read_text(encoding="utf-8"))
    return tuple(
        Example(
            key=row["key"],
            title=row["title"],
            file=FOLDER / f"{row['key']}.flac",
            task=row["task"],
            prompt=row["prompt"],
            reference=row["reference"],
            words=tuple(SpokenWord(text, start, end) for text, start, end in row["words"]),
            gold=row["gold"],
            aliases=tuple(row["aliases"]),
            voice=row["voice"],
        )
        for row in rows
    )


# In the gallery's order; empty when no examples ship.
EXAMPLES: tuple[Example, ...] = _read()
