"""From the tables of clips to the tables of mechanism; loads no model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.tables import read_table
from precompute.mechanism.clip_tables import FOLDER, RECORD
from precompute.mechanism.effect_tables import effect_rows
from precompute.mechanism.erasure_tables import erasure_rows
from precompute.mechanism.lens_tables import lens_rows, noise_lens_rows
from precompute.mechanism.sufficiency_tables import sufficiency_rows

INPUTS = ("lens_clips", "implicit_clips", "erasure_clips", "probes", "damage")
# Stage -> the version of its code (`precompute.keys`) that mended a control, and what rows made before must say.
SINCE = {
    "lens": (
        2,
        "The control is of single sentences of other clips, measured before as many distinct tokens were taken.",
    ),
    "erase": (
        2,
        "Equal change is of the average over all positions, measured before each group of them was matched.",
    ),
}
DETAILS = ("probe_clips", "probe_scores")  # behind the probes' figures; nothing is summed from them


def mechanism_tables(out: Path, *, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Return name -> rows of every table of mechanism, {} where no run of it has left its tables of clips.

    Args:
        out: results folder.
        seed: of the resampling of groups.

    Raises:
        TableError: a table of clips is missing, half-written or foreign.
    """
    if not (out / RECORD).exists():
        return {}
    made = json.loads((out / RECORD).read_text(encoding="utf-8"))["code_versions"]
    lens, erasure = (note if made[stage] < since else "" for stage, (since, note) in SINCE.items())
    given = {name: read_table(out / FOLDER / f"{name}.parquet", name) for name in INPUTS}
    tables: Mapping[str, Iterable[dict[str, Any]]] = {
        "probes": given["probes"].to_dict("records"),
        "damage": given["damage"].to_dict("records"),
        "lens": lens_rows(given["lens_clips"], seed=seed, note=lens),
        "noise_lens": noise_lens_rows(given["lens_clips"], seed=seed, note=lens),
        "sufficiency": sufficiency_rows(given["implicit_clips"], seed=seed),
        "erasure": erasure_rows(given["erasure_clips"], seed=seed, note=erasure),
        "effects": effect_rows(given["erasure_clips"], seed=seed),
    }
    return {name: list(rows) for name, rows in tables.items()}


def mechanism_files() -> tuple[str, ...]:
    """Return the files that a run of mechanism leaves, below the results folder."""
    return (RECORD, *(f"{FOLDER}/{name}.parquet" for name in (*INPUTS, *DETAILS)))
