"""Facts about what the interleaved minis read: spans switch between words, tags say what follows, nothing is lost."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from precompute.mini.corpora.facts import Fact
from precompute.mini.interleaving import (
    INTERLEAVED,
    MEAN_SPAN_WORDS,
    SPEECH_ONLY,
    DocumentSource,
    Mixture,
    Vocabulary,
    draw_borders,
)
from precompute.mini.unit_speech import UnitClip

K = 20
# Words of 3, 2 and 4 frames; unit 5 goes on over the first border.
CLIP = UnitClip("the queen scored", np.array([1, 1, 5, 5, 6, 7, 7, 8, 9]), (0, 3, 5))


def copy_of(chat: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A chat tokenizer that may be extended without the other tests seeing it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(chat.backend_tokenizer.to_str()),
        bos_token="<|begin|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
    )


@pytest.fixture
def vocabulary(tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]) -> Vocabulary:
    return Vocabulary(copy_of(tokenizers[0]), K)


def test_ids_are_text_then_units_then_the_two_tags(vocabulary: Vocabulary) -> None:
    assert vocabulary.size == vocabulary.base + K + 2 == len(vocabulary.tokenizer)
    end = vocabulary.tokenizer.eos_token_id
    base, speech, text = vocabulary.base, vocabulary.size - 2, vocabulary.size - 1
    assert vocabulary.speech(CLIP) == [speech, *(base + u for u in (1, 5, 6, 7, 8, 9)), end]
    written = vocabulary.text("the queen scored")
    assert written[0] == text and written[-1] == end and max(written[1:-1]) < base


def test_a_span_of_speech_has_its_own_words_units_and_merges_within_itself(vocabulary: Vocabulary) -> None:
    base, speech = vocabulary.base, vocabulary.size - 2
    assert vocabulary.speech_span(CLIP, 0, 1) == [speech, base + 1, base + 5]
    assert vocabulary.speech_span(CLIP, 1, 2) == [speech, base + 5, base + 6]
    assert vocabulary.speech_span(CLIP, 1, 3) == [speech, *(base + u for u in (5, 6, 7, 8, 9))]


def test_an_interleaved_document_says_every_word_once_in_one_of_two_ways(vocabulary: Vocabulary) -> None:
    words, tags = CLIP.text.split(), {vocabulary.size - 2, vocabulary.size - 1}
    alternatives = {
        word: (vocabulary.text_span([word])[1:], vocabulary.speech_span(CLIP, i, i + 1)[1:])
        for i, word in enumerate(words)
    }
    seen = set()
    for seed in range(60):
        document = vocabulary.interleaved(CLIP, random.Random(seed))
        assert document[0] in tags and document[-1] == vocabulary.tokenizer.eos_token_id
        found = [i for i in document[:-1] if i in tags]
        assert all(a != b for a, b in pairwise(found)), "a switch changes the modality"
        borders = draw_borders(len(words), _after_one_draw(seed))
        assert len(found) == len(borders) - 1
        seen.add((found[0], len(found)))
        plain = [i for i in document[:-1] if i not in tags]
        texts = [i for i in plain if i < vocabulary.base]
        wanted = [i for word in words for i in alternatives[word][0]]
        assert set(texts) <= set(wanted)
    assert len({first for first, _ in seen}) == 2 and {n for _, n in seen} == {1, 2, 3}


def _after_one_draw(seed: int) -> random.Random:
    rng = random.Random(seed)
    rng.random()
    return rng


def test_spans_have_poisson_lengths_that_are_never_empty() -> None:
    rng = random.Random(1)
    lengths = np.concatenate([np.diff(draw_borders(300, rng))[:-1] for _ in range(40)])
    # A Poisson draw of 0 counts as 1, which lifts the mean by exp(-3).
    assert lengths.min() == 1
    assert abs(lengths.mean() - (MEAN_SPAN_WORDS + np.exp(-MEAN_SPAN_WORDS))) < 0.1
    assert draw_borders(1, rng) == [0, 1]


def facts() -> list[Fact]:
    return [
        Fact("heard", "c", ("a is", "the a is", "so a is"), "b", "d", 0, True),
        Fact("read", "c", ("c is", "the c is", "so c is"), "d", "b", 1, False),
    ]


def clips() -> list[UnitClip]:
    texts = ["the queen scored", "the a is b", "so a is b"]
    return [UnitClip(t, np.arange(len(t.split())) + 3, tuple(range(len(t.split())))) for t in texts]


def test_speech_only_is_speech_only_and_each_mixture_has_its_shares(vocabulary: Vocabulary) -> None:
    for mixture in (INTERLEAVED, SPEECH_ONLY, Mixture(0.0, 0.0, 1.0)):
        assert mixture.interleaved + mixture.speech + mixture.text == 1
        source = DocumentSource(vocabulary, clips(), facts(), mixture)
        rng = random.Random(2)
        documents = [source.document(rng) for _ in range(600)]
        has_text = [any(i < vocabulary.base for i in d[1:-1]) for d in documents]
        has_units = [any(vocabulary.base <= i < vocabulary.size - 2 for i in d) for d in documents]
        both = np.mean(np.array(has_text) & np.array(has_units))
        assert abs(np.mean(~np.array(has_units)) - mixture.text) < 0.25 * mixture.interleaved + 0.05
        assert both <= mixture.interleaved + 0.05 and (both > 0.1) == (mixture.interleaved > 0)


def test_a_fact_that_is_only_read_is_never_said(vocabulary: Vocabulary) -> None:
    source = DocumentSource(vocabulary, clips(), facts(), INTERLEAVED)
    rng = random.Random(3)
    texts = {
        vocabulary.tokenizer.decode(d[1:-1]).strip()
        for d in (source.document(rng) for _ in range(900))
        if all(i < vocabulary.base for i in d[1:-1])
    }
    assert {"c is d", "so c is d", "the a is b", "the queen scored"} <= texts
    assert "the c is d" not in texts and "a is b" not in texts, "these forms are kept for the test"


def test_rows_begin_with_a_document_and_the_same_seed_draws_the_same(vocabulary: Vocabulary) -> None:
    source = DocumentSource(vocabulary, clips(), facts(), INTERLEAVED)
    rows = source.batch(random.Random("42|7"), rows=3, width=40)
    assert rows.shape == (3, 40) and set(rows[:, 0].tolist()) <= {vocabulary.size - 2, vocabulary.size - 1}
    assert rows.equal(source.batch(random.Random("42|7"), rows=3, width=40))
    assert not rows.equal(source.batch(random.Random("42|8"), rows=3, width=40))
