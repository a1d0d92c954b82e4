"""confound.csv against a slow bootstrap and scikit-learn; shared_errors.parquet by its rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from engine.stats.agreement import cohen_kappa
from engine.stats.intervals import N_RESAMPLES
from precompute.stages.backbone_tables import confound_rows, shared_error_rows
from precompute.stages.cells import cells_of, read_run
from tests.precompute.invented_run import invent_run, kind_of, match


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return invent_run(tmp_path_factory.mktemp("run"), n_items=20)


def confound(answers: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(confound_rows(cells_of(answers, clips), match, kind_of, seed=0))


def shared(answers: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(shared_error_rows(cells_of(answers, clips), match, kind_of))


def test_the_difference_is_that_of_the_two_kappas_on_the_same_resamples(run: Path) -> None:
    answers, clips = read_run(run)
    table = confound(answers, clips).set_index(["task", "noise"])
    row = table.loc[("topic", "clean")]
    assert (row["system"], row["matched"], row["mismatched"]) == ("talker", "twin", "other")
    cell = answers[(answers["task"] == "topic") & (answers["noise"] == "clean")].copy()
    own = cell["label"].fillna("(none of " + cell["system"] + ")")  # an unparsed answer agrees with none
    wide = cell.assign(label=own).pivot(index=["item_id", "clip_id"], columns="system", values="label")
    alike = cell.assign(label=cell["label"].fillna("(none)")).pivot(
        index="clip_id", columns="system", values="label"
    )

    def kappas(frame: pd.DataFrame) -> tuple[float, float]:
        return tuple(cohen_kappa_score(frame["talker"], frame[other]) for other in ("twin", "other"))

    assert (row["kappa_matched"], row["kappa_mismatched"]) == pytest.approx(kappas(wide))
    assert row["delta"] == pytest.approx(np.subtract(*kappas(wide)))
    assert row["delta_unparsed_agree"] == pytest.approx(np.subtract(*kappas(alike)))
    items = sorted(set(cell["item_id"]))
    of_item = [wide.loc[[item], ["talker", "twin", "other"]].to_numpy() for item in items]
    draws = np.random.default_rng(0).integers(len(items), size=(N_RESAMPLES, len(items)), dtype=np.int32)
    slow = []
    for drawn in draws:
        clips_of_it = np.concatenate([of_item[n] for n in drawn])
        talker, twin, other = (clips_of_it[:, n].tolist() for n in range(3))
        slow.append(cohen_kappa(talker, twin) - cohen_kappa(talker, other))
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))


def test_open_answers_and_answers_all_alike_have_a_reason_instead(run: Path) -> None:
    answers, clips = read_run(run)
    trivia = confound(answers, clips).query("task == 'trivia'")
    assert trivia[["kappa_matched", "delta", "low", "high"]].isna().all(axis=None)
    assert trivia["note"].str.contains("open answers").all()
    alike = answers.assign(
        label=answers["label"].where(answers["task"] == "trivia", "x"), label_status="parsed"
    )
    alike["label"] = alike["label"].fillna("x")
    table = confound(alike, clips).query("task == 'topic'")
    assert table["delta"].isna().all() and table["note"].str.contains("one and the same label").all()


def test_cascades_that_heard_differently_are_not_compared(run: Path) -> None:
    answers, clips = read_run(run)
    other_ears = answers.copy()
    there = (other_ears["system"] == "other") & (other_ears["clip_id"] == clips["clip_id"].iloc[0])
    other_ears.loc[there, "heard"] = "something else"
    assert confound(other_ears, clips).empty
    # A failed row has no transcript, and that is no other one.
    failed = {"label": None, "label_status": "failed", "correct": False, "heard": ""}
    for column, value in failed.items():
        other_ears.loc[there, column] = value
    assert len(confound(other_ears, clips)) == 10


def test_a_pair_that_only_the_paper_calls_matched_is_mismatched(run: Path) -> None:
    cells = cells_of(*read_run(run))
    match_of = {"twin": "ancestor", "other": "paper"}
    rows = confound_rows(cells, lambda a, b: match_of.get(b, "none"), kind_of, seed=0)
    assert {(row["matched"], row["mismatched"]) for row in rows} == {("twin", "other")}
    assert not confound_rows(cells, lambda a, b: "paper", kind_of, seed=0)


def test_a_run_without_a_mismatched_cascade_has_no_confound(run: Path) -> None:
    answers, clips = read_run(run)
    assert confound(answers[answers["system"] != "other"], clips).empty


def test_shared_errors_are_one_wrong_answer_of_a_speech_llm_and_a_matched_cascade(run: Path) -> None:
    answers, clips = read_run(run)
    table = shared(answers, clips)
    assert set(zip(table["system_a"], table["system_b"], table["match"], strict=True)) == {
        ("talker", "twin", "exact")
    }
    keyed = answers.set_index(["clip_id", "system"])
    said = clips.set_index("clip_id")["reference"]
    for row in table.itertuples():
        one, other = keyed.loc[(row.clip_id, row.system_a)], keyed.loc[(row.clip_id, row.system_b)]
        assert one["label"] == other["label"] == row.wrong_label != row.gold
        assert not one["correct"] and not other["correct"] and other["heard"] == row.transcript
        assert row.kind == ("reasoning" if row.transcript == said[row.clip_id] else "asr")
        assert (row.wer == 0) == (row.kind == "reasoning")
    talker, twin = (
        answers[answers["system"] == system].set_index("clip_id") for system in ("talker", "twin")
    )
    both = ~talker["correct"] & ~twin["correct"].loc[talker.index] & talker["label"].notna()
    alike = (talker["label"] == twin["label"].loc[talker.index]) & both
    assert (table["system_b"] == "twin").sum() == alike.sum()


def test_without_the_true_words_the_kind_of_an_error_is_unknown(run: Path) -> None:
    answers, clips = read_run(run)
    table = shared(answers, clips.assign(reference=""))
    assert set(table["kind"]) == {"unknown"} and table["wer"].isna().all()
