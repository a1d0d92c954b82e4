"""Facts about TriviaQA: one item a question, every alias right, withheld answers refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.tasks import is_right, parse_answer
from precompute.corpora.source import CorpusError
from precompute.corpora.trivia_qa import SOURCE, read_trivia_qa
from tests.precompute.published_files import write_parquet


def row(name: str, value: str, aliases: list[str]) -> dict[str, Any]:
    answer = {
        "aliases": aliases,
        "normalized_aliases": [alias.lower() for alias in aliases],
        "value": value,
        "normalized_value": value.lower(),
    }
    return {"question": f"Question {name}?", "question_id": name, "question_source": "x", "answer": answer}


def read(tmp_path: Path, *rows: dict[str, Any]) -> Any:
    write_parquet(tmp_path / "rc.nocontext" / "validation-00000-of-00001.parquet", rows)
    return read_trivia_qa(tmp_path, source=replace(SOURCE, n_rows=len(rows)))


def test_the_rows_of_one_question_are_one_item(tmp_path: Path) -> None:
    rows = [row("tc_2", "Emma", ["Emma"]), row("tc_2", "Emma", ["Emma"]), row("bb_9", "Paris", [])]
    sample = read(tmp_path, *rows)
    assert {item.item_id for item in sample.items} == {"triviaqa-tc_2", "triviaqa-bb_9"}
    assert sample.notes[0].startswith("TriviaQA: 2 of the 2 items")


def test_every_alias_is_right(tmp_path: Path) -> None:
    (item,) = read(tmp_path, row("tc_2", "Sunset Boulevard", ["Sunset Blvd.", "sunset blvd", "A|B"])).items
    assert item.gold == "Sunset Boulevard" and item.aliases == ("sunset blvd", "a b")
    for text in ("sunset boulevard.", "Sunset Blvd"):
        label, _ = parse_answer(item.question.task, text, item.question.labels)
        assert is_right(item.question.task, label, item.gold, item.aliases)
    assert not is_right(item.question.task, "emma", item.gold, item.aliases)
    assert not any("|" in alias for alias in item.aliases), "the tables put | between aliases"


@pytest.mark.parametrize("value", ["", "<unk>"])
def test_withheld_answers_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(CorpusError, match="answers of this split are withheld"):
        read(tmp_path, row("tc_2", "Emma", ["Emma"]), row("tc_3", value, []))
