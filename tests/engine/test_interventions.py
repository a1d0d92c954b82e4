"""A sweep's places are runs with those layers alone: erased, control and plain, at every strength.

Patching on a planted network: the prediction follows the word that was put in, if it is made from it.

Erasing the word: on a planted network that uses its text the next word goes, on one that does not it stays.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from engine import interventions as module
from engine.erasure import Eraser
from engine.errors import EngineError, UnknownKeyError
from engine.interleaved import CURRENT, NEXT, ask_words, read_clip
from engine.interventions import (
    CHANGE_MATCHED,
    ERASED,
    N_CONTROLS,
    PLAIN,
    RANK_MATCHED,
    ArmStates,
    Replacement,
    choose_targets,
    fit_word_eraser,
    in_passes,
    label_positions,
    lead_of,
    reach_layers,
    run_erased,
    run_patched,
    stretch,
    sweep_layers,
)
from engine.lens import candidate_ids
from engine.probes import OTHER_WORD
from engine.request import RunRequest
from engine.results import ArmResult
from engine.run import run
from engine.words import SpokenWord
from tests.engine.planted_phases import (
    KINDS,
    LOGIT,
    N_WORDS,
    WORDS,
    WRITES_CURRENT,
    WRITES_NEXT,
    PlantedClip,
    PlantedPhases,
    draw_planted_clips,
)
from tests.engine.test_interleaved import states_of
from tests.engine.tiny_systems import sound

REQUEST = RunRequest(sound(1.7), "topic", gold="World", seed=5)
ROUNDING = 1e-3  # rows of a wider batch

pytestmark = pytest.mark.usefixtures("tiny_models")


def assert_alike(one: ArmResult, other: ArmResult) -> None:
    assert one.answer.text == other.answer.text
    for name in ("log_likelihood_change", "right_log_likelihood_change", "relative_change_of_state"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=ROUNDING)


def test_a_place_is_a_run_with_that_layer_alone() -> None:
    swept = sweep_layers(REQUEST, "text", "single layer")
    assert [point.layers for point in swept.points] == [(0,), (1,), (2,), (3,)]
    for point in swept.points[1:3]:
        alone = run(replace(REQUEST, erasures=("text",), layers=point.layers)).erasures[0]
        assert point.kept_rank == alone.kept_rank
        assert_alike(swept.plain, alone.plain)
        assert_alike(point.erased, alone.erased)
        assert_alike(point.controls[0], alone.random_control)
        assert point.erased.relative_change_of_state > 0 and point.erased != swept.plain


def test_each_control_is_a_run_with_its_seed() -> None:
    point = sweep_layers(REQUEST, "acoustic", "single layer").points[2]
    assert len(point.controls) == N_CONTROLS
    seeds = sweep_layers(replace(REQUEST, strength=0.0), "acoustic", "single layer").seeds
    assert seeds == (5, 6, 7)
    for seed, control in zip(seeds, point.controls, strict=True):
        alone = run(replace(REQUEST, erasures=("acoustic",), layers=(2,), noise=None, seed=seed)).erasures[0]
        assert_alike(control, alone.random_control)
    assert len({control.log_likelihood_change for control in point.controls}) == N_CONTROLS


def test_cumulative_is_a_run_with_all_layers_up_to_there() -> None:
    swept = sweep_layers(replace(REQUEST, strength=0.5, method="affine"), "text", "cumulative")
    assert [point.layers for point in swept.points] == [(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)]
    asked = replace(REQUEST, strength=0.5, method="affine", erasures=("text",), layers=(0, 1, 2))
    alone = run(asked).erasures[0]
    assert (swept.strength, swept.method, swept.scope) == (0.5, "affine", "audio")
    assert_alike(swept.points[2].erased, alone.erased)
    assert_alike(swept.points[2].controls[0], alone.random_control)


def test_at_strength_0_every_place_is_the_plain_answer() -> None:
    swept = sweep_layers(replace(REQUEST, strength=0.0), "text", "single layer")
    assert swept.plain.answer == run(REQUEST).lanes[0].answer
    for point in swept.points:
        assert point.erased == swept.plain
        assert point.controls == (swept.plain,) * N_CONTROLS


def test_passes_hold_every_arm_once_and_what_progress_raises_ends_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_ARMS", 5)
    assert [list(part) for part in in_passes(list(range(12)))] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]

    def stop(share: float, what: str) -> None:
        told.append((share, what))
        if "pass 2" in what:
            raise KeyboardInterrupt

    told: list[tuple[float, str]] = []
    with pytest.raises(KeyboardInterrupt):
        sweep_layers(REQUEST, "text", "single layer", stop)
    assert told[-1][1] == "pass 2 of 4, 5 erasures at once" and 0 < told[-1][0] < 1


def test_what_cannot_be_swept_is_one_sentence() -> None:
    with pytest.raises(UnknownKeyError, match="no sweep"):
        sweep_layers(REQUEST, "text", "sideways")
    with pytest.raises(EngineError, match="no erasure"):
        sweep_layers(REQUEST, "mood", "single layer")


def test_places_are_named_as_the_benchmark_names_them() -> None:
    assert reach_layers("single layer", (0, 4)) == {"layer 0": (0,), "layer 4": (4,)}
    assert reach_layers("cumulative", (0, 4)) == {"up to layer 0": (0,), "up to layer 4": (0, 4)}


def changes(*, from_text: bool) -> list[float]:
    """Return by how much the lead of the donor's next word grows, with the donor, the same word, another word."""
    system = PlantedPhases(from_text=from_text)
    clips = draw_planted_clips(8, 21, chain=from_text)
    recipient, donor = clips[0], clips[1]
    others = [clip for clip in clips[2:] if clip.words[1] not in (recipient.words[1], donor.words[1])]
    own, theirs = (candidate_ids(system.tokenizer, clip.texts[2]) for clip in (recipient, donor))
    given = [
        states_of(system, clip)[WRITES_CURRENT][slice(*clip.spans[1])]
        for clip in (donor, recipient, others[0])
    ]
    start, stop = recipient.spans[1]
    prompt = system.prompt(recipient)
    rows = run_patched(system, prompt, (start + 1, stop + 1), WRITES_CURRENT, given)
    leads = [lead_of(system, row[WRITES_NEXT][start + 1 : stop + 1], KINDS.text, theirs, own) for row in rows]
    return [lead - leads[0] for lead in leads[1:]]


def test_the_prediction_follows_the_word_that_is_put_in() -> None:
    donor, same, unrelated = changes(from_text=True)
    assert donor == pytest.approx(2 * LOGIT, rel=0.1), "the one goes up by a logit, the other down"
    assert same == pytest.approx(0.0, abs=1e-4)
    assert unrelated == pytest.approx(LOGIT, rel=0.2), "its own next word is lost, the donor's is not gained"


def test_where_the_next_word_is_part_of_the_state_it_comes_along() -> None:
    """A state holds all that it holds: patching does not say by which part of it the prediction goes."""
    donor, same, _ = changes(from_text=False)
    assert donor == pytest.approx(2 * LOGIT, rel=0.1) and same == pytest.approx(0.0, abs=1e-4)


def test_stretched_states_are_the_nearest_in_time() -> None:
    states = torch.arange(4.0)[:, None]
    assert stretch(states, 4).tolist() == states.tolist()
    assert stretch(states, 2)[:, 0].tolist() == [1.0, 3.0]
    assert stretch(states, 8)[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert stretch(states[:1], 3)[:, 0].tolist() == [0.0] * 3


def test_a_replacement_takes_the_place_of_every_row() -> None:
    new = Replacement(torch.ones(2, 3))
    assert (new(torch.zeros(4, 2, 3)) == 1).all() and new(torch.zeros(1, 2, 3).half()).dtype == torch.float16


def test_a_lead_is_the_likeliest_tokens_in_the_pool() -> None:
    system = PlantedPhases()
    states = torch.zeros(2, system.unembedding.weight.size(-1))
    states[0, 40 + 3], states[1, 40 + 5] = 1.0, 0.5
    assert lead_of(system, states, KINDS.text, (3,), (5, 6)) == pytest.approx(LOGIT / 2)


FIRST = (WRITES_CURRENT, WRITES_CURRENT + 1)
TARGETS = (*WORDS, OTHER_WORD)


@cache
def fitted(*, chain: bool) -> tuple[PlantedPhases, Eraser]:
    """Return the network whose next word comes from its text, or does not, with its eraser."""
    system = PlantedPhases(from_text=chain)
    clips = draw_planted_clips(150, 11, chain=chain)
    states: dict[int, list[Tensor]] = {layer: [] for layer in FIRST}
    labels = []
    for clip in clips:
        found = states_of(system, clip)
        for layer in FIRST:
            states[layer].append(found[layer])
        labels.append(label_positions(clip.spoken, clip.spans, len(clip.states), TARGETS))
    stacked = {layer: torch.cat(parts) for layer, parts in states.items()}
    return system, fit_word_eraser(stacked, torch.cat(labels), TARGETS, "150 clips")


def arms_of(system: PlantedPhases, clip: PlantedClip, eraser: Eraser) -> list[ArmStates]:
    prompt = system.prompt(clip)
    return run_erased(system, prompt, eraser, FIRST, span=prompt.span)


def recalls(*, from_text: bool) -> dict[str, tuple[float, float]]:
    """Return arm -> share of words read at k = 1: the current one at layer 3, the next one at layer 5."""
    system, eraser = fitted(chain=from_text)
    hits: dict[str, list[tuple[float, float]]] = {}
    for clip in draw_planted_clips(12, 12, chain=from_text):
        asked = [ask_words(system.tokenizer, clip.spoken, clip.spans, ["word0"], d) for d in (CURRENT, NEXT)]
        for arm in arms_of(system, clip, eraser):
            found = read_clip(system, {n: s[1:] for n, s in arm.states.items()}, KINDS, asked).ranks
            pair = [
                float((found[d][layer, 0] == 1).mean())
                for d, layer in ((CURRENT, WRITES_CURRENT), (NEXT, WRITES_NEXT))
            ]
            hits.setdefault(arm.arm, []).append((pair[0], pair[1]))
    means = {arm: np.mean(found, axis=0) for arm, found in hits.items()}
    return {arm: (float(mean[0]), float(mean[1])) for arm, mean in means.items()}


def test_where_the_text_is_used_its_erasure_takes_the_next_word_along() -> None:
    found = recalls(from_text=True)
    assert found[PLAIN] == (1.0, 1.0)
    assert max(found[ERASED]) < 0.3
    assert min(found[RANK_MATCHED]) > 0.9, "as many random directions do nothing"


def test_where_it_is_not_used_the_next_word_stays() -> None:
    """The lens reads the current word there as well: reading alone would not tell the two networks apart."""
    found = recalls(from_text=False)
    assert found[PLAIN] == (1.0, 1.0)
    assert found[ERASED][0] < 0.3 and found[ERASED][1] > 0.9


def test_the_control_of_equal_change_moves_states_as_far() -> None:
    system, eraser = fitted(chain=True)
    assert eraser.kept_rank[WRITES_CURRENT] == N_WORDS - 1
    by_arm: dict[str, list[ArmStates]] = {}
    for arm in arms_of(system, draw_planted_clips(1, 13, chain=True)[0], eraser):
        by_arm.setdefault(arm.arm, []).append(arm)
    assert [len(by_arm[arm]) for arm in (PLAIN, ERASED, RANK_MATCHED, CHANGE_MATCHED)] == [1, 1, 3, 3]
    (erased,) = by_arm[ERASED]
    for arm in by_arm[CHANGE_MATCHED]:
        assert arm.relative_change == pytest.approx(erased.relative_change, rel=0.01)
    assert by_arm[PLAIN][0].relative_change == 0.0
    assert {arm.seed for arm in by_arm[RANK_MATCHED]} == {0, 1, 2}


def test_only_the_span_is_edited() -> None:
    system, eraser = fitted(chain=True)
    prompt = system.prompt(draw_planted_clips(1, 14, chain=True)[0])
    plain, erased, *_ = run_erased(system, prompt, eraser, FIRST, span=(1, 5))
    same = (plain.states[FIRST[0]] == erased.states[FIRST[0]]).all(-1)
    assert same.tolist() == [True, *[False] * 4, *[True] * 8]


def test_labels_are_shares_of_the_words_heard() -> None:
    words = [SpokenWord("Goal", 0.0, 0.5), SpokenWord("zebra", 0.5, 1.0)]
    labels = label_positions(words, [(0, 2), (1, 3)], 4, ("goal", OTHER_WORD))
    assert labels[:3].tolist() == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    assert all(math.isnan(x) for x in labels[3].tolist()), "nothing is heard there"


def test_targets_are_the_commonest_words() -> None:
    assert choose_targets(["a b a", "A c b", "a"], 2) == ("a", "b", OTHER_WORD)
