"""The benchmark page's state is its link: it comes back whole, and what does not exist falls back."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.benchmark_link import BenchmarkView, level_of, pairs_at, query_of, settled, view_of
from dashboard.tables import at, levels_of, table

FULL = BenchmarkView(
    "own", "topic", "babble-5", ("mini-ultravox", "mini-cascade"), "both_wrong_same", "bank & co", "-gold", 2
)


def test_everything_comes_back() -> None:
    assert view_of(query_of(FULL)) == FULL
    assert view_of("?" + query_of(FULL)) == FULL


def test_the_clip_pages_parameters_are_left_alone() -> None:
    assert view_of("task=topic&noise=babble&snr=5&example=x") == BenchmarkView()


@pytest.mark.parametrize(
    "query",
    [
        "source=<script>",
        "class=all",
        "sort=drop",
        "rows=-1",
        "rows=9999999",
        "rows=²",
        "pair=alone",
        "pair=~",
    ],
)
def test_values_of_a_wrong_form_are_left_out(query: str) -> None:
    assert view_of(query) == BenchmarkView()


def test_long_values_are_cut() -> None:
    assert len(view_of("find=" + "a" * 5000).find) == 60
    assert len(view_of("on=" + "a" * 5000).task) == 80


def test_gaps_are_filled_from_the_data(own_run: Path) -> None:
    view = settled(BenchmarkView())
    assert (view.source, view.task, view.level) == ("own", "topic", "clean")
    assert view.pair == ("mini-ultravox", "mini-cascade")
    assert settled(view) == view


def test_what_the_data_does_not_have_falls_back(own_run: Path) -> None:
    view = settled(BenchmarkView("own", "poetry", "thunder-3", ("nobody", "mini-llama")))
    assert (view.task, view.level, view.pair) == ("topic", "clean", ("mini-ultravox", "mini-cascade"))


def test_a_pair_named_the_other_way_round_is_the_same_pair(own_run: Path) -> None:
    view = settled(BenchmarkView("own", pair=("mini-cascade", "mini-ultravox")))
    assert view.pair == ("mini-ultravox", "mini-cascade")


def test_an_absent_source_stays_asked_for() -> None:
    assert settled(BenchmarkView("own")).source == "own"


@pytest.mark.parametrize("source", ["own", "measured", "published"])
def test_any_task_may_follow_any_noise_condition(own_run: Path, source: str) -> None:
    """A task such as "Sarcasm" after "babble, 5 dB" is asked at a condition that it has."""
    agreement = table(source, "agreement")
    levels = {
        task: [level.key for level in levels_of(at(agreement, task=task))] for task in set(agreement["task"])
    }
    for asked in {key for keys in levels.values() for key in keys} | {"babble-99", "nothing"}:
        for task, known in levels.items():
            view = settled(BenchmarkView(source=source, task=task, level=asked))
            assert (view.task, view.level) == (task, asked if asked in known else known[0])
            assert view.pair in pairs_at(source, task, level_of(source, task, view.level))
