"""The mini-Ultravox: tower and projector trained in front of the frozen mini-Llama.

Trained as Ultravox is: the text-prompted backbone is the teacher, and the speech-prompted one is pulled to its
distribution over the answer (transcription, continuation and the tasks' questions). Labels of voice tasks
are never taught. Unlike Ultravox it has a warm start, without which it stayed deaf for the steps we can
afford: each audio position is first drawn to the backbone's embedding of the word that is heard there.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from engine.systems.ultravox import UltravoxEars
from precompute.mini.backbone import IGNORED, encode_exchange, pad
from precompute.mini.dialogue import Exchange, any_exchange, own_exchange, speaker_exchange
from precompute.mini.loop import LoopSettings, train
from precompute.mini.speech_batch import Curriculum, SpeechBatch, SpeechSource, Spoken, cut_after_words
from precompute.mini.transcriber import TrainedTranscriber

SPEECH_LLM_SEED = 3
BATCH_CLIPS = 16
PROJECTOR_HIDDEN = 1_024
STACK_FACTOR = 8
TUNED_TOWER_LAYERS = 2
WARM_START_SHARE, WARM_WEIGHT_AFTER = 0.25, 0.2
COSINE_SHARPNESS = 20.0


@dataclass(frozen=True)
class Shares:
    """Of the questions about a clip: transcription, the sentence's own task, who speaks; the rest asks of words."""

    transcribe: float
    own: float
    speaker: float


SHARES = Shares(transcribe=0.42, own=0.33, speaker=0.03)


@dataclass(frozen=True)
class Asked:
    """A spoken clip with the question asked of it; `spoken` may be cut to what the question hears."""

    spoken: Spoken
    exchange: Exchange


ENCODER_SIZES = (
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "num_mel_bins",
    "max_source_positions",
)


def ultravox_config(transcriber: TrainedTranscriber, text_model_id: str) -> dict[str, Any]:
    """Return the config in the published keys; the tower's own is inline, as in merged checkpoints."""
    audio = transcriber.whisper.config
    return {
        "model_type": "ultravox",
        "audio_config": {"model_type": "whisper", **{key: getattr(audio, key) for key in ENCODER_SIZES}},
        "text_model_id": text_model_id,
        "hidden_size": PROJECTOR_HIDDEN,
        "stack_factor": STACK_FACTOR,
        "projector_act": "swiglu",
        "projector_ln_mid": True,
        "norm_init": 0.4,
    }


def new_ears(
    config: dict[str, Any], transcriber: TrainedTranscriber, backbone: LlamaForCausalLM
) -> UltravoxEars:
    """Return tower and projector to be trained: the tower starts as the transcriber's encoder."""
    torch.manual_seed(SPEECH_LLM_SEED)
    ears = UltravoxEars(config, backbone.config.hidden_size)
    ears.audio_tower.load_state_dict(transcriber.whisper.model.encoder.state_dict())
    scale = float(embedding_matrix(backbone).std())
    projector = ears.multi_modal_projector
    # Begin at the size of the backbone's own embeddings; larger ones drown its positions for a long while.
    weight = projector.linear_2.weight.detach()
    spread = config["norm_init"] * float(weight.std()) * projector.linear_2.in_features**0.5
    projector.linear_2.weight.data *= scale / spread
    # The lower tower stays the transcriber's: half the cost of a step, as Ultravox's LoRA also spares most of it.
    ears.audio_tower.requires_grad_(False)
    for module in (*ears.audio_tower.layers[-TUNED_TOWER_LAYERS:], ears.audio_tower.layer_norm):
        module.requires_grad_(True)
    return ears


def embedding_matrix(backbone: PreTrainedModel) -> Tensor:
    """Return a language model's token embeddings, [vocab, d_model], without gradients."""
    return cast(Tensor, backbone.get_input_embeddings().weight).detach()


def ask(spoken: Spoken, rng: random.Random, shares: Shares = SHARES) -> Asked:
    """Draw a question for a clip; a continuation hears only the first part of it."""
    sentence = spoken.sentence
    draw = rng.random()
    if draw < shares.transcribe:
        transcribe = Exchange("transcribe", sentence.text, "Repeat what was said.", sentence.text)
        return Asked(spoken, transcribe)
    if draw < shares.transcribe + shares.own and sentence.task != "everyday":
        return Asked(spoken, own_exchange(sentence, rng))
    if rng.random() < shares.speaker:
        return Asked(spoken, speaker_exchange(sentence, spoken.voice.sex))
    exchange = any_exchange(sentence, rng)
    if exchange.heard == sentence.text:
        return Asked(spoken, exchange)
    if not spoken.rendering.words:
        return Asked(
            spoken, Exchange("free", sentence.text, "What is the last word?", sentence.text.split()[-1])
        )
    cut = cut_after_words(spoken.rendering, len(exchange.heard.split()))
    return Asked(replace(spoken, rendering=cut), exchange)


def distillation_loss(
    ears: UltravoxEars,
    backbone: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    exchanges: Sequence[Exchange],
    audio: Tensor,
    mel_lengths: Tensor,
) -> tuple[Tensor, dict[str, float]]:
    """Return KL(teacher || student) over the answers' tokens, mean over tokens.

    The teacher reads each exchange as text, the student hears the clip in its place; both are forced along
    the same answer.
    """
    rows = [encode_exchange(tokenizer, exchange)[0] for exchange in exchanges]
    n_answer = [len(tokenizer.encode(e.answer, add_special_tokens=False)) + 1 for e in exchanges]
    n_heard = [len(tokenizer.encode(e.heard, add_special_tokens=False)) for e in exchanges]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        teacher = backbone(input_ids=pad(rows, tokenizer.pad_token_id)).logits
    counts = ears.token_counts(mel_lengths).tolist()
    pieces = spliced(backbone, rows, n_heard, audio, counts)
    with torch.autocast("cpu", torch.bfloat16):
        student = backbone(inputs_embeds=pad_sequence(pieces, batch_first=True)).logits
    wanted = answer_logits(teacher, [len(ids) for ids in rows], n_answer)
    given = answer_logits(student, [len(piece) for piece in pieces], n_answer)
    loss = functional.kl_div(
        given.log_softmax(-1), wanted.log_softmax(-1), log_target=True, reduction="batchmean"
    )
    same = (given.argmax(-1) == wanted.argmax(-1)).float()
    rows_same = [bool(part.all()) for part in same.split(n_answer)]
    return loss, {"tokens_same": float(same.mean()), "answers_same": sum(rows_same) / len(rows_same)}


def spliced(
    backbone: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    n_heard: Sequence[int],
    audio: Tensor,
    counts: Sequence[int],
) -> list[Tensor]:
    """Return each row's embeddings with its clip's in the place of its transcript.

    Args:
        backbone: whose embeddings are taken.
        rows: ids of whole exchanges; the transcript begins after two chat marks.
        n_heard: how many of them are the transcript's.
        audio: [clips, positions, d_model].
        counts: positions that are each clip's own.
    """
    embed = backbone.get_input_embeddings()
    return [
        torch.cat([embed(torch.tensor(ids[:2])), heard[:count].float(), embed(torch.tensor(ids[2 + skip :]))])
        for ids, heard, count, skip in zip(rows, audio, counts, n_heard, strict=True)
    ]


def word_targets(
    tokenizer: PreTrainedTokenizerFast, batch: SpeechBatch, n_positions: int, width_s: float
) -> Tensor:
    """Return the token heard at each audio position, [clips, positions]: the pad token in pauses.

    A word of several tokens spends an equal share of its time on each. -100 without word times and behind the
    end of a clip.
    """
    targets = torch.full((len(batch.spoken), n_positions), IGNORED)
    for row, spoken, change, length in zip(
        targets, batch.spoken, batch.changed, batch.mel_lengths.tolist(), strict=True
    ):
        if spoken.rendering.words:
            row[: math.ceil(length / 100 / width_s)] = cast(int, tokenizer.pad_token_id)
        for word in spoken.rendering.words:
            ids = tokenizer.encode(word.text, add_special_tokens=False)
            start, end = (t / change.speed + change.lead_s for t in (word.start_s, word.end_s))
            for position in range(int(start / width_s), min(n_positions, int(end / width_s) + 1)):
                middle = (position + 0.5) * width_s
                if start <= middle < end:
                    row[position] = ids[min(int((middle - start) / (end - start) * len(ids)), len(ids) - 1)]
    return targets


def warm_start_loss(audio: Tensor, targets: Tensor, embeddings: Tensor) -> Tensor:
    """Draw audio embeddings to their words' token embeddings: cross-entropy of cosines, and relative distance."""
    known = targets != IGNORED
    given, wanted = audio.float()[known], embeddings[targets[known]]
    cosines = functional.normalize(given, dim=-1) @ functional.normalize(embeddings, dim=-1).T
    distance = (given - wanted).pow(2).sum(-1).mean() / wanted.pow(2).sum(-1).mean()
    return functional.cross_entropy(COSINE_SHARPNESS * cosines, targets[known]) + distance


def answer_logits(logits: Tensor, lengths: Sequence[int], n_answer: Sequence[int]) -> Tensor:
    """Return the logits that predict each row's answer and end token, all rows after one another."""
    return torch.cat(
        [row[n - a - 1 : n - 1] for row, n, a in zip(logits, lengths, n_answer, strict=True)]
    ).float()


def train_speech_llm(
    ears: UltravoxEars,
    backbone: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    source: SpeechSource,
    settings: LoopSettings,
) -> dict[str, float]:
    """Train tower and projector in place; returns the training record."""
    backbone.eval().requires_grad_(False)
    curriculum = Curriculum(
        settings.steps,
        doubling_steps=1.0,
        voices_from=0.0,
        voices_all=0.02,
        augmentation_from=0.0,
        augmentation_full=0.35,
    )

    embeddings = embedding_matrix(backbone)
    width_s = 2 * STACK_FACTOR / 100

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = random.Random(f"{SPEECH_LLM_SEED}|{step}")
        asked = [ask(spoken, rng) for spoken in source.draw(step, BATCH_CLIPS, curriculum)]
        batch = source.features(tuple(a.spoken for a in asked), curriculum.strength(step), rng)
        with torch.autocast("cpu", torch.bfloat16):
            audio = ears(batch.features, batch.mel_lengths)
        targets = word_targets(tokenizer, batch, audio.shape[1], width_s)
        warm = warm_start_loss(audio, targets, embeddings)
        if step < WARM_START_SHARE * settings.steps:
            return warm, {"warm": float(warm.detach())}
        exchanges = [a.exchange for a in asked]
        loss, numbers = distillation_loss(ears, backbone, tokenizer, exchanges, audio, batch.mel_lengths)
        return loss + WARM_WEIGHT_AFTER * warm, {"warm": float(warm.detach()), **numbers}

    return train(ears, loss_of_step, settings)
