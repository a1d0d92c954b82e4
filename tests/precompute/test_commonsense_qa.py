"""Facts about CommonsenseQA: five choices, the right one by its letter, hidden keys refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.tasks import labels_for, parse_answer
from precompute.corpora.commonsense_qa import SOURCE, read_commonsense_qa
from precompute.corpora.source import CorpusError
from tests.precompute.published_files import write_parquet

LETTERS = ["A", "B", "C", "D", "E"]


def row(name: str, key: str, texts: list[str], letters: list[str] = LETTERS) -> dict[str, Any]:
    choices = {"label": letters, "text": texts}
    return {"id": name, "question": "Where  is &amp; it?", "choices": choices, "answerKey": key}


PLAIN = row("1afa", "B", ["Fridge", "oven", "post office", "U.S. mail", "drawer"])


def read(tmp_path: Path, *rows: dict[str, Any]) -> Any:
    write_parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", rows)
    return read_commonsense_qa(tmp_path, source=replace(SOURCE, n_rows=len(rows)))


def test_choices_stand_in_the_prompt_and_the_letter_names_the_right_one(tmp_path: Path) -> None:
    (item,) = read(tmp_path, PLAIN).items
    assert (item.item_id, item.task, item.group) == ("csqa-1afa", "csqa", "1afa")
    assert item.text == "Where is & it?" and item.gold == "oven"
    assert item.question.labels == ("Fridge", "oven", "post office", "U.S. mail", "drawer"), "as written"
    assert item.question.instruction.startswith("Choose one answer: ")
    task = item.question.task
    assert labels_for(task, item.prompt) == item.question.labels, "the prompt box gives the same choices"
    assert parse_answer(task, "The post office.", item.question.labels) == ("post office", "parsed")


def test_choices_that_cannot_be_told_apart_are_left_out_and_counted(tmp_path: Path) -> None:
    alike = row("2", "A", ["U.S", "u s", "c", "d", "e"])
    comma = row("3", "A", ["one, two", "b", "c", "d", "e"])
    either = row("4", "A", ["stop or go", "b", "c", "d", "e"])
    sample = read(tmp_path, PLAIN, alike, comma, either)
    assert [item.item_id for item in sample.items] == ["csqa-1afa"]
    assert sample.notes[-1].startswith("CommonsenseQA: 3 questions are left out")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (row("5", "", ["a", "b", "c", "d", "e"]), "answer keys of this split are empty"),
        (row("5", "F", ["a", "b", "c", "d", "e"]), "no choices A to E with one of them right"),
        (row("5", "A", ["a", "b"], ["A", "B"]), "no choices A to E with one of them right"),
    ],
)
def test_hidden_keys_and_other_layouts_are_refused(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, PLAIN, wrong)
