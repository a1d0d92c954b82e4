"""The rules of the claims on interleaved models, each on tables made by hand where it holds, fails or stays open."""

from __future__ import annotations

import math
from typing import Any

import pytest

from engine.columns import RECALL, TEXT_SHARE
from precompute.claims import phases
from precompute.claims.measured import Measured
from precompute.claims.tables import trials_of
from precompute.claims.verdict import verdict_of
from tests.precompute.claims.hand_made import run_of

Row = dict[str, Any]
FULL, PLAIN, DRAWN = "full", "speech-only", "from-random"
ABOUT = {
    FULL: {"initialisation": "text", "data": "interleaved", "step": 900},
    PLAIN: {"initialisation": "text", "data": "speech only", "step": 900},
    DRAWN: {"initialisation": "random", "data": "interleaved", "step": 900},
}
RISE = (0.0, 0.3, 0.6, 0.4, 0.1)  # R of the current word, layer by layer


def recall(model: str, excess: tuple[float, ...], d: int = 0, half: float = 0.05, **more: Any) -> list[Row]:
    about = {"model": model, **ABOUT[model], "measure": RECALL, "d": d, "n_groups": 80}
    return [
        {**about, "k": k, "layer": layer, "excess": value, "excess_low": value - half,
         "excess_high": value + half, **more}
        for k in (1, 5, 10)
        for layer, value in enumerate(excess)
    ]  # fmt: skip


def share(values: tuple[float, ...]) -> list[Row]:
    about = {"model": FULL, **ABOUT[FULL], "measure": TEXT_SHARE, "n_groups": 80}
    return [
        {**about, "layer": layer, "score": value, "low": value - 0.05, "high": value + 0.05}
        for layer, value in enumerate(values)
    ]


def apart(layers: float, low: float, high: float) -> Row:
    about = {"model": FULL, **ABOUT[FULL], "k": 10, "boundary": "current to next", "n_groups": 80}
    return {**about, "layer": layers, "low": low, "high": high, "score": 0.9}


def sides(run: Measured, claim: str) -> list[str]:
    return [trial.side for trial in trials_of(run, claim)]


def test_the_transcript_is_read_at_the_best_layer_between_the_ends() -> None:
    cells = list(phases.latent_transcription(run_of(interleaved=recall(FULL, RISE))))
    assert [cell.seen.value for cell in cells] == pytest.approx([0.6, 0.6, 0.6, 0.6, 0.5])
    assert "layer 2" in cells[0].detail and verdict_of(cells) == "holds" and cells[0].seen.n == 80


def test_a_transcript_that_is_best_at_the_end_is_not_in_between() -> None:
    run = run_of(interleaved=recall(FULL, (0.0, 0.1, 0.3, 0.6)))
    assert sides(run, "latent_transcription") == [*["holds"] * 3, "open", "holds"]
    run = run_of(interleaved=recall(FULL, (-0.2, -0.3, -0.4)))
    assert verdict_of(phases.latent_transcription(run)) == "does not hold"


def test_an_earlier_checkpoint_does_not_count() -> None:
    early = recall(FULL, (0.9, 0.9, 0.9, 0.9, 0.9), step=10)
    (first, *_) = phases.latent_transcription(run_of(interleaved=[*early, *recall(FULL, RISE)]))
    assert first.seen.value == 0.6


@pytest.mark.parametrize(
    ("between", "shares", "wanted"),
    [
        ((2.0, 1.0, 3.0), (0.1, 0.8, 0.9, 0.9, 0.1), "holds"),
        ((-1.0, -2.0, -1.0), (0.1, 0.8, 0.9, 0.9, 0.1), "does not hold"),
        ((2.0, 2.0, 2.0), (0.1, 0.8, 0.9, 0.9, 0.1), "holds"),
        ((0.0, 0.0, 0.0), (0.1, 0.8, 0.9, 0.9, 0.1), "cannot be said"),
        ((-2.0, -2.0, -2.0), (0.1, 0.8, 0.9, 0.9, 0.1), "does not hold"),
        ((1.0, 0.0, 2.0), (0.1, 0.8, 0.9, 0.9, 0.1), "cannot be said"),
        ((2.0, 1.0, 3.0), (0.1, 0.8, 0.9, 0.9, 0.9), "does not hold"),
        ((2.0, 1.0, 3.0), (0.1, 0.1, 0.1, 0.1, 0.1), "does not hold"),
    ],
)
def test_the_phases_need_their_order_and_their_tokens(
    between: tuple[float, float, float], shares: tuple[float, ...], wanted: str
) -> None:
    rows = [*recall(FULL, RISE), *recall(FULL, (0.0, 0.0, 0.1, 0.4, 0.1), d=1), *share(shares)]
    cells = list(phases.three_phases(run_of(interleaved=rows, phases=[apart(*between)])))
    assert len(cells) == 4 and verdict_of(cells) == wanted


@pytest.mark.parametrize(
    ("control", "wanted"),
    [
        ((0.0, 0.05, 0.1), ["holds", "holds"]),
        ((0.0, 0.6, 0.9), ["fails", "fails"]),
        ((0.0, 0.4, 0.45), ["holds", "fails"]),
        ((0.0, 0.3, 0.32), ["holds", "open"]),
    ],
)
def test_what_is_needed_leaves_less_than_half_when_it_is_gone(
    control: tuple[float, ...], wanted: list[str]
) -> None:
    for other in (PLAIN, DRAWN):
        run = run_of(interleaved=[*recall(FULL, RISE), *recall(other, control)])
        cells = {trial.system: trial for trial in phases.both_needed(run)}
        assert [cells[FULL].side, cells[other].side] == wanted
        assert cells[other].line == pytest.approx(0.3) and cells[FULL].other == other


def test_one_size_cannot_say_whether_bigger_is_deeper() -> None:
    cells = list(phases.bigger_deeper(run_of(interleaved=recall(FULL, RISE))))
    assert verdict_of(cells) == "cannot be said" and "two are needed" in cells[0].why


@pytest.mark.parametrize(
    ("low", "high", "side"), [(0.1, 0.9, "holds"), (-0.9, -0.1, "fails"), (-0.2, 0.9, "open")]
)
def test_the_relation_is_over_checkpoints(low: float, high: float, side: str) -> None:
    row = {"model": FULL, **ABOUT[FULL], "measure": "relation", "value": (low + high) / 2}
    run = run_of(
        interleaved=recall(FULL, RISE),
        spoken_knowledge=[row | {"low": low, "high": high, "n": 6}, row | {"measure": "preferred"}],
    )
    (cell,) = phases.knowledge_relation(run)
    assert cell.side == side and cell.seen.n == 6 and cell.n_of == "checkpoints"


@pytest.mark.parametrize(
    ("rank", "change", "wanted"),
    [
        ((-0.3, -0.1), (-0.3, -0.1), "holds"),
        ((-0.3, -0.1), (0.1, 0.3), "does not hold"),
        ((-0.3, -0.1), (-0.2, 0.1), "cannot be said"),
    ],
)
def test_use_needs_both_controls_for_all_three_outcomes(
    rank: tuple[float, float], change: tuple[float, float], wanted: str
) -> None:
    ends = {"vs_rank_matched": rank, "vs_change_matched": change}
    numbers: Row = {}
    for name, (low, high) in ends.items():
        numbers |= {name: (low + high) / 2, f"{name}_low": low, f"{name}_high": high}
    about = {"model": FULL, **ABOUT[FULL], "n_groups": 80}
    rows = [
        {**about, **numbers, "arm": "erased", "outcome": outcome}
        for outcome in ("next word", "next unit", "spoken knowledge", "current word")
    ]
    plain = {**about, "arm": "plain", "outcome": "next word", "vs_rank_matched": math.nan}
    cells = list(phases.latent_text_used(run_of(interleaved=recall(FULL, RISE), phase_causal=[*rows, plain])))
    assert len(cells) == 6 and verdict_of(cells) == wanted
