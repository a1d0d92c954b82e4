"""The sweep's charts and table: what stands where, what is marked as changed, and escaped answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dashboard.components.sweep_card import _scale, _ticks, is_changed, said, sweep_html
from engine.interventions import Sweep, SweepPoint
from engine.results import Answer, ArmResult


def answer(label: str | None, text: str = "") -> Answer:
    return Answer(text or label or "", label, "parsed" if label else "unparsed", {}, -0.5)


def arm(change: float, label: str = "Sports", right: float | None = None) -> ArmResult:
    return ArmResult(answer(label), change, right, abs(change))


@pytest.fixture
def swept() -> Sweep:
    points = (
        SweepPoint(0, (0,), 7, arm(-2.0, "World"), (arm(-0.5), arm(-0.25), arm(0.0))),
        SweepPoint(4, (4,), 9, arm(-1.0), (arm(-0.5), arm(-0.5, "<b>"), arm(-0.5))),
    )
    return Sweep("text", "single layer", "audio", "linear", 0.5, (0, 1, 2), arm(0.0), points, 1.0)


def test_the_place_of_a_mark_is_its_share_of_the_scale(swept: Sweep) -> None:
    html = sweep_html(swept)
    # From 0 to -2: the erased arm of layer 0 at the bottom, that of layer 4 in the middle.
    assert '<i class="sw-dot sw-changed" style="top:100.0%">' in html
    assert '<i class="sw-dot" style="top:50.0%">' in html
    # Its controls reach from 0 to -0.5 with mean -0.25.
    assert '<i class="sw-range" style="top:0.0%;height:25.00%">' in html
    assert '<i class="sw-mean" style="top:12.5%">' in html
    assert '<i class="sw-mean sw-moved" style="top:25.0%">' in html


def test_every_layers_answers_can_be_read_and_are_escaped(swept: Sweep) -> None:
    html = sweep_html(swept)
    assert html.count('tabindex="0" role="img"') == 2
    assert "Layer 0, rank 7. Erased: −2.00 nats, answer World (changed)." in html
    assert "Random: −0.25 (−0.50 to 0.00) nats, answers Sports; Sports; Sports (0 of 3 changed)." in html
    assert "answers Sports; &lt;b&gt;; Sports (1 of 3 changed)" in html and "<b>" not in html
    assert "<td>World ≠</td><td>−2.00</td>" in html and "strength 0.5, linear, audio positions" in html


def test_the_right_answer_has_a_chart_of_its_own_where_it_is_known(swept: Sweep) -> None:
    assert sweep_html(swept).count("<figure") == 1 and "right answer" not in sweep_html(swept)
    known = replace(
        swept,
        plain=arm(0.0, right=0.0),
        points=tuple(
            replace(one, erased=arm(-1.0, right=-3.0), controls=(arm(-0.5, right=-0.1),) * 3)
            for one in swept.points
        ),
    )
    assert sweep_html(known).count("<figure") == 2 and "<td>−3.00</td>" in sweep_html(known)


def test_an_answer_without_a_label_is_told_by_what_was_said() -> None:
    assert said(answer(None, "well ")) == "unparsed, said “well”"
    assert said(Answer("", None, "empty", {}, 0.0)) == "nothing said"
    assert not is_changed(answer("sports"), answer("Sports"))
    assert is_changed(answer(None, "well"), answer("Sports"))


@pytest.mark.parametrize("values", [[0.0], [-0.004, 0.01], [-173.0, -2.0], [3.0, 8.0]])
def test_a_scale_holds_zero_and_every_value_on_few_round_steps(values: list[float]) -> None:
    scale = _scale(values)
    assert scale.low <= min(0.0, *values) and max(0.0, *values) <= scale.high
    assert 0.0 in _ticks(scale) and 2 <= len(_ticks(scale)) <= 6
