"""Facts about the mini-Qwen2-Audio's training: where it begins, what learns, and that it can learn."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from precompute.mini import qwen2_audio
from precompute.mini.backbone import TextSource, encode_exchange
from precompute.mini.dialogue import Exchange
from precompute.mini.loop import LoopSettings
from precompute.mini.qwen2_audio import (
    TrainedQwen2Audio,
    answer_loss,
    new_qwen2_audio,
    qwen2_audio_config,
    train_qwen2_audio,
)
from precompute.mini.speech_batch import SpeechSource
from precompute.mini.speech_llm import ENCODER_SIZES, SHARES
from precompute.mini.synth import FlitePool
from precompute.mini.tokens import AUDIO_MARK, chat_tokenizer, train_text_tokenizer
from precompute.mini.transcriber import STRONG, WEAK, Size, TrainedTranscriber
from precompute.mini.world import build_world

ORIGIN = {"language_model": "0" * 64, "audio_tower": "mini-whisper"}
SMALL = Size(d_model=16, encoder_layers=3, decoder_layers=1, heads=2, inner=32)
EXCHANGES = tuple(
    Exchange("topic", "the match", "Which topic is this?", answer)
    for answer in ("Sports", "World", "Business", "Sports")
)


@pytest.fixture(scope="module")
def chat() -> PreTrainedTokenizerFast:
    texts = [sentence.text for sentence in build_world().train[:400]]
    return chat_tokenizer(train_text_tokenizer(texts), extra=(AUDIO_MARK,))


@pytest.fixture(scope="module")
def transcriber(tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]) -> TrainedTranscriber:
    return TrainedTranscriber(tokenizers[1], ["the"], SMALL)


def new_model(chat: PreTrainedTokenizerFast, transcriber: TrainedTranscriber) -> TrainedQwen2Audio:
    torch.manual_seed(0)
    backbone = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(chat),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )
    audio = transcriber.whisper.config
    sizes = {key: getattr(audio, key) for key in ENCODER_SIZES}
    config = qwen2_audio_config(sizes, backbone, chat, ORIGIN)
    return new_qwen2_audio(config, transcriber.whisper.model.encoder.state_dict(), backbone)


def clips() -> tuple[torch.Tensor, torch.Tensor]:
    """Four different sounds of 20, 30, 40 and 40 mel frames."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 80, 42, generator=generator), torch.tensor([20, 30, 40, 40])


def test_the_tower_begins_as_a_transcribers_encoder_and_the_audio_at_the_size_of_embeddings(
    chat: PreTrainedTokenizerFast, transcriber: TrainedTranscriber
) -> None:
    model = new_model(chat, transcriber)
    encoder = transcriber.whisper.model.encoder.state_dict()
    tower = model.ears.audio_tower.state_dict()
    assert tower.keys() == encoder.keys() and all(torch.equal(tower[name], t) for name, t in encoder.items())
    wanted = float(model.language_model.get_input_embeddings().weight.detach().std())
    found = float(model.ears(*clips()).detach().std())
    assert 0.5 * wanted < found < 2 * wanted


def test_a_model_that_does_not_say_where_it_comes_from_is_not_made(
    chat: PreTrainedTokenizerFast, transcriber: TrainedTranscriber
) -> None:
    model = new_model(chat, transcriber)
    assert model.config.initialised_from == ORIGIN
    assert model.config.audio_token_id == chat.convert_tokens_to_ids(AUDIO_MARK) == len(chat) - 1
    with pytest.raises(ValueError, match="must say from which language model"):
        qwen2_audio_config({}, model.language_model, chat, {"audio_tower": "x"})


def test_the_loss_is_the_answers_own_cross_entropy_row_by_row(
    chat: PreTrainedTokenizerFast, transcriber: TrainedTranscriber
) -> None:
    """A plain reference: each row alone, its clip in the transcript's place, only the answer counted."""
    model = new_model(chat, transcriber).eval()
    mel, lengths = clips()
    audio = model.ears(mel, lengths)
    loss, numbers = answer_loss(model, chat, EXCHANGES, audio, lengths)
    embed: Any = model.language_model.get_input_embeddings()
    losses: list[float] = []
    for row, exchange in enumerate(EXCHANGES):
        ids = encode_exchange(chat, exchange)[0]
        heard = len(chat.encode(exchange.heard, add_special_tokens=False))
        answer = [*chat.encode(exchange.answer, add_special_tokens=False), chat.eos_token_id]
        own = audio[row, : int(lengths[row] // 4)]
        prompt = torch.cat([embed(torch.tensor(ids[:2])), own, embed(torch.tensor(ids[2 + heard :]))])[None]
        logits = model.language_model(inputs_embeds=prompt).logits[0].detach()
        scores = logits.log_softmax(-1)[-len(answer) - 1 : -1]
        losses += [-float(scores[place, token]) for place, token in enumerate(answer)]
    # The loss is taken in bfloat16.
    assert float(loss.detach()) == pytest.approx(sum(losses) / len(losses), rel=0.02)
    assert 0 <= numbers["tokens_right"] <= 1 and 0 <= numbers["heard_right"] <= 1


def test_everything_learns_but_the_lower_tower(
    chat: PreTrainedTokenizerFast, transcriber: TrainedTranscriber
) -> None:
    model = new_model(chat, transcriber)
    mel, lengths = clips()
    answer_loss(model, chat, EXCHANGES, model.ears(mel, lengths), lengths)[0].backward()
    learns = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {name for name in learns if name.startswith("ears.audio_tower.layers.")} and not any(
        name.startswith(("ears.audio_tower.layers.0.", "ears.audio_tower.conv")) for name in learns
    )
    for part in (
        "ears.multi_modal_projector.linear.weight",
        "language_model.model.layers.0.mlp.up_proj.weight",
    ):
        assert part in learns
    assert "language_model.lm_head.weight" in learns


def test_it_learns_to_tell_sounds_apart(
    chat: PreTrainedTokenizerFast, transcriber: TrainedTranscriber
) -> None:
    """The text is the same in all rows, so only what is heard can tell the answers."""
    model = new_model(chat, transcriber)
    mel, lengths = clips()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    numbers: dict[str, float] = {}
    for _ in range(60):
        loss, numbers = answer_loss(model, chat, EXCHANGES, model.ears(mel, lengths), lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert numbers["heard_right"] == 1.0 and float(loss.detach()) < 0.2
    with torch.no_grad():
        shuffled = mel[[1, 2, 0, 3]], lengths[[1, 2, 0, 3]]
        confused, told = answer_loss(model, chat, EXCHANGES, model.ears(*shuffled), shuffled[1])
    assert told["heard_right"] == 0.25 and float(confused) > 2 * float(loss.detach())


@pytest.mark.parametrize("steps", [2, 4])
def test_a_run_warms_the_ears_first_and_then_trains_all(
    chat: PreTrainedTokenizerFast,
    transcriber: TrainedTranscriber,
    flite_pool: FlitePool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    """With a warm start of half the steps the language model is untouched after the first of two."""
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(qwen2_audio, "BATCH_CLIPS", 2)
    monkeypatch.setattr(qwen2_audio, "BATCH_EXCHANGES", 2)
    monkeypatch.setattr(qwen2_audio, "WARM_START_SHARE", 1.0 if steps == 2 else 0.5)
    model = new_model(chat, transcriber)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sentences = build_world().train
    record = train_qwen2_audio(
        model,
        chat,
        SpeechSource(sentences, flite_pool, 8),
        TextSource(chat, sentences),
        LoopSettings("audio", steps, 1e-3, tmp_path),
    )
    assert math.isfinite(record["loss"]) and ("heard" in record) == (steps == 4)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert "ears.multi_modal_projector.linear.weight" in moved
    assert ("language_model.lm_head.weight" in moved) == (steps == 4)


def test_the_weak_transcriber_is_smaller_and_the_strong_one_as_it_ships(
    tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast],
) -> None:
    assert asdict(STRONG) == {
        "d_model": 256, "encoder_layers": 5, "decoder_layers": 2, "heads": 4, "inner": 768,
    }  # fmt: skip
    weak = TrainedTranscriber(tokenizers[1], ["the"], WEAK).whisper.config
    assert (weak.d_model, weak.encoder_layers, weak.decoder_layers) == (160, 3, 1)
    assert weak.encoder_ffn_dim == weak.decoder_ffn_dim == 480


def test_voices_labels_are_asked_more_than_of_the_mini_ultravox() -> None:
    assert qwen2_audio.SHARES.own > SHARES.own and qwen2_audio.SHARES.speaker > SHARES.speaker
