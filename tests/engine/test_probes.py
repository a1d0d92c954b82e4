"""Facts about probes: slow references, planted signals, shuffled labels, and splits that leak nothing.

Concepts at positions: hand-computed overlaps, bags and levels.

Facts about the untrained control: nothing learned is left, sizes are, and the seed decides.

Facts about the CTC probe: it reads what is plain to see, several characters to a position, and no noise.
"""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from engine import probes
from engine.audio import SAMPLE_RATE_HZ
from engine.probes import (
    CHARACTERS,
    ENERGY_FLOOR_DB,
    LETTERS,
    OTHER_WORD,
    CtcProbe,
    accuracy_score,
    classify,
    decodability,
    decodability_by_clip,
    energy_db,
    first_word,
    fit_ctc_probe,
    grouped_folds,
    letter_bags,
    places_for,
    r2_by_clip,
    r2_score,
    redraw,
    ridge_predictions,
    spell,
)
from engine.stats.scores import assign_folds
from engine.words import SpokenWord, even_ends, overlapping

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


WORDS = (SpokenWord("Add", 0.0, 0.5), SpokenWord("it's", 0.9, 1.6))
N_POSITIONS, WIDTH_S = 4, 0.5
ENDS_S = even_ends(N_POSITIONS, WIDTH_S)
TARGETS = ("add", "bank", OTHER_WORD)
SAMPLES = np.repeat(np.array([0.5, 0.05, 0.005, 0.0], np.float32), SAMPLE_RATE_HZ // 2)


def test_a_word_is_heard_wherever_it_overlaps_and_not_where_it_only_touches() -> None:
    assert overlapping(WORDS, ENDS_S) == ((0,), (1,), (1,), (1,))
    assert overlapping(WORDS, even_ends(N_POSITIONS, 1.0)) == ((0, 1), (1,), (), ())
    assert overlapping((), even_ends(2, WIDTH_S)) == ((), ())


def test_letter_bags_are_shares_of_the_letters_heard() -> None:
    bags = letter_bags(WORDS, ENDS_S)
    expected = np.zeros((N_POSITIONS, len(LETTERS)))
    expected[0, [0, 3]] = 1 / 3, 2 / 3
    expected[1:, [LETTERS.index(c) for c in "it's"]] = 1 / 4
    np.testing.assert_allclose(bags, expected)


def test_bags_sum_to_one_where_a_word_is_and_to_zero_in_pauses() -> None:
    bags = letter_bags((SpokenWord("queen", 0.0, 0.4), SpokenWord("42", 1.6, 1.9)), ENDS_S)
    np.testing.assert_allclose(bags.sum(1), [1.0, 0.0, 0.0, 0.0])


def test_level_is_in_decibels_of_full_scale_with_a_floor() -> None:
    expected = [20 * np.log10(0.5), 20 * np.log10(0.05), 20 * np.log10(0.005), ENERGY_FLOOR_DB]
    np.testing.assert_allclose(energy_db(SAMPLES, ENDS_S), expected, atol=1e-4)


def test_a_clip_shorter_or_longer_than_its_positions_is_padded_or_cut() -> None:
    assert energy_db(SAMPLES, even_ends(6, WIDTH_S))[4:] == pytest.approx(ENERGY_FLOOR_DB)
    assert len(energy_db(SAMPLES, even_ends(2, WIDTH_S))) == 2


def test_the_first_word_has_a_class_or_falls_to_the_last_one() -> None:
    assert first_word(WORDS, TARGETS) == 0
    assert first_word(WORDS[1:], TARGETS) == first_word((), TARGETS) == 2


def test_positions_of_many_widths_hold_what_is_said_while_they_last() -> None:
    """A bridge's positions last as long as their tokens: .3, .6 and 1.1 s here."""
    ends_s = np.array([0.3, 0.9, 2.0])
    assert overlapping(WORDS, ends_s) == ((0,), (0,), (1,))
    assert letter_bags(WORDS, ends_s)[2, LETTERS.index("t")] == pytest.approx(1 / 4)
    level = energy_db(SAMPLES, ends_s)
    loud = np.concatenate(
        [SAMPLES[int(start * SAMPLE_RATE_HZ) :][: int(0.6 * SAMPLE_RATE_HZ)] for start in (0.3,)]
    )
    assert level[0] == pytest.approx(20 * np.log10(0.5), abs=1e-3)
    assert level[1] == pytest.approx(10 * np.log10((loud.astype(float) ** 2).mean()), abs=1e-3)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(64, 48)
        self.norm = nn.LayerNorm(48)
        self.embed_positions = nn.Embedding(10, 64)
        with torch.no_grad():
            self.linear.weight.mul_(5)
            self.norm.weight.fill_(3.0)


def test_matrices_keep_their_size_and_nothing_else() -> None:
    trained = Small()
    drawn = deepcopy(trained)
    redraw(drawn, seed=1)
    before, after = trained.linear.weight.detach(), drawn.linear.weight.detach()
    correlation = torch.corrcoef(torch.stack([before.ravel(), after.ravel()]))[0, 1]
    assert abs(float(correlation)) < 0.06
    assert abs(float(after.std() / before.std()) - 1) < 0.05
    assert (drawn.norm.weight == 1).all() and (drawn.norm.bias == 0).all() and (drawn.linear.bias == 0).all()
    assert torch.equal(drawn.embed_positions.weight, trained.embed_positions.weight)


def test_the_seed_decides() -> None:
    one, two, other = Small(), Small(), Small()
    for module, seed in ((one, 1), (two, 1), (other, 2)):
        redraw(module, seed=seed)
    assert torch.equal(one.linear.weight, two.linear.weight)
    assert not torch.equal(one.linear.weight, other.linear.weight)


TEXTS = ["ab", "ba", "abc", "cab", "bca", "acb"] * 4


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "STEPS", 120)


def sound(text: str, generator: np.random.Generator, directions: np.ndarray) -> np.ndarray:
    """Three rows of each character's own direction, then two of silence."""
    classes = [c for letter in text for c in (1 + CHARACTERS.index(letter),) * 3 + (0,) * 2]
    return directions[classes] + 0.05 * generator.standard_normal((len(classes), directions.shape[1]))


def test_characters_that_have_a_direction_are_read_and_the_same_each_time() -> None:
    generator = np.random.default_rng(0)
    directions = generator.standard_normal((len(CHARACTERS) + 1, 16))
    states = [sound(text, generator, directions) for text in TEXTS]
    probe, again = fit_ctc_probe(states, TEXTS, 1), fit_ctc_probe(states, TEXTS, 1)
    assert torch.equal(probe.weight, again.weight)
    assert probe.read(sound("bac", generator, directions)) == "bac"


def test_a_position_may_hold_several_characters() -> None:
    """Each state is a whole word of three letters: one place could give no more than one of them."""
    generator = np.random.default_rng(1)
    words = {"abc": generator.standard_normal(8), "bca": generator.standard_normal(8)}
    pairs = [("abc", "bca"), ("bca", "abc"), ("abc", "abc"), ("bca", "bca")] * 3
    texts = ["".join(pair) for pair in pairs]
    states = [np.stack([words[word] for word in pair]) for pair in pairs]
    probe = fit_ctc_probe(states, texts, 8)
    assert [probe.read(x) for x in states[:2]] == texts[:2]
    assert all(len(fit_ctc_probe(states, texts, 1).read(x)) <= 2 for x in states[:2])


def test_repeats_are_merged_unless_a_blank_parts_them() -> None:
    a, b = 1 + CHARACTERS.index("a"), 1 + CHARACTERS.index("b")
    n_classes = 1 + len(CHARACTERS)
    probe = CtcProbe(torch.eye(n_classes), torch.zeros(n_classes), torch.zeros(1), torch.ones(1), 1)
    assert probe.read(np.eye(n_classes)[[a, a, 0, a, b, b, 0]]) == "aab"


def test_places_follow_the_width_of_a_position() -> None:
    assert [places_for(width) for width in (0.02, 0.04, 0.16)] == [1, 1, 4]


def test_spelling_leaves_out_what_the_probe_cannot_write() -> None:
    assert spell("It's 3 o'clock,  Anna!") == "it's o'clock anna"
