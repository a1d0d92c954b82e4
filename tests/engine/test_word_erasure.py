"""Erasing the word: on a planted network that uses its text the next word goes, on one that does not it stays."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.erasure import Eraser
from engine.interleaved import CURRENT, NEXT, ask_words, read_clip
from engine.interventions import (
    CHANGE_MATCHED,
    ERASED,
    PLAIN,
    RANK_MATCHED,
    ArmStates,
    choose_targets,
    fit_word_eraser,
    label_positions,
    run_erased,
)
from engine.probes import OTHER_WORD
from engine.words import SpokenWord
from tests.engine.planted_phases import (
    KINDS,
    N_WORDS,
    WORDS,
    WRITES_CURRENT,
    WRITES_NEXT,
    PlantedClip,
    PlantedPhases,
    draw_planted_clips,
)
from tests.engine.test_phases import states_of

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
