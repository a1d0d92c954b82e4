"""The mini-Qwen2-Audio: the mini-Qwen2 trained further on audio, with all of its own weights.

Trained as Qwen2-Audio is: cross-entropy on the answers, of every task, with the labels that only the voice
carries taught as well. Every step also holds some text, so that it can still read. As the mini-Ultravox it has
a warm start, in which each audio position is drawn to the embedding of the word that is heard there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast, Qwen2AudioConfig, Qwen2ForCausalLM

from engine.matching import LANGUAGE_MODEL, ORIGIN
from engine.systems.qwen2_audio import POOLED_STATES, Qwen2AudioEars
from precompute.mini.backbone import TextSource, encode_exchange, text_loss
from precompute.mini.dialogue import Exchange
from precompute.mini.loop import LoopSettings, train
from precompute.mini.speech_batch import Curriculum, SpeechSource
from precompute.mini.speech_llm import (
    Shares,
    answer_logits,
    ask,
    embedding_matrix,
    spliced,
    warm_start_loss,
    word_targets,
)
from precompute.mini.tokens import AUDIO_MARK

QWEN2_AUDIO_SEED = 22
BATCH_CLIPS = 16
BATCH_EXCHANGES = 8
TUNED_TOWER_LAYERS = 2
WARM_START_SHARE, WARM_WEIGHT_AFTER = 0.3, 0.2
POSITION_S = 2 * POOLED_STATES / 100
SHARES = Shares(transcribe=0.30, own=0.45, speaker=0.10)


class TrainedQwen2Audio(nn.Module):
    """Ears and language model; its state is what checkpoints hold and `published` writes."""

    def __init__(self, config: Qwen2AudioConfig, language_model: Qwen2ForCausalLM) -> None:
        super().__init__()
        self.config = config
        torch.manual_seed(QWEN2_AUDIO_SEED)
        self.ears = Qwen2AudioEars(config)
        self.language_model = language_model

    def published(self) -> dict[str, Tensor]:
        """Return all tensors in the published names."""
        inline = {f"language_model.{name}": t for name, t in self.language_model.state_dict().items()}
        return {**self.ears.state_dict(), **inline}


def qwen2_audio_config(
    audio: Mapping[str, Any],
    backbone: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    origin: Mapping[str, str],
) -> Qwen2AudioConfig:
    """Return the config in the published keys.

    Args:
        audio: the encoder's sizes, in the keys that Whisper's config has too.
        backbone: whose config the language model keeps.
        tokenizer: which knows the audio mark.
        origin: part -> what it began with; the language model's is the sha256 of its weights.
    """
    if LANGUAGE_MODEL not in origin:
        raise ValueError("a model that was trained further must say from which language model")
    keys: dict[str, Any] = {
        "audio_config": {"model_type": "qwen2_audio_encoder", **audio},
        "text_config": backbone.config.to_dict(),
        "audio_token_index": tokenizer.convert_tokens_to_ids(AUDIO_MARK),
        ORIGIN: dict(origin),
    }
    return Qwen2AudioConfig(**keys)


def new_qwen2_audio(
    config: Qwen2AudioConfig, encoder: Mapping[str, Tensor], backbone: Qwen2ForCausalLM
) -> TrainedQwen2Audio:
    """Return the model to be trained: its tower is a Whisper's encoder, its language model the backbone."""
    model = TrainedQwen2Audio(config, backbone)
    tower = model.ears.audio_tower
    tower.load_state_dict(dict(encoder), strict=True)
    # Normed states have about unit size; begin at the size of the backbone's own embeddings.
    embeddings = embedding_matrix(backbone)
    projector = model.ears.multi_modal_projector.linear
    nn.init.normal_(projector.weight, std=float(embeddings.std()) / projector.in_features**0.5)
    nn.init.zeros_(projector.bias)
    # The lower tower stays the transcriber's, which spares most of its cost.
    tower.requires_grad_(False)
    for module in (*tower.layers[-TUNED_TOWER_LAYERS:], tower.layer_norm):
        module.requires_grad_(True)
    return model


def answer_loss(
    model: TrainedQwen2Audio,
    tokenizer: PreTrainedTokenizerFast,
    exchanges: Sequence[Exchange],
    audio: Tensor,
    mel_lengths: Tensor,
) -> tuple[Tensor, dict[str, float]]:
    """Return the cross-entropy of the answers' tokens with the clip in the transcript's place."""
    rows = [encode_exchange(tokenizer, exchange)[0] for exchange in exchanges]
    n_answer = [len(tokenizer.encode(e.answer, add_special_tokens=False)) + 1 for e in exchanges]
    n_heard = [len(tokenizer.encode(e.heard, add_special_tokens=False)) for e in exchanges]
    counts = model.ears.token_counts(mel_lengths).tolist()
    pieces = spliced(model.language_model, rows, n_heard, audio, counts)
    with torch.autocast("cpu", torch.bfloat16):
        states = model.language_model.model(inputs_embeds=pad_sequence(pieces, batch_first=True))
        # Only the answers' places go through the head: it is a third of the model.
        given = model.language_model.lm_head(
            answer_logits(states.last_hidden_state, [len(piece) for piece in pieces], n_answer)
        ).float()
    wanted = torch.tensor([t for ids, n in zip(rows, n_answer, strict=True) for t in ids[-n:]])
    loss = functional.cross_entropy(given, wanted)
    right = given.argmax(-1) == wanted
    rows_right = [bool(part.all()) for part in right.split(n_answer)]
    return loss, {"tokens_right": float(right.float().mean()), "heard_right": sum(rows_right) / len(rows)}


def train_qwen2_audio(
    model: TrainedQwen2Audio,
    tokenizer: PreTrainedTokenizerFast,
    speech: SpeechSource,
    text: TextSource,
    settings: LoopSettings,
) -> dict[str, float]:
    """Train ears and language model in place; returns the training record."""
    curriculum = Curriculum(
        settings.steps,
        doubling_steps=1.0,
        voices_from=0.0,
        voices_all=0.02,
        augmentation_from=0.0,
        augmentation_full=0.35,
    )
    embeddings = embedding_matrix(model.language_model).clone()

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = random.Random(f"{QWEN2_AUDIO_SEED}|{step}")
        asked = [ask(spoken, rng, SHARES) for spoken in speech.draw(step, BATCH_CLIPS, curriculum)]
        batch = speech.features(tuple(a.spoken for a in asked), curriculum.strength(step), rng)
        with torch.autocast("cpu", torch.bfloat16):
            audio = model.ears(batch.features, batch.mel_lengths)
        targets = word_targets(tokenizer, batch, audio.shape[1], POSITION_S)
        warm = warm_start_loss(audio, targets, embeddings)
        if step < WARM_START_SHARE * settings.steps:
            return warm, {"warm": float(warm.detach())}
        exchanges = [a.exchange for a in asked]
        heard, numbers = answer_loss(model, tokenizer, exchanges, audio, batch.mel_lengths)
        read, read_numbers = text_loss(model.language_model, *text.batch(BATCH_EXCHANGES, 0.0, rng))
        total = heard + BATCH_EXCHANGES / BATCH_CLIPS * read + WARM_WEIGHT_AFTER * warm
        return total, {
            "warm": float(warm.detach()),
            "heard": float(heard.detach()),
            **numbers,
            **read_numbers,
        }

    return train(model, loss_of_step, settings)
