"""claims.csv and claim_cells.csv: every claim of the ledger held against a run; the words come from assets/text."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.tables import as_declared, columns_of, read_table
from precompute.claims import behaviour, mechanism, phases
from precompute.claims.measured import FORMER_RESAMPLES, Measured, recorded_resamples
from precompute.claims.published import published
from precompute.claims.verdict import Trial, cell_row, claim_figures, published_verdict
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
    "near_equivalence": (("agreement",), behaviour.near_equivalence),
    "divergence": (("agreement",), behaviour.divergence),
    "backbone_confound": (("confound",), behaviour.backbone),
    "as_accurate": (("agreement",), behaviour.as_accurate),
    "shared_errors": (("agreement",), behaviour.shared_errors),
    "matched_overlap": (("confound",), behaviour.matched_overlap),
    "shared_errors_dealt": (("agreement",), behaviour.shared_errors_null),
    "reasoning_errors": (("agreement",), behaviour.reasoning_errors),
    "voice_tasks": (("agreement",), behaviour.voice),
    "noise": (("agreement",), behaviour.robustness),
    "acoustic_kept": (("probes",), mechanism.acoustic_kept),
    "decodability_profile": (("probes",), mechanism.decodability_profile),
    "late_text": (("lens_clips",), mechanism.late_text),
    "emergence_order": (("lens_clips",), mechanism.emergence_order),
    "sufficiency": (("implicit_clips",), mechanism.sufficiency),
    "text_erasure": (("erasure_clips",), mechanism.text_collapses),
    "text_erasure_equal_change": (("erasure_clips",), mechanism.text_against_equal_change),
    "text_erasure_forced_choice": (("erasure_clips",), mechanism.text_in_forced_choice),
    "ctc_against_boc": (("erasure_clips",), mechanism.ctc_against_boc),
    "acoustic_harms_text": (("erasure_clips",), mechanism.acoustic_harms),
    "acoustic_damages_text": (("damage",), mechanism.text_damage),
    "random_negligible": (("erasure_clips",), mechanism.random_is_negligible),
    "kept_unused": (("probes", "erasure_clips"), mechanism.kept_but_unused),
    "latent_transcription": (("interleaved",), phases.latent_transcription),
    "three_phases": (("interleaved", "phases"), phases.three_phases),
    "both_needed": (("interleaved",), phases.both_needed),
    "bigger_deeper": (("interleaved",), phases.bigger_deeper),
    "knowledge_relation": (("interleaved", "spoken_knowledge"), phases.knowledge_relation),
    "latent_text_used": (("interleaved", "phase_causal"), phases.latent_text_used),
}
# What the paper does not print, and what was learnt of the other one prints no table: nothing to try a rule on.
NOT_PUBLISHED = ("interleaved",)
CLIP_TABLES = ("lens_clips", "implicit_clips", "erasure_clips")


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
        out: results folder, for what was measured clip by clip.
        tables: rows of the other tables by name, those of mechanism only where they were measured.
        answers: the single answers of the run.
        clips: its clips.
        kind_of: speech_llm, cascade or text_llm.
        seed: of the resampling.

    Raises:
        TableError: a table of clips cannot be read.
    """
    frames = {name: _frame(name, rows) for name, rows in tables.items()} | {
        "answers": answers,
        "clips": clips,
    }
    probe_resamples = FORMER_RESAMPLES
    if (out / RECORD).exists():
        frames |= {name: read_table(out / FOLDER / f"{name}.parquet", name) for name in CLIP_TABLES}
        probe_resamples = recorded_resamples((out / RECORD).read_text(encoding="utf-8"))
    run = Measured(
        frames, {key: kind_of(key) for key in sorted(set(answers["system"]))}, seed, probe_resamples
    )
    claims, cells = [], []
    for place, words in enumerate(claim_words(), start=1):
        found = trials_of(run, words["key"])
        missing = _missing(run, words)
        head = {"claim": words["key"], "place": place, **{name: words[name] for name in SAID}}
        claims.append(head | claim_figures(found, missing) | paper_columns(words["key"]))
        cells += [{"claim": words["key"]} | cell_row(trial) for trial in found]
    return {"claims": claims, "claim_cells": cells}


def _missing(run: Measured, words: Mapping[str, str]) -> str:
    """Return what to say of a claim that has no cell: which stage was not run, or what it needs."""
    if words["shown"] == "interleaved":
        return words["needs"] if run.has("interleaved") else INTERLEAVED
    return words["needs"] if words["shown"] == "benchmark" or run.has("erasure") else MECHANISM


def paper_columns(claim: str) -> dict[str, str]:
    """Return what the claim's rule says of the paper's own published numbers: the verdict, and how it comes to it."""
    shown = {words["key"]: words["shown"] for words in claim_words()}
    _, tried = TRIES[claim]
    trials = [] if shown[claim] in NOT_PUBLISHED else list(tried(published()))
    verdict, said = published_verdict(trials)
    return {"paper_verdict": verdict, "paper_says": said}


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
