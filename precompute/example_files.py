"""The example clips' files and their index, which more than one job writes to: each leaves the others' rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import soundfile

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.examples import Example


def put_examples(folder: Path, spoken: Sequence[tuple[Example, AudioClip]], *, first: bool = False) -> int:
    """Write clips as FLAC and their rows in the index, each in the place of the one with its key; returns how many.

    Args:
        folder: of the examples; it is made.
        spoken: the examples of one job, in the gallery's order.
        first: new rows stand before those that are there, not behind them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for example, clip in spoken:
        soundfile.write(folder / f"{example.key}.flac", clip.samples, SAMPLE_RATE_HZ, subtype="PCM_16")
    index = folder / "index.json"
    others = json.loads(index.read_text(encoding="utf-8")) if index.exists() else []
    rows = {example.key: _row(example) for example, _ in spoken}
    kept = [rows.pop(row["key"], row) for row in others]
    merged = [*rows.values(), *kept] if first else [*kept, *rows.values()]
    index.write_text(json.dumps(merged, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(spoken)


def _row(example: Example) -> dict[str, object]:
    return {
        "key": example.key,
        "title": example.title,
        "task": example.task,
        "prompt": example.prompt,
        "reference": example.reference,
        "words": [[w.text, round(w.start_s, 3), round(w.end_s, 3)] for w in example.words],
        "gold": example.gold,
        "aliases": list(example.aliases),
        "voice": example.voice,
    }
