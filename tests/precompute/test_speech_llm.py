"""Facts about the speech LLM's training: the words' own embeddings match the teacher, and only ears learn."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from engine.words import SpokenWord
from precompute.mini.augment import Changed
from precompute.mini.backbone import IGNORED
from precompute.mini.dialogue import Exchange
from precompute.mini.loop import LoopSettings
from precompute.mini.sentence import Sentence
from precompute.mini.speech_batch import SpeechBatch, SpeechSource, Spoken
from precompute.mini.speech_llm import (
    ask,
    distillation_loss,
    new_ears,
    train_speech_llm,
    ultravox_config,
    warm_start_loss,
    word_targets,
)
from precompute.mini.synth import FlitePool, Rendering
from precompute.mini.transcriber import TrainedTranscriber
from precompute.mini.voices import Voice
from precompute.mini.world import build_world

EXCHANGES = (
    Exchange("transcribe", "the bank raised its rates", "Repeat what was said.", "the bank raised its rates"),
    Exchange("topic", "the striker scored", "Which topic is this?", "Sports"),
    Exchange("free", "the new phone was great but", "Continue the sentence.", "the screen was dull"),
)
TEXT = "the cat sat on the mat"


class PerfectEars(nn.Module):
    """Hears every clip as the very embeddings of its words, plus a shift that can be trained."""

    def __init__(self, backbone: LlamaForCausalLM, rows: list[list[int]], shift: float) -> None:
        super().__init__()
        embed = backbone.get_input_embeddings()
        self.heard = pad_sequence([embed(torch.tensor(ids)) for ids in rows], batch_first=True).detach()
        self.counts = torch.tensor([len(ids) for ids in rows])
        self.shift = nn.Parameter(torch.full((self.heard.shape[-1],), shift))

    def forward(self, _mel: Tensor, _mel_lengths: Tensor) -> Tensor:
        return self.heard + self.shift

    def token_counts(self, _mel_lengths: Tensor) -> Tensor:
        return self.counts


@pytest.fixture(scope="module")
def chat(tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]) -> PreTrainedTokenizerFast:
    return tokenizers[0]


@pytest.fixture(scope="module")
def backbone(chat: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(chat),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def loss_with(
    backbone: LlamaForCausalLM, chat: PreTrainedTokenizerFast, shift: float
) -> tuple[Tensor, PerfectEars]:
    rows = [chat.encode(exchange.heard, add_special_tokens=False) for exchange in EXCHANGES]
    ears = PerfectEars(backbone, rows, shift)
    lengths = torch.tensor([16, 16, 16])
    audio = ears(torch.zeros(3, 80, 16), lengths)
    loss, _ = distillation_loss(ears, backbone, chat, EXCHANGES, audio, lengths)  # type: ignore[arg-type]
    return loss, ears


def test_ears_that_return_the_words_own_embeddings_have_no_loss(
    backbone: LlamaForCausalLM, chat: PreTrainedTokenizerFast
) -> None:
    """Then the student's prompt is the teacher's, so every answer token is predicted alike."""
    assert float(loss_with(backbone, chat, 0.0)[0].detach()) == pytest.approx(0, abs=1e-6)


def test_other_embeddings_have_a_loss_that_grows_with_the_distance(
    backbone: LlamaForCausalLM, chat: PreTrainedTokenizerFast
) -> None:
    near, far = (float(loss_with(backbone, chat, shift)[0].detach()) for shift in (0.05, 0.5))
    assert 1e-5 < near < far


def test_only_the_ears_get_gradients(backbone: LlamaForCausalLM, chat: PreTrainedTokenizerFast) -> None:
    loss, ears = loss_with(backbone, chat, 0.2)
    loss.backward()
    assert ears.shift.grad is not None and float(ears.shift.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in backbone.parameters())


def spoken(words: bool = True, task: str = "topic") -> Spoken:
    times = tuple(SpokenWord(w, 0.2 * i, 0.2 * (i + 1)) for i, w in enumerate(TEXT.split())) if words else ()
    label = "World" if task == "topic" else ""
    rendering = Rendering(np.zeros(1200, np.float32), 1000, times)
    return Spoken(Sentence(task, TEXT, label, "g"), Voice("espeak", "en-us+f1", "woman"), rendering)


def test_a_question_hears_as_much_as_it_is_about() -> None:
    """A continuation hears its first words only, cut where they end; all else hears the whole clip."""
    kinds: Counter[str] = Counter()
    for seed in range(400):
        asked = ask(spoken(), random.Random(seed))
        said = " ".join(word.text for word in asked.spoken.rendering.words)
        assert said == asked.exchange.heard
        assert len(asked.spoken.rendering.samples) == 200 * len(said.split())
        kinds[asked.exchange.instruction] += 1
    assert (
        kinds["Continue the sentence."] and kinds["Repeat what was said."] > kinds["What is the last word?"]
    )


def test_a_clip_without_word_times_is_never_cut() -> None:
    for seed in range(200):
        asked = ask(spoken(words=False), random.Random(seed))
        assert asked.exchange.heard == TEXT and len(asked.spoken.rendering.samples) == 1200


def test_an_everyday_sentence_is_never_asked_for_a_label() -> None:
    for seed in range(200):
        assert ask(spoken(task="everyday"), random.Random(seed)).exchange.answer


def test_new_ears_begin_as_the_transcribers_encoder_at_the_size_of_embeddings(
    backbone: LlamaForCausalLM, tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]
) -> None:
    transcriber = TrainedTranscriber(tokenizers[1], ["the"])
    ears = new_ears(ultravox_config(transcriber, "mini-llama"), transcriber, backbone)
    encoder = transcriber.whisper.model.encoder
    assert all(torch.equal(t, ears.audio_tower.state_dict()[n]) for n, t in encoder.state_dict().items())
    mel = torch.randn(1, 80, 160, generator=torch.Generator().manual_seed(0))
    heard = ears(mel, torch.tensor([160]))
    wanted = float(backbone.get_input_embeddings().weight.std())
    assert heard.shape == (1, 10, 32) and 0.3 * wanted < float(heard.detach().std()) < 3 * wanted


def test_training_moves_the_ears_and_leaves_the_backbone(
    backbone: LlamaForCausalLM,
    tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast],
    flite_pool: FlitePool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr("precompute.mini.speech_llm.BATCH_CLIPS", 2)
    transcriber = TrainedTranscriber(tokenizers[1], ["the"])
    ears = new_ears(ultravox_config(transcriber, "mini-llama"), transcriber, backbone)
    frozen = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    before = ears.multi_modal_projector.linear_2.weight.detach().clone()
    source = SpeechSource(build_world().train, flite_pool, 8)
    record = train_speech_llm(
        ears, backbone, tokenizers[0], source, LoopSettings("speech", 2, 1e-3, tmp_path)
    )
    assert np.isfinite(record["loss"]) and not torch.equal(before, ears.multi_modal_projector.linear_2.weight)
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in backbone.state_dict().items())


def test_a_position_hears_the_word_at_its_middle(chat: PreTrainedTokenizerFast) -> None:
    """ "the cat" from 0 to 0.4 s and on, 0.2 s of lead, positions of 0.2 s: silence, then a word each."""
    silence = np.zeros(8, np.float32)
    words = (SpokenWord("the", 0.0, 0.2), SpokenWord("and", 0.2, 0.4))
    clip = replace(spoken(), rendering=Rendering(silence, 1000, words))
    batch = SpeechBatch(torch.zeros(1, 80, 80), torch.tensor([80]), (clip,), (Changed(silence, 1.0, 0.2),))
    the, and_ = (chat.encode(word, add_special_tokens=False)[0] for word in ("the", "and"))
    pause = chat.pad_token_id
    assert word_targets(chat, batch, 5, 0.2).tolist() == [[pause, the, and_, pause, IGNORED]]
    unknown = replace(clip, rendering=Rendering(silence, 1000, ()))
    assert word_targets(chat, replace(batch, spoken=(unknown,)), 5, 0.2).eq(IGNORED).all()


def test_the_warm_start_is_least_at_the_words_own_embeddings() -> None:
    embeddings = torch.eye(4, 8)
    targets = torch.tensor([[0, 2, IGNORED]])
    right = torch.stack([embeddings[0], embeddings[2], torch.full((8,), 9.0)])[None]
    wrong = torch.stack([embeddings[1], embeddings[2], torch.full((8,), 9.0)])[None]
    assert float(warm_start_loss(right, targets, embeddings)) < 1e-6
    assert float(warm_start_loss(wrong, targets, embeddings)) > 1
