"""The readout from letters to an LLM's tokens, against enumeration and hand-made posteriors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from engine.systems.ultravox import LETTERS, SYMBOLS, LetterReadout

PIECES = ["Ġa", "Ġb", "at", "Ġbat", "Ġat", "ab", "Ġall", "ball", "Ġhello", "The", "Ġthe", "ĠThe"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {piece: index for index, piece in enumerate([*"abehlotTĠ'", *PIECES, "Ġ12", "Ã©"])}
    raw = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=raw)


def said(letters: str, *, confidence: float = 0.98) -> np.ndarray:
    """Log-probabilities of positions that each hold one symbol; "-" is CTC's blank."""
    rows = np.full((len(letters), SYMBOLS), (1 - confidence) / (SYMBOLS - 1))
    for place, letter in enumerate(letters):
        rows[place, 0 if letter == "-" else 1 + LETTERS.index(letter)] = confidence
    return np.log(rows)


def words(tokenizer: PreTrainedTokenizerFast, tokens: np.ndarray) -> list[str]:
    return [str(tokenizer.decode([token])) for token in tokens]


def test_letters_that_spell_words_come_back_as_their_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    found = LetterReadout(tokenizer).read(said("hel-lo -bbat- all-l"), candidates=5)
    assert words(tokenizer, found.tokens[:, 0]) == [" hello", " bat", " all"]
    assert found.weights.sum(axis=1) == pytest.approx(1.0, abs=1e-6)
    assert (found.weights[:, 0] > 0.9).all()


def test_stretches_follow_each_other_and_cover_the_clip(tokenizer: PreTrainedTokenizerFast) -> None:
    letters = "--hel-lo bat-"
    found = LetterReadout(tokenizer).read(said(letters), candidates=5)
    assert found.starts[0] == 0 and found.ends[-1] == len(letters)
    assert (found.starts[1:] == found.ends[:-1]).all() and (found.ends > found.starts).all()


def test_a_doubled_letter_needs_a_blank_between(tokenizer: PreTrainedTokenizerFast) -> None:
    readout = LetterReadout(tokenizer)
    assert words(tokenizer, readout.read(said("hel-lo"), candidates=3).tokens[:1, 0]) == [" hello"]
    # Without one the letter was said once; "helo" is no token, and its pieces are read instead.
    assert " hello" not in words(
        tokenizer, readout.read(said("helo", confidence=1 - 1e-9), candidates=3).tokens[:, 0]
    )


def test_a_word_that_is_no_token_comes_as_its_pieces(tokenizer: PreTrainedTokenizerFast) -> None:
    found = LetterReadout(tokenizer).read(said("abal-l"), candidates=3)
    assert "".join(words(tokenizer, found.tokens[:, 0])) == " aball"


def test_a_penalty_on_the_blank_brings_back_a_letter_left_out(tokenizer: PreTrainedTokenizerFast) -> None:
    """Of people's speech the letters are less sure than of training's, and the blank took their place."""
    unsure = said("b-t")
    unsure[1, 1 + LETTERS.index("a")] = np.log(0.3)
    unsure[1, 0] = np.log(0.68)
    # With a prior this weak, "b" and "t" alone explain the sound better than " bat" does.
    settings = {"prior_scale": 0.01, "token_bonus": 0.0}
    plain, penalised = (
        LetterReadout(tokenizer, blank_penalty=nats, **settings).read(unsure, candidates=3)
        for nats in (0.0, 1.5)
    )
    assert "".join(words(tokenizer, plain.tokens[:, 0])) == " bt"
    assert "".join(words(tokenizer, penalised.tokens[:, 0])) == " bat"


def test_a_low_temperature_leaves_the_likeliest_token_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    unsure = said("bat", confidence=0.4)
    soft = LetterReadout(tokenizer).read(unsure, temperature=4.0, candidates=5)
    hard = LetterReadout(tokenizer).read(unsure, temperature=1e-3, candidates=5)
    assert hard.weights[0, 0] == pytest.approx(1.0, abs=1e-6)
    assert soft.weights[0, 0] < 0.9 and (soft.tokens == hard.tokens).all()


def test_one_spelling_shares_its_weight_among_its_ways_of_writing(tokenizer: PreTrainedTokenizerFast) -> None:
    found = LetterReadout(tokenizer).read(said("the"), candidates=3)
    assert sorted(words(tokenizer, found.tokens[0, :2])) == [" The", " the"]
    assert found.weights[0, :2].sum() > 0.9


def _alignments(spelling: str, n: int) -> list[tuple[int, ...]]:
    """All ways in which n positions may spell a text by CTC's rule."""
    wanted = [1 + LETTERS.index(letter) for letter in spelling]
    found = []
    for path in itertools.product(sorted({0, *wanted}), repeat=n):
        kept = [symbol for symbol, _ in itertools.groupby(path) if symbol]
        if kept == wanted:
            found.append(path)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_search_equals_enumerating_every_sequence_of_tokens(
    tokenizer: PreTrainedTokenizerFast, seed: int
) -> None:
    """At most two tokens over five positions: the best total of letters and priors, by hand and by the search."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 3, (5, SYMBOLS))
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    readout = LetterReadout(tokenizer, prior_scale=1.0, token_bonus=-8.0)
    known = {
        token: tokenizer.decode([token]).lower()
        for token in range(len(tokenizer))
        if set(tokenizer.decode([token]).lower()) <= set(LETTERS) and tokenizer.decode([token]).strip()
    }
    common = {token: 1 / (token + 100) for token in known}
    total = sum(common.values())
    by_spelling: dict[str, float] = {}
    for token, spelling in known.items():
        by_spelling[spelling] = by_spelling.get(spelling, 0.0) + common[token]
    prior = {spelling: math.log(share / total) - 8.0 for spelling, share in by_spelling.items()}
    lead = np.full((1, SYMBOLS), -1e9)
    lead[0, 1] = 0.0
    rows = np.concatenate([lead, scores])

    def best(spelling: str, start: int, stop: int) -> float:
        paths = _alignments(spelling, stop - start)
        return max((sum(rows[start + i, s] for i, s in enumerate(path)) for path in paths), default=-math.inf)

    scored: dict[tuple[tuple[int, int], ...], float] = {
        ((0, 6),): max(best(s, 0, 6) + p for s, p in prior.items()),
        **{
            ((0, cut), (cut, 6)): max(best(s, 0, cut) + p for s, p in prior.items())
            + max(best(s, cut, 6) + p for s, p in prior.items())
            for cut in range(1, 6)
        },
    }
    bounds = max(scored, key=lambda key: scored[key])
    found = readout.read(scores, candidates=3)
    assert len(found.starts) <= 2, "three tokens or more are not enumerated here"
    edges = [(0 if start == 0 else start - 1, stop - 1) for start, stop in bounds]
    assert list(zip(found.starts, found.ends, strict=True)) == edges
