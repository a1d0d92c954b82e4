"""Facts about the transcriber's targets, by hand, and about its loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from engine.words import SpokenWord
from precompute.mini.augment import Changed
from precompute.mini.backbone import IGNORED
from precompute.mini.sentence import Sentence
from precompute.mini.speech_batch import SpeechBatch, Spoken
from precompute.mini.synth import Rendering
from precompute.mini.transcriber import (
    CHARACTERS,
    TrainedTranscriber,
    ctc_targets,
    frame_targets,
    transcriber_loss,
)
from precompute.mini.voices import Voice

A, B = 1 + CHARACTERS.index("a"), 1 + CHARACTERS.index("b")
VOICE = Voice("espeak", "en-us+f1", "woman")


def batch_of(
    text: str, words: tuple[SpokenWord, ...], speed: float = 1.0, lead_s: float = 0.0
) -> SpeechBatch:
    """One clip of half a second; the features are noise of a fixed seed."""
    silence = np.zeros(8000, np.float32)
    spoken = Spoken(Sentence("topic", text, "World", "g"), VOICE, Rendering(silence, 16_000, words))
    features = torch.randn(1, 80, 50, generator=torch.Generator().manual_seed(0))
    return SpeechBatch(features, torch.tensor([50]), (spoken,), (Changed(silence, speed, lead_s),))


def test_characters_are_numbered_after_the_blank() -> None:
    """Space is 1, the apostrophe 2, a is 3; texts follow one another and their lengths stand beside."""
    classes, lengths = ctc_targets(["a b", "b'"])
    assert classes.tolist() == [3, 1, 4, 4, 2] and lengths.tolist() == [3, 2]


def test_letters_share_their_words_time() -> None:
    """ "ab" for 0.1 s is five positions of 20 ms: the middle one falls to b (2.5 of 5 is half)."""
    words = (SpokenWord("ab", 0.0, 0.1),)
    characters, word_classes = frame_targets(batch_of("ab", words), {"ab": 7}, 8)
    assert characters.tolist() == [[A, A, B, B, B, 0, 0, 0]]
    assert word_classes.tolist() == [[7, 7, 7, 7, 7, 0, 0, 0]]


def test_targets_follow_speed_and_lead() -> None:
    """Said twice as fast after 0.04 s of silence: 0 to 0.16 s become 0.04 to 0.12 s, positions 2 to 5."""
    words = (SpokenWord("ab", 0.0, 0.16),)
    characters, _ = frame_targets(batch_of("ab", words, speed=2.0, lead_s=0.04), {"ab": 1}, 8)
    assert characters.tolist() == [[0, 0, A, A, B, B, 0, 0]]


def test_a_word_beyond_the_window_is_cut_and_a_clip_without_times_is_ignored() -> None:
    words = (SpokenWord("ab", 0.1, 9.0),)
    characters, _ = frame_targets(batch_of("ab", words), {"ab": 1}, 8)
    assert characters.tolist() == [[0, 0, 0, 0, 0, A, A, A]]
    for targets in frame_targets(batch_of("ab", ()), {"ab": 1}, 4):
        assert targets.tolist() == [[IGNORED] * 4]


@pytest.fixture(scope="module")
def model(tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]) -> TrainedTranscriber:
    return TrainedTranscriber(tokenizers[1], ["ab", "the"])


def test_the_same_seed_gives_the_same_model(
    model: TrainedTranscriber, tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]
) -> None:
    again = TrainedTranscriber(tokenizers[1], ["ab", "the"])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("words", [(SpokenWord("ab", 0.0, 0.1),), ()])
def test_every_stage_has_a_loss_with_gradients(
    model: TrainedTranscriber,
    tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast],
    words: tuple[SpokenWord, ...],
) -> None:
    """Frames alone, CTC alone, decoder joined; a clip of flite, which has no word times, in each of them."""
    batch = batch_of("ab", words)
    for frame_weight, decoder_weight in ((1.0, 0.0), (0.0, 0.0), (0.0, 1.0)):
        model.zero_grad()
        loss, numbers = transcriber_loss(
            model, tokenizers[1], batch, frame_weight=frame_weight, decoder_weight=decoder_weight
        )
        loss.backward()
        assert torch.isfinite(loss) and loss > 0 and all(np.isfinite(x) for x in numbers.values())
        trained = model.whisper.model.encoder.conv1.weight.grad
        assert trained is not None and float(trained.abs().sum()) > 0
        decoder = model.whisper.model.decoder.layers[0].fc1.weight.grad
        assert (decoder is not None and float(decoder.abs().sum()) > 0) == bool(decoder_weight)
