"""The tables of the benchmark: every column declared once, with its unit and its meaning.

`precompute` writes them and the dashboard reads them, both through here. A table that is half-written or of another
making is refused with one sentence; but for columns that came later, nothing is filled in. Pandas comes at first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import interleaved_records, mechanism_records
from engine.claims_records import CLAIMS_KEYS, CLAIMS_TABLES, CLAIMS_WORDS
from engine.columns import (
    AUDIO,
    CLIP,
    CLIP_COLUMNS,
    GOLD,
    GROUP,
    HIGH,
    ITEM,
    LOW,
    N_CLIPS,
    N_GROUPS,
    N_ITEMS,
    NOISE,
    NOTE,
    SERVED_ANSWER,
    SERVED_COST,
    SNR,
    TASK,
    VOICE,
    count,
    number,
    words,
)
from engine.errors import TableError, UnknownKeyError
from engine.tables import Column, as_declared, check_columns, read_csv, read_parquet, write_csv, write_parquet

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    *("KEYS", "LABEL_STATUSES", "SHARED_ERROR_KINDS", "TABLES", "Column"),
    *("columns_of", "file_of", "read_table", "validate", "write_table"),
]

LABEL_STATUSES = ("parsed", "unparsed", "refused", "empty", "failed")
SHARED_ERROR_KINDS = ("reasoning", "asr", "unknown")

_SYSTEM_A = words("system_a", "First system: a speech LLM before a cascade before a text LLM, then by key.")
_SYSTEM_B = words("system_b", "Second system.")
_MATCH = words("match", "How the backbones of the two agree: exact, ancestor, self, paper or none.")
_KAPPA = "Cohen's kappa; two answers without a label never agree, and choices of a clip's own count by their place."
_AGREES = "Kappa if no label were a label like any other, so that two unparsed answers agree."
_PARSED = "Kappa of the clips on which both gave a label."
_MCNEMAR = (
    "McNemar's test, exact below 25 discordant pairs. It takes clips for independent: where an item stands in "
    "several voices p is too small; see votes_p."
)
_VOTES = "The same test with one vote a group, for the system that is right on more of its clips."
_BH = "The same after Benjamini and Hochberg over the whole table."
_NULL = (
    "Overlap if each wrong answer of the second system were one that it gave to another item "
    "with the same right answer."
)

TABLES: dict[str, tuple[Column, ...]] = {
    "answers": (
        ITEM,
        GROUP,
        CLIP,
        TASK,
        VOICE,
        NOISE,
        SNR,
        words("system", "Key of the system."),
        GOLD,
        words("aliases", "Other right answers, joined by |."),
        words("label", "The answer as it was read; none unless it was parsed.", optional=True),
        words("label_status", "parsed, unparsed, refused, empty or failed."),
        words("reason", "Why the row failed, else empty."),
        words("text", "The text the system generated."),
        words("heard", "The text the backbone was given; empty for a speech LLM."),
        Column("correct", "bool", "", "Whether the label is right; other right answers count."),
        words("forced_choice", "JSON: each allowed answer with its probability; {} for open tasks."),
        words("forced_label", "The most probable of the allowed answers.", optional=True),
        number("seconds", "s", "Time of this row; a shared stage counts in each row that needs it."),
        AUDIO,
        *SERVED_ANSWER,
    ),
    "clips": CLIP_COLUMNS,
    "accuracy": (
        words("system", "Key of the system."),
        TASK,
        NOISE,
        SNR,
        N_ITEMS,
        N_GROUPS,
        N_CLIPS,
        number("accuracy", "share", "Clips answered rightly; an answer without a label is wrong."),
        LOW,
        HIGH,
        number("macro_f1", "share", "Mean F1 over the right answers; an answer without a label is wrong."),
        number("forced_choice_accuracy", "share", "Clips whose most probable allowed answer is right."),
        number("majority_baseline", "share", "Accuracy of always giving the commonest right answer."),
        number("unparsed_rate", "share", "Answers without a label that are not refusals."),
        number("refused_rate", "share", "Answers that refuse."),
        number(
            "wer",
            "share",
            "Word errors of the transcript over words said, after Whisper's English normaliser; may exceed 1.",
        ),
        NOTE,
    ),
    "agreement": (
        _SYSTEM_A,
        _SYSTEM_B,
        _MATCH,
        TASK,
        NOISE,
        SNR,
        N_ITEMS,
        N_GROUPS,
        N_CLIPS,
        number("kappa", "-1 to 1", _KAPPA),
        LOW,
        HIGH,
        number("kappa_unparsed_agree", "-1 to 1", _AGREES, later=True),
        number("kappa_both_parsed", "-1 to 1", _PARSED, later=True),
        number("both_unparsed", "clips", "Neither gave a label.", later=True),
        count(
            "both_right",
            "clips",
            "Both gave a label and both are right; clips without both labels are in no class.",
        ),
        count("a_only", "clips", "Both gave a label and only the first system is right."),
        count("b_only", "clips", "Both gave a label and only the second system is right."),
        count("both_wrong_same", "clips", "Both are wrong with the same label."),
        count("both_wrong_different", "clips", "Both are wrong with different labels."),
        number("error_overlap", "share", "Same wrong label among the clips where both labels are wrong."),
        number("error_overlap_low", "share", "Lower end of its 95 % interval."),
        number("error_overlap_high", "share", "Upper end of its 95 % interval."),
        number("overlap_chance", "share", "Overlap of blind guessing, 1/(C-1) for C allowed answers."),
        number("overlap_null", "share", _NULL),
        count("mcnemar_b", "clips", "Right for the first system only; no label counts as wrong."),
        count("mcnemar_c", "clips", "Right for the second system only; no label counts as wrong."),
        number("mcnemar_p", "probability", _MCNEMAR),
        number("mcnemar_p_bh", "probability", _BH),
        count("votes_a", "groups", "The first system is right on more of the group's clips."),
        count("votes_b", "groups", "The second system is right on more of the group's clips."),
        number("votes_p", "probability", _VOTES),
        number("votes_p_bh", "probability", _BH),
        NOTE,
    ),
    "shared_errors": (
        TASK,
        NOISE,
        SNR,
        _SYSTEM_A,
        _SYSTEM_B,
        _MATCH,
        ITEM,
        CLIP,
        GOLD,
        words("wrong_label", "The wrong answer that both gave."),
        words("transcript", "What the cascade heard."),
        number("wer", "share", "Word errors of this transcript over words said."),
        words("kind", "reasoning: the transcript was right; asr: it was not; unknown: there is none."),
    ),
    "confound": (
        words("system", "The speech LLM."),
        words("matched", "Its cascade on a matched backbone."),
        words("mismatched", "A cascade with the same transcripts on another backbone."),
        TASK,
        NOISE,
        SNR,
        N_ITEMS,
        N_GROUPS,
        N_CLIPS,
        number("kappa_matched", "-1 to 1", "Kappa with the matched cascade."),
        number("kappa_mismatched", "-1 to 1", "Kappa with the mismatched cascade, on the same clips."),
        number("delta", "-2 to 2", "Matched minus mismatched; two answers without a label never agree."),
        LOW,
        HIGH,
        number("delta_unparsed_agree", "-2 to 2", "The same if two unparsed answers agree.", later=True),
        number("delta_both_parsed", "-2 to 2", "The same where both gave a label.", later=True),
        NOTE,
    ),
    "cost": (
        words("system", "Key of the system."),
        number("parameters_m", "millions", "Parameters of everything that the system runs."),
        TASK,
        N_CLIPS,
        number("seconds_per_clip", "s", "Mean time of a clip."),
        number("real_time_factor", "s per s", "Time over the length of the audio."),
        number("peak_memory_mb", "MB", "Most memory held while it ran; none when it was not measured."),
        words("hardware", "What it ran on."),
        *SERVED_COST,
    ),
    **mechanism_records.MECHANISM_TABLES,
    **interleaved_records.INTERLEAVED_TABLES,
    **CLAIMS_TABLES,
}

_CELL = ("task", "noise", "snr_db")
# What no two rows of a table share, in the order by which rows are sorted.
KEYS: dict[str, tuple[str, ...]] = {
    "answers": ("task", "item_id", "voice", "noise", "snr_db", "system", "clip_id"),
    "clips": ("task", "item_id", "voice", "noise", "snr_db", "clip_id"),
    "accuracy": (*_CELL, "system"),
    "agreement": (*_CELL, "system_a", "system_b"),
    "shared_errors": (*_CELL, "system_a", "system_b", "item_id", "clip_id"),
    "confound": (*_CELL, "system", "matched", "mismatched"),
    "cost": ("system", "task"),
    **mechanism_records.MECHANISM_KEYS,
    **interleaved_records.INTERLEAVED_KEYS,
    **CLAIMS_KEYS,
}
_STATUS_COLUMNS = {
    "answers": ("label_status", LABEL_STATUSES),
    "shared_errors": ("kind", SHARED_ERROR_KINDS),
    **mechanism_records.MECHANISM_WORDS,
    **interleaved_records.INTERLEAVED_WORDS,
    **CLAIMS_WORDS,
}


def columns_of(name: str) -> tuple[Column, ...]:
    """Return the columns of a table.

    Raises:
        UnknownKeyError: there is no such table; the message lists those there are.
    """
    if name not in TABLES:
        raise UnknownKeyError(f'There is no table "{name[:40]}". Choose one of: {", ".join(TABLES)}.')
    return TABLES[name]


# Rows of single clips are many: Parquet holds them in a tenth of the room. Figures stay CSV, for people.
_PARQUET = {
    **{name: f"{name}.parquet" for name in ("answers", "clips")},
    "shared_errors": "tables/shared_errors.parquet",
    **{name: f"mechanism/{name}.parquet" for name in mechanism_records.MECHANISM_CLIP_TABLES},
    **{name: f"interleaved/{name}.parquet" for name in interleaved_records.INTERLEAVED_CLIP_TABLES},
}


def file_of(folder: Path, name: str) -> Path:
    """Return where a results folder keeps this table."""
    return folder / _PARQUET.get(name, f"tables/{name}.csv")


def validate(frame: pd.DataFrame, name: str, *, file: str = "") -> None:
    """Check a table: its columns and their types, words where they must be, and no row twice.

    Args:
        frame: the table.
        name: key in TABLES.
        file: name for the message; the table's own name by default.

    Raises:
        TableError: the first thing that is wrong, in one sentence.
    """
    file = file or f"The table {name}"
    check_columns(frame, columns_of(name), file)
    if frame.duplicated(list(KEYS[name])).any():
        raise TableError(f"{file} has the same row twice; make it again.")
    if name in _STATUS_COLUMNS:
        column, allowed = _STATUS_COLUMNS[name]
        strange = sorted(set(frame[column]) - set(allowed))
        if strange:
            raise TableError(f'{file} has "{strange[0][:40]}" as {column}; allowed: {", ".join(allowed)}.')
    if name == "answers" and (frame["label"].notna() != (frame["label_status"] == "parsed")).any():
        raise TableError(f"{file} has a label that was not parsed, or a parsed answer without one.")


def read_table(path: Path, name: str) -> pd.DataFrame:
    """Return a table that was written by `write_table`, as Parquet or CSV by the file's ending.

    Words are `str` objects, None where optional and absent; numbers are int64, float64 (NaN where not
    defined) or bool.

    Raises:
        TableError: the file is missing, half-written, or not this table.
    """
    columns = columns_of(name)
    frame = read_csv(path, columns) if path.suffix == ".csv" else read_parquet(path, columns)
    validate(frame, name, file=path.name)
    return frame


def write_table(rows: pd.DataFrame | Iterable[Mapping[str, Any]], path: Path, name: str) -> None:
    """Write a table, sorted by its key, under a temporary name and then rename it.

    The same rows in any order give the same bytes.

    Raises:
        TableError: the rows are not this table's, or the file cannot be written.
    """
    import pandas as pd

    columns = columns_of(name)
    if not isinstance(rows, pd.DataFrame):
        rows = list(rows)
        rows = pd.DataFrame(rows, columns=None if rows else [column.name for column in columns], dtype=object)
    frame = as_declared(rows, columns, path.name)
    validate(frame, name, file=path.name)
    frame = frame.sort_values(list(KEYS[name]), kind="stable", ignore_index=True)
    (write_csv if path.suffix == ".csv" else write_parquet)(frame, path, columns)
