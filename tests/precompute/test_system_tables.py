"""accuracy.csv and cost.csv, recomputed with scikit-learn and jiwer."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jiwer
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from engine.results import CUT_OFF
from engine.stats.intervals import wilson
from engine.stats.scores import SPELLINGS, word_errors
from precompute.stages.cells import cells_of, read_run
from precompute.stages.system_tables import NOT_RECORDED, accuracy_rows, cost_rows
from tests.precompute.invented_run import invent_run

whisper = EnglishTextNormalizer(json.loads(SPELLINGS.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return invent_run(tmp_path_factory.mktemp("run"), n_items=20)


def table_of(answers: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(accuracy_rows(cells_of(answers, clips), seed=0))


def cell_of(frame: pd.DataFrame, row) -> pd.DataFrame:
    here = (frame["task"] == row.task) & (frame["noise"] == row.noise)
    return frame[here & (frame["system"] == row.system)]


def test_every_score_is_that_of_scikit_learn_and_jiwer(run: Path) -> None:
    answers, clips = read_run(run)
    references = clips.set_index("clip_id")["reference"]
    for row in table_of(answers, clips).itertuples():
        cell = cell_of(answers, row)
        read = cell["label"].fillna("(none)")
        assert (row.n_clips, row.n_items) == (60, 20)
        assert row.low <= row.accuracy <= row.high
        assert row.unparsed_rate == pytest.approx(cell["label_status"].isin(["unparsed", "empty"]).mean())
        assert row.refused_rate == (cell["label_status"] == "refused").mean()
        if row.task in ("topic", "sentiment", "emotion"):
            assert row.accuracy == pytest.approx(accuracy_score(cell["gold"], read))
            labels = sorted(set(cell["gold"]))
            f1 = f1_score(cell["gold"], read, labels=labels, average="macro", zero_division=0)
            assert row.macro_f1 == pytest.approx(f1)
            assert row.forced_choice_accuracy == accuracy_score(cell["gold"], cell["forced_label"])
            assert row.majority_baseline == cell["gold"].value_counts(normalize=True).max()
        if row.system == "talker":
            assert math.isnan(row.wer) and "no transcript" in row.note
        else:
            said = [references[clip] for clip in cell["clip_id"]]
            assert row.wer == pytest.approx(
                jiwer.wer([*map(whisper, said)], [*map(whisper, cell["heard"].tolist())])
            )


def test_every_undefined_figure_has_a_reason(run: Path) -> None:
    table = table_of(*read_run(run))
    undefined = table.drop(columns=["snr_db"]).isna().any(axis=1)
    assert undefined.any() and (table.loc[undefined, "note"] != "").all()
    trivia = table[table["task"] == "trivia"]
    assert trivia[["macro_f1", "forced_choice_accuracy"]].isna().all(axis=None)


def test_choices_of_a_clips_own_are_scored_by_their_place(run: Path) -> None:
    table = table_of(*read_run(run))
    commonsense = table[(table["task"] == "commonsense") & (table["system"] == "other")]
    # By their words, hardly any right answer would occur twice.
    assert (commonsense["majority_baseline"] >= 0.2).all()
    assert commonsense["note"].str.contains("by their place").all()


def test_failed_and_empty_answers_are_wrong_and_counted(run: Path) -> None:
    answers, clips = read_run(run)
    fail = (answers["task"] == "topic") & (answers["system"] == "twin") & (answers["voice"] == "voice 0")
    lost = {"label": None, "label_status": "failed", "reason": "out of memory", "correct": False, "heard": ""}
    broken = answers.copy()
    for column, value in (lost | {"forced_label": None}).items():
        broken.loc[fail, column] = value
    before, after = (
        table.set_index(["task", "noise", "system"]).loc[("topic", "clean", "twin")]
        for table in (table_of(answers, clips), table_of(broken, clips))
    )
    assert after["n_clips"] == before["n_clips"] and after["accuracy"] < before["accuracy"]
    assert after["unparsed_rate"] >= 1 / 3 and "Answers failed: 20." in after["note"]
    assert "Forced choice on 40 of 60 clips." in after["note"]
    # A failed answer left no transcript; it is not one with every word wrong.
    assert after["wer"] < 0.2


def test_answers_cut_at_the_token_limit_are_counted(run: Path) -> None:
    """Fault: an answer that ended at the token limit looked like any other in the tables."""
    answers, clips = read_run(run)
    cut = (answers["task"] == "topic") & (answers["noise"] == "clean") & (answers["system"] == "twin")
    told = answers.assign(
        note=answers["note"].mask(cut & (answers["voice"] == "voice 1"), f"{CUT_OFF} 40 tokens.")
    )
    table = table_of(told, clips).set_index(["task", "noise", "system"])
    sentence = "Answers cut off at the token limit: 20."
    assert sentence in table.loc[("topic", "clean", "twin"), "note"]
    assert table["note"].str.contains("cut off").sum() == 1
    assert not table_of(answers, clips)["note"].str.contains("cut off").any()


def test_a_clip_of_which_nothing_was_heard_has_every_word_wrong(run: Path) -> None:
    answers, clips = read_run(run)
    deaf = answers.assign(heard=answers["heard"].where(answers["noise"] == "clean", ""))
    table = table_of(deaf, clips)
    assert (table.loc[(table["system"] == "twin") & (table["noise"] == "babble"), "wer"] == 1.0).all()
    assert table.loc[table["system"] == "talker", "wer"].isna().all()


def test_word_errors_by_hand() -> None:
    assert word_errors("The cat sat.", "the cat sat") == (0, 3)
    assert word_errors("the cat sat", "a cat sat down") == (2, 3)
    assert word_errors("the cat sat", "") == (3, 3)
    assert word_errors("", "the cat") == (0, 0)


def test_a_system_that_is_always_right_still_has_an_interval(run: Path) -> None:
    answers, clips = read_run(run)
    right = answers.assign(label=answers["gold"], label_status="parsed", correct=True)
    row = table_of(right, clips).iloc[0]
    assert (row["accuracy"], row["low"]) == (1.0, wilson(20, 20).low) and "Wilson" in row["note"]


def test_cost_is_time_over_clips_and_over_audio_and_names_the_hardware(run: Path) -> None:
    answers, _ = read_run(run)
    record = {
        "hardware": "two cores",
        "systems": {"twin": {"peak_memory_mb": 321.0}, "other": {"peak_memory_mb": None}},
    }
    table = pd.DataFrame(cost_rows(answers, record))
    row = table[(table["system"] == "twin") & (table["task"] == "topic")].iloc[0]
    seconds = answers.loc[(answers["system"] == "twin") & (answers["task"] == "topic"), "seconds"]
    assert row["n_clips"] == 120 and row["seconds_per_clip"] == pytest.approx(seconds.mean())
    assert row["real_time_factor"] == pytest.approx(seconds.mean() / 1.5)
    assert (row["peak_memory_mb"], row["hardware"]) == (321.0, "two cores")
    assert table.loc[table["system"] == "oracle", "peak_memory_mb"].isna().all()
    assert set(pd.DataFrame(cost_rows(answers, {}))["hardware"]) == {NOT_RECORDED}


def test_rows_that_were_not_timed_are_not_free(run: Path) -> None:
    answers, _ = read_run(run)
    untimed = answers.assign(seconds=answers["seconds"].where(answers["system"] != "twin"))
    table = pd.DataFrame(cost_rows(untimed, {}))
    twin = table[table["system"] == "twin"]
    assert (twin["n_clips"] == 0).all() and twin["seconds_per_clip"].isna().all()


def test_parameters_are_those_of_the_catalogue(run: Path) -> None:
    answers, _ = read_run(run)
    table = pd.DataFrame(cost_rows(answers.assign(system="mini-ultravox"), {}))
    assert (table["parameters_m"] > 1).all()
    assert pd.DataFrame(cost_rows(answers, {}))["parameters_m"].isna().all()
