"""The implicit cascade: lines are the table's, controls in view, published apart, disagreements first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboard.mechanism.implicit import SECTION
from dashboard.tables import table, use_results
from engine.errors import TableError
from tests.dashboard.made_mechanism import make_mechanism

SYSTEM = "mini-qwen2-audio"
pytestmark = pytest.mark.usefixtures("own_mechanism")


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """An invented published row, so that the test does not rest on the shipped file."""
    rows = table("own", "sufficiency").iloc[:1].assign(system="ultravox", task="ag_news", layer=31, kappa=0.5)
    rows = rows.assign(kappa_mismatched=float("nan"), place="Table 6", doubt="")
    monkeypatch.setattr("dashboard.mechanism.implicit.published_as_declared", lambda _: rows)


def lines(figure: Any, name: str) -> list[Any]:
    return [trace for trace in figure.data if trace.name == name]


@pytest.mark.parametrize(
    ("measure", "column", "scale"),
    [("kappa", "kappa", 1), ("agreement", "agreement", 100), ("accuracy", "accuracy", 100)],
)
def test_a_line_is_the_tables_column(measure: str, column: str, scale: int) -> None:
    figure = SECTION.draw("own", {"measure": measure}).figure
    rows = table("own", "sufficiency")
    topic = rows[rows["task"] == "topic"].sort_values("layer")
    drawn = next(
        t
        for t in lines(figure, "the layer's text")
        if t.customdata is not None and "topic" in t.customdata[0]
    )
    assert list(drawn.y) == pytest.approx((scale * topic[column]).tolist())
    assert list(drawn.customdata) == [f"{SYSTEM}~topic~{layer}" for layer in range(5)]


def test_the_control_and_the_reference_are_in_every_kappa_panel() -> None:
    figure = SECTION.draw("own", {}).figure
    for name in ("Whisper's transcript", "control: another clip's text"):
        assert len(lines(figure, name)) >= 2
    rows = table("own", "sufficiency")
    control = rows[rows["task"] == "topic"].sort_values("layer")["kappa_mismatched"]
    assert list(lines(figure, "control: another clip's text")[0].y) == pytest.approx(control.tolist())


def test_open_answers_have_accuracy_but_no_kappa_and_the_note_says_why() -> None:
    titles = [
        {a.text for a in SECTION.draw("own", {"measure": one}).figure.layout.annotations}
        for one in ("kappa", "accuracy")
    ]
    assert "Trivia" not in titles[0] and "Trivia" in titles[1]
    assert "Trivia is not drawn. Kappa: not defined" in SECTION.draw("own", {}).note


def test_published_stands_in_its_own_panel_and_opens_nothing(paper: None) -> None:
    figure = SECTION.draw("own", {}).figure
    published = [trace for trace in figure.data if trace.marker.symbol == "diamond-open"]
    measured = [trace for trace in figure.data if trace.customdata is not None]
    assert published and all(trace.customdata is None for trace in published)
    assert not {trace.xaxis for trace in published} & {trace.xaxis for trace in measured}
    assert {trace.y[0] for trace in published if trace.name == "the layer's text"} == {0.5}


def test_the_published_source_is_drawn_without_a_run(paper: None) -> None:
    shown = SECTION.draw("published", {})
    assert [a.text for a in shown.figure.layout.annotations] == ["Published"]
    assert "only the paper" in shown.note and "data-do" not in shown.table


def test_words_go_no_further_than_the_intervals(tmp_path: Path) -> None:
    assert "not told from Whisper" in SECTION.draw("own", {}).note
    use_results(make_mechanism(tmp_path, n_items=5, sweeps=False))
    note = SECTION.draw("own", {}).note
    assert (
        "not to be said (fewer than 20 groups of items): Topic, Emotion" in note
        and "not told from" not in note
    )


def test_disagreements_come_first() -> None:
    listed = SECTION.clips("own", f"{SYSTEM}~topic~1")
    differ = [row.cells[1] != row.cells[2] for row in listed.rows]
    assert differ == sorted(differ, reverse=True) and 0 < sum(differ) < len(differ) == 24
    assert f"on {sum(differ)} of 24 clips" in listed.title
    assert listed.rows[0].cells[0].endswith("at 1")
    assert not any(row.cells[1] != row.cells[2] for row in SECTION.clips("own", f"{SYSTEM}~topic~4").rows)


def test_a_table_row_opens_its_point() -> None:
    assert f'data-do="point" data-value="{SYSTEM}~topic~3"' in SECTION.draw("own", {}).table


def test_published_has_no_clips() -> None:
    with pytest.raises(TableError, match="only totals were published"):
        SECTION.clips("published", f"{SYSTEM}~topic~1")
