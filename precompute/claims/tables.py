"""claims.csv and claim_cells.csv: every claim of the ledger held against a run; the words come from assets/text."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.records import columns_of, read_table
from engine.tables import as_declared
from precompute.claims import agreement, damage, erasing, errors, implicit, noise, phases, states
from precompute.claims.measured import Measured
from precompute.claims.verdict import Trial, cell_row, claim_figures
from precompute.mechanism.clip_tables import FOLDER, RECORD

if TYPE_CHECKING:
    import pandas as pd

WORDS = Path(__file__).resolve().parents[2] / "assets" / "text" / "claims.toml"
SAID = ("family", "title", "says", "published", "source", "measure", "rule", "caveat", "shown")
MECHANISM = (
    "This run has no tables of it: add them with `python -m precompute run --stage mechanism --out DIR`, "
    "then `python -m precompute summarize --out DIR`."
)
INTERLEAVED = (
    "This run has no tables of it: add them with `python -m precompute run --stage interleaved --out DIR`, "
    "then `python -m precompute summarize --out DIR`."
)

Try = Callable[[Measured], Iterator[Trial]]
# Claim -> the tables that it is tried on, and how.
TRIES: dict[str, tuple[tuple[str, ...], Try]] = {
    "near_equivalence": (("agreement",), agreement.near_equivalence),
    "divergence": (("agreement",), agreement.divergence),
    "backbone_confound": (("confound",), agreement.backbone),
    "shared_errors": (("agreement",), errors.shared_errors),
    "shared_errors_dealt": (("agreement",), errors.shared_errors_null),
    "reasoning_errors": (("shared_errors",), errors.reasoning_errors),
    "voice_tasks": (("agreement",), agreement.voice),
    "noise": (("answers",), noise.robustness),
    "acoustic_kept": (("probes",), states.acoustic_kept),
    "late_text": (("lens",), states.late_text),
    "emergence_order": (("lens",), states.emergence_order),
    "sufficiency": (("sufficiency",), implicit.sufficiency),
    "text_erasure": (("erasure",), erasing.text_collapses),
    "text_erasure_equal_change": (("erasure",), erasing.text_against_equal_change),
    "text_erasure_forced_choice": (("erasure_clips",), erasing.text_in_forced_choice),
    "ctc_against_boc": (("erasure_clips",), erasing.ctc_against_boc),
    "acoustic_harms_text": (("erasure",), erasing.acoustic_harms),
    "acoustic_damages_text": (("damage",), damage.text_damage),
    "random_negligible": (("erasure",), erasing.random_is_negligible),
    "latent_transcription": (("interleaved",), phases.latent_transcription),
    "three_phases": (("interleaved", "phases"), phases.three_phases),
    "both_needed": (("interleaved",), phases.both_needed),
    "bigger_deeper": (("interleaved",), phases.bigger_deeper),
    "knowledge_relation": (("interleaved", "spoken_knowledge"), phases.knowledge_relation),
    "latent_text_used": (("interleaved", "phase_causal"), phases.latent_text_used),
}


def claim_words() -> list[dict[str, str]]:
    """Return the claims in the order of the ledger, each with its words."""
    return list(tomllib.loads(WORDS.read_text(encoding="utf-8"))["claim"])


def claims_tables(
    out: Path,
    tables: Mapping[str, Iterable[Mapping[str, Any]]],
    answers: pd.DataFrame,
    clips: pd.DataFrame,
    kind_of: Callable[[str], str],
    *,
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of claims.csv and claim_cells.csv.

    Args:
        out: results folder, for the single answers under erasure.
        tables: rows of the other tables by name, those of mechanism only where they were measured.
        answers: the single answers of the run.
        clips: its clips.
        kind_of: speech_llm, cascade or text_llm.
        seed: of the resampling.

    Raises:
        TableError: the table of clips under erasure cannot be read.
    """
    frames = {name: _frame(name, rows) for name, rows in tables.items()} | {
        "answers": answers,
        "clips": clips,
    }
    if (out / RECORD).exists():
        frames["erasure_clips"] = read_table(out / FOLDER / "erasure_clips.parquet", "erasure_clips")
    run = Measured(frames, {key: kind_of(key) for key in sorted(set(answers["system"]))}, seed)
    claims, cells = [], []
    for place, words in enumerate(claim_words(), start=1):
        found = trials_of(run, words["key"])
        missing = _missing(run, words)
        head = {"claim": words["key"], "place": place, **{name: words[name] for name in SAID}}
        claims.append(head | claim_figures(found, missing))
        cells += [{"claim": words["key"]} | cell_row(trial) for trial in found]
    return {"claims": claims, "claim_cells": cells}


def _missing(run: Measured, words: Mapping[str, str]) -> str:
    """Return what to say of a claim that has no cell: which stage was not run, or what it needs."""
    if words["shown"] == "interleaved":
        return words["needs"] if run.has("interleaved") else INTERLEAVED
    return words["needs"] if words["shown"] == "benchmark" or run.has("erasure") else MECHANISM


def trials_of(run: Measured, claim: str) -> list[Trial]:
    """Return the cells in which this run tries a claim, sorted; [] where it lacks what they need."""
    needed, tried = TRIES[claim]
    return sorted(tried(run), key=lambda trial: trial.place) if run.has(*needed) else []


def _frame(name: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    listed = list(rows)
    columns = columns_of(name)
    frame = pd.DataFrame(
        listed, columns=None if listed else [column.name for column in columns], dtype=object
    )
    return as_declared(frame, columns, f"{name}.csv")
