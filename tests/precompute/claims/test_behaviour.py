"""The rules of the claims on behaviour where they hold, fail or stay open; and the figures that a run gives them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from engine.stats.agreement import cohen_kappa
from precompute.claims import behaviour
from precompute.claims.measured import Measured, Overlap, Pairing
from precompute.claims.verdict import verdict_of
from tests.precompute.claims.hand_made import (
    ANCESTOR,
    AUDIO,
    EARS,
    FROZEN,
    OWN,
    WEAK,
    drawn,
    given,
    run_of,
)

PAIR = Pairing(FROZEN, EARS, "exact")


def test_who_stands_for_whom() -> None:
    run = run_of()
    assert [(one.speech, one.cascade, one.match) for one in run.closest()] == [
        (AUDIO, OWN, "self"), (FROZEN, EARS, "exact"),
    ]  # fmt: skip
    assert run.frozen == {FROZEN} and run.trained_on == {AUDIO} and run.ceilings(PAIR) == [(EARS, WEAK)]
    assert {one.cascade for one in run.pairings()} == {EARS, OWN, ANCESTOR}


@pytest.mark.parametrize(
    ("kappas", "verdict"),
    [
        ((0.93, 0.85), "holds"),
        ((0.9, 0.72), "cannot be said"),
        ((0.7, 0.6), "does not hold"),
        ((0.97, 0.75), "holds"),
    ],
)
def test_near_equivalence_is_of_the_mean_over_words_only_tasks(
    kappas: tuple[float, float], verdict: str
) -> None:
    found = {
        (FROZEN, EARS, task): drawn(k, 0.05, name=task)
        for task, k in zip(("topic", "sentiment"), kappas, strict=True)
    }
    run = given(
        kappas=found | {(FROZEN, EARS, "emotion"): drawn(0.1)}, known_tasks=("topic", "sentiment", "emotion")
    )
    cells = list(behaviour.near_equivalence(run))
    assert len(cells) == 2 and {cell.line for cell in cells} == {0.8} and verdict_of(cells) == verdict


@pytest.mark.parametrize(("kappa", "side"), [(0.5, "holds"), (0.95, "fails"), (0.8, "open")])
def test_divergence_is_measured_from_the_frozen_model(kappa: float, side: str) -> None:
    mine = {(AUDIO, cascade, "topic"): drawn(kappa, name=cascade) for cascade in (OWN, ANCESTOR)}
    run = given(kappas=mine | {(FROZEN, EARS, "topic"): drawn(0.8, name=EARS)})
    cells = list(behaviour.divergence(run))
    assert [cell.side for cell in cells] == [side] * 2 and {cell.other for cell in cells} == {OWN, ANCESTOR}
    assert not list(behaviour.divergence(given(kappas=mine)))


@pytest.mark.parametrize(("mine", "side"), [(0.9, "holds"), (0.4, "fails"), (0.62, "open")])
def test_the_backbone_adds(mine: float, side: str) -> None:
    run = given(kappas={(FROZEN, EARS, "topic"): drawn(mine), (FROZEN, OWN, "topic"): drawn(0.6, name="x")})
    (cell,) = behaviour.backbone(run)
    assert cell.side == side and cell.seen.value == pytest.approx(mine - 0.6)


@pytest.mark.parametrize(("kappa", "side"), [(0.4, "holds"), (0.99, "fails"), (0.78, "open")])
def test_voice_tasks_agree_less_than_the_mean_of_the_others(kappa: float, side: str) -> None:
    words = {(FROZEN, EARS, task): drawn(k, name=task) for task, k in (("topic", 0.9), ("sentiment", 0.7))}
    run = given(
        kappas=words | {(FROZEN, EARS, "emotion"): drawn(kappa, name="e")},
        known_tasks=("topic", "sentiment", "emotion"),
    )
    (cell,) = behaviour.voice(run)
    assert cell.side == side and cell.task == "emotion" and cell.seen.value == pytest.approx(0.8 - kappa)


@pytest.mark.parametrize(("lead", "side"), [(0.1, "holds"), (0.0, "open"), (-0.1, "fails"), (0.04, "holds")])
def test_as_accurate_leaves_two_points_to_chance(lead: float, side: str) -> None:
    (cell,) = behaviour.as_accurate(given(leads={(EARS, FROZEN, "topic"): drawn(lead)}))
    assert cell.side == side and (cell.system, cell.other, cell.line) == (EARS, FROZEN, -0.02)


@pytest.mark.parametrize(
    ("share", "sides"),
    [
        (0.8, ("holds", "holds")),
        (0.45, ("holds", "fails")),
        (0.6, ("holds", "open")),
        (0.1, ("fails", "fails")),
    ],
)
def test_shared_errors_have_two_lines(share: float, sides: tuple[str, str]) -> None:
    run = given(overlaps={(FROZEN, EARS, "topic"): Overlap(drawn(share, 0.1), 0.33, 0.6, 30)})
    (blind,), (dealt,) = behaviour.shared_errors(run), behaviour.shared_errors_null(run)
    assert (blind.side, dealt.side) == sides and (blind.line, dealt.line) == (0.33, 0.6)
    undefined = given(overlaps={(FROZEN, EARS, "topic"): Overlap(drawn(share), math.nan, math.nan, 30)})
    assert not list(behaviour.shared_errors(undefined))


@pytest.mark.parametrize(("mine", "side"), [(0.9, "holds"), (0.5, "fails"), (0.72, "open")])
def test_matched_cascades_share_more_errors(mine: float, side: str) -> None:
    overlaps = {
        (FROZEN, EARS, "topic"): Overlap(drawn(mine), 0.33, 0.6, 30),
        (FROZEN, OWN, "topic"): Overlap(drawn(0.7, name="x"), 0.33, 0.6, 30),
    }
    (cell,) = behaviour.matched_overlap(given(overlaps=overlaps))
    assert cell.side == side and "against own" in cell.detail


@pytest.mark.parametrize(
    ("errors", "everywhere", "verdict"),
    [(0.97, 0.95, "cannot be said"), (0.99, 0.7, "holds"), (0.5, 0.95, "does not hold")],
)
def test_reasoning_errors_are_held_against_all_transcripts(
    errors: float, everywhere: float, verdict: str
) -> None:
    """The fault: "above one half" holds by construction where 95 % of all transcripts are right."""
    run = given(heard=(drawn(errors, 0.05, 29), drawn(everywhere, 0.01, 200, "all"), 29))
    (cell,) = behaviour.reasoning_errors(run)
    assert verdict_of([cell]) == verdict and "29 shared errors" in cell.note
    few = given(heard=(drawn(0.99, 0.05, 19), drawn(0.7, 0.01, 200, "all"), 19))
    assert verdict_of(list(behaviour.reasoning_errors(few))) == "cannot be said"


# What a run's answers give.


def answered(
    labels: dict[str, list[str | None]], noise: str = "clean", snr_db: float = math.nan
) -> tuple[Any, Any]:
    """Answers to "topic" clips, two to an item; gold is World for even items and Sports for odd ones."""
    n = len(next(iter(labels.values())))
    golds = ["World" if k // 2 % 2 == 0 else "Sports" for k in range(n)]
    about = [
        {"item_id": f"i{k // 2}", "clip_id": f"c{k}{noise}", "task": "topic", "voice": f"v{k % 2}", "noise": noise,
         "snr_db": snr_db, "gold": golds[k], "reference": "a b"}
        for k in range(n)
    ]  # fmt: skip
    answers = [
        {**clip, "system": system, "label": given_labels[k],
         "label_status": "parsed" if given_labels[k] else "unparsed",
         "correct": given_labels[k] == golds[k], "forced_choice": "{}", "heard": "a b"}
        for system, given_labels in labels.items()
        for k, clip in enumerate(about)
    ]  # fmt: skip
    return answers, about


def run_with(labels: dict[str, list[str | None]]) -> Measured:
    answers, clips = answered(labels)
    return run_of(answers=answers, clips=clips)


def some_labels(n: int = 160, seed: int = 0) -> dict[str, list[str | None]]:
    rng = np.random.default_rng(seed)
    names = np.array(["World", "Sports", "Business", "Sci/Tech"])
    base = names[rng.integers(4, size=n)]
    out: dict[str, list[str | None]] = {}
    for system, noise in ((FROZEN, 0.2), (EARS, 0.2), (OWN, 0.5)):
        mine = np.where(rng.random(n) < noise, names[rng.integers(4, size=n)], base)
        silent = rng.random(n) < 0.1
        out[system] = [None if quiet else str(label) for quiet, label in zip(silent, mine, strict=True)]
    return out


def test_a_runs_kappa_is_that_of_its_answers() -> None:
    labels = some_labels()
    kappa = run_with(labels).kappa(FROZEN, EARS, "topic")
    assert kappa is not None and kappa.value == pytest.approx(cohen_kappa(labels[FROZEN], labels[EARS]))
    assert kappa.seen.n == 80 and kappa.seen.low < kappa.value < kappa.seen.high


def test_two_kappas_of_one_run_are_paired() -> None:
    """One system with a copy of another: the difference is nothing in each resample, not in the mean alone."""
    labels = some_labels()
    run = run_with(labels | {OWN: list(labels[EARS])})
    gap = run.kappa(FROZEN, EARS, "topic") - run.kappa(FROZEN, OWN, "topic")
    assert gap.samples is not None and (gap.samples == 0).all()


def test_a_lead_in_accuracy_is_of_the_same_clips() -> None:
    labels = some_labels()
    found = run_with(labels).accuracy_lead(EARS, FROZEN, "topic")
    golds = ["World" if k // 2 % 2 == 0 else "Sports" for k in range(160)]
    right = {s: np.mean([x == g for x, g in zip(labels[s], golds, strict=True)]) for s in (EARS, FROZEN)}
    assert found is not None and found[0].value == pytest.approx(right[EARS] - right[FROZEN])


def babbled(lost: int, n: int = 60) -> Measured:
    """The cascade is right throughout, the speech LLM loses some clips at 0 dB and all at 5 dB."""
    answers: list[Any] = []
    clips: list[Any] = []
    for noise, snr_db in (("clean", math.nan), ("babble", 0.0), ("babble", 5.0)):
        golds = ["World" if k // 2 % 2 == 0 else "Sports" for k in range(n)]
        mine = golds if noise == "clean" else [None if k < lost or snr_db else g for k, g in enumerate(golds)]
        a, c = answered({FROZEN: list(mine), EARS: list(golds)}, noise, snr_db)
        for row in (*a, *c):
            row["clip_id"] += "" if snr_db != snr_db else f"{snr_db:g}"
        answers, clips = answers + a, clips + c
    return run_of(answers=answers, clips=clips)


@pytest.mark.parametrize(("lost", "side"), [(30, "holds"), (2, "open")])
def test_robustness_is_the_extra_loss_in_the_loudest_babble(lost: int, side: str) -> None:
    (cell,) = behaviour.robustness(babbled(lost))
    assert cell.seen.value == pytest.approx(lost / 60) and cell.side == side and "0 dB" in cell.detail
    assert cell.seen.n == 30


def test_items_that_were_not_said_both_ways_have_no_loss() -> None:
    run = babbled(5)
    answers = run.tables["answers"]
    answers.loc[answers["noise"] == "babble", "item_id"] += "x"
    (cell,) = behaviour.robustness(run)
    assert cell.side == "undefined" and "both" in cell.why


def test_only_groups_with_a_shared_error_count_for_its_transcript() -> None:
    """Both wrong alike in six clips of three items; the transcript is right on all clips but two."""
    n = 40
    golds = ["World" if k // 2 % 2 == 0 else "Sports" for k in range(n)]
    labels: list[str | None] = ["Business" if k < 6 else golds[k] for k in range(n)]
    answers, clips = answered({FROZEN: labels, EARS: list(labels)})
    for row in answers:
        row["heard"] = "a c" if row["clip_id"] in ("c0clean", "c39clean") else "a b"
    found = run_of(answers=answers, clips=clips).heard_rightly(PAIR, "topic")
    assert found is not None
    errors, everywhere, n_errors = found
    assert (errors.value, everywhere.value, n_errors) == pytest.approx((5 / 6, 38 / 40, 6))
    assert errors.seen.n == 3 and everywhere.seen.n == 20
