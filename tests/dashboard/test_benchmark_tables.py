"""Sources and their tables: what is there, what is said when it is not, and the published figures as shipped."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from dashboard import tables
from dashboard.published import PUBLISHED, published, published_names
from dashboard.tables import Level, at, first_source, folder_of, levels_of, table, use_results, why_empty
from engine.columns import TABLES
from engine.errors import TableError, UnknownKeyError
from precompute.corpora.mini_world import WORDS_TASKS
from precompute.stages.pair_tables import POOLED


@pytest.fixture
def nothing_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "SHIPPED", tmp_path)


def test_without_a_run_the_page_opens_on_published_and_says_how_to_make_one(nothing_shipped: None) -> None:
    assert first_source() == "published"
    assert folder_of("measured") is None and "python -m precompute run" in why_empty("measured")
    assert "--results" in why_empty("own")
    with pytest.raises(TableError, match="precompute"):
        table("measured", "accuracy")


def test_an_own_run_comes_first(own_run: Path) -> None:
    assert first_source() == "own" and folder_of("own") == own_run.resolve()
    assert set(table("own", "accuracy").columns) == {column.name for column in TABLES["accuracy"]}


@pytest.mark.parametrize("content", [None, "{", "[]"], ids=["missing", "damaged", "foreign"])
def test_an_unfinished_folder_is_refused_in_one_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    trouble = use_results(tmp_path)
    assert "summarize" in trouble and str(tmp_path) not in trouble
    assert folder_of("own") is None


def test_unknown_names_are_refused(own_run: Path) -> None:
    with pytest.raises(UnknownKeyError, match="measured, published, own"):
        folder_of("elsewhere")
    with pytest.raises(UnknownKeyError, match="agreement"):
        table("own", "secrets")


def test_a_run_that_is_summarised_again_is_read_again(own_run: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1}))
    source, copy = own_run / "tables" / "cost.csv", tmp_path / "tables" / "cost.csv"
    lines = source.read_text().splitlines(keepends=True)
    copy.write_text("".join(lines[:2]))
    assert use_results(tmp_path) == ""
    assert len(table("own", "cost")) == 1
    copy.write_text("".join(lines[:3]))
    assert len(table("own", "cost")) == 2


def test_levels_go_from_clean_through_louder_babble(own_run: Path) -> None:
    levels = levels_of(at(table("own", "accuracy"), task="topic"))
    assert [one.key for one in levels] == [
        "clean", "babble-15", "babble-10", "babble-5", "babble-0", "white-10", "room",
    ]  # fmt: skip
    assert Level("musan", 5.0).phrase == "in MUSAN's babble at 5 dB"
    assert Level("musan", 0.0).name == "MUSAN's babble, 0 dB"
    assert Level("babble", 5.0).phrase == "in babble at 5 dB" and Level("room").name == "reverberant room"


def test_the_pool_is_what_precompute_pools() -> None:
    assert tables.POOLED == POOLED
    # Open answers are not pooled: they have no labels to agree on.
    assert set(tables.WORDS_TASKS) == {*WORDS_TASKS, "ag_news", "sst2", "csqa"} - {"trivia"}


def test_every_published_row_says_where_it_stands() -> None:
    assert set(published_names()) == {file.stem for file in PUBLISHED.glob("*.csv")}
    for name in published_names():
        rows = published(name)
        assert len(rows) and (rows["place"] != "").all() and (rows["paper"] != "").all()
        assert "doubt" in rows


def test_published_agreement_has_the_figures_cells() -> None:
    rows = published("agreement")
    assert len(rows) == 7 * 5 and rows["kappa"].between(-1, 1).all()
    ultravox = rows[(rows["system_a"] == "ultravox") & (rows["system_b"] == "casc_llama31")].set_index("task")
    assert ultravox.loc["ag_news", ["kappa", "low", "high", "error_overlap"]].tolist() == [
        0.93,
        0.92,
        0.94,
        0.96,
    ]
    assert set(rows["match"]) == {"paper", "none"}
    doubtful = rows[rows["doubt"] != ""]
    assert {"cascade_s", "qwen2_audio", "ultravox"} == set(doubtful["system_a"])
    assert rows.loc[rows["system_b"] == "casc_qwen2", "doubt"].str.contains("backbones").all()


def test_published_shares_are_of_one() -> None:
    assert published("accuracy")["accuracy"].between(0, 1).all()
    assert published("erasure")["accuracy"].between(0, 1).all()
    assert len(published("accuracy")) == 6 * 6


def test_published_tables_take_the_declared_columns_with_gaps() -> None:
    rows = table("published", "agreement")
    declared = [column.name for column in TABLES["agreement"]]
    assert list(rows.columns)[: len(declared)] == declared
    assert rows["both_right"].isna().all() and math.isnan(rows["overlap_null"].iloc[0])
    assert len(table("published", "shared_errors")) == 0
