"""The mechanism page's state is its link: it comes back whole, and what no section offers falls back."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.mechanism_link import MechanismView, chosen_in, query_of, settled, view_of, with_option

FULL = MechanismView(
    "own", {"lens.measure": "next_5", "probes.target": "text"}, "lens", "mini-ultravox~all tasks~next_5~2", 3
)


def test_everything_comes_back() -> None:
    assert view_of(query_of(FULL)) == FULL
    assert view_of("?" + query_of(FULL)) == FULL
    assert query_of(MechanismView()) == "tab=mechanism"


def test_other_tabs_parameters_are_left_alone() -> None:
    query = "task=topic&noise=babble&class=both_right&sort=said&find=a.b&nowhere.x=1"
    assert view_of(query) == MechanismView()


@pytest.mark.parametrize(
    "query",
    [
        "source=published",
        "source=<script>",
        "point=nowhere~x",
        "point=lens",
        "point=lens~",
        "point=lens~" + "x" * 500,
        "lens.measure=" + "x" * 500,
        "rows=-1",
        "rows=9999999",
        "rows=²",
    ],
)
def test_values_of_a_wrong_form_are_left_out(query: str) -> None:
    assert view_of(query) == MechanismView()


def test_what_no_section_offers_falls_back(own_run: Path) -> None:
    asked = MechanismView("", {"lens.measure": "poetry", "lens.colour": "red", "probes.target": "pitch"})
    view = settled(asked)
    assert view.source == "own" and view.options == {"probes.target": "pitch"}
    assert settled(view) == view


def test_defaults_are_not_in_the_link(own_run: Path) -> None:
    # This run has no lens of its own, so the section opens on the reading that has the paper's figures.
    view = settled(MechanismView("own", {"lens.measure": "set_precision"}))
    assert view.options == {} and chosen_in(view, "lens")["measure"] == "set_precision"
    other = with_option(view, "lens.measure=next_1")
    assert "lens.measure=next_1" in query_of(other)
    assert chosen_in(other, "lens")["measure"] == "next_1"
    assert with_option(other, "lens.measure=set_precision") == view


def test_without_an_own_run_the_page_opens_on_the_shipped_one() -> None:
    assert settled(MechanismView()).source == "measured"
    assert settled(MechanismView("own")).source == "own"
