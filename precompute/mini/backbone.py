"""Backbones trained on text alone: the mini-Llama, and the one way in which any causal LM here is taught.

The loss covers the sentence and the answer, not the instruction; without the sentence the late layers
would have no reason to predict words.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from precompute.mini.dialogue import Exchange, draw_exchange
from precompute.mini.loop import LoopSettings, train
from precompute.mini.sentence import Sentence

BACKBONE_SEED = 1
BATCH_EXCHANGES = 32
# A fifth of the examples are random words to be repeated, or a model does not learn to copy a sentence. In the
# run that ships this was found out after 3,600 steps of the mini-Llama.
ECHO_FROM_STEP, ECHO_SHARE = 3_600, 0.2
# Large LLMs have met stammered, misheard and badly cut text; without any of it, this one could not read a clip,
# where a word fills as many positions as it lasts. Shares of examples, and of the positions of such an example.
DRAWN_OUT_SHARE = 0.4
_TOKENS_PER_LETTER, _LONGEST_PAUSE, _PAUSE_SHARE, _MISHEARD_SHARE = 0.45, 3, 0.06, 0.04
IGNORED = -100


def new_backbone(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return a randomly initialised Llama of 12 layers; seeded, 9 million parameters."""
    torch.manual_seed(BACKBONE_SEED)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=640,
            num_hidden_layers=12,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=False,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def draw_out(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int], rng: random.Random) -> list[int]:
    """Return the tokens as they would last in speech: each repeated, the pad token in pauses, a few misheard."""
    drawn = [tokenizer.pad_token_id] * rng.randint(0, _LONGEST_PAUSE)
    for token in ids:
        letters = len(str(tokenizer.decode([token])).strip())
        for _ in range(max(1, int(letters * _TOKENS_PER_LETTER + rng.random()))):
            misheard = rng.random() < _MISHEARD_SHARE
            drawn.append(rng.randrange(len(tokenizer)) if misheard else token)
        if rng.random() < _PAUSE_SHARE:
            drawn += [tokenizer.pad_token_id] * rng.randint(1, _LONGEST_PAUSE)
    return drawn + [tokenizer.pad_token_id] * rng.randint(0, _LONGEST_PAUSE)


def encode_exchange(
    tokenizer: PreTrainedTokenizerFast, exchange: Exchange, drawing: random.Random | None = None
) -> tuple[list[int], list[int]]:
    """Return (ids, labels) of one turn; labels are -100 on the instruction, the chat marks and random words.

    With `drawing` the sentence is drawn out as in speech, and its labels are -100 too.
    """
    heard = tokenizer.encode(exchange.heard, add_special_tokens=False)
    if drawing is not None:
        heard = draw_out(tokenizer, heard, drawing)
    pieces = (
        ([tokenizer.bos_token_id, tokenizer.convert_tokens_to_ids("<|user|>")], False),
        (heard, exchange.task != "echo" and drawing is None),
        (tokenizer.encode(exchange.instruction, add_special_tokens=False), False),
        ([tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|assistant|>")], False),
        ([*tokenizer.encode(exchange.answer, add_special_tokens=False), tokenizer.eos_token_id], True),
    )
    ids = [token for piece, _ in pieces for token in piece]
    labels = [token if counts else IGNORED for piece, counts in pieces for token in piece]
    return ids, labels


def pad(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    """Return int64 [rows, longest], filled on the right."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows])


def group_by_task(sentences: Sequence[Sentence]) -> dict[str, list[Sentence]]:
    """Return the sentences of each task, in order."""
    by_task: dict[str, list[Sentence]] = {}
    for sentence in sentences:
        by_task.setdefault(sentence.task, []).append(sentence)
    return by_task


class TextSource:
    """Draws exchanges about sentences, and echoes of their words; holds no state between batches."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, sentences: Sequence[Sentence]) -> None:
        self._tokenizer = tokenizer
        self._by_task = group_by_task(sentences)
        self._words = sorted({word for sentence in sentences for word in sentence.text.split()})

    def batch(self, n_exchanges: int, echo_share: float, rng: random.Random) -> tuple[Tensor, Tensor]:
        """Return (ids, labels), both [exchanges, longest]."""
        rows = [
            encode_exchange(
                self._tokenizer,
                draw_exchange(self._by_task, self._words, echo_share, rng),
                rng if rng.random() < DRAWN_OUT_SHARE else None,
            )
            for _ in range(n_exchanges)
        ]
        ids = pad([row[0] for row in rows], self._tokenizer.pad_token_id)
        return ids, pad([row[1] for row in rows], IGNORED)


def text_loss(model: PreTrainedModel, ids: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Return the cross-entropy of the counted tokens, and the share of rows answered in full."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids).logits
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
    )
    return loss, {"answers_right": _answers_right(logits, labels)}


def train_backbone(
    model: PreTrainedModel,
    source: TextSource,
    settings: LoopSettings,
    *,
    seed: int = BACKBONE_SEED,
    echo_from_step: int = ECHO_FROM_STEP,
) -> dict[str, float]:
    """Train a causal LM in place on exchanges from this source; returns its training record."""

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = random.Random(f"{seed}|{step}")
        echo_share = ECHO_SHARE if step >= echo_from_step else 0.0
        return text_loss(model, *source.batch(BATCH_EXCHANGES, echo_share, rng))

    return train(model, loss_of_step, settings)


def _answers_right(logits: Tensor, labels: Tensor) -> float:
    """Share of rows whose every answer token is the model's first choice (the sentence itself left out)."""
    right = (logits[:, :-1].argmax(-1) == labels[:, 1:]) | (labels[:, 1:] == IGNORED)
    gaps = (labels[:, 1:] == IGNORED).int().cumsum(1)
    # Rows end in padding, which is ignored too: the answer is the last run of counted labels.
    last = ((labels[:, 1:] != IGNORED).int() * torch.arange(labels.shape[1] - 1)).argmax(1)
    in_answer = gaps == gaps.gather(1, last[:, None])
    return float((right | ~in_answer).all(1).float().mean())
