"""What the shipped benchmark measured of one layer's implicit cascade: a sentence to stand beside a live answer."""

from __future__ import annotations

from typing import Any

from dashboard.beside import OTHER_WEIGHTS, is_of_these_weights
from dashboard.tables import folder_of, table
from engine.errors import ModelFilesError, TableError
from engine.systems.catalogue import backbone_of, get_pair, get_spec
from engine.tables import file_of
from engine.tasks import TASKS

DAMAGED = "The shipped sufficiency.csv cannot be read; run `python -m precompute summarize` again."
_OTHER_LLM = (
    "There the text went to the speech LLM's own backbone, which is not the LLM of this pair's cascade."
)


def kappa_beside(task: str, pair: str, layer: int) -> str | None:
    """Return kappa of the layer's implicit cascade with the speech LLM, and its controls; None without a row.

    What is damaged is said, not raised: it must not cost the person the answer.
    """
    try:
        return _sentence(task, pair, layer)
    except ModelFilesError as error:
        return str(error)
    except TableError:
        return DAMAGED


def _sentence(task: str, pair: str, layer: int) -> str | None:
    folder = folder_of("measured")
    if folder is None or not file_of(folder, "sufficiency").is_file():
        return None
    asked = get_pair(pair)
    rows = table("measured", "sufficiency")
    same = (rows["system"] == asked.speech_llm) & (rows["task"] == task) & (rows["layer"] == layer)
    if not same.any():
        return None
    if not is_of_these_weights((asked.speech_llm,)):
        return OTHER_WEIGHTS
    row = rows[same].iloc[0]
    which = f"On {row['n_clips']:,} clean {TASKS[task].name.lower()} clips, layer {layer}"
    own = backbone_of(get_spec(asked.speech_llm)) == get_spec(asked.cascade).backbone
    caveat = "" if own else f" {_OTHER_LLM}"
    if row["kappa"] != row["kappa"]:
        return f"{which}: {row['note'] or 'kappa is not defined.'}{caveat}"
    mismatched = row["kappa_mismatched"]
    chance = "" if mismatched != mismatched else f"; from other clips' texts {_plain(mismatched)}"
    both = row["kappa_both_parsed"], row["kappa_unparsed_agree"]
    readings = (
        f" Two unparsed answers never agree here; if they did {_plain(both[1])}, both parsed {_plain(both[0])}."
        if all(value == value for value in both)
        and {_plain(value) for value in both} != {_plain(row["kappa"])}
        else ""
    )
    return (
        f"{which}: kappa with the speech LLM {_figure(row, 'kappa', '')}, from the transcriber's text "
        f"{_figure(row, 'kappa_cascade', 'cascade_')}{chance}. 95 % intervals over {row['n_items']:,} "
        f"questions; precomputed with these weights.{readings}{caveat}"
    )


def _figure(row: Any, name: str, prefix: str) -> str:
    low, high = row[f"{prefix}low"], row[f"{prefix}high"]
    interval = "" if low != low or high != high else f" [{_plain(low)}, {_plain(high)}]"
    return "not defined" if row[name] != row[name] else _plain(row[name]) + interval


def _plain(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
