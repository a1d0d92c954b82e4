"""The bench: which rows there are, and outcomes that equal each arm computed on its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.answers import Bench, outcomes
from engine.erasure import Eraser, load_eraser
from engine.generate import Pass, run_arms
from engine.hooks import Projection, RowEdits
from engine.results import Answer, ErasureOutcome
from engine.systems.base import Prepared
from engine.systems.ultravox import Ultravox

LAYERS = (1, 3)
RIGHT_SCORES = [-5.0, -6.5, -5.25, -7.0, -4.0]


@pytest.fixture(scope="module")
def erasers(models_with_erasers: Path, ultravox: Ultravox) -> dict[str, Eraser]:
    return {
        key: load_eraser("mini-ultravox", key, ultravox.fingerprint, models_with_erasers)
        for key in ("boc", "acoustic")
    }


@pytest.fixture(scope="module")
def bench(erasers: dict[str, Eraser]) -> Bench:
    return Bench(erasers, LAYERS, "audio", "affine", seed=7)


@pytest.fixture(scope="module")
def arms(ultravox: Ultravox, prepared: Prepared, bench: Bench) -> tuple[Pass, RowEdits]:
    edits = bench.edits(prepared.span, prepared.embeddings.shape[1])
    assert edits is not None
    return run_arms(ultravox, prepared, edits=edits, record_layers=range(4), max_new_tokens=3), edits


@pytest.fixture(scope="module")
def found(bench: Bench, arms: tuple[Pass, RowEdits]) -> tuple[ErasureOutcome, ...]:
    answers = [Answer(f"row {row}", None, "unparsed", {}, -1.0) for row in range(5)]
    return outcomes(bench, arms[0], arms[1], answers, RIGHT_SCORES)


def test_nothing_to_erase_needs_no_edits() -> None:
    nothing = Bench({}, LAYERS, "audio", "linear", 0)
    assert nothing.edits((2, 13), 20) is None


def test_rows_are_plain_then_erased_and_control_of_each_condition(bench: Bench) -> None:
    edits = bench.edits((2, 13), 20)
    assert edits is not None and edits.rows[0] is None and len(edits.rows) == 5
    assert edits.scope == "audio" and edits.span == (2, 13) and edits.n_prompt == 20
    for index, eraser in enumerate(bench.erasers.values()):
        erased, control = edits.rows[1 + 2 * index], edits.rows[2 + 2 * index]
        assert erased is not None and control is not None and set(erased) == set(control) == set(LAYERS)
        for layer in LAYERS:
            taken, random = erased[layer], control[layer]
            assert isinstance(taken, Projection) and isinstance(random, Projection)
            assert taken.rank == random.rank == eraser.kept_rank[layer]
            assert (taken.right == eraser.right[layer]).all()


def test_outcomes_name_their_condition_and_its_arms_answers(found: tuple[ErasureOutcome, ...]) -> None:
    assert [outcome.condition for outcome in found] == ["boc", "acoustic"]
    for index, outcome in enumerate(found):
        texts = [arm.answer.text for arm in (outcome.plain, outcome.erased, outcome.random_control)]
        assert texts == ["row 0", f"row {1 + 2 * index}", f"row {2 + 2 * index}"]
        assert (outcome.layers, outcome.scope, outcome.method) == (LAYERS, "audio", "affine")


def test_changes_are_against_the_plain_row(
    found: tuple[ErasureOutcome, ...], arms: tuple[Pass, RowEdits]
) -> None:
    scores = arms[0].first_answer_scores
    for index, outcome in enumerate(found):
        for row, arm in ((1 + 2 * index, outcome.erased), (2 + 2 * index, outcome.random_control)):
            assert arm.log_likelihood_change == scores[row] - scores[0] != 0.0
            assert arm.right_log_likelihood_change == RIGHT_SCORES[row] + 5.0
            assert arm.relative_change_of_state == arms[1].relative_change(row) > 0
        assert outcome.plain.log_likelihood_change == outcome.plain.relative_change_of_state == 0.0
        assert outcome.plain.right_log_likelihood_change == 0.0


def test_without_a_right_answer_its_change_is_unknown_and_not_zero(
    bench: Bench, arms: tuple[Pass, RowEdits]
) -> None:
    answers = [Answer("", None, "empty", {}, -1.0)] * 5
    for outcome in outcomes(bench, arms[0], arms[1], answers, [None] * 5):
        assert outcome.plain.right_log_likelihood_change is None
        assert outcome.erased.right_log_likelihood_change is None


def test_the_proof_is_that_of_the_run_and_its_absence_has_a_reason(
    erasers: dict[str, Eraser], arms: tuple[Pass, RowEdits]
) -> None:
    """Layers 1 and 3 were never erased together where probes looked; each alone and the lowest of all were."""
    answers = [Answer("", None, "empty", {}, -1.0)] * 5

    def first(layers: tuple[int, ...], of: dict[str, Eraser] = erasers) -> ErasureOutcome:
        return outcomes(Bench(of, layers, "prompt", "linear", seed=7), arms[0], None, answers, [None] * 5)[0]

    apart = first((1, 3))
    assert apart.proof is None and "not measured for these layers" in apart.proof_missing
    assert apart.fitted_on == "plain states"
    alone, lowest = first((3,)), first((0, 1, 2))
    assert alone.proof is not None and set(alone.proof.layers) == {3} and alone.proof_missing == ""
    assert lowest.proof is not None and lowest.fitted_on == "states edited below"
    proof = erasers["boc"].proof
    assert proof is not None
    assert lowest.proof.layers == {layer: proof.settings["linear, all"][layer] for layer in (0, 1, 2)}
    bare = first((3,), {"boc": replace(erasers["boc"], proof=None)})
    assert bare.proof is None and "carry no proof" in bare.proof_missing


def test_without_erasers_there_are_no_outcomes(arms: tuple[Pass, RowEdits]) -> None:
    assert outcomes(Bench({}, LAYERS, "audio", "linear", 0), arms[0], None, [], []) == ()


def test_at_strength_0_nothing_is_edited(erasers: dict[str, Eraser]) -> None:
    assert Bench(erasers, LAYERS, "audio", "linear", 0, strength=0.0).edits((2, 13), 20) is None
