"""Facts about probes: slow references, planted signals, shuffled labels, and splits that leak nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine import probes
from engine.probes import (
    accuracy_score,
    classify,
    decodability,
    decodability_by_clip,
    grouped_folds,
    r2_by_clip,
    r2_score,
    ridge_predictions,
)
from engine.stats.scores import assign_folds

N_CLIPS, D_MODEL = 60, 12
SENTENCES = [f"sentence {n % 20}" for n in range(N_CLIPS)]
VOICES = [f"voice {n % 9}" for n in range(N_CLIPS)]
GROUPS = np.array([n % 20 for n in range(N_CLIPS)])


def folds_of_clips() -> list[probes.Fold]:
    sentence_folds = assign_folds(SENTENCES, 3, seed=1)
    return grouped_folds(sentence_folds, assign_folds(VOICES, 3, seed=2))


def planted(noise: float = 0.0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """States of 20 to 40 positions; two targets are linear in them, every seventh row has none."""
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((D_MODEL, 2))
    states = [generator.standard_normal((20 + n % 20, D_MODEL)) * 3 + 1 for n in range(N_CLIPS)]
    targets = [x @ weight + noise * generator.standard_normal((len(x), 2)) for x in states]
    for target in targets:
        target[::7] = math.nan
    return states, targets


def test_no_sentence_and_no_voice_is_on_both_sides() -> None:
    folds = folds_of_clips()
    assert len(folds) == 3
    for fold in folds:
        for keys in (SENTENCES, VOICES):
            train, test = ({keys[n] for n in np.flatnonzero(side)} for side in (fold.train, fold.test))
            assert train and test and not train & test
    assert (np.sum([fold.test for fold in folds], axis=0) <= 1).all()


def test_voices_that_keep_to_their_sentences_fold_lose_no_clip() -> None:
    aligned = np.arange(N_CLIPS) % 3
    folds = grouped_folds(aligned, aligned)
    assert all((fold.train | fold.test).all() for fold in folds)


def test_a_fold_without_clips_is_refused() -> None:
    """One voice in all clips: where it is scored, nothing is left to fit on."""
    with pytest.raises(ValueError, match="0 clips to fit on"):
        grouped_folds(np.array([0, 1, 2]), np.array([0, 0, 0]))


def test_folds_are_of_equal_size_and_follow_the_key() -> None:
    folds = assign_folds(SENTENCES, 3, seed=5)
    of_key = {key: {int(f) for k, f in zip(SENTENCES, folds, strict=True) if k == key} for key in SENTENCES}
    assert all(len(found) == 1 for found in of_key.values())
    assert sorted(sum(found == {fold} for found in of_key.values()) for fold in range(3)) == [6, 7, 7]


def test_a_planted_linear_signal_is_read_at_one_and_shuffled_at_zero() -> None:
    states, targets = planted()
    folds = folds_of_clips()
    read = r2_score(targets, ridge_predictions(states, targets, folds), GROUPS, seed=0)
    assert read.value > 0.999 and read.low > 0.999 and read.low <= read.value <= read.high
    dealt = ridge_predictions(states, targets, folds, shuffle_seed=3)
    control = r2_score(targets, dealt, GROUPS, seed=0)
    assert -0.2 < control.value < 0.05 and control.high < 0.1


def test_noise_in_the_target_lowers_r2_to_the_share_that_is_signal() -> None:
    """Signal variance 9 |w|^2 against noise variance 100."""
    states, targets = planted(noise=10.0)
    signal = np.var(np.concatenate(planted()[1])[:, 0][~np.isnan(np.concatenate(planted()[1])[:, 0])])
    read = r2_score(
        [t[:, :1] for t in targets],
        ridge_predictions(states, [t[:, :1] for t in targets], folds_of_clips()),
        GROUPS,
        seed=0,
    )
    assert read.value == pytest.approx(signal / (signal + 100), abs=0.06)
    assert read.low < read.value < read.high


@pytest.mark.parametrize("penalty", [1e-3, 1.0])
def test_the_ridge_solves_its_normal_equations(penalty: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow reference: standardise, centre, (X'X + penalty) w = X'z, fold by fold."""
    monkeypatch.setattr(probes, "PENALTIES", (penalty,))
    states, targets = planted(noise=1.0)
    folds = folds_of_clips()
    read = ridge_predictions(states, targets, folds)
    fold = folds[0]
    x = np.concatenate([states[n] for n in np.flatnonzero(fold.train)])
    z = np.concatenate([targets[n] for n in np.flatnonzero(fold.train)])
    x, z = x[~np.isnan(z[:, 0])], z[~np.isnan(z[:, 0])]
    mean, scale = x.mean(0), x.std(0)
    x = (x - mean) / scale
    weight = np.linalg.solve(x.T @ x + penalty * len(x) * np.eye(D_MODEL), x.T @ (z - z.mean(0)))
    clip = int(np.flatnonzero(fold.test)[0])
    expected = (states[clip] - mean) / scale @ weight + z.mean(0)
    np.testing.assert_allclose(read[clip], expected, atol=1e-8)


def test_the_penalty_is_chosen_without_the_scored_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight rows of 200 columns a clip, little signal: a weak penalty reads noise, the chosen one does not."""
    generator = np.random.default_rng(4)
    states = [generator.standard_normal((8, 200)) for _ in range(N_CLIPS)]
    targets = [x[:, :1] + 3 * generator.standard_normal((8, 1)) for x in states]
    aligned = np.arange(N_CLIPS) % 3
    folds = grouped_folds(aligned, aligned)

    def score() -> float:
        return r2_score(targets, ridge_predictions(states, targets, folds), GROUPS, seed=0).value

    chosen = score()
    scores = {}
    for penalty in probes.PENALTIES:
        monkeypatch.setattr(probes, "PENALTIES", (penalty,))
        scores[penalty] = score()
    assert scores[1e-3] < -0.4 and chosen == pytest.approx(max(scores.values()), abs=0.02)


def test_r2_equals_scikit_learns_over_all_scored_rows() -> None:
    from sklearn.metrics import r2_score as reference

    states, targets = planted(noise=5.0)
    read = ridge_predictions(states, targets, folds_of_clips())
    z, predicted = np.concatenate(targets), np.concatenate(read)
    known = ~np.isnan(z).any(1) & ~np.isnan(predicted).any(1)
    assert 0 < known.sum() < len(z)
    assert r2_score(targets, read, GROUPS, seed=0).value == pytest.approx(
        reference(z[known], predicted[known])
    )


def test_clips_own_shares_in_r2_add_up_to_it() -> None:
    states, targets = planted(noise=5.0)
    read = ridge_predictions(states, targets, folds_of_clips())
    n_rows = [int((~np.isnan(z) & ~np.isnan(r)).all(1).sum()) for z, r in zip(targets, read, strict=True)]
    own = r2_by_clip(targets, read)
    assert (np.isnan(own) == (np.array(n_rows) == 0)).all() and np.nanmin(own) < np.nanmax(own)
    weighted = np.nansum(own * n_rows) / np.sum(n_rows)
    assert weighted == pytest.approx(r2_score(targets, read, GROUPS, seed=0).value)
    mixed = [np.stack([np.ones(4), np.arange(4.0)], axis=1)] * 3
    assert r2_by_clip(mixed, mixed).tolist() == [1.0] * 3, "a target that never changes is left out"
    assert np.isnan(r2_by_clip([np.ones((4, 1))], [np.ones((4, 1))])).all()


def test_clips_own_decodability_weighted_by_characters_is_the_whole() -> None:
    said, heard = ["the cat sat", "dogs", "gone", ""], ["the bat sa", "xyzxyz", None, "a"]
    own = decodability_by_clip(said, heard)
    assert own[:2] == pytest.approx([1 - 2 / 11, 1 - 6 / 4]) and np.isnan(own[2:]).all()
    whole = decodability(said, heard, np.arange(4), seed=0).value
    assert (own[0] * 11 + own[1] * 4) / 15 == pytest.approx(whole)


def test_a_target_that_never_changes_has_no_r2() -> None:
    ones = [np.ones((4, 1))] * 3
    assert math.isnan(r2_score(ones, ones, np.arange(3), seed=0).value)
    mixed = [np.stack([np.ones(4), np.arange(4.0)], axis=1)] * 3
    assert r2_score(mixed, mixed, np.arange(3), seed=0).value == 1.0
    nothing = [np.full((4, 1), math.nan)] * 3
    assert "No row" in r2_score(nothing, ones, np.arange(3), seed=0).note


def test_an_interval_is_wider_over_few_groups_than_over_many() -> None:
    """Sixty clips of five sentences are no sixty sentences; scores here differ between sentences."""
    generator = np.random.default_rng(1)
    of_five = np.arange(N_CLIPS) % 5
    targets = [generator.standard_normal((30, 1)) for _ in range(N_CLIPS)]
    read = [
        z + (0.3 + group) * generator.standard_normal(z.shape) / 4
        for z, group in zip(targets, of_five, strict=True)
    ]
    few, many = (r2_score(targets, read, g, seed=0) for g in (of_five, np.arange(N_CLIPS)))
    assert few.value == pytest.approx(many.value) and few.n == 5 and many.n == N_CLIPS
    assert few.high - few.low > 1.5 * (many.high - many.low)


def test_a_classifier_reads_what_shifts_the_states_and_shuffled_labels_give_chance() -> None:
    generator = np.random.default_rng(2)
    labels = ["woman" if n % 2 else "man" for n in range(N_CLIPS)]
    states = generator.standard_normal((N_CLIPS, 6))
    states[:, 0] += np.where(np.array(labels) == "woman", 6.0, -6.0)
    folds = folds_of_clips()
    read = classify(states, labels, folds)
    assert accuracy_score(labels, read, GROUPS, seed=0).value == 1.0
    assert accuracy_score(labels, read, GROUPS, seed=0).low < 1.0, "Wilson's interval, not one of no width"
    scored = sum(fold.test.sum() for fold in folds)
    assert sum(label is not None for label in read) == scored
    shares = [
        accuracy_score(labels, classify(states, labels, folds, shuffle_seed=seed), GROUPS, seed=0).value
        for seed in range(30)
    ]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.12)


def test_decodability_is_one_minus_the_character_error_rate() -> None:
    """Two of eleven characters are wrong in the first text, none of four in the second; the third is not scored."""
    said, heard = ["the cat sat", "dogs", "gone"], ["the bat sa", "dogs", None]
    assert decodability(said, heard, np.arange(3), seed=0).value == pytest.approx(1 - 2 / 15)


def test_worse_than_nothing_is_shown_as_zero_and_said() -> None:
    found = decodability(["ab", "cd"], ["xyzxyz", "uvwuvw"], np.arange(2), seed=0)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0) and probes.CLIPPED in found.note
    silent = decodability(["ab", "cd"], ["", ""], np.arange(2), seed=0)
    assert silent.value == 0.0 and probes.CLIPPED not in silent.note
