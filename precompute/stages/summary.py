"""The summarize job: answers.parquet and clips.parquet -> tables/* and, last, manifest.json.

Loads no model. The tables depend on nothing but the rows (and on no order of them); cost.csv alone depends
on measured times. A folder without manifest.json is not finished.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import math
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.columns import LABEL_STATUSES
from engine.errors import TableError
from engine.stats.intervals import LEVEL, N_RESAMPLES
from engine.stats.significance import EXACT_BELOW
from engine.systems.catalogue import SYSTEMS
from engine.tables import file_of, write_table, write_whole
from precompute.claims.tables import claims_tables
from precompute.interleaved.tables import interleaved_files, interleaved_tables
from precompute.mechanism.tables import mechanism_files, mechanism_tables
from precompute.stages.backbone_tables import confound_rows, shared_error_rows
from precompute.stages.cells import cells_of, read_run
from precompute.stages.pair_tables import agreement_rows
from precompute.stages.pairs import KindOf, MatchOf, kind_in_catalogue, match_in_catalogue
from precompute.stages.reread import changes_in_words, read_again
from precompute.stages.system_tables import NOT_RECORDED, accuracy_rows, cost_rows

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "manifest.json"
RUN_RECORD = "run.json"
INPUTS = ("answers.parquet", "clips.parquet")
BOOTSTRAP_SEED = 20260217
FORMAT = 1  # of the manifest
PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "jiwer")

logger = logging.getLogger(__name__)


def summarize(
    out: Path, *, reread: bool = False, match: MatchOf | None = None, kind_of: KindOf = kind_in_catalogue
) -> str:
    """Write every table of a results folder and its manifest, and return what was written, in one sentence.

    Args:
        out: the folder, with answers.parquet and clips.parquet, and run.json where the run left one.
        reread: read the answers' labels again from their text first, and write them back to answers.parquet.
        match: how the backbones of two systems agree: exact, ancestor, self, paper or none; by default what the
            run recorded, whose checkpoints need not be here.
        kind_of: speech_llm, cascade or text_llm.

    Raises:
        TableError: an input is missing, half-written or foreign, or a table cannot be written.
        ModelFilesError: the config that says which backbone a system uses is missing.
    """
    record = read_run_record(out)
    match = match or _recorded_match(record)
    answers, clips = read_run(out)
    _reopen(out)
    if reread:
        answers, changed = read_again(answers, clips)
        for line in changes_in_words(changed):
            logger.info("%s", line)
        write_table(answers, file_of(out, "answers"), "answers")
    cells = cells_of(answers, clips)
    tables = {
        "accuracy": accuracy_rows(cells, seed=BOOTSTRAP_SEED),
        "agreement": agreement_rows(cells, match, kind_of, seed=BOOTSTRAP_SEED),
        "confound": confound_rows(cells, match, kind_of, seed=BOOTSTRAP_SEED),
        "shared_errors": shared_error_rows(cells, match, kind_of),
        "cost": cost_rows(answers, record),
        **mechanism_tables(out, seed=BOOTSTRAP_SEED),
        **interleaved_tables(out, seed=BOOTSTRAP_SEED),
    }
    tables |= claims_tables(out, tables, answers, clips, kind_of, seed=BOOTSTRAP_SEED)
    for name, rows in tables.items():
        file = file_of(out, name)
        write_table(rows, file, name)
        logger.info("tables/%s: %s rows", file.name, f"{len(rows):,}")
    manifest = _manifest(out, answers, clips, tables, record)
    write_whole(out / MANIFEST, (json.dumps(manifest, indent=0, sort_keys=True) + "\n").encode())
    return (
        f"{len(answers):,} answers of {answers['system'].nunique()} systems to {len(clips):,} clips: "
        f"{len(tables)} tables and {MANIFEST} written."
    )


def _recorded_match(record: Mapping[str, Any]) -> MatchOf:
    """Return what the run says of two systems; of an older run, which does not say, what the checkpoints do."""
    told = {
        frozenset((key, other)): str(kind)
        for key, about in record.get("systems", {}).items()
        for other, kind in about.get("matches", {}).items()
    }

    def match(system_a: str, system_b: str) -> str:
        pair = frozenset((system_a, system_b))
        return told[pair] if pair in told else match_in_catalogue(system_a, system_b)

    return match


def _reopen(out: Path) -> None:
    """Take the manifest away: until it is written again the folder is unfinished."""
    try:
        (out / MANIFEST).unlink(missing_ok=True)
    except OSError as error:
        raise TableError(f"{MANIFEST} cannot be written anew ({error.strerror}).") from error


def read_run_record(out: Path) -> dict[str, Any]:
    """Return what the run wrote about itself, {} when it wrote nothing.

    `systems` (key -> revision, peak_memory_mb), `hardware` (in words), `seeds` and `versions` are used where
    they are there; the rest is kept in the manifest as it is.

    Raises:
        TableError: the file is there but cannot be read.
    """
    file = out / RUN_RECORD
    if not file.exists():
        return {}
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TableError(
            f"{RUN_RECORD} is damaged; run the benchmark again, which writes it anew."
        ) from error
    if not _is_run_record(record):
        raise TableError(f"{RUN_RECORD} is of another making; run the benchmark again, which writes it anew.")
    return record


def _is_run_record(record: object) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("hardware", ""), str):
        return False
    systems = record.get("systems", {})
    return isinstance(systems, dict) and all(isinstance(about, dict) for about in systems.values())


def _manifest(
    out: Path,
    answers: pd.DataFrame,
    clips: pd.DataFrame,
    tables: Mapping[str, list[dict[str, Any]]],
    record: Mapping[str, Any],
) -> dict[str, Any]:
    agreement = tables["agreement"]
    files = [
        *INPUTS,
        RUN_RECORD,
        *mechanism_files(),
        *interleaved_files(),
        *(f"tables/{file_of(out, name).name}" for name in tables),
    ]
    return {
        "format": FORMAT,
        "summarized_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"summarize": _versions(), "run": record.get("versions", NOT_RECORDED)},
        "hardware": record.get("hardware", NOT_RECORDED),
        "seeds": {"bootstrap": BOOTSTRAP_SEED, "run": record.get("seeds", NOT_RECORDED)},
        "systems": {key: _system(key, record) for key in sorted(set(answers["system"]))},
        "statistics": {
            "interval_level": LEVEL,
            "resamples": N_RESAMPLES,
            "resampled": "groups of related items, all clips of a group together",
            "mcnemar_exact_below": EXACT_BELOW,
            "mcnemar_family": sum(row["mcnemar_p"] == row["mcnemar_p"] for row in agreement),
            "mcnemar_unit": "clips; where an item stands in several voices p is too small, and votes_p is not",
        },
        "counts": _counts(answers, clips, tables),
        "files": {name: _fingerprint(out / name) for name in files if (out / name).exists()},
        "run": dict(record),
    }


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **packages}


def _system(key: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a system: what the run recorded, and else its row of the catalogue."""
    about: dict[str, Any] = {"revision": NOT_RECORDED}
    if key in SYSTEMS:
        spec = SYSTEMS[key]
        about |= {"name": spec.name, "kind": spec.kind, "backbone": spec.backbone, "licence": spec.licence}
        about["parameters_m"] = None if math.isnan(spec.parameters_m) else spec.parameters_m
    return about | record.get("systems", {}).get(key, {})


def _counts(
    answers: pd.DataFrame, clips: pd.DataFrame, tables: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    statuses = answers["label_status"].value_counts()
    return {
        "answers": len(answers),
        "clips": len(clips),
        "items": clips[["task", "item_id"]].drop_duplicates().shape[0],
        "systems": answers["system"].nunique(),
        "statuses": {status: int(statuses.get(status, 0)) for status in LABEL_STATUSES},
        "rows": {name: len(rows) for name, rows in tables.items()},
    }


def _fingerprint(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
