"""Linear probes: what a linear reader finds in states of unseen sentences in unseen voices.

Values in, values out: no model is loaded and no clip is read here. Each score stands beside the same probe trained on
shuffled labels; the difference is its selectivity (Hewitt and Liang, 2019); `redraw` makes the model that has learned
nothing, the control for what its shape alone lets a probe read. The paper (arXiv 2602.17598, section 5.1) splits by
utterance and gives no control.

`read_concept` is the fresh probe beside an eraser; it never sees the clips of the eraser's fit (see `results.Proof`).
The paper's text probe is one linear layer with CTC loss on characters (section 5.1). Where a position lasts longer
than a character, the map writes several characters' places for each position: a state that is merely repeated could
never give more than one character, for CTC merges repeats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import jiwer
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from engine.audio import SAMPLE_RATE_HZ
from engine.erasure import Moments
from engine.results import LayerProof
from engine.stats.intervals import Estimate, bootstrap, bootstrap_share, per_group
from engine.stats.scores import assign_folds
from engine.words import Ends, SpokenWord, overlapping

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz'")
OTHER_WORD = "(another word)"
ENERGY_FLOOR_DB = -70.0


def letter_bags(words: Sequence[SpokenWord], ends_s: Ends) -> Float[np.ndarray, "positions letters"]:
    """Return at each position the share of each letter of `LETTERS` in the words heard there; zeros in pauses."""
    bags = np.zeros((len(ends_s), len(LETTERS)))
    for position, here in enumerate(overlapping(words, ends_s)):
        letters = [LETTERS.index(c) for i in here for c in words[i].text.lower() if c in LETTERS]
        for letter in letters:
            bags[position, letter] += 1 / len(letters)
    return bags


def energy_db(
    samples: Float[np.ndarray, "samples"],  # noqa: F821 - jaxtyping axis name
    ends_s: Ends,
) -> Float[np.ndarray, "positions"]:  # noqa: F821
    """Return the level of each position in dB of full scale, floored at -70 dB; past the sound it is silence."""
    edges = np.round(np.array([0.0, *ends_s]) * SAMPLE_RATE_HZ).astype(int)
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    inside = np.minimum(edges, len(samples))
    rms = np.sqrt(np.diff(energy[inside]) / np.maximum(np.diff(edges), 1))
    return np.maximum(20 * np.log10(rms + 1e-12), ENERGY_FLOOR_DB)


def first_word(words: Sequence[SpokenWord], targets: Sequence[str]) -> int:
    """Return the class of the clip's first word among `targets`, whose last is `OTHER_WORD`."""
    word = words[0].text.lower() if words else OTHER_WORD
    return targets.index(word) if word in targets else len(targets) - 1


FIXED = "embed_positions"  # Whisper's sinusoids, which no training changes


@torch.no_grad()
def redraw(module: nn.Module, *, seed: int) -> None:
    """Draw a module's weights anew, in place; the same seed draws the same.

    Every matrix becomes Gaussian with the deviation that it had, so that states keep their size; norms become 1
    and biases 0.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        if FIXED in name:
            continue
        if weight.ndim > 1:
            weight.copy_(torch.randn(weight.shape, generator=generator) * float(weight.float().std()))
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)


PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # for each row of standardised states; chosen without the scored clips
LOGISTIC_C = 1.0  # scikit-learn's own default
MAX_ITERATIONS = 2000
_VARIES = 1e-9  # of the sum of squares: below it a target is a constant
CLIPPED = "1 - CER is below 0 and shown as 0."

ClipNumbers = Int[np.ndarray, "clips"]
States = Sequence[Float[np.ndarray, "_ d_model"]]
Targets = Sequence[Float[np.ndarray, "_ targets"]]


@dataclass(frozen=True)
class Fold:
    """Which clips a probe is fitted on and which it is scored on; a clip may be in neither.

    Attributes:
        train, test: clip by clip.
    """

    train: Bool[np.ndarray, "clips"]  # noqa: F821 - jaxtyping axis name
    test: Bool[np.ndarray, "clips"]  # noqa: F821


def grouped_folds(
    sentence_folds: ClipNumbers,
    voice_folds: ClipNumbers,
) -> list[Fold]:
    """Return folds in which no sentence and no voice stands on both sides.

    A fold is scored on the clips whose sentence and voice both belong to it, and fitted on those of which
    neither does; clips that are half in it are left out.

    Raises:
        ValueError: a fold would have nothing to be fitted on or to be scored on.
    """
    folds = []
    for fold in np.unique(sentence_folds):
        train = (sentence_folds != fold) & (voice_folds != fold)
        test = (sentence_folds == fold) & (voice_folds == fold)
        if not train.any() or not test.any():
            raise ValueError(f"fold {fold} has {train.sum()} clips to fit on and {test.sum()} to score")
        folds.append(Fold(train, test))
    return folds


def ridge_predictions(
    states: States, targets: Targets, folds: Sequence[Fold], *, shuffle_seed: int | None = None
) -> list[Float[np.ndarray, "_ targets"]]:
    """Return each clip's targets as read by a ridge regression that saw neither its sentence nor its voice.

    States are standardised on the clips the probe is fitted on. The penalty is the one of `PENALTIES` that reads
    the other folds best, each from the rest: wide input features and narrow states get what suits each. With
    two folds there is no rest, and the first is taken. Clips that no fold scores, or for which nothing can be
    fitted on, are NaN.

    Args:
        states: clip by clip, a row for each position.
        targets: clip by clip, the same rows; a row with a NaN is neither fitted on nor scored.
        folds: of the clips.
        shuffle_seed: deal the rows' targets anew among the rows fitted on: the control.
    """
    from sklearn.linear_model import Ridge, RidgeCV

    out = [np.full(target.shape, math.nan) for target in targets]
    for number, fold in enumerate(folds):
        chosen = np.flatnonzero(fold.train).tolist()
        x = np.concatenate([states[clip] for clip in chosen]).astype(np.float64)
        z = np.concatenate([targets[clip] for clip in chosen])
        clip_of = np.repeat(chosen, [len(targets[clip]) for clip in chosen])
        known = ~np.isnan(z).any(axis=1)
        if not known.any():
            continue
        mean, scale = _standard(x[known])
        z, clip_of = z[known], clip_of[known]
        if shuffle_seed is not None:
            z = z[np.random.default_rng((shuffle_seed, number)).permutation(len(z))]
        inner = _inner_splits(clip_of, number, folds)
        penalties = [penalty * len(z) for penalty in PENALTIES]
        probe = RidgeCV(penalties, cv=inner) if inner else Ridge(penalties[0])
        probe.fit((x[known] - mean) / scale, z)
        for clip in np.flatnonzero(fold.test).tolist():
            read = probe.predict((states[clip].astype(np.float64) - mean) / scale)
            out[clip] = read.reshape(targets[clip].shape)
    return out


def _inner_splits(
    clip_of: np.ndarray, number: int, folds: Sequence[Fold]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for every other fold the rows to fit on and those to choose by, of the rows of this fold's fit."""
    splits = []
    for other, fold in enumerate(folds):
        rows = np.flatnonzero(fold.train[clip_of]), np.flatnonzero(fold.test[clip_of])
        if other != number and all(len(part) for part in rows):
            splits.append(rows)
    return splits


def _standard(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of each column; a column that never changes is left as it is."""
    scale = x.std(axis=0)
    return x.mean(axis=0), np.where(scale > 0, scale, 1.0)


def r2_score(
    targets: Targets,
    predicted: Targets,
    groups: ClipNumbers,
    *,
    seed: int,
) -> Estimate:
    """Return R2 over all scored rows, the mean over targets, with its interval over groups of clips.

    1 - squared error / squared deviation from the rows' own mean: 1 at best, 0 for a probe that knows the mean
    alone, negative for a worse one. Targets that do not vary are left out; NaN where none does.

    Args:
        targets: clip by clip.
        predicted: as `targets`; rows with a NaN in either are left out.
        groups: number of each clip's sentence: all clips of one are resampled together.
        seed: of the resampling.
    """
    sums = np.stack([_r2_sums(z, read) for z, read in zip(targets, predicted, strict=True)])
    scored = sums[:, 0, 0] > 0
    if not scored.any():
        return Estimate(math.nan, math.nan, math.nan, 0, "", "No row is scored.")
    shape = sums.shape[1:]
    totals = per_group(groups[scored], sums[scored].reshape(int(scored.sum()), -1))
    return bootstrap(totals, lambda s: _r2_of_sums(s.reshape(*s.shape[:-1], *shape)), seed=seed)


def r2_by_clip(targets: Targets, predicted: Targets) -> Float[np.ndarray, "clips"]:  # noqa: F821
    """Return each clip's share in R2: 1 - its mean squared error over the variance of all scored rows.

    The mean of these, weighted by scored rows, is `r2_score`; a clip without scored rows is NaN. Targets that
    do not vary are left out.
    """
    sums = np.stack([_r2_sums(z, read) for z, read in zip(targets, predicted, strict=True)])
    rows, total, squares, _ = sums.sum(axis=0)
    variance = (squares - total**2 / np.maximum(rows, 1)) / np.maximum(rows, 1)
    varies = variance > _VARIES * np.maximum(squares, 1e-12) / np.maximum(rows, 1)
    n_rows, errors = sums[:, 0, :1], sums[:, 3][:, varies]
    if not varies.any():
        return np.full(len(sums), math.nan)
    mean_error = np.divide(errors, n_rows, out=np.full(errors.shape, math.nan), where=n_rows > 0)
    return np.asarray((1 - mean_error / variance[varies]).mean(axis=1))


def _r2_sums(z: np.ndarray, read: np.ndarray) -> Float[np.ndarray, "four targets"]:
    """Return rows, sum, sum of squares and squared error of each target."""
    known = ~(np.isnan(z) | np.isnan(read)).any(axis=1)
    z, read = z[known], read[known]
    return np.stack([np.full(z.shape[1], float(len(z))), z.sum(0), (z**2).sum(0), ((z - read) ** 2).sum(0)])


def _r2_of_sums(sums: Float[np.ndarray, "*resamples four targets"]) -> np.ndarray:
    rows, total, squares, error = (sums[..., index, :] for index in range(4))
    deviation = squares - total**2 / np.maximum(rows, 1)
    varies = deviation > _VARIES * np.maximum(squares, 1e-12)
    r2 = 1 - np.divide(error, deviation, out=np.zeros_like(error), where=varies)
    n_varying = varies.sum(axis=-1)
    mean = np.divide((r2 * varies).sum(-1), n_varying, out=np.zeros(n_varying.shape), where=n_varying > 0)
    return np.where(n_varying > 0, mean, math.nan)


def classify(
    states: Float[np.ndarray, "clips d_model"],
    labels: Sequence[str],
    folds: Sequence[Fold],
    *,
    shuffle_seed: int | None = None,
) -> list[str | None]:
    """Return each clip's label as read by a logistic regression over standardised states.

    Args:
        states: one row a clip.
        labels: the right ones.
        folds: of the clips; a clip that no fold scores is None.
        shuffle_seed: deal the labels anew among the clips fitted on: the control.
    """
    from sklearn.linear_model import LogisticRegression

    named = np.array(labels, dtype=object)
    out: list[str | None] = [None] * len(labels)
    for number, fold in enumerate(folds):
        x, y = states[fold.train].astype(np.float64), named[fold.train]
        mean, scale = _standard(x)
        if shuffle_seed is not None:
            y = y[np.random.default_rng((shuffle_seed, number)).permutation(len(y))]
        probe = LogisticRegression(C=LOGISTIC_C, max_iter=MAX_ITERATIONS).fit(
            (x - mean) / scale, y.astype(str)
        )
        read = probe.predict((states[fold.test].astype(np.float64) - mean) / scale)
        for clip, label in zip(np.flatnonzero(fold.test).tolist(), read, strict=True):
            out[clip] = str(label)
    return out


def accuracy_score(
    labels: Sequence[str],
    read: Sequence[str | None],
    groups: ClipNumbers,
    *,
    seed: int,
) -> Estimate:
    """Return the share of clips read rightly, with its interval over groups; unscored clips are left out."""
    scored = np.array([label is not None for label in read])
    hits = np.array([[float(a == b), 1.0] for a, b in zip(labels, read, strict=True)])
    return bootstrap_share(per_group(groups[scored], hits[scored]), seed=seed)


def decodability(
    said: Sequence[str],
    heard: Sequence[str | None],
    groups: ClipNumbers,
    *,
    seed: int,
) -> Estimate:
    """Return 1 - CER of the texts that a probe read, clipped at 0, with its interval over groups.

    Character errors of all scored clips over characters said. Below 0 a probe writes more wrong characters
    than were said; it is shown as 0, interval and all, and the note says so.

    Args:
        said: the words, lower case; a clip that says nothing is left out.
        heard: what was read; None for a clip that no fold scores.
        groups: number of each clip's sentence.
        seed: of the resampling.
    """
    scored = [n for n, text in enumerate(heard) if text is not None and said[n]]
    counts = np.array([[_character_errors(said[n], heard[n] or ""), len(said[n])] for n in scored])
    if not scored:
        return Estimate(math.nan, math.nan, math.nan, 0, "", "No clip is scored.")
    totals = per_group(groups[scored], counts.astype(np.float64))
    below = totals[:, 0].sum() > totals[:, 1].sum()
    found = bootstrap(totals, lambda s: np.maximum(0.0, 1 - s[..., 0] / s[..., 1]), seed=seed)
    note = " ".join(filter(None, [found.note, CLIPPED if below else ""]))
    return Estimate(found.value, found.low, found.high, found.n, found.method, note)


def decodability_by_clip(said: Sequence[str], heard: Sequence[str | None]) -> Float[np.ndarray, "clips"]:  # noqa: F821 - jaxtyping axis name
    """Return each clip's 1 - CER, which may be below 0; NaN where nothing was said or read."""
    return np.array(
        [
            1 - _character_errors(text, read) / len(text) if text and read is not None else math.nan
            for text, read in zip(said, heard, strict=True)
        ]
    )


def _character_errors(said: str, heard: str) -> int:
    if not heard:
        return len(said)
    counted = jiwer.process_characters(said, heard)
    return int(counted.substitutions + counted.deletions + counted.insertions)


N_FOLDS = 5
SEED = 20260217  # of the folds and of the resampling


@dataclass(frozen=True)
class Reading:
    """What a probe reads: its score with the interval over groups, and the score of the best constant guess."""

    score: Estimate
    chance: float


def layer_proof(plain: Reading, erased: Reading, random: Reading) -> LayerProof:
    """Return three readings of the same labels as one layer's proof."""
    return LayerProof(
        *(plain.score.value, plain.score.low, plain.score.high),
        *(erased.score.value, erased.score.low, erased.score.high),
        random.score.value,
        plain.chance,
    )


def read_concept(
    states: Sequence[Float[Tensor, "_ d_model"]],
    labels: Sequence[Float[Tensor, "_ targets"]],
    groups: Int[np.ndarray, "clips"],  # noqa: F821 - jaxtyping axis name
    *,
    classes: bool,
) -> Reading:
    """Return what a linear probe reads of labels in states, each clip read by a probe that saw none of its group.

    A ridge probe over standardised states; of `engine.probes.PENALTIES` the one that reads the other folds best.

    Args:
        states: clip by clip, a row for each position.
        labels: clip by clip, the same rows; one-hot for classes; rows with a NaN are left out.
        groups: number of each clip's group of sentences.
        classes: score is the share of positions whose class is named, else R2 (mean over targets).
    """
    kept = [~z.isnan().any(1) for z in labels]
    x = [one[rows].double() for one, rows in zip(states, kept, strict=True)]
    z = [one[rows].double() for one, rows in zip(labels, kept, strict=True)]
    read = _cross_fitted(x, z, assign_folds(groups.tolist(), N_FOLDS, seed=SEED))
    if not classes:
        wanted, found = ([part.numpy() for part in parts] for parts in (z, read))
        return Reading(r2_score(wanted, found, groups, seed=SEED), 0.0)
    hits = [float((a.argmax(1) == b.argmax(1)).sum()) for a, b in zip(read, z, strict=True)]
    counts = np.array([[hit, float(len(rows))] for hit, rows in zip(hits, z, strict=True)])
    return Reading(bootstrap_share(per_group(groups, counts), seed=SEED), float(torch.cat(z).mean(0).max()))


def _cross_fitted(x: Sequence[Tensor], z: Sequence[Tensor], folds: np.ndarray) -> list[Tensor]:
    rows = {fold: np.flatnonzero(folds == fold).tolist() for fold in range(N_FOLDS)}
    rows = {fold: clips for fold, clips in rows.items() if any(len(x[clip]) for clip in clips)}
    stacked = {
        fold: (torch.cat([x[clip] for clip in clips]), torch.cat([z[clip] for clip in clips]))
        for fold, clips in rows.items()
    }
    moments = {fold: Moments.of(*pair) for fold, pair in stacked.items()}
    out = [torch.full_like(one, math.nan) for one in z]
    for fold, clips in rows.items():
        others = [other for other in rows if other != fold]
        if len(others) < 2:
            raise ValueError("a probe's clips must be of three groups of sentences at least")
        errors = dict.fromkeys(PENALTIES, 0.0)
        for inner in others:
            rest = reduce(add, [moments[other] for other in others if other != inner])
            for penalty in PENALTIES:
                weight, bias = fit_ridge(rest, penalty)
                seen, wanted = stacked[inner]
                errors[penalty] += float(((seen @ weight.T + bias - wanted) ** 2).sum())
        best = min(errors, key=errors.__getitem__)
        weight, bias = fit_ridge(reduce(add, [moments[other] for other in others]), best)
        for clip in clips:
            out[clip] = x[clip] @ weight.T + bias
    return out


def fit_ridge(moments: Moments, penalty: float) -> tuple[Tensor, Tensor]:
    """Return weight [targets, d_model] and bias of a ridge probe of standardised states, in their own units.

    Args:
        moments: of the rows fitted on.
        penalty: for each row.
    """
    variance = moments.xx.diagonal() / moments.n
    scale = torch.where(variance > 0, variance, torch.ones_like(variance)).sqrt()
    gram = moments.xx / torch.outer(scale, scale)
    gram = gram + penalty * moments.n * torch.eye(len(gram), dtype=gram.dtype)
    weight = (torch.linalg.solve(gram, moments.xz / scale[:, None]) / scale[:, None]).T
    return weight, moments.mean_z - weight @ moments.mean_x


CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"  # class 0 is the blank
PLACE_S = 0.04  # fine enough for 25 characters a second
# By the loss on the clips fitted on: a rate that falls from here to 0 gets in 200 steps where a constant 0.01
# gets in 800.
STEPS = 200
BATCH_CLIPS = 32
RATE = 1e-1
PROBE_SEED = 13


@dataclass(frozen=True)
class CtcProbe:
    """A fitted probe.

    Attributes:
        weight: [places x (1 + characters), d_model], over standardised states.
        bias: of the same outputs.
        mean: of the states fitted on.
        scale: their deviation.
        places: characters' places for each position.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor
    places: int

    def read(self, states: Float[np.ndarray, "positions d_model"]) -> str:
        """Return the greedy reading of one clip: likeliest classes, repeats merged, blanks dropped."""
        standard = (torch.from_numpy(states).float() - self.mean) / self.scale
        best = functional.linear(standard, self.weight, self.bias).reshape(-1, 1 + len(CHARACTERS)).argmax(-1)
        merged = torch.unique_consecutive(best).tolist()
        return " ".join("".join(CHARACTERS[c - 1] for c in merged if c).split())


def places_for(seconds_per_position: float) -> int:
    """Return how many characters' places a position of this width has, at least 1."""
    return max(1, round(seconds_per_position / PLACE_S))


def spell(text: str) -> str:
    """Return the text as the probe writes it: lower case, characters that it does not know left out."""
    return " ".join("".join(c for c in text.lower() if c in CHARACTERS).split())


def fit_ctc_probe(
    states: Sequence[Float[np.ndarray, "_ d_model"]], texts: Sequence[str], places: int
) -> CtcProbe:
    """Fit the probe on frozen states; seeded, the same on every call.

    Args:
        states: clip by clip.
        texts: what each clip says, as `spell` gives it.
        places: as `places_for` gives it; a clip with too few places for its text is left without a loss.
    """
    generator = torch.Generator().manual_seed(PROBE_SEED)
    clips = [torch.from_numpy(np.ascontiguousarray(x)).float() for x in states]
    everything = torch.cat(clips)
    mean, scale = everything.mean(0), everything.std(0).clamp(min=1e-6)
    n_classes = 1 + len(CHARACTERS)
    head = nn.Linear(everything.shape[1], places * n_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.Adam(head.parameters(), lr=RATE)
    targets = [torch.tensor([1 + CHARACTERS.index(c) for c in text]) for text in texts]
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=STEPS)
    for _ in range(STEPS):
        chosen = torch.randperm(len(clips), generator=generator)[:BATCH_CLIPS].tolist()
        padded = pad_sequence([(clips[i] - mean) / scale for i in chosen], batch_first=True)
        scores = head(padded).reshape(len(chosen), -1, n_classes).log_softmax(-1).transpose(0, 1)
        loss = functional.ctc_loss(
            scores,
            torch.cat([targets[i] for i in chosen]),
            torch.tensor([places * len(clips[i]) for i in chosen]),
            torch.tensor([len(targets[i]) for i in chosen]),
            zero_infinity=True,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    assert math.isfinite(float(loss.detach())), "the CTC probe did not converge"
    return CtcProbe(head.weight.detach(), head.bias.detach(), mean, scale, places)
