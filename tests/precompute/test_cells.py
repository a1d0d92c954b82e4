"""Answers as cells: how labels are classed, and which files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.errors import TableError
from engine.tables import read_table, write_table
from precompute.stages.cells import Cell, Clip, cells_of, read_run
from tests.precompute.invented_run import Row, invent_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return invent_run(tmp_path_factory.mktemp("run"), n_items=6)


def rows_of(run: Path, name: str) -> list[Row]:
    return read_table(run / f"{name}.parquet", name).to_dict("records")


def test_a_label_is_its_own_class_or_its_place_among_the_clips_own_choices() -> None:
    fixed = Clip("c", "i", "g", "Sci/Tech", "", ("world", "sci/tech"), by_place=False)
    own = Clip("c", "i", "g", "oven", "", ("fridge", "oven"), by_place=True)
    assert (fixed.gold_class, fixed.class_of("World")) == ("sci/tech", "world")
    assert (own.gold_class, own.class_of("fridge"), own.class_of("shelf")) == (
        "choice 2",
        "choice 1",
        "shelf",
    )


def test_cells_are_sorted_and_hold_every_clip_once(run: Path) -> None:
    cells = cells_of(*read_run(run))
    assert [(cell.task, cell.noise) for cell in cells][:3] == [
        *(("commonsense", "babble"), ("commonsense", "clean"), ("emotion", "babble"))
    ]
    assert all(len(cell.clips) == 18 and len(set(cell.items)) == 6 for cell in cells)
    assert all(set(cell.systems) == {"talker", "twin", "other", "oracle"} for cell in cells)
    assert [cell.snr_db for cell in cells if cell.noise == "babble"] == [5.0] * 5
    assert all(np.isnan(cell.snr_db) for cell in cells if cell.noise == "clean")


def test_choices_of_each_clips_own_are_classed_by_place_and_open_answers_have_none(run: Path) -> None:
    cells = {cell.task: cell for cell in cells_of(*read_run(run)) if cell.noise == "clean"}
    assert {clip.by_place for clip in cells["commonsense"].clips} == {True}
    assert {clip.by_place for clip in cells["topic"].clips} == {False}
    assert [task for task, cell in cells.items() if cell.is_open] == ["trivia"]
    assert [task for task, cell in cells.items() if cell.is_words_only] == [
        "commonsense",
        "sentiment",
        "topic",
    ]


def test_the_order_of_rows_changes_nothing(run: Path) -> None:
    answers, clips = read_run(run)
    shuffled = [frame.sample(frac=1, random_state=1) for frame in (answers, clips)]
    # Two cells are equal when they print alike; a ratio that is NaN is not equal to itself.
    assert str(cells_of(*shuffled)) == str(cells_of(answers, clips))


def own_corpus(run: Path, label: str, prompt: str) -> Cell:
    answers = [row for row in rows_of(run, "answers") if row["task"] == "topic" and row["noise"] == "clean"][
        :1
    ]
    changes = {"task": "kitchen", "label": label, "label_status": "parsed", "gold": "Oven", "correct": True}
    row = answers[0] | changes | {"forced_choice": '{"Fridge": 0.2, "Oven": 0.5, "shelf": 0.3}'}
    clips = [clip for clip in rows_of(run, "clips") if clip["clip_id"] == row["clip_id"]]
    clip = clips[0] | {"task": "kitchen", "gold": "Oven", "prompt": prompt}
    (cell,) = cells_of(pd.DataFrame([row]), pd.DataFrame([clip]))
    return cell


def test_a_corpus_of_ones_own_is_asked_what_its_forced_choice_offers(run: Path) -> None:
    cell = own_corpus(run, "oven", "Where is it: shelf, oven or fridge?")
    assert cell.clips[0].offered == ("shelf", "oven", "fridge") and not cell.is_open
    assert not cell.is_words_only
    (answer,) = next(iter(cell.systems.values())).values()
    assert answer.label_class == "oven" and answer.right


def test_clips_that_were_not_answered_yet_are_left_out(run: Path) -> None:
    answers, clips = read_run(run)
    started = answers[answers["item_id"].isin(["topic-000", "topic-001"])]
    cells = cells_of(started, clips)
    assert [(cell.task, len(cell.clips)) for cell in cells] == [("topic", 6), ("topic", 6)]


def test_a_missing_half_written_or_foreign_file_gives_one_sentence(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"There is no answers\.parquet"):
        read_run(tmp_path)
    whole = (run / "answers.parquet").read_bytes()
    (tmp_path / "answers.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TableError, match=r"answers\.parquet is damaged"):
        read_run(tmp_path)
    pd.DataFrame({"system": ["a"], "score": [1.0]}).to_parquet(tmp_path / "answers.parquet")
    with pytest.raises(TableError, match=r"answers\.parquet lacks the column"):
        read_run(tmp_path)
    (tmp_path / "answers.parquet").write_bytes(whole)
    with pytest.raises(TableError, match=r"There is no clips\.parquet"):
        read_run(tmp_path)


def test_answers_and_clips_of_two_runs_are_refused(run: Path, tmp_path: Path) -> None:
    answers, clips = rows_of(run, "answers"), rows_of(run, "clips")
    write_table(answers, tmp_path / "answers.parquet", "answers")
    write_table(clips[1:], tmp_path / "clips.parquet", "clips")
    with pytest.raises(TableError, match="not of one run"):
        read_run(tmp_path)
    write_table([clips[0] | {"gold": "else"}, *clips[1:]], tmp_path / "clips.parquet", "clips")
    with pytest.raises(TableError, match="another right answer"):
        read_run(tmp_path)


def test_a_run_without_answers_is_refused(run: Path, tmp_path: Path) -> None:
    write_table([], tmp_path / "answers.parquet", "answers")
    write_table(rows_of(run, "clips"), tmp_path / "clips.parquet", "clips")
    with pytest.raises(TableError, match="has no rows"):
        read_run(tmp_path)
