"""Error overlap by hand, its null against a drawn permutation, and the limits of both."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest

from engine.stats.agreement import error_overlap, jointly_wrong, overlap_chance, overlap_null


def test_overlap_by_hand() -> None:
    a = ["x", "y", "z", "x", None, "g"]
    b = ["x", "z", "z", "g", "x", "g"]
    a_right = [False, False, False, False, False, True]
    b_right = [False, False, False, True, False, True]
    assert jointly_wrong(a, b, a_right, b_right) == [True, True, True, False, False, False]
    assert error_overlap(a, b, a_right, b_right) == pytest.approx(2 / 3)


def test_overlap_without_joint_errors_is_not_defined() -> None:
    assert math.isnan(error_overlap(["x", None], ["x", "y"], [True, False], [True, False]))
    assert math.isnan(error_overlap([], [], [], []))
    assert math.isnan(overlap_chance([])) and math.isnan(overlap_null([], [], [], []))


def test_the_same_errors_overlap_fully() -> None:
    assert error_overlap(["x", "y"], ["x", "y"], [False] * 2, [False] * 2) == 1.0


def test_blind_guessing_has_the_chance_of_the_paper() -> None:
    assert overlap_chance([4, 4, 4]) == pytest.approx(1 / 3)
    assert overlap_chance([5, 3]) == pytest.approx((1 / 4 + 1 / 2) / 2)


def draw_wrong(rng: np.random.Generator, golds: np.ndarray, n_labels: int) -> list[str]:
    return [str((gold + rng.integers(1, n_labels)) % n_labels) for gold in golds]


def test_the_null_of_uniform_errors_is_one_over_the_wrong_labels() -> None:
    rng = np.random.default_rng(0)
    golds = rng.integers(4, size=4000)
    a, b = draw_wrong(rng, golds, 4), draw_wrong(rng, golds, 4)
    null = overlap_null(a, b, golds.tolist(), list(range(4000)))
    assert null == pytest.approx(1 / 3, abs=0.01)
    # The same errors keep that null: how alike two systems are does not move what chance would give.
    assert overlap_null(a, a, golds.tolist(), list(range(4000))) == pytest.approx(1 / 3, abs=0.01)


def test_the_null_is_label_aware() -> None:
    # Both always mistake 0 for 1 and 1 for 0: full overlap, and all of it is base rate.
    golds = [0, 0, 0, 1, 1, 1]
    wrong = ["1", "1", "1", "0", "0", "0"]
    assert overlap_null(wrong, wrong, golds, list("abcdef")) == 1.0


def test_the_null_is_the_mean_of_permutations_that_deal_no_item_its_own_answer() -> None:
    rng = np.random.default_rng(1)
    golds = rng.integers(3, size=18).tolist()
    a, b = draw_wrong(rng, np.array(golds), 4), draw_wrong(rng, np.array(golds), 4)
    strata = defaultdict(list)
    for clip, gold in enumerate(golds):
        strata[gold].append(clip)
    drawn = []
    for _ in range(6000):
        same = 0
        for clips in strata.values():
            order = rng.permutation(clips)
            while (order == clips).any():
                order = rng.permutation(clips)
            same += sum(a[clip] == b[other] for clip, other in zip(clips, order, strict=True))
        drawn.append(same / len(golds))
    assert overlap_null(a, b, golds, list(range(18))) == pytest.approx(np.mean(drawn), abs=0.01)


def test_the_null_is_that_of_a_plain_permutation_where_there_are_many_clips() -> None:
    rng = np.random.default_rng(2)
    golds = rng.integers(4, size=3000)
    a = [str((gold + rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1])) % 4) for gold in golds]
    b = [label if rng.random() < 0.5 else str((gold + 1) % 4) for label, gold in zip(a, golds, strict=True)]
    drawn = np.empty(len(golds), dtype=object)
    for gold in range(4):
        clips = np.flatnonzero(golds == gold)
        drawn[clips] = [b[clip] for clip in rng.permutation(clips)]
    plain = np.mean([x == y for x, y in zip(a, drawn, strict=True)])
    assert overlap_null(a, b, golds.tolist(), list(range(3000))) == pytest.approx(plain, abs=0.02)


def test_renderings_of_an_item_are_not_each_others_null() -> None:
    # Three voices of one item repeat one answer; the null looks at the other item with that right answer.
    a, b = ["x", "x", "x", "y"], ["x", "x", "x", "x"]
    assert overlap_null(a, b, ["g"] * 4, [1, 1, 1, 2]) == pytest.approx(3 / 4)
    assert math.isnan(overlap_null(a[:3], b[:3], ["g"] * 3, [1, 1, 1]))


def test_clips_without_a_partner_are_left_out_of_the_null() -> None:
    assert overlap_null(["x", "y", "x"], ["x", "y", "x"], ["g", "g", "h"], [1, 2, 3]) == 0.0
