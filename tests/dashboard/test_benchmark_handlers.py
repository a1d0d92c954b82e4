"""Actions on the page called directly: what each changes, what it leaves alone, and that no model is loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest

from dashboard.benchmark_link import view_of
from dashboard.tabs import benchmark_handlers as handlers
from dashboard.tabs.benchmark_handlers import SKIP, Shown
from engine.errors import UnknownKeyError

START = "source=own&on=topic&level=babble-5&pair=mini-ultravox~mini-cascade"


def changed(shown: Shown) -> set[str]:
    return {name for name, update in zip(Shown._fields, shown, strict=True) if update is not SKIP}


def value(update: Any) -> Any:
    return update["value"] if isinstance(update, dict) else update


def test_the_whole_page_is_drawn_from_a_link(own_run: Path) -> None:
    shown = handlers.draw(START + "&class=both_right")
    assert changed(shown) == set(Shown._fields)
    assert 'data-do="open"' in shown.clips and "mini-Ultravox" in shown.matrix
    assert value(shown.accuracy_plot) is not None and value(shown.difference_plot) is not None
    assert "Of the paper" in shown.note


def test_published_shows_no_measured_part(own_run: Path) -> None:
    shown = handlers.draw("source=published")
    assert (
        "<b>Published, arXiv 2602.17598</b>" in shown.note and "Of the paper&#x27;s claims" not in shown.note
    )
    assert shown.curves["visible"] is False and shown.errors_box["visible"] is False
    assert shown.clips_box["visible"] is False and shown.stated_box["visible"] is True
    assert shown.accuracy_plot is SKIP and "made-up" not in " ".join(map(str, shown))


def test_without_a_measured_run_one_sentence_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.tables.SHIPPED", tmp_path)
    shown = handlers.draw("source=measured")
    assert shown.body["visible"] is False and "<code>python -m precompute run" in shown.note
    assert shown.state == "tab=benchmark&source=measured"
    assert handlers.restore({})[1] == "published"


def test_a_damaged_run_is_said_in_place_of_the_page(own_run: Path, tmp_path: Path) -> None:
    from dashboard.tables import use_results

    (tmp_path / "manifest.json").write_text("{}")
    assert use_results(tmp_path) == ""
    shown = handlers.draw("source=own")
    assert "problem" in shown.note and shown.body["visible"] is False and str(tmp_path) not in shown.note


def test_a_choice_takes_what_the_page_shows_of_the_other(own_run: Path) -> None:
    """Both boxes were sent with each choice: one of them could be a condition that the other no longer has."""
    assert "on=trivia" in handlers.act(START, "option", "on=trivia").state
    assert "level=clean" in handlers.act(START, "option", "level=clean").state
    unknown = handlers.act(START, "option", "level=no-such")
    assert view_of(unknown.state).level in re.findall(
        r'<option value="([^"]+)"', handlers.draw(START).filters
    )


def test_no_answer_says_what_was_chosen(own_run: Path) -> None:
    """An answer that sends a choice back undoes a newer one, made while the answer was on its way."""
    lists = handlers.draw(START).filters
    assert " selected" not in lists and lists.count("<select") == 2
    other = handlers.act(START, "option", "on=trivia")
    assert other.filters == lists, "the same lists, whatever is chosen in them, are left alone by the browser"
    assert "filters" not in changed(handlers.act(START, "option", "level=clean"))
    assert not {"source", "find"} & set(Shown._fields)


def test_another_noise_condition_leaves_the_charts_over_all_of_them_alone(own_run: Path) -> None:
    shown = changed(handlers.act(START, "option", "level=clean"))
    assert {"matrix", "pair", "confound_plot", "decision"} <= shown
    assert not {"accuracy_plot", "difference_plot", "note"} & shown


def test_a_pair_leaves_the_matrix_alone(own_run: Path) -> None:
    shown = handlers.act(START, "pair", "made-audio~made-cascade")
    assert "matrix" not in changed(shown) and {"pair", "clips", "decision", "state", "take"} <= changed(shown)
    assert "made-audio~made-cascade" in unquote(shown.state) and "Made-up Audio LLM" in shown.pair


def test_a_class_changes_the_list_only(own_run: Path) -> None:
    shown = handlers.act(START, "class", "both_right")
    assert changed(shown) == {"state", "clips"}
    assert "class=both_right" in shown.state


def test_a_bar_of_shared_errors_lists_them(own_run: Path) -> None:
    shown = handlers.act(START, "errors", "mini-ultravox~made-weak")
    assert "class=both_wrong_same" in shown.state and 'aria-pressed="true"' in shown.matrix


def test_searching_and_sorting(own_run: Path) -> None:
    query = START + "&class=both_right"
    assert "No clip fits" in handlers.find(query, "zebra crossing").clips
    assert changed(handlers.find(query, "")) == set()
    # What is searched for before a list is open counts once one is.
    assert "find=zebra" in handlers.find(START, "zebra").state
    assert 'aria-sort="descending"' in handlers.act(query, "sort", "-gold").clips


@pytest.mark.parametrize(("do", "asked"), [("open", "x"), ("", ""), ("drop", "tables"), ("take", "a.csv")])
def test_other_actions_change_nothing(own_run: Path, do: str, asked: str) -> None:
    assert changed(handlers.act(START, do, asked)) == set()


def test_the_class_counts_are_the_lengths_of_the_lists(own_run: Path) -> None:
    from dashboard.benchmark_link import CLASSES, settled, view_of
    from dashboard.components.clip_list import rows_of
    from dashboard.components.pair_card import counts_of
    from dashboard.tables import Level, answers_at, at, table

    for task in ("topic", "trivia"):
        rows = at(table("own", "agreement"), task=task, level=Level("babble", 0.0))
        for row in rows.to_dict("records"):
            pair = (row["system_a"], row["system_b"])
            answers = answers_at("own", task, Level("babble", 0.0), tuple(sorted(pair)))
            for kind in CLASSES:
                view = settled(view_of({"source": "own", "pair": "~".join(pair), "class": kind, "on": task}))
                assert len(rows_of(answers, {}, view)) == counts_of(row)[kind], (task, pair, kind)


def test_the_pool_lists_clips_of_all_its_tasks(own_run: Path) -> None:
    shown = handlers.draw("source=own&on=all words-only&level=clean&class=both_right")
    assert "choose one of them" in shown.accuracy_table or value(shown.accuracy_plot) is not None


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_can_be_taken_along(own_run: Path, form: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    address = handlers.take(START, f"agreement.{form}")
    file = Path(unquote(address.removeprefix("gradio_api/file=")))
    assert file.name == f"own-agreement.{form}" and tmp_path in file.parents
    read = pd.read_csv(file) if form == "csv" else pd.read_parquet(file)
    assert len(read) == len(pd.read_csv(own_run / "tables" / "agreement.csv"))


@pytest.mark.parametrize("file", ["../secrets.csv", "agreement.exe", "agreement", "probes.csv"])
def test_only_tables_of_the_source_can_be_taken(own_run: Path, file: str) -> None:
    with pytest.raises(UnknownKeyError):
        handlers.take(START, file)
