"""Every verdict agrees with its truth, the numbers are those that the plant implies, and a broken plant shows."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest

from engine.planted import (
    MEASURES,
    N_JUDGED,
    PLANTS,
    Judgement,
    Plant,
    judge,
    judge_all,
    kappa_estimate,
    read_verdict,
)
from engine.stats.agreement import cohen_kappa
from engine.stats.intervals import Estimate

BY_KEY = {plant.key: plant for plant in PLANTS}
CHANCE = 0.25  # one of four words


@pytest.fixture(scope="module")
def found() -> dict[str, Judgement]:
    started = time.process_time()
    judged = {one.key: one for one in judge_all(seed=0)}
    assert time.process_time() - started < 20
    return judged


def value(one: Judgement, key: str) -> float:
    return one.measured[key].value


def test_every_verdict_agrees_with_its_truth(found: dict[str, Judgement]) -> None:
    assert list(found) == list(BY_KEY)
    for key, one in found.items():
        assert one.agrees and one.verdict == one.expected == BY_KEY[key].reading


def test_every_number_has_its_n_and_its_interval(found: dict[str, Judgement]) -> None:
    for one in found.values():
        assert set(one.measured) == set(MEASURES) and one.kept_rank == {"text": 3, "pitch": 1}
        for estimate in one.measured.values():
            assert estimate.n == N_JUDGED and estimate.low <= estimate.value <= estimate.high
            # A figure without width says why.
            assert estimate.low < estimate.high or estimate.note


def test_a_cascade_inside_answers_as_its_cascade_until_its_text_is_gone(found: dict[str, Judgement]) -> None:
    one = found["cascade"]
    assert value(one, "cascade") == 1.0 and abs(value(one, "cascade_control")) < 0.2
    assert abs(value(one, "text")) < 0.2 and value(one, "text_control") > 0.9
    assert value(one, "pitch") == 1.0
    assert value(one, "lens") == 1.0 and value(one, "lens_control") == pytest.approx(CHANCE, abs=0.1)


def test_pitch_alone_is_untouched_by_text_and_lost_without_pitch(found: dict[str, Judgement]) -> None:
    """The word and the voice are independent, so kappa with the cascade is 0 within its noise."""
    one = found["pitch"]
    assert abs(value(one, "cascade")) < 0.2
    assert value(one, "text") == 1.0
    assert abs(value(one, "pitch")) < 0.2 and value(one, "pitch_control") > 0.9
    assert one.measured["lens"].low <= one.measured["lens_control"].high
    assert value(one, "linear") == 1.0 and one.limit


def test_idle_text_is_shown_by_the_lens_and_erased_in_vain(found: dict[str, Judgement]) -> None:
    one, cascade = found["idle-text"], found["cascade"]
    assert value(one, "lens") == value(cascade, "lens") == 1.0
    assert value(one, "text") == 1.0 and abs(value(one, "pitch")) < 0.2
    assert one.limit


def test_hidden_text_escapes_the_linear_methods_and_the_judgement_says_so(
    found: dict[str, Judgement],
) -> None:
    one = found["hidden-text"]
    assert value(one, "cascade") == 1.0
    assert value(one, "text") > 0.9
    assert abs(value(one, "linear") - CHANCE) < 0.1
    assert value(one, "quadratic_after") > 0.8
    assert "LEACE misses it" in one.limit


@pytest.mark.parametrize("key", ["cascade", "pitch", "idle-text"])
def test_where_text_is_linear_its_erasure_leaves_no_probe_anything(
    found: dict[str, Judgement], key: str
) -> None:
    one = found[key]
    assert value(one, "linear") == 1.0
    assert value(one, "linear_after") == pytest.approx(CHANCE, abs=0.1)
    assert value(one, "quadratic_after") == pytest.approx(CHANCE, abs=0.1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_verdicts_do_not_hang_on_the_seed(seed: int) -> None:
    assert all(one.agrees for one in judge_all(seed))


@pytest.mark.parametrize(
    ("broken", "verdict"),
    [
        (replace(BY_KEY["idle-text"], uses="text"), "a cascade inside"),
        (replace(BY_KEY["cascade"], uses="pitch"), "carries text it does not use"),
        (replace(BY_KEY["pitch"], spells=True), "carries text it does not use"),
        (replace(BY_KEY["idle-text"], spells=False), "answers from pitch"),
        (replace(BY_KEY["hidden-text"], uses="pitch"), "answers from pitch"),
    ],
)
def test_a_broken_plant_gets_another_verdict(broken: Plant, verdict: str) -> None:
    one = judge(broken, seed=0)
    assert one.verdict == verdict and not one.agrees


def test_what_a_broken_instrument_says(found: dict[str, Judgement]) -> None:
    """A control that takes the answer away as well makes the erasure prove nothing."""
    measured = dict(found["cascade"].measured)
    assert read_verdict(measured) == "a cascade inside"
    assert read_verdict({**measured, "text_control": measured["text"]}) == "undecided"
    wide = Estimate(0.0, -0.3, 0.7, 20, "too few clips")
    assert read_verdict({**measured, "text": wide}) == "undecided"
    blind = {**measured, "lens": measured["lens_control"]}
    assert read_verdict(blind) == "undecided"
    alike = {**measured, "cascade_control": measured["cascade"]}
    assert read_verdict(alike) == "undecided"
    absent = Estimate(math.nan, math.nan, math.nan, 0, "not measured")
    assert read_verdict({**measured, "text": absent}) == "undecided"


def test_kappa_is_the_statistics_own_and_says_when_it_has_no_width() -> None:
    one, other = 10 * [0, 0, 1, 1, 0, 1, 1, 0], 10 * [0, 1, 1, 1, 0, 1, 0, 0]
    found = kappa_estimate(one, other, seed=1)
    assert found.value == pytest.approx(cohen_kappa([str(a) for a in one], [str(b) for b in other]))
    assert found.low < found.value < found.high and not found.note
    assert "up to" in kappa_estimate(one, one, seed=1).note
    constant = kappa_estimate(one, [0] * 80, seed=1)
    assert constant.value == 0.0 and "throughout" in constant.note
