"""Kappa against scikit-learn, its identities and limits; the classes by hand.

Error overlap by hand, its null against a drawn permutation, and the limits of both.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from engine.stats.agreement import (
    CLASSES,
    READINGS,
    answer_classes,
    bootstrap_kappas,
    class_counts,
    cohen_kappa,
    confusion,
    error_overlap,
    jointly_wrong,
    kappa_of_counts,
    overlap_chance,
    overlap_null,
)

LABELS = [None, "World", "Sports", "Business"]
PAIRS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=60)


def by_scikit_learn(a: Sequence[str | None], b: Sequence[str | None], reading: str) -> float:
    """By what each reading means: no label of one's own, a label like any other, or no clip."""
    if reading == "left out":
        both = [(x, y) for x, y in zip(a, b, strict=True) if x and y]
        a, b = ([pair[side] for pair in both] for side in (0, 1))
        if not a:
            return math.nan
    own = ("(none)", "(none)") if reading == "agrees" else ("(a gave none)", "(b gave none)")
    left, right = ([x or none for x in labels] for labels, none in zip((a, b), own, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where it returns NaN
        return float(cohen_kappa_score(left, right))


@pytest.mark.parametrize("reading", READINGS)
@given(pairs=PAIRS)
def test_kappa_is_that_of_scikit_learn(reading, pairs: list[tuple[str | None, str | None]]) -> None:
    a, b = [list(labels) for labels in zip(*pairs, strict=True)]
    theirs = by_scikit_learn(a, b, reading)
    if math.isnan(theirs):
        assert math.isnan(cohen_kappa(a, b, reading))
    else:
        assert cohen_kappa(a, b, reading) == pytest.approx(theirs, abs=1e-12)
        assert cohen_kappa(b, a, reading) == pytest.approx(cohen_kappa(a, b, reading), abs=1e-12)


@given(PAIRS)
def test_kappa_of_parsed_answers_with_themselves_is_one(pairs: list[tuple[str | None, str | None]]) -> None:
    a = [left for left, _ in pairs if left]
    assert math.isnan(cohen_kappa(a, a)) if len(set(a)) < 2 else cohen_kappa(a, a) == 1.0


def test_kappa_by_hand() -> None:
    # 2x2 of 20, 5, 10, 15 (Cohen's textbook case): observed 0.7, expected 0.5, kappa 0.4.
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(a, b) == pytest.approx(0.4)


def test_kappa_of_total_disagreement_is_minus_one() -> None:
    assert cohen_kappa(["x", "y"], ["y", "x"]) == -1.0


def test_independent_raters_agree_no_better_than_chance() -> None:
    rng = np.random.default_rng(0)
    a, b = ([str(label) for label in rng.choice(4, size=20_000, p=[0.6, 0.2, 0.1, 0.1])] for _ in range(2))
    assert abs(cohen_kappa(a, b)) < 0.02


def test_two_unparsed_answers_never_agree() -> None:
    """The fault: they counted as one and the same label, which made kappa of two silent systems large."""
    silent = [None, None, "x", "y"]
    assert cohen_kappa(silent, silent) == pytest.approx((0.5 - 0.125) / (1 - 0.125))
    assert cohen_kappa(silent, silent, "agrees") == 1.0 and cohen_kappa(silent, silent, "left out") == 1.0
    assert cohen_kappa([None, None], [None, None]) == 0.0 and cohen_kappa([None, None], ["x", "y"]) == 0.0
    assert math.isnan(cohen_kappa([None, None], [None, None], "left out"))
    assert math.isnan(cohen_kappa([], []))


def test_the_three_readings_have_intervals_from_the_same_resamples() -> None:
    rng = np.random.default_rng(2)
    a = [
        None if silent else str(label)
        for silent, label in zip(rng.random(300) < 0.2, rng.integers(3, size=300), strict=True)
    ]
    b = [
        x if same else str(y)
        for x, same, y in zip(a, rng.random(300) < 0.7, rng.integers(3, size=300), strict=True)
    ]
    found = bootstrap_kappas(confusion(a, b), np.arange(300), seed=1)
    assert list(found) == list(READINGS)
    for reading, estimate in found.items():
        assert estimate.value == pytest.approx(cohen_kappa(a, b, reading))
        assert estimate.low < estimate.value < estimate.high and 0 < estimate.mc_error < 0.01
    assert found["never"].high < found["agrees"].value


def test_pooled_kappa_takes_chance_within_each_task() -> None:
    rng = np.random.default_rng(1)
    guesses = rng.integers(2, size=(2, 2, 5000))  # rater, task, clip: all blind guesses
    strata = np.zeros((2, 3, 3))
    for task in range(2):
        np.add.at(strata[task], (1 + guesses[0, task], 1 + guesses[1, task]), 1)
    assert abs(float(kappa_of_counts(strata))) < 0.03
    # One table with the four labels of both tasks takes the task itself for agreement.
    names = [[f"{task} {label}" for task in range(2) for label in guesses[rater, task]] for rater in range(2)]
    assert cohen_kappa(*names) > 0.3


def test_pooled_kappa_of_one_task_is_kappa_and_an_empty_task_changes_nothing() -> None:
    counts = np.array([[0.0, 0.0, 0.0], [0.0, 20.0, 5.0], [0.0, 10.0, 15.0]])
    assert float(kappa_of_counts(counts[None])) == pytest.approx(0.4)
    assert float(kappa_of_counts(np.stack([counts, np.zeros((3, 3))]))) == pytest.approx(0.4)
    many = np.stack([counts[None], np.zeros((1, 3, 3))], axis=-1)
    assert np.isnan(kappa_of_counts(many)).tolist() == [False, True]


def test_the_classes_by_hand() -> None:
    a = ["x", "x", "y", "y", "y", None, "x"]
    b = ["x", "y", "x", "y", "z", "x", None]
    a_right = [True, True, False, False, False, False, True]
    b_right = [True, False, True, False, False, True, False]
    assert answer_classes(a, b, a_right, b_right) == [
        *("both_right", "a_only", "b_only", "both_wrong_same", "both_wrong_different"),
        *("unlabelled", "unlabelled"),
    ]
    assert class_counts(a, b, a_right, b_right) == dict(zip(CLASSES, [1, 1, 1, 1, 1, 2], strict=True))


def test_two_right_answers_in_other_words_are_both_right() -> None:
    assert class_counts(["lamb"], ["a lamb"], [True], [True])["both_right"] == 1


@given(PAIRS)
def test_every_clip_is_in_one_class_and_systems_change_places(
    pairs: list[tuple[str | None, str | None]],
) -> None:
    a, b = [list(labels) for labels in zip(*pairs, strict=True)]
    a_right, b_right = [x == "World" for x in a], [x == "World" for x in b]
    there, back = class_counts(a, b, a_right, b_right), class_counts(b, a, b_right, a_right)
    assert sum(there.values()) == len(pairs)
    assert there["a_only"] == back["b_only"] and there["both_wrong_same"] == back["both_wrong_same"]


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
