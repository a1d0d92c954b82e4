"""Encoded against used: one point a layer beside its control, and words that follow the intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboard.mechanism.used import SECTION
from dashboard.tables import table, use_results
from tests.dashboard.made_mechanism import LAYERS, make_mechanism

SYSTEM = "mini-qwen2-audio"
pytestmark = pytest.mark.usefixtures("own_mechanism")


def points(figure: Any) -> tuple[Any, Any]:
    """Return the traces of random directions and of the eraser."""
    random, erased = (trace for trace in figure.data if trace.customdata is not None)
    return random, erased


def test_a_point_is_the_probes_score_and_the_pooled_effect_at_its_layer() -> None:
    figure = SECTION.draw("own", {"probe": "text"}).figure
    random, erased = points(figure)
    probes = table("own", "probes")
    assert list(erased.x) == probes[probes["target"] == "text"].sort_values("layer")["score"].tolist()
    rows = table("own", "erasure")
    rows = rows[(rows["condition"] == "text") & (rows["layers"] == "layer 3")]
    for trace, arm in ((erased, "erased"), (random, "rank_matched")):
        of_arm = rows[rows["arm"] == arm]
        pooled = (of_arm["log_likelihood_change"] * of_arm["n_clips"]).sum() / of_arm["n_clips"].sum()
        assert trace.y[3] == pytest.approx(pooled, abs=1e-6)
    assert erased.error_y.array[3] > 0 and erased.error_y.arrayminus[3] > 0


def test_each_layer_is_joined_to_random_directions_at_the_same_layer() -> None:
    figure = SECTION.draw("own", {}).figure
    random, erased = points(figure)
    joins = figure.data[0]
    assert list(joins.x[:2]) == [erased.x[0]] * 2 and list(joins.y[:2]) == [erased.y[0], random.y[0]]
    assert random.marker.symbol == "circle-open" and list(random.x) == list(erased.x)


def test_layers_are_labelled_and_coloured_by_depth() -> None:
    _, erased = points(SECTION.draw("own", {}).figure)
    assert list(erased.text) == [str(layer) for layer in LAYERS]
    assert list(erased.marker.color) == list(LAYERS) and erased.marker.cmax == LAYERS[-1]


@pytest.mark.parametrize("measure", ["plain_answer", "accuracy"])
def test_words_part_what_is_used_from_what_is_only_encoded(measure: str) -> None:
    text = SECTION.draw("own", {"probe": "letters", "measure": measure}).note
    assert (
        "Layers encoded and used: 3, 4; encoded, use not told from random directions: 2; neither: 0, 1."
        in text
    )
    pitch = SECTION.draw("own", {"probe": "pitch", "measure": measure}).note
    assert "Layers encoded, use not told from random directions: 0, 1, 2, 3, 4." in pitch


def test_few_items_are_told_nothing_from(tmp_path: Path) -> None:
    use_results(make_mechanism(tmp_path, n_items=2))
    assert "Layers not to be said, for too few items: 0, 1, 2, 3, 4." in SECTION.draw("own", {}).note


def test_a_run_without_sweeps_says_so(tmp_path: Path) -> None:
    use_results(make_mechanism(tmp_path, n_items=2, sweeps=False))
    shown = SECTION.draw("own", {})
    assert shown.figure is None and "no erasures at single layers" in shown.note


def test_the_paper_has_no_such_figure() -> None:
    shown = SECTION.draw("published", {})
    assert shown.figure is None and "The paper has no such figure" in shown.note
    assert SECTION.options("published") == ()


def test_a_point_opens_its_clips_of_all_tasks() -> None:
    _, erased = points(SECTION.draw("own", {}).figure)
    assert erased.customdata[3] == f"{SYSTEM}~all tasks~linear~all~layer 3~text"
    listed = SECTION.clips("own", erased.customdata[3])
    assert len(listed.rows) == 72 and "largest change first" in listed.title
