"""Erasure: marks are the table's, both controls in view, words only as far as intervals allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dashboard.mechanism.effects import MEASURES, Effect, against_controls, harsher_controls
from dashboard.mechanism.erasure import SECTION
from dashboard.published import published_as_declared
from dashboard.tables import table, use_results
from engine.errors import TableError
from tests.dashboard.made_mechanism import CONDITIONS, LABELS, make_mechanism

SYSTEM = "mini-qwen2-audio"
pytestmark = pytest.mark.usefixtures("own_mechanism")
NINE = f"{SYSTEM}~topic~linear~all~nine layers"


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invented published rows, so that the test does not rest on the shipped file."""
    empty = published_as_declared("erasure").iloc[:0]
    rows = [
        {"system": "qwen2_audio", "task": "ag_news", "arm": arm, "condition": condition, "accuracy": value,
         "method": "linear", "scope": "all", "layers": "nine layers", "place": "Table 7", "doubt": ""}
        for arm, condition, value in (
            ("plain", "none", 0.8), ("erased", "text", 0.0), ("rank_matched", "text", 0.7), ("erased", "boc", 0.2),
        )
    ]  # fmt: skip
    made = pd.concat([empty, pd.DataFrame(rows)]).astype({"accuracy": float})
    for module in ("erasure", "erasure_rows"):
        monkeypatch.setattr(f"dashboard.mechanism.{module}.published_as_declared", lambda _: made)


def keyed(figure: Any, condition: str) -> list[Any]:
    return [
        trace
        for trace in figure.data
        if trace.customdata is not None and trace.customdata[0].endswith(f"~{condition}")
    ]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_arm_of_a_task_is_drawn_at_the_tables_value(condition: str) -> None:
    marks = keyed(SECTION.draw("own", {}).figure, condition)
    rows = table("own", "erasure")
    rows = rows[
        (rows["task"] == "topic") & (rows["layers"] == "nine layers") & (rows["condition"] == condition)
    ]
    for arm, symbol in (
        ("erased", "circle"),
        ("rank_matched", "diamond-open"),
        ("change_matched", "square-open"),
    ):
        trace = next(one for one in marks if one.marker.symbol == symbol and one.xaxis in valued(marks))
        row = rows[rows["arm"] == arm].iloc[0]
        assert trace.x[0] == pytest.approx(100 * row["accuracy"])
        if arm == "erased":
            assert trace.x[0] + trace.error_x.array[0] == pytest.approx(100 * row["high"])
        else:
            assert trace.error_x.array[0] == pytest.approx(100 * row["spread"])


def valued(marks: list[Any]) -> set[str]:
    return {one.xaxis for one in marks if one.marker.symbol == "circle"}


def test_differences_to_both_controls_are_the_tables_and_filled_where_told_from_0() -> None:
    marks = keyed(SECTION.draw("own", {}).figure, "text")
    rank, change = (
        next(
            one
            for one in marks
            if not isinstance(one.marker.symbol, str) and one.marker.symbol[0].startswith(name)
        )
        for name in ("diamond", "square")
    )
    rows = table("own", "erasure")
    row = rows[
        (rows["task"] == "topic")
        & (rows["layers"] == "nine layers")
        & (rows["condition"] == "text")
        & (rows["arm"] == "erased")
    ].iloc[0]
    assert rank.x[0] == pytest.approx(100 * row["vs_rank_matched"])
    assert rank.x[0] + rank.error_x.array[0] == pytest.approx(100 * row["vs_rank_matched_high"])
    assert change.x[0] == pytest.approx(100 * row["vs_change_matched"])
    assert set(rank.marker.symbol) == {"diamond"} and set(change.marker.symbol) == {"square-open"}


def test_words_name_what_exceeds_which_control() -> None:
    note = SECTION.draw("own", {}).note
    assert "Text: the effect exceeds one control only" in note
    assert "Bag of characters: the effect exceeds both controls" in note
    assert "CTC: the effect exceeds neither control" in note
    assert "Acoustic: the effect exceeds neither control" in note


@pytest.mark.parametrize("measure", ["unparsed", "plain_answer", "right_answer"])
def test_harm_has_the_sign_of_its_measure(measure: str) -> None:
    assert (
        "Bag of characters: the effect exceeds both controls"
        in SECTION.draw("own", {"measure": measure}).note
    )


def test_few_items_are_told_nothing_from(tmp_path: Path) -> None:
    use_results(make_mechanism(tmp_path, n_items=4))
    note = SECTION.draw("own", {}).note
    assert "Bag of characters: cannot be said" in note and "exceeds both" not in note


def test_unparsed_stands_beside_generated_accuracy() -> None:
    figure = SECTION.draw("own", {}).figure
    bars = [trace for trace in figure.data if trace.mode == "lines" and trace.x[0] is not None]
    assert list(bars[0].x[:2]) == [0.0, 100.0]  # text: no erased answer has a label
    circle = next(one for one in keyed(figure, "text") if one.marker.symbol == "circle")
    assert circle.text[0] == "Topic: 0 %, 100 % without a label"


def test_rank_change_of_state_and_the_probe_stand_over_each_condition() -> None:
    heads = [a.text for a in SECTION.draw("own", {}).figure.layout.annotations if "<b>" in a.text]
    assert heads[0].split("<br>") == [
        "<b>Text</b>, 31 directions",
        "states moved 40 % (equal rank 20 %, equal change 40 %)",
        "probe 0.60 → 0.40, random 0.55, chance 0.20: still read",
    ]


def test_published_marks_stand_in_their_own_panel_and_its_control_with_text_only(paper: None) -> None:
    figure = SECTION.draw("own", {}).figure
    measured = {one.xaxis for condition in CONDITIONS for one in keyed(figure, condition)}
    published = [
        one
        for one in figure.data
        if one.customdata is None and one.xaxis not in measured and one.x[0] is not None
    ]
    assert sorted((one.marker.symbol, one.x[0]) for one in published if one.marker.symbol != "line-ns-open") == [
        ("circle", 0.0), ("circle", 20.0), ("diamond-open", 70.0),
    ]  # fmt: skip
    assert "of equal rank for text only" in SECTION.draw("own", {}).note
    assert "gives no figures for this view" in SECTION.draw("own", {"measure": "plain_answer"}).note


def test_the_published_source_is_drawn_alone(paper: None) -> None:
    shown = SECTION.draw("published", {})
    assert [option.name for option in SECTION.options("published")] == ["system"]
    assert all(one.customdata is None for one in shown.figure.data) and "data-do" not in shown.table


def test_ways_of_erasing_are_those_of_the_table_and_the_papers_comes_first(tmp_path: Path) -> None:
    where = next(option for option in SECTION.options("own") if option.name == "where")
    assert list(where.choices) == ["nine.linear.all", "single.linear.all", "cumulative.linear.all"]
    use_results(make_mechanism(tmp_path, n_items=4, sweeps=False))
    where = next(option for option in SECTION.options("own") if option.name == "where")
    assert list(where.choices) == ["nine.linear.all"]


@pytest.mark.parametrize("where", ["single.linear.all", "cumulative.linear.all"])
def test_a_sweep_finds_where_text_is_used(where: str) -> None:
    shown = SECTION.draw("own", {"where": where, "measure": "plain_answer"})
    assert "Text: more harm than random directions of equal rank at layers 3, 4" in shown.note
    assert "Acoustic: at no layer told from random directions" in shown.note
    line = next(one for one in shown.figure.data if one.name == "Text erased" and one.customdata is not None)
    rows = table("own", "erasure")
    place = "layer" if where.startswith("single") else "up to layer"
    chosen = rows[
        (rows["layers"] == f"{place} 3") & (rows["arm"] == "erased") & (rows["condition"] == "text")
    ]
    assert line.y[3] == pytest.approx(
        (chosen["log_likelihood_change"] * chosen["n_clips"]).sum() / chosen["n_clips"].sum()
    )
    assert any(one.name == "Text: 31 random directions" for one in shown.figure.data)


def test_the_largest_change_comes_first_with_answers_before_and_after() -> None:
    listed = SECTION.clips("own", f"{NINE}~text")
    changes = [float(row.cells[-1].replace("−", "-")) for row in listed.rows]
    assert [abs(one) for one in changes] == sorted((abs(one) for one in changes), reverse=True)
    assert listed.headers == (
        "Plain answer",
        "Erased",
        "Random, equal rank",
        "Random, equal change",
        "Right answer",
        "Change, nats",
    )
    assert len(listed.rows) == 24 and listed.rows[0].cells[1] == "unparsed: hm hm"
    assert {row.cells[4] for row in listed.rows} <= set(LABELS["topic"])
    assert len(SECTION.clips("own", f"{SYSTEM}~all tasks~linear~all~layer 3~text").rows) == 72


def test_a_run_without_effects_is_told_to_be_summarized_again(tmp_path: Path) -> None:
    run = make_mechanism(tmp_path)
    (run / "tables" / "effects.parquet").unlink()
    use_results(run)
    shown = SECTION.draw("own", {})
    assert "summarize the run again" in shown.note and keyed(shown.figure, "text")
    assert SECTION.draw("own", {"where": "single.linear.all"}).figure is None


def test_without_single_clips_effects_stand_and_a_point_says_why_it_lists_none(tmp_path: Path) -> None:
    run = make_mechanism(tmp_path)
    (run / "mechanism" / "erasure_clips.parquet").unlink()
    use_results(run)
    assert "exceeds both controls" in SECTION.draw("own", {}).note
    with pytest.raises(TableError, match="missing or damaged"):
        SECTION.clips("own", f"{NINE}~text")


def test_a_control_that_did_not_run_is_said_to_be_missing() -> None:
    found = {"rank_matched": {"all tasks": Effect(-0.5, -0.6, -0.4, 50, "exceeds")}}
    said = against_controls("Text", found, MEASURES["accuracy"])
    assert (
        said.startswith("Text: the effect exceeds its one control.")
        and "at equal change, the control did not run" in said
    )


def test_a_control_harsher_than_its_name_is_named() -> None:
    said = harsher_controls({"Text": (0.4, 1.4), "CTC": (0.4, 0.45), "Acoustic": (0.1, float("nan"))})
    assert "Text 140 % against 40 %" in said and "CTC" not in said and "Acoustic" not in said
    assert harsher_controls({"Text": (0.4, 0.4)}) == ""
