"""Facts about reading published corpora: the right files are read, every other kind is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from precompute.corpora.item import Item, question_of
from precompute.corpora.source import (
    CorpusError,
    Source,
    check_labels,
    draw,
    label_of,
    read_rows,
)
from tests.precompute.published_files import write_json_lines, write_parquet

REVISION = "0123456789abcdef0123456789abcdef01234567"
SOURCE = Source(
    name="Toy",
    dataset="someone/toy",
    revision=REVISION,
    split="the test split",
    files="data/test-*.parquet",
    columns=("text", "label"),
    n_rows=5,
    licence="MIT",
    size="one file",
    labels=("no", "yes"),
)
ROWS = [{"text": f"line {index}", "label": index % 2, "more": 0} for index in range(5)]


def items(*texts: str) -> list[Item]:
    question = question_of("sentiment")
    return [Item(f"toy-{text[:9]}", "toy", text, "", "positive", (), text, question) for text in texts]


def test_shards_are_read_in_order_and_other_columns_left_alone(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "test-00001-of-00002.parquet", ROWS[3:], {"label": ["no", "yes"]})
    write_parquet(tmp_path / "data" / "test-00000-of-00002.parquet", ROWS[:3])
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", ROWS)
    expected = [{"text": row["text"], "label": row["label"]} for row in ROWS]
    assert list(read_rows(SOURCE, tmp_path)) == expected


def test_json_lines_are_read_like_parquet(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "test.jsonl", ROWS)
    source = replace(SOURCE, files="test.jsonl")
    assert [row["text"] for row in read_rows(source, tmp_path)] == [row["text"] for row in ROWS]
    with pytest.raises(CorpusError, match='no column "label_text"'):
        list(read_rows(replace(source, columns=("label_text",)), tmp_path))
    (tmp_path / "test.jsonl").write_text('{"text": ', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"test\.jsonl cannot be read; put test\.jsonl of someone/toy"):
        list(read_rows(source, tmp_path))


def test_what_is_not_as_published_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such folder; make it and put data/test"):
        list(read_rows(SOURCE, tmp_path / "nowhere"))
    with pytest.raises(CorpusError, match=rf"the folder has no data/test-\*.parquet; .* {REVISION} into"):
        list(read_rows(SOURCE, tmp_path))
    file = write_parquet(tmp_path / "data" / "test-0.parquet", ROWS[:4])
    with pytest.raises(
        CorpusError, match=r"4 rows are here and the test split has 5; .*all of them"
    ) as caught:
        list(read_rows(SOURCE, tmp_path))
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(CorpusError, match='no column "audio"'):
        list(read_rows(replace(SOURCE, columns=("text", "audio")), tmp_path))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CorpusError, match="cannot be read"):
        list(read_rows(SOURCE, tmp_path))


def test_labels_of_another_order_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "data" / "test-0.parquet"
    write_parquet(file, ROWS, {"label": ["yes", "no"]})
    with pytest.raises(CorpusError, match="the labels are yes, no here and should be no, yes"):
        list(read_rows(SOURCE, tmp_path))


def test_a_folder_that_names_another_revision_is_refused(tmp_path: Path) -> None:
    other = "f" * 40
    for name in (other, REVISION, "toy"):
        write_parquet(tmp_path / name / "data" / "test-0.parquet", ROWS)
    with pytest.raises(CorpusError, match=f"revision {other}, and {REVISION} is pinned"):
        list(read_rows(SOURCE, tmp_path / other))
    assert len(list(read_rows(SOURCE, tmp_path / REVISION))) == 5
    (tmp_path / "toy" / "revision.txt").write_text(f"{REVISION}\n", encoding="utf-8")
    assert len(list(read_rows(SOURCE, tmp_path / "toy"))) == 5
    (tmp_path / "toy" / "revision.txt").write_text("main\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="revision main, and"):
        list(read_rows(SOURCE, tmp_path / "toy"))


def test_hidden_and_unknown_labels_are_refused() -> None:
    assert [label_of(SOURCE, value) for value in (0, 1)] == ["no", "yes"]
    with pytest.raises(CorpusError, match=r"answers of the test split are hidden \(label -1\)"):
        label_of(SOURCE, -1)
    for value in (2, "yes", None):
        with pytest.raises(CorpusError, match="is no label; 0 to 1 are expected"):
            label_of(SOURCE, value)


def test_another_distribution_of_labels_is_refused() -> None:
    source = replace(SOURCE, label_counts={"no": 3, "yes": 2})
    check_labels(source, ["no", "yes", "no", "yes", "no"])
    with pytest.raises(CorpusError, match='2 rows are labelled "no" and 3 should be'):
        check_labels(source, ["no", "no", "yes", "yes", "yes"])


def test_a_smaller_sample_is_the_beginning_of_a_greater_one_whatever_the_order_of_the_rows() -> None:
    all_items = items(*(f"{index} words" for index in range(50)))
    ten = draw(SOURCE, "toy", all_items, 10)
    assert ten.items == draw(SOURCE, "toy", all_items[::-1], 40).items[:10]
    assert ten.items != draw(SOURCE, "other", all_items, 10).items, "each task has its own order"
    assert [item.item_id for item in ten.items] != sorted(item.item_id for item in ten.items)
    assert ten.notes == ("Toy: 10 of the 50 items of the test split.",)


def test_equal_items_are_one_long_ones_are_left_out_and_both_are_counted() -> None:
    long = " ".join(["word"] * 61)
    fits = " ".join(["fits"] * 60)
    first, again = items("a b", "a b")
    again = replace(again, gold="negative")
    sample = draw(SOURCE, "toy", [first, again, *items(long, fits)], 10)
    assert {item.text: item.gold for item in sample.items} == {"a b": "positive", fits: "positive"}
    assert sample.notes[0] == "Toy: 2 of the 3 items of the test split."
    assert "1 items have more than 60 words" in sample.notes[1]
    assert sample.notes[2] == "Toy has 2 items to draw from, not 10: all are taken."
