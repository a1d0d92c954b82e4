"""agreement.csv, recomputed from answers.parquet with scikit-learn and statsmodels, and its limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from engine.stats.significance import mcnemar as p_of_mcnemar
from engine.tables import read_table, write_table
from precompute.stages.cells import cells_of, read_run
from precompute.stages.pair_tables import POOLED, agreement_rows
from precompute.stages.pairs import in_order, match_in_catalogue
from tests.precompute.invented_run import TALK, Row, answer, invent_run, kind_of, match

PAIR = ("talker", "twin")


def table_of(run: Path) -> pd.DataFrame:
    return pd.DataFrame(agreement_rows(cells_of(*read_run(run)), match, kind_of, seed=0))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return invent_run(tmp_path_factory.mktemp("run"), n_items=20)


@pytest.fixture(scope="module")
def table(run: Path) -> pd.DataFrame:
    return table_of(run)


WORDS = ("topic", "sentiment", "commonsense")


def classes(answers: pd.DataFrame, clips: pd.DataFrame) -> pd.Series:
    """The class a label is counted in, said in other words than the product's."""
    joined = answers.merge(clips[["clip_id", "prompt"]], on="clip_id")
    labels = []
    for row in joined.itertuples():
        if row.label is None:
            labels.append("(none)")
        elif row.task == "commonsense":
            labels.append(str(row.prompt.split(", ").index(row.label)))
        else:
            labels.append(row.label)
    return pd.Series(labels, index=answers.index)


def test_every_figure_is_that_of_scikit_learn_and_statsmodels(run: Path, table: pd.DataFrame) -> None:
    answers, clips = read_run(run)
    answers["class"] = classes(answers, clips)
    for row in table[table["task"] != POOLED].itertuples():
        cell = answers[(answers["task"] == row.task) & (answers["noise"] == row.noise)]
        a, b = (
            cell[cell["system"] == system].set_index("clip_id") for system in (row.system_a, row.system_b)
        )
        b = b.loc[a.index]
        if row.task != "trivia":
            own = (
                one["class"].where(one["label"].notna(), f"(none of {side})")
                for side, one in enumerate((a, b))
            )
            assert row.kappa == pytest.approx(cohen_kappa_score(*own), abs=1e-12)
            agrees = cohen_kappa_score(a["class"], b["class"])
            assert row.kappa_unparsed_agree == pytest.approx(agrees, abs=1e-12)
            parsed = a["label"].notna() & b["label"].notna()
            both = cohen_kappa_score(a["class"][parsed], b["class"][parsed])
            assert row.kappa_both_parsed == pytest.approx(both, abs=1e-12)
            assert row.both_unparsed == (a["label"].isna() & b["label"].isna()).sum()
            assert row.low <= row.kappa <= row.high
        only_a, only_b = (a["correct"] & ~b["correct"]).sum(), (b["correct"] & ~a["correct"]).sum()
        theirs = mcnemar([[0, only_a], [only_b, 0]], exact=only_a + only_b < 25, correction=True).pvalue
        assert (row.mcnemar_b, row.mcnemar_c) == (only_a, only_b)
        assert row.mcnemar_p == pytest.approx(theirs)
        labelled = a["label"].notna() & b["label"].notna()
        wrong = labelled & ~a["correct"] & ~b["correct"]
        same = (wrong & (a["label"] == b["label"])).sum()
        assert (row.both_wrong_same, row.both_wrong_different) == (same, wrong.sum() - same)
        assert row.both_right == (labelled & a["correct"] & b["correct"]).sum()
        if row.task != "sentiment":
            assert row.error_overlap == pytest.approx((a["label"] == b["label"])[wrong].mean(), nan_ok=True)


def test_the_tests_of_the_whole_table_are_one_family(table: pd.DataFrame) -> None:
    assert table["mcnemar_p"].notna().all()
    assert table["mcnemar_p_bh"].tolist() == pytest.approx(
        multipletests(table["mcnemar_p"], method="fdr_bh")[1]
    )


def test_every_undefined_figure_has_a_reason(table: pd.DataFrame) -> None:
    figures = table.drop(columns=["snr_db"])
    undefined = figures.isna().any(axis=1)
    assert undefined.any() and (table.loc[undefined, "note"] != "").all()
    sentiment = table[table["task"] == "sentiment"]
    assert sentiment[["error_overlap", "error_overlap_low", "overlap_null"]].isna().all(axis=None)
    assert (sentiment["overlap_chance"] == 1.0).all()
    assert sentiment["note"].str.contains("two choices").all()
    trivia = table[table["task"] == "trivia"]
    assert trivia[["kappa", "low", "high", "overlap_chance", "overlap_null"]].isna().all(axis=None)
    assert trivia["error_overlap"].notna().any() and trivia["note"].str.contains("open answers").all()


def test_there_is_a_row_for_every_unordered_pair_of_every_cell(table: pd.DataFrame) -> None:
    assert len(table) == (5 + 1) * 2 * 6
    assert not table.duplicated(["task", "noise", "system_a", "system_b"]).any()
    assert set(zip(table["system_a"], table["system_b"], strict=True)) == {
        *(("talker", "other"), ("talker", "twin"), ("talker", "oracle")),
        *(("other", "twin"), ("other", "oracle"), ("twin", "oracle")),
    }
    assert set(table.loc[(table["system_a"] == "talker") & (table["system_b"] == "twin"), "match"]) == {
        "exact"
    }
    chance = table[(table["task"] == "topic")]["overlap_chance"]
    assert chance.tolist() == pytest.approx([1 / 3] * 12)


def test_the_classes_and_the_clips_without_a_label_are_all_clips(run: Path, table: pd.DataFrame) -> None:
    five = table[["both_right", "a_only", "b_only", "both_wrong_same", "both_wrong_different"]].sum(axis=1)
    answers, _ = read_run(run)
    silent = answers[answers["label"].isna()]
    for row, labelled in zip(table.itertuples(), five, strict=True):
        here = (silent["task"] == row.task) | ((row.task == POOLED) & silent["task"].isin(WORDS))
        mine = silent[
            here & (silent["noise"] == row.noise) & silent["system"].isin([row.system_a, row.system_b])
        ]
        assert labelled + mine["clip_id"].nunique() == row.n_clips


def test_the_pooled_row_is_the_sum_of_its_tasks(table: pd.DataFrame) -> None:
    clean = table[
        (table["noise"] == "clean") & (table["system_a"] == PAIR[0]) & (table["system_b"] == PAIR[1])
    ]
    pooled = clean[clean["task"] == POOLED].iloc[0]
    parts = clean[clean["task"].isin(["topic", "sentiment", "commonsense"])]
    for count in ("n_items", "n_clips", "both_right", "both_wrong_same", "mcnemar_b", "mcnemar_c"):
        assert pooled[count] == parts[count].sum()
    assert parts["kappa"].min() < pooled["kappa"] < parts["kappa"].max()
    more = parts[parts["task"] != "sentiment"]
    wrong = more["both_wrong_same"] + more["both_wrong_different"]
    assert pooled["error_overlap"] == pytest.approx(more["both_wrong_same"].sum() / wrong.sum())
    assert "commonsense, sentiment, topic" in pooled["note"]


def test_more_voices_that_say_the_same_do_not_narrow_the_interval(tmp_path: Path) -> None:
    one = invent_run(tmp_path / "one", tasks=["topic", "emotion"], n_items=30, n_voices=1)
    answers, clips = (read_table(one / f"{name}.parquet", name) for name in ("answers", "clips"))
    for name, frame in (("answers", answers), ("clips", clips)):
        copies = [frame.assign(clip_id=frame["clip_id"] + f" {n}", voice=f"v{n}") for n in range(4)]
        write_table(pd.concat(copies), tmp_path / "four" / f"{name}.parquet", name)
    once, fourfold = table_of(one), table_of(tmp_path / "four")
    assert (fourfold["n_clips"] == 4 * once["n_clips"]).all() and (
        fourfold["n_items"] == once["n_items"]
    ).all()
    for figure in (
        "kappa",
        "low",
        "high",
        "error_overlap",
        "error_overlap_low",
        "error_overlap_high",
        "overlap_null",
    ):
        assert fourfold[figure].tolist() == pytest.approx(once[figure].tolist(), nan_ok=True)


def test_items_of_one_text_do_not_narrow_the_interval(tmp_path: Path) -> None:
    """Sarcastic lines stand with two labels each: 300 items of 150 texts once passed for 300 independent ones."""
    one = invent_run(tmp_path / "one", tasks=["topic"], n_items=30, n_voices=2)
    answers, clips = (read_table(one / f"{name}.parquet", name) for name in ("answers", "clips"))
    for name, frame in (("answers", answers), ("clips", clips)):
        related = [
            frame.assign(
                clip_id=frame["clip_id"] + f" {n}", item_id=frame["item_id"] + f" {n}", group=frame["item_id"]
            )
            for n in range(4)
        ]
        write_table(pd.concat(related), tmp_path / "four" / f"{name}.parquet", name)
    once, fourfold = table_of(one), table_of(tmp_path / "four")
    assert (fourfold["n_items"] == 4 * once["n_items"]).all()
    assert (fourfold["n_groups"] == once["n_groups"]).all() and (once["n_groups"] == 30).all()
    for figure in ("low", "high", "error_overlap_low", "overlap_null", "votes_a", "votes_b", "votes_p"):
        assert fourfold[figure].tolist() == pytest.approx(once[figure].tolist(), nan_ok=True)
    assert (fourfold["mcnemar_p"] < once["mcnemar_p"]).any(), "clips are counted one by one there"


def test_a_group_votes_once(run: Path, table: pd.DataFrame) -> None:
    answers, _ = read_run(run)
    row = table[(table["task"] == "topic") & (table["noise"] == "clean")].iloc[0]
    cell = answers[(answers["task"] == "topic") & (answers["noise"] == "clean")]
    right = cell.pivot_table(index="item_id", columns="system", values="correct", aggfunc="sum").astype(float)
    net = right[row.system_a] - right[row.system_b]
    assert (row.votes_a, row.votes_b) == ((net > 0).sum(), (net < 0).sum()) and row.votes_a + row.votes_b > 0
    theirs = mcnemar([[0, row.votes_a], [row.votes_b, 0]], exact=row.votes_a + row.votes_b < 25)
    assert row.votes_p == pytest.approx(theirs.pvalue)


def test_votes_reject_a_true_null_as_often_as_they_say_and_clips_more_often() -> None:
    """Two equally good systems with strong effects of the item: 200 items, each in three voices."""
    rng = np.random.default_rng(11)
    by_clips, by_votes = [], []
    for _ in range(400):
        a, b = (rng.beta(0.3, 0.3, size=(200, 1)) > rng.random((200, 3)) for _ in range(2))
        lead = a.astype(int) - b.astype(int)
        net = lead.sum(axis=1)
        by_clips.append(p_of_mcnemar(int((lead > 0).sum()), int((lead < 0).sum())))
        by_votes.append(p_of_mcnemar(int((net > 0).sum()), int((net < 0).sum())))
    assert np.mean(np.array(by_clips) < 0.05) > 0.1
    assert np.mean(np.array(by_votes) < 0.05) < 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def blind_run(folder: Path, n_items: int = 1500) -> Path:
    """Two systems that choose blindly among five words of each clip's own."""
    rng = np.random.default_rng(5)
    answers, clips = [], []
    for item in range(n_items):
        choices = [str(word) for word in rng.permutation([*TALK, *"abcdefgh"])[:5]]
        clip: Row = {
            "item_id": f"i{item}",
            "group": "",
            "clip_id": f"c{item}",
            "task": "commonsense",
            "voice": "v",
            "noise": "clean",
        }
        clip |= {"snr_db": float("nan"), "gold": choices[0], "audio_s": 1.0}
        more = {"snr_db_achieved": float("nan"), "prompt": ", ".join(choices), "reference": ""}
        clips.append(clip | more | {"seed": 0, "recipe": "{}", "flags": ""})
        for system in PAIR:
            guess = str(rng.choice(choices))
            row = answer("commonsense", system, guess, choices[0], choices, rng)
            answers.append(
                clip | row | {"label": guess, "label_status": "parsed", "correct": guess == choices[0]}
            )
    write_table(answers, folder / "answers.parquet", "answers")
    write_table(clips, folder / "clips.parquet", "clips")
    return folder


def test_blind_guessers_agree_and_err_alike_no_more_than_chance(tmp_path: Path) -> None:
    run = blind_run(tmp_path)
    row = table_of(run).iloc[0]
    assert row.low < 0 < row.high and abs(row.kappa) < 0.03
    assert row.overlap_chance == 0.25 and row.overlap_null == pytest.approx(0.25, abs=0.02)
    assert row.error_overlap_low < 0.25 < row.error_overlap_high
    # Classed by their words they would seem to agree.
    answers, _ = read_run(run)
    a, b = (answers[answers["system"] == system].sort_values("clip_id")["label"] for system in PAIR)
    assert cohen_kappa_score(a, b) > 0.1


def test_only_clips_given_to_both_are_compared(run: Path, tmp_path: Path) -> None:
    answers, clips = read_run(run)
    late = answers["item_id"].str[-3:].astype(int) >= 8
    none = (answers["task"] == "emotion") & (answers["system"] == "twin")
    kept = answers[~(none | (late & (answers["system"] == "other")))]
    table = pd.DataFrame(agreement_rows(cells_of(kept, clips), match, kind_of, seed=0))
    assert set(table.loc[table["system_b"] == "other", "n_items"]) == {8, 24}
    assert not ((table["task"] == "emotion") & (table["system_b"] == "twin")).any()


def test_an_item_alone_and_answers_all_alike_have_no_interval(tmp_path: Path) -> None:
    alone = table_of(invent_run(tmp_path / "alone", tasks=["topic"], n_items=1, n_voices=2))
    assert alone[["low", "high"]].isna().all(axis=None) and (alone["note"] != "").all()
    run = invent_run(tmp_path / "alike", tasks=["topic"], n_items=10)
    answers, clips = read_run(run)
    alike = answers.assign(label="World", label_status="parsed", correct=answers["gold"] == "World")
    table = pd.DataFrame(agreement_rows(cells_of(alike, clips), match, kind_of, seed=0))
    assert table["kappa"].isna().all() and table["note"].str.contains("one and the same label").all()
    assert (table["error_overlap"] == 1.0).all()
    assert (table["error_overlap_low"] < 1.0).all() and table["note"].str.contains("Wilson").all()
    assert (table["mcnemar_p"] == 1.0).all()


def test_systems_stand_by_kind_and_the_catalogue_says_how_they_match() -> None:
    assert in_order(["twin", "oracle", "talker", "other"], kind_of) == ["talker", "other", "twin", "oracle"]
    assert match_in_catalogue("mini-ultravox", "mini-cascade") == "exact"
    assert match_in_catalogue("mini-cascade", "mini-ultravox") == "exact"
    assert (
        match_in_catalogue("mini-cascade", "mini-llama") == match_in_catalogue("x", "mini-cascade") == "none"
    )
