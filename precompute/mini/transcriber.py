"""The mini-Whispers, strong and weak: encoder and decoder trained on synthetic speech, run by faster-whisper.

Characters teach the encoder first: frame by frame where word times are known (CTC alone stays on its plateau
for a thousand steps), then by CTC; the decoder joins soon after. All along a second head names the word at each
frame. Both heads are training aids and are not shipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration

from engine.systems.whisper import encode_mel
from precompute.mini.backbone import IGNORED, pad
from precompute.mini.loop import LoopSettings, train
from precompute.mini.speech_batch import WINDOW_S, Curriculum, SpeechBatch, SpeechSource

TRANSCRIBER_SEED = 2
BATCH_CLIPS = 16
MAX_TARGET_POSITIONS = 64
POSITIONS_PER_SECOND = 50
CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"
DECODER_FROM, DECODER_FULL = 0.15, 0.22
FRAMES_FULL, FRAMES_UNTIL = 0.06, 0.12
WORD_WEIGHT = 0.5


@dataclass(frozen=True)
class Size:
    """How large a transcriber is; both halves share width, heads and inner width."""

    d_model: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    inner: int


STRONG = Size(d_model=256, encoder_layers=5, decoder_layers=2, heads=4, inner=768)
# Fewer ears and shorter training, so that it mishears what the strong one does not.
WEAK = Size(d_model=160, encoder_layers=3, decoder_layers=1, heads=4, inner=480)


class TrainedTranscriber(nn.Module):
    """A Whisper with two heads on its encoder: characters for CTC (blank first) and words (silence first)."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, words: Sequence[str], size: Size = STRONG) -> None:
        super().__init__()
        self.words = {word: index for index, word in enumerate(words, start=1)}
        torch.manual_seed(TRANSCRIBER_SEED)
        self.whisper = WhisperForConditionalGeneration(_config(tokenizer, size))
        for convolution in (self.whisper.model.encoder.conv1, self.whisper.model.encoder.conv2):
            # The library's initial scale (0.02) would drown the sound in the position embeddings.
            nn.init.kaiming_normal_(convolution.weight)
        self.ctc_head = nn.Linear(self.whisper.config.d_model, 1 + len(CHARACTERS))
        self.word_head = nn.Linear(self.whisper.config.d_model, 1 + len(words))


def _config(tokenizer: PreTrainedTokenizerFast, size: Size) -> WhisperConfig:
    end, start = (
        cast(int, tokenizer.convert_tokens_to_ids(mark))
        for mark in ("<|endoftext|>", "<|startoftranscript|>")
    )
    return WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=80,
        d_model=size.d_model,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=size.inner,
        decoder_ffn_dim=size.inner,
        max_source_positions=WINDOW_S * POSITIONS_PER_SECOND,
        max_target_positions=MAX_TARGET_POSITIONS,
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )


def ctc_targets(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return (character classes of all texts in a row, length of each text); class 0 is the blank."""
    classes = [[1 + CHARACTERS.index(character) for character in text] for text in texts]
    return torch.tensor([c for row in classes for c in row]), torch.tensor([len(row) for row in classes])


def frame_targets(batch: SpeechBatch, words: Mapping[str, int], n_positions: int) -> tuple[Tensor, Tensor]:
    """Return the character and the word class at each encoder position, both [clips, positions].

    Letters share their word's time evenly; 0 is blank and silence; -100 for clips without word times.
    """
    characters = torch.full((len(batch.spoken), n_positions), IGNORED)
    word_classes = characters.clone()
    for clip, (spoken, change) in enumerate(zip(batch.spoken, batch.changed, strict=True)):
        if spoken.rendering.words:
            characters[clip], word_classes[clip] = 0, 0
        for word in spoken.rendering.words:
            start, end = (
                POSITIONS_PER_SECOND * (t / change.speed + change.lead_s) for t in (word.start_s, word.end_s)
            )
            for position in range(max(0, round(start)), min(n_positions, round(end))):
                letter = int((position + 0.5 - start) / max(end - start, 1e-6) * len(word.text))
                letter = min(max(letter, 0), len(word.text) - 1)
                characters[clip, position] = 1 + CHARACTERS.index(word.text[letter])
                word_classes[clip, position] = words[word.text]
    return characters, word_classes


def transcriber_loss(
    model: TrainedTranscriber,
    tokenizer: PreTrainedTokenizerFast,
    batch: SpeechBatch,
    *,
    frame_weight: float,
    decoder_weight: float,
) -> tuple[Tensor, dict[str, float]]:
    """Return CTC (per character) plus cross-entropies of words and characters (per frame) and tokens."""
    texts = [s.sentence.text for s in batch.spoken]
    with torch.autocast("cpu", torch.bfloat16):
        states = encode_mel(model.whisper.model.encoder, batch.features)
        logits = model.ctc_head(states).float()
        word_logits = model.word_head(states).float()
    targets, lengths = ctc_targets(texts)
    positions = torch.full((len(texts),), states.shape[1])
    ctc = functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1), targets, positions, lengths, zero_infinity=True
    )
    numbers = {"ctc": float(ctc.detach())}
    characters, word_classes = frame_targets(batch, model.words, logits.shape[1])
    loss = ctc
    if (characters != IGNORED).any():
        # While frames teach, CTC's pull towards blanks would undo it.
        frames = functional.cross_entropy(logits.flatten(0, 1), characters.flatten(), ignore_index=IGNORED)
        words = functional.cross_entropy(
            word_logits.flatten(0, 1), word_classes.flatten(), ignore_index=IGNORED
        )
        numbers |= {"words": float(words.detach())}
        loss = frame_weight * frames + (1 - frame_weight) * ctc + WORD_WEIGHT * words
    if not decoder_weight:
        return loss, numbers
    no_times = tokenizer.convert_tokens_to_ids("<|notimestamps|>")
    rows = [[no_times, *tokenizer.encode(t, add_special_tokens=False), tokenizer.eos_token_id] for t in texts]
    labels = pad(rows, IGNORED)
    start = model.whisper.config.decoder_start_token_id
    inputs = torch.cat([torch.full((len(rows), 1), start), labels[:, :-1]], dim=1)
    inputs = inputs.masked_fill(inputs == IGNORED, tokenizer.pad_token_id)
    with torch.autocast("cpu", torch.bfloat16):
        decoded = model.whisper.model.decoder(input_ids=inputs, encoder_hidden_states=states)
        token_logits = model.whisper.proj_out(decoded.last_hidden_state).float()
    tokens = functional.cross_entropy(token_logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    right = (token_logits.argmax(-1) == labels) | (labels == IGNORED)
    numbers |= {"tokens": float(tokens.detach()), "clips_right": float(right.all(1).float().mean())}
    return loss + decoder_weight * tokens, numbers


def _ramp(share: float, begin: float, end: float) -> float:
    return min(1.0, max(0.0, (share - begin) / (end - begin)))


def train_transcriber(
    model: TrainedTranscriber,
    tokenizer: PreTrainedTokenizerFast,
    source: SpeechSource,
    settings: LoopSettings,
) -> dict[str, float]:
    """Train a transcriber in place on batches of this source; returns its training record."""
    curriculum = Curriculum(settings.steps)

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        share = step / settings.steps
        return transcriber_loss(
            model,
            tokenizer,
            source.batch(step, BATCH_CLIPS, curriculum),
            frame_weight=1 - _ramp(share, FRAMES_FULL, FRAMES_UNTIL),
            decoder_weight=_ramp(share, DECODER_FROM, DECODER_FULL),
        )

    return train(model, loss_of_step, settings)
