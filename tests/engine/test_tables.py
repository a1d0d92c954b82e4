"""The tables: one declaration, strict reading, whole writing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.columns import ALLOWED, KEYS, TABLES
from engine.errors import TableError, UnknownKeyError
from engine.tables import columns_of, read_table, validate, write_table

EXAMPLE = {"str": "x", "int": 3, "float": 0.25, "bool": True}
ISSUE = {
    "accuracy": "system task noise snr_db n_items n_groups n_clips accuracy low high macro_f1 forced_choice_accuracy "
    "majority_baseline unparsed_rate refused_rate wer note",
    "agreement": "system_a system_b match task noise snr_db n_items n_groups n_clips kappa low high "
    "kappa_unparsed_agree kappa_both_parsed both_unparsed both_right a_only "
    "b_only both_wrong_same both_wrong_different error_overlap error_overlap_low error_overlap_high "
    "overlap_chance overlap_null accuracy_difference accuracy_difference_low accuracy_difference_high "
    "accuracy_difference_mc_error mcnemar_b mcnemar_c mcnemar_p mcnemar_p_bh votes_a votes_b votes_p votes_p_bh "
    "note",
}


def a_row(name: str, **changes: object) -> dict[str, object]:
    row: dict[str, object] = {column.name: EXAMPLE[column.dtype] for column in TABLES[name]}
    if name in ALLOWED:
        column, allowed = ALLOWED[name]
        row |= {column: allowed[0]}
    return row | changes


@pytest.mark.parametrize("name", TABLES)
def test_every_column_has_a_meaning_and_every_key_is_a_column(name: str) -> None:
    columns = columns_of(name)
    assert all(column.meaning.endswith(".") for column in columns)
    assert len({column.name for column in columns}) == len(columns)
    assert set(KEYS[name]) <= {column.name for column in columns}


@pytest.mark.parametrize("name", ISSUE)
def test_the_columns_are_those_of_the_issue_and_a_note(name: str) -> None:
    assert [column.name for column in TABLES[name]] == ISSUE[name].split()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_comes_back_as_it_was_written(name: str, ending: str, tmp_path: Path) -> None:
    first = KEYS[name][0]
    is_count = {column.name: column.dtype for column in TABLES[name]}[first] == "int"
    rows = [a_row(name, **{first: key}) for key in ((2, 1) if is_count else ("b", "a"))]
    write_table(rows, tmp_path / f"{name}.{ending}", name)
    frame = read_table(tmp_path / f"{name}.{ending}", name)
    expected = pd.DataFrame(rows[::-1], dtype=object)
    assert frame.to_dict("records") == expected.to_dict("records")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_is_not_defined_stays_undefined_and_words_stay_words(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"answers.{ending}"
    odd = 'NA, "001"\nnull | Ωé'
    write_table(
        [a_row("answers", label=None, label_status="refused", snr_db=float("nan"), text=odd)], file, "answers"
    )
    row = read_table(file, "answers").iloc[0]
    assert row["label"] is None and np.isnan(row["snr_db"]) and row["text"] == odd
    assert row["correct"] is np.True_


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_empty_table_keeps_its_columns(ending: str, tmp_path: Path) -> None:
    write_table([], tmp_path / f"cost.{ending}", "cost")
    frame = read_table(tmp_path / f"cost.{ending}", "cost")
    assert len(frame) == 0 and list(frame.columns) == [column.name for column in TABLES["cost"]]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_same_rows_in_any_order_give_the_same_bytes(ending: str, tmp_path: Path) -> None:
    rows = [
        a_row("cost", system=system, task=task, peak_memory_mb=value)
        for system, task, value in [("a", "t", -0.0), ("a", "u", 1 / 3), ("b", "t", float("nan"))]
    ]
    for folder, ordered in (("one", rows), ("two", rows[::-1])):
        write_table(ordered, tmp_path / folder / f"cost.{ending}", "cost")
    one, two = ((tmp_path / folder / f"cost.{ending}").read_bytes() for folder in ("one", "two"))
    assert one == two
    if ending == "csv":
        assert b"-0" not in one and b"0.3333333," in one


@pytest.mark.parametrize("content", [b"PAR1 and then nothing", b"", b"system,task\n"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_foreign_file_gives_one_sentence(content: bytes, ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"cost.{ending}"
    file.write_bytes(content)
    with pytest.raises(TableError, match=rf"cost.{ending}") as error:
        read_table(file, "cost")
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95, 0.999])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_half_written_file_is_never_read(ending: str, kept: float, tmp_path: Path) -> None:
    file = tmp_path / f"cost.{ending}"
    write_table([a_row("cost", system=f"s{n}") for n in range(40)], file, "cost")
    whole = file.read_bytes()
    # Never at the end of a row of a CSV: there the shorter file is a table, and its sha256 in the manifest tells.
    cut = int(len(whole) * kept)
    file.write_bytes(whole[: cut - 1 if whole[cut - 1 : cut] == b"\n" else cut])
    with pytest.raises(TableError, match="cost"):
        read_table(file, "cost")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"There is no answers.parquet"):
        read_table(tmp_path / "answers.parquet", "answers")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": None}, "empty cell"),
        ({"task": 5}, "else than words"),
        ({"correct": "maybe"}, "true or false"),
        ({"correct": None}, "true or false"),
        ({"audio_s": float("nan")}, "empty cell"),
        ({"audio_s": float("inf")}, "infinite"),
        ({"audio_s": "long"}, "else than numbers"),
        ({"label_status": "guessed"}, "guessed"),
        ({"label": None}, "parsed answer without"),
        ({"label_status": "refused"}, "not parsed"),
    ],
)
def test_a_wrong_value_is_refused(changes: dict[str, object], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=sentence):
        write_table([a_row("answers", **changes)], tmp_path / "answers.parquet", "answers")
    assert not list(tmp_path.iterdir())


def test_a_count_with_a_fraction_or_a_row_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="whole numbers"):
        write_table([a_row("cost", n_clips=1.5)], tmp_path / "cost.csv", "cost")
    with pytest.raises(TableError, match="same row twice"):
        write_table([a_row("cost"), a_row("cost")], tmp_path / "cost.csv", "cost")


def test_a_column_too_few_or_too_many_is_refused(tmp_path: Path) -> None:
    row = a_row("cost")
    with pytest.raises(TableError, match="do not belong"):
        write_table([row | {"extra": 1}], tmp_path / "cost.csv", "cost")
    del row["hardware"]
    with pytest.raises(TableError, match="lacks the column hardware"):
        write_table([row], tmp_path / "cost.csv", "cost")
    with pytest.raises(TableError, match="columns"):
        validate(pd.DataFrame([row]), "cost")


def test_an_unknown_table_lists_those_there_are() -> None:
    with pytest.raises(UnknownKeyError, match="answers, clips, accuracy"):
        columns_of("weather")


def test_a_file_that_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cost.csv"
    write_table([a_row("cost")], file, "cost")
    before = file.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TableError, match="No space left"):
        write_table([a_row("cost", system="other")], file, "cost")
    assert file.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_declaring_the_tables_loads_neither_pandas_nor_torch() -> None:
    script = "import sys, engine.tables; print({'pandas', 'pyarrow', 'torch', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
