"""The rules of the claims on mechanism where they hold, fail or stay open; and the figures that a run gives them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from precompute.claims import mechanism
from precompute.claims.measured import Measured
from precompute.claims.verdict import parts_of, verdict_of
from tests.precompute.claims.hand_made import AUDIO, EARS, FROZEN, OWN, drawn, given, run_of

Row = dict[str, Any]
TEXT, RANDOM, CHANGE, PLAIN = mechanism.TEXT, mechanism.RANDOM, mechanism.CHANGE, mechanism.PLAIN


def figure(name: str, value: float, half: float = 0.05, low: str = "low", high: str = "high") -> Row:
    return {name: value, low: value - half, high: value + half, "n_groups": 60, "n_items": 70, "n_clips": 80}


def probe(system: str, target: str, score: float, layer: int = 3, **more: Any) -> Row:
    about = {"system": system, "target": target, "layer": layer, "shuffled": 0.1, "random_model": 0.4}
    return about | figure("score", score) | more


@pytest.mark.parametrize(("score", "side"), [(0.6, "holds"), (0.3, "fails"), (0.42, "open")])
def test_acoustic_information_must_beat_every_baseline(score: float, side: str) -> None:
    rows = [probe(FROZEN, "pitch", score), probe(FROZEN, "text", 0.9), probe("whisper", "pitch", 0.9)]
    (cell,) = mechanism.acoustic_kept(run_of(probes=rows))
    assert cell.side == side and cell.line == 0.4 and cell.seen.n == 60


def test_a_baseline_that_is_not_known_is_no_line() -> None:
    (cell,) = mechanism.acoustic_kept(run_of(probes=[probe(FROZEN, "energy", 0.6, random_model=math.nan)]))
    assert cell.side == "undefined"
    low = probe(FROZEN, "energy", 0.6, shuffled=-0.2, random_model=-0.1)
    (cell,) = mechanism.acoustic_kept(run_of(probes=[low]))
    assert cell.line == 0.0


@pytest.mark.parametrize(
    ("frozen", "audio", "verdict"),
    [
        ((0.1, 0.4), (0.5, 0.2), "holds"),
        ((0.4, 0.1), (0.5, 0.2), "does not hold"),
        ((0.1, 0.4), (0.2, 0.5), "does not hold"),
        ((0.1, 0.12), (0.5, 0.2), "cannot be said"),
    ],
)
def test_profiles_rise_in_one_architecture_and_fall_in_the_other(
    frozen: tuple[float, float], audio: tuple[float, float], verdict: str
) -> None:
    rows = [
        probe(system, "text", score, layer)
        for system, ends in ((FROZEN, frozen), (AUDIO, audio))
        for layer, score in ((0, ends[0]), (4, 0.9), (8, ends[1]))
    ]
    cells = list(mechanism.decodability_profile(run_of(probes=rows)))
    assert verdict_of(cells) == verdict and all("layer 8 against layer 0" in cell.detail for cell in cells)


def layers_of(*scores: float, control: float = 0.05) -> dict[int, Any]:
    return {
        layer: (drawn(score, 0.02, name=str(layer)), drawn(control, 0.001, name="control"))
        for layer, score in enumerate(scores)
    }


@pytest.mark.parametrize(
    ("scores", "side"),
    [
        ((0.05, 0.05, 0.1, 0.1, 0.1, 0.4, 0.3), "holds"),
        ((0.2, 0.2, 0.4, 0.1, 0.1, 0.1, 0.1), "fails"),
        ((0.23, 0.25, 0.3, 0.34, 0.35, 0.38, 0.3), "fails"),
        ((0.05, 0.05, 0.22, 0.1, 0.1, 0.4, 0.3), "open"),
    ],
)
def test_text_is_late_where_most_of_it_comes_in_the_last_third(scores: tuple[float, ...], side: str) -> None:
    """Of layers 0 to 6, 5 and 6 are the last third. The fault: any gain was enough, and layer 0 read .23 already."""
    (cell,) = mechanism.late_text(given(layers={FROZEN: layers_of(*scores)}))
    assert cell.side == side
    assert cell.seen.value == pytest.approx((max(scores[5:]) - max(scores[:5])) / (max(scores[5:]) - 0.05))


@pytest.mark.parametrize(
    ("peaks", "kappas", "side"),
    [
        ((0.4, 0.2), (0.9, 0.5), "holds"),
        ((0.2, 0.4), (0.9, 0.5), "fails"),
        ((0.4, 0.2), (0.5, 0.9), "fails"),
        ((0.4, 0.405), (0.9, 0.5), "open"),
        ((0.4, 0.2), (0.9, 0.88), "open"),
    ],
)
def test_orders_are_compared_only_where_both_are_sure(
    peaks: tuple[float, float], kappas: tuple[float, float], side: str
) -> None:
    layers = {FROZEN: layers_of(0.0, peaks[0]), AUDIO: {0: (drawn(peaks[1], 0.02, name="a"), drawn(0.05))}}
    pairs = {(FROZEN, EARS, "topic"): drawn(kappas[0]), (AUDIO, OWN, "topic"): drawn(kappas[1], name="k")}
    (cell,) = mechanism.emergence_order(given(layers=layers, kappas=pairs))
    assert cell.side == side
    assert not list(mechanism.emergence_order(given(layers={FROZEN: layers[FROZEN]}, kappas=pairs)))


@pytest.mark.parametrize(("other", "side"), [(0.2, "holds"), (0.99, "fails"), (0.78, "open")])
def test_sufficiency_is_topic_against_each_other_task(other: float, side: str) -> None:
    run = given(texts={"topic": (6, drawn(0.8)), "emotion": (6, drawn(other, name="e"))})
    (cell,) = mechanism.sufficiency(run)
    assert cell.side == side and cell.task == "emotion" and cell.seen.value == pytest.approx(0.8 - other)


@pytest.mark.parametrize(
    ("text", "random", "side"),
    [(0.1, 0.7, "holds"), (0.6, 0.7, "fails"), (0.1, 0.2, "fails"), (0.2, 0.6, "open")],
)
def test_a_collapse_takes_half_of_the_plain_accuracy_beyond_random_directions(
    text: float, random: float, side: str
) -> None:
    right = {PLAIN: drawn(0.8, 0.02), TEXT: drawn(text, name="t"), RANDOM: drawn(random, name="r")}
    run = given(right=right, known_tasks=("topic", "emotion"))
    (cell,) = mechanism.text_collapses(run)  # the voice task is not counted: the paper speaks of the others
    assert cell.side == side and cell.seen.value == pytest.approx((random - text) / 0.8)


@pytest.mark.parametrize(("random", "side"), [(0.79, "holds"), (0.4, "fails"), (0.72, "open")])
def test_negligible_is_less_than_a_tenth(random: float, side: str) -> None:
    (cell,) = mechanism.random_is_negligible(
        given(right={PLAIN: drawn(0.8, 0.02), RANDOM: drawn(random, name="r")})
    )
    assert cell.side == side and cell.seen.value == pytest.approx(1 - random / 0.8)


@pytest.mark.parametrize(("text", "side"), [(0.2, "holds"), (0.8, "fails"), (0.52, "open")])
def test_controls_of_equal_change_and_rank(text: float, side: str) -> None:
    right = {TEXT: drawn(text), CHANGE: drawn(0.5, name="c"), RANDOM: drawn(0.5, name="r")}
    for tried in (mechanism.text_against_equal_change, mechanism.text_in_forced_choice):
        (cell,) = tried(given(right=right))
        assert cell.side == side


@pytest.mark.parametrize(
    ("sound", "verdict"), [(0.4, "holds"), (0.75, "does not hold"), (0.58, "cannot be said")]
)
def test_acoustic_erasure_must_harm_beyond_both(sound: float, verdict: str) -> None:
    right = {
        PLAIN: drawn(0.8), mechanism.ACOUSTIC_ARM: drawn(sound, name="a"),
        mechanism.ACOUSTIC_RANDOM: drawn(0.6, name="r"),
    }  # fmt: skip
    cells = list(mechanism.acoustic_harms(given(right=right)))
    assert verdict_of(cells) == verdict and len(parts_of(cells)) == 2


@pytest.mark.parametrize(
    ("score", "voice", "verdict"),
    [
        (0.6, 0.5, "holds"),
        (0.3, 0.5, "does not hold"),
        (0.6, 0.3, "does not hold"),
        (0.6, 0.46, "cannot be said"),
    ],
)
def test_kept_but_unused_needs_both(score: float, voice: float, verdict: str) -> None:
    right = {
        mechanism.ACOUSTIC_ARM: drawn(voice, 0.02), mechanism.ACOUSTIC_RANDOM: drawn(0.5, 0.02, name="r"),
    }  # fmt: skip
    run = run_of(probes=[probe(FROZEN, "pitch", score)])
    run = type(given())(run.tables, run.kinds, 0, right=right, known_tasks=("topic", "emotion"))
    assert verdict_of(list(mechanism.kept_but_unused(run))) == verdict


@pytest.mark.parametrize(("ctc", "side"), [(0.8, "holds"), (0.2, "fails"), (0.52, "open")])
def test_a_frozen_backbone_leans_on_characters(ctc: float, side: str) -> None:
    right = {("ctc", "erased"): drawn(ctc), ("boc", "erased"): drawn(0.5, name="b")}
    (cell,) = mechanism.ctc_against_boc(given(right=right))
    assert cell.side == side and cell.part == "frozen backbone"


def hurt(system: str, layer: int, fall: float) -> Row:
    about = {"system": system, "layer": layer, "condition": "acoustic", "target": "text", "random": 0.5}
    return about | figure("erased", 0.5 - fall, 0.01)


@pytest.mark.parametrize(
    ("system", "fall", "side"),
    [
        (AUDIO, 0.2, "holds"),
        (AUDIO, 0.0, "fails"),
        (FROZEN, 0.0, "holds"),
        (FROZEN, 0.2, "fails"),
        (AUDIO, 0.03, "open"),
    ],
)
def test_damage_is_of_the_worst_layer_and_turns_with_the_architecture(
    system: str, fall: float, side: str
) -> None:
    pitch = hurt(system, 3, 0.4) | {"target": "pitch"}
    run: Measured = run_of(damage=[hurt(system, 1, fall - 0.1), hurt(system, 2, fall), pitch])
    (cell,) = mechanism.text_damage(run)
    assert cell.side == side and "layer 2" in cell.detail and cell.seen.value == pytest.approx(fall)


def test_intervals_of_older_runs_bring_the_error_of_their_thousand_resamples() -> None:
    old = run_of(probes=[probe(FROZEN, "pitch", 0.452)])
    new = Measured(old.tables, old.kinds, 0, probe_resamples=10_000)
    assert [next(mechanism.acoustic_kept(run)).side for run in (old, new)] == ["open", "holds"]


# What a run's clips give.

SETTING = {"method": "linear", "scope": "all", "layers": "nine layers"}


def erased(condition: str, arm: str, right: np.ndarray, seed: int = 0, **more: Any) -> list[Row]:
    about = SETTING if arm != "plain" else dict.fromkeys(SETTING, "none")
    return [
        {"system": FROZEN, "task": "topic", "item_id": f"i{k}", "group": f"g{k // 2}", "clip_id": f"c{k}",
         **about, "condition": condition, "arm": arm, "seed": seed, "correct": bool(one), **more}
        for k, one in enumerate(right)
    ]  # fmt: skip


def test_arms_are_taken_over_the_clips_that_all_of_them_have() -> None:
    rng = np.random.default_rng(0)
    plain, text, *random = (rng.random((4, 60)) < np.array([[0.9], [0.2], [0.7], [0.6]])).astype(float)
    rows = [
        *erased("none", "plain", plain),
        *erased("text", "erased", text[:40]),
        *erased("text", "rank_matched", random[0], 1),
        *erased("text", "rank_matched", random[1], 2),
        *erased("text", "erased", np.ones(60), method="affine"),
    ]
    run = run_of(erasure_clips=rows)
    found = run.arms(FROZEN, "topic", TEXT, RANDOM, PLAIN)
    assert [one.value for one in found] == pytest.approx(
        [text[:40].mean(), np.mean(random, axis=0)[:40].mean(), plain[:40].mean()]
    )
    assert found[0].seen.n == 20 and run.arms(FROZEN, "topic", ("ctc", "erased"), PLAIN) is None
    gap = found[0] - found[0]
    assert gap.samples is not None and (gap.samples == 0).all()


def test_a_share_of_none_has_wilsons_interval_in_a_cell_too() -> None:
    rows = [*erased("none", "plain", np.ones(60)), *erased("text", "erased", np.zeros(60))]
    found = run_of(erasure_clips=rows).arms(FROZEN, "topic", TEXT, PLAIN)
    assert found[0].seen.low == 0.0 < found[0].seen.high and "Wilson's" in found[0].seen.note
