"""The bench: which rows there are, and outcomes that equal each arm computed on its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.bench import Bench, ClipFacts, outcomes
from engine.concepts import letter_bags
from engine.decode import Pass, run_arms
from engine.erasure import Eraser, load_eraser
from engine.hooks import Projection, RowEdits
from engine.result import Answer, ErasureOutcome, SpokenWord
from engine.systems.base import Prepared
from engine.systems.ultravox import Ultravox
from tests.engine.tiny_systems import sound

LAYERS = (1, 3)
WORDS = (SpokenWord("queen", 0.0, 0.9), SpokenWord("match", 0.9, 1.7))
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
def found(prepared: Prepared, bench: Bench, arms: tuple[Pass, RowEdits]) -> tuple[ErasureOutcome, ...]:
    answers = [Answer(f"row {row}", None, "unparsed", {}, -1.0) for row in range(5)]
    facts = ClipFacts(WORDS, sound(1.7).samples, prepared.heard.ends_s, prepared.span)
    return outcomes(bench, arms[0], arms[1], answers, RIGHT_SCORES, facts)


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
    prepared: Prepared, bench: Bench, arms: tuple[Pass, RowEdits]
) -> None:
    answers = [Answer("", None, "empty", {}, -1.0)] * 5
    facts = ClipFacts(WORDS, sound(1.7).samples, prepared.heard.ends_s, prepared.span)
    for outcome in outcomes(bench, arms[0], arms[1], answers, [None] * 5, facts):
        assert outcome.plain.right_log_likelihood_change is None
        assert outcome.erased.right_log_likelihood_change is None


def test_rank_and_probe_scores_are_those_of_the_edited_layers(
    found: tuple[ErasureOutcome, ...], erasers: dict[str, Eraser]
) -> None:
    for outcome in found:
        eraser = erasers[outcome.condition]
        assert outcome.kept_rank == max(eraser.kept_rank[layer] for layer in LAYERS)
        for name in ("probe_before", "probe_after", "probe_chance"):
            by_layer = getattr(eraser, name)
            assert getattr(outcome, name) == pytest.approx(np.mean([by_layer[layer] for layer in LAYERS]))


def test_the_live_score_is_the_probes_correlation_meaned_over_layers(
    prepared: Prepared,
    found: tuple[ErasureOutcome, ...],
    arms: tuple[Pass, RowEdits],
    erasers: dict[str, Eraser],
) -> None:
    start, stop = prepared.span
    true = letter_bags(WORDS, prepared.heard.ends_s).ravel()
    by_hand = []
    for layer in LAYERS:
        states = arms[0].states[layer][0, start:stop]
        read = (states @ erasers["boc"].probe_weight[layer].T + erasers["boc"].probe_bias[layer]).numpy()
        by_hand.append(np.corrcoef(read.ravel(), true)[0, 1])
    assert found[0].plain.concept_score == pytest.approx(np.mean(by_hand), abs=1e-5)


def test_the_probe_reads_the_concept_in_the_plain_row_and_none_of_it_once_erased(
    prepared: Prepared,
    found: tuple[ErasureOutcome, ...],
    arms: tuple[Pass, RowEdits],
    erasers: dict[str, Eraser],
) -> None:
    """Loudness: the clip swells, the plain states tell it, the erased ones are all alike to the probe."""
    loudness = found[1]
    assert loudness.plain.concept_score is not None and loudness.plain.concept_score > 0.3
    assert loudness.erased.concept_score == pytest.approx(0.0, abs=0.2)
    assert loudness.random_control.concept_score is not None
    assert loudness.random_control.concept_score > 0.2
    start, stop = prepared.span
    # The stored probe is a ridge probe and one clip is few positions, so a little of its output stays.
    energy = erasers["acoustic"].probe_weight[LAYERS[0]][1]
    plain, erased, control = (
        (arms[0].states[LAYERS[0]][row, start:stop] @ energy).std() for row in (0, 3, 4)
    )
    assert erased < 0.25 * plain < control


def test_without_erasers_there_are_no_outcomes(arms: tuple[Pass, RowEdits]) -> None:
    facts = ClipFacts((), sound(1.7).samples, np.array([0.16]), (0, 1))
    assert outcomes(Bench({}, LAYERS, "audio", "linear", 0), arms[0], None, [], [], facts) == ()


def test_at_strength_0_nothing_is_edited(erasers: dict[str, Eraser]) -> None:
    assert Bench(erasers, LAYERS, "audio", "linear", 0, strength=0.0).edits((2, 13), 20) is None
