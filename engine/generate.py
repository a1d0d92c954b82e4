"""Greedy answers, forced-choice scores and states: one pass over the prompt, then a shared cache.

Written here instead of calling `generate`, because plain, erased and control arms run as rows of one batch
and their labels are scored from the same prompt pass that the lens reads. The rows are either arms of one
prompt (`run_arms`) or different prompts, padded on the left (`run_prompts`); `read_states` runs the backbone alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import DynamicCache

from engine.hooks import BACKBONE_LOCK, RowEdits, editing, recording
from engine.systems.base import Prepared, WhiteBoxModel, end_ids, text_ids
from engine.tasks import MAX_NEW_TOKENS


@dataclass(frozen=True)
class Decoded:
    """One row's greedy answer.

    Attributes:
        token_ids: generated ids without the end token.
        text: their text, special tokens removed, outer spaces cut.
        log_likelihood: summed natural log-probability of the generated tokens, the end token included.
        end_id: the end token that it stopped at; None where it was cut.
    """

    token_ids: tuple[int, ...]
    text: str
    log_likelihood: float
    end_id: int | None = None


@dataclass(frozen=True)
class Pass:
    """What one batch of arms yields.

    Attributes:
        decoded: one greedy answer for each row.
        continuation_scores: [rows, continuations] natural log-probability of each continuation with its end token.
        first_answer_scores: for each row, log-probability of row 0's own answer (its tokens and end).
        states: layer -> [rows, positions, d_model] over the prompt, where recording was asked for.
        prompt_logits: logits at the prompt's last position, [rows, vocab].
    """

    decoded: tuple[Decoded, ...]
    continuation_scores: Float[Tensor, "rows continuations"]
    first_answer_scores: tuple[float, ...]
    prompt_logits: Float[Tensor, "rows vocab"]
    states: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """What one prompt of a batch of prompts yields.

    Attributes:
        continuation_scores: natural log-probability of each continuation with its end token.
        prompt_logits: at the prompt's last position.
    """

    decoded: Decoded
    continuation_scores: Float[Tensor, "continuations"]  # noqa: F821 - jaxtyping axis name
    prompt_logits: Float[Tensor, "vocab"]  # noqa: F821


@dataclass(frozen=True)
class _Padding:
    """Rows of different lengths, filled up on the left: which positions count, and which place each token has.

    Attributes:
        lengths: [rows], positions of each row's own prompt; on the model's device.
        width: positions of the widest.
    """

    lengths: Tensor
    width: int

    def arguments(self, n_before: int, n_new: int) -> dict[str, Tensor]:
        """Return mask and positions for `n_new` tokens that follow `n_before` padded positions."""
        fill = (self.width - self.lengths)[:, None]
        places = torch.arange(n_before + n_new, device=self.lengths.device)[None]
        positions = (places[:, n_before:] - fill).clamp(min=0)
        return {"attention_mask": (places >= fill).long(), "position_ids": positions}

    def rows(self, kept: Tensor) -> _Padding:
        """Return the padding of these rows only; a row named twice is there twice."""
        return _Padding(self.lengths[kept], self.width)


def encode_answer(system: WhiteBoxModel, text: str) -> list[int]:
    """Return an answer's ids with the end of turn, as the system would generate them."""
    return [*text_ids(system.tokenizer, text), end_ids(system)[0]]


@torch.inference_mode()
def run_arms(
    system: WhiteBoxModel,
    prepared: Prepared,
    *,
    edits: RowEdits | None = None,
    continuations: Sequence[str] = (),
    record_layers: Sequence[int] = (),
    max_new_tokens: int = MAX_NEW_TOKENS,
    batched: bool = True,
) -> Pass:
    """Answer one prompt under each arm of `edits` (one plain row without edits).

    Args:
        system: whose backbone runs.
        prepared: the prompt.
        edits: one row for each arm; row 0 should be plain.
        continuations: answers to be scored in every row, the labels of a forced choice among them.
        record_layers: layers whose prompt states are returned.
        max_new_tokens: an answer that long is cut.
        batched: False runs the arms one after another, for a system whose batches do not equal its singles.
    """
    answers = [encode_answer(system, text) for text in continuations]
    if edits is None or batched or len(edits.rows) == 1:
        return _run_rows(system, prepared, edits, answers, record_layers, max_new_tokens, None)
    passes: list[Pass] = []
    for row in range(len(edits.rows)):
        alone, first = edits.only(row), passes[0].decoded[0] if passes else None
        passes.append(_run_rows(system, prepared, alone, answers, record_layers, max_new_tokens, first))
        edits.change[row], edits.count[row] = alone.change[0], alone.count[0]
    return Pass(
        decoded=tuple(one.decoded[0] for one in passes),
        continuation_scores=torch.cat([one.continuation_scores for one in passes]),
        first_answer_scores=tuple(one.first_answer_scores[0] for one in passes),
        prompt_logits=torch.cat([one.prompt_logits for one in passes]),
        states={layer: torch.cat([one.states[layer] for one in passes]) for layer in record_layers},
    )


@torch.inference_mode()
def run_prompts(
    system: WhiteBoxModel,
    prompts: Sequence[Prepared],
    *,
    continuations: Sequence[Sequence[str]],
    max_new_tokens: int | Sequence[int] = MAX_NEW_TOKENS,
) -> list[Reply]:
    """Answer different prompts as the rows of one batch, plainly: nothing is edited or recorded.

    Args:
        system: whose backbone runs.
        prompts: one a row.
        continuations: for each prompt the answers to be scored; rows may have different numbers of them.
        max_new_tokens: an answer that long is cut; one limit for all, or one for each.
    """
    widths = [prompt.embeddings.shape[1] for prompt in prompts]
    padding = _Padding(torch.tensor(widths, device=prompts[0].embeddings.device), max(widths))
    padded = torch.cat(
        [nn.functional.pad(p.embeddings, (0, 0, padding.width - p.embeddings.shape[1], 0)) for p in prompts]
    )
    answers = [[encode_answer(system, text) for text in texts] for texts in continuations]
    with BACKBONE_LOCK:
        out = system.language_model(
            inputs_embeds=padded,
            past_key_values=DynamicCache(),
            use_cache=True,
            logits_to_keep=1,
            **padding.arguments(0, padding.width),
        )
        prompt_logits = out.logits[:, -1].float()
        scores = _score_each(system, out.past_key_values, prompt_logits, answers, padding)
        decoded = _greedy(system, out.past_key_values, prompt_logits, max_new_tokens, padding)
    return [
        Reply(decoded[row], scores[row, : len(texts)], prompt_logits[row])
        for row, texts in enumerate(continuations)
    ]


def _run_rows(
    system: WhiteBoxModel,
    prepared: Prepared,
    edits: RowEdits | None,
    answers: Sequence[Sequence[int]],
    record_layers: Sequence[int],
    max_new_tokens: int,
    first_answer: Decoded | None,
) -> Pass:
    """Run all rows of these edits as one batch; `first_answer` is scored instead of row 0's own where given."""
    n_rows = len(edits.rows) if edits else 1
    with ExitStack() as stack:
        stack.enter_context(BACKBONE_LOCK)
        if edits and edits.layers():
            stack.enter_context(editing(system.decoder_layers, edits))
        with recording(system.decoder_layers, record_layers) as states:
            out = system.language_model(
                inputs_embeds=prepared.embeddings.expand(n_rows, -1, -1),
                past_key_values=DynamicCache(),
                use_cache=True,
                logits_to_keep=1,
            )
        prompt_logits = out.logits[:, -1].float()
        scores = _score(system, out.past_key_values, prompt_logits, answers)
        decoded = _greedy(system, deepcopy(out.past_key_values), prompt_logits, max_new_tokens)
        own = first_answer or decoded[0]
        ended = [*own.token_ids, end_ids(system)[0] if own.end_id is None else own.end_id]
        own_scores = _score(system, out.past_key_values, prompt_logits, [ended])
    return Pass(
        decoded=tuple(decoded),
        continuation_scores=scores,
        first_answer_scores=tuple(float(score) for score in own_scores[:, 0]),
        prompt_logits=prompt_logits,
        states=states,
    )


def _greedy(
    system: WhiteBoxModel,
    cache: DynamicCache,
    prompt_logits: Tensor,
    max_new_tokens: int | Sequence[int],
    padding: _Padding | None = None,
) -> list[Decoded]:
    """Generate after each row's prompt; the cache given is used up."""
    ends = end_ids(system)
    n_rows = prompt_logits.shape[0]
    ids: list[list[int]] = [[] for _ in range(n_rows)]
    likelihoods = [0.0] * n_rows
    ended: list[int | None] = [None] * n_rows
    limits = [max_new_tokens] * n_rows if isinstance(max_new_tokens, int) else list(max_new_tokens)
    logits = prompt_logits
    for step in range(max(limits)):
        best, tokens = logits.log_softmax(-1).max(-1)
        # In one piece: each number read from a GPU by itself would stop it.
        for row, (score, token) in enumerate(zip(best.tolist(), tokens.tolist(), strict=True)):
            if ended[row] is None and step < limits[row]:
                likelihoods[row] += score
                if token in ends:
                    ended[row] = token
                else:
                    ids[row].append(token)
        if all(end is not None or step + 1 >= limit for end, limit in zip(ended, limits, strict=True)):
            break
        placed = padding.arguments(padding.width + step, 1) if padding else {}
        out = system.language_model(
            input_ids=tokens[:, None], past_key_values=cache, use_cache=True, **placed
        )
        logits = out.logits[:, -1].float()
    return [
        Decoded(tuple(row), _text(system, row), likelihood, end)
        for row, likelihood, end in zip(ids, likelihoods, ended, strict=True)
    ]


def _text(system: WhiteBoxModel, ids: Sequence[int]) -> str:
    return str(system.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def _score(
    system: WhiteBoxModel, cache: DynamicCache, prompt_logits: Tensor, answers: Sequence[Sequence[int]]
) -> Float[Tensor, "rows continuations"]:
    """Log-probability of each answer after each row's prompt; the cache given is left as it was."""
    return _score_each(system, cache, prompt_logits, [answers] * prompt_logits.shape[0], None)


def _score_each(
    system: WhiteBoxModel,
    cache: DynamicCache,
    prompt_logits: Tensor,
    answers: Sequence[Sequence[Sequence[int]]],
    padding: _Padding | None,
) -> Float[Tensor, "rows continuations"]:
    """The same with answers of each row's own; a row that has fewer than another is 0 in the places left over."""
    n_rows, n_answers = prompt_logits.shape[0], max(len(row) for row in answers)
    if not n_answers:
        return torch.zeros(n_rows, 0)
    width = max(len(answer) for row in answers for answer in row)
    filler = end_ids(system)[0]
    flat = [answer for row in answers for answer in [*row, *[[]] * (n_answers - len(row))]]
    device = prompt_logits.device
    rows = torch.tensor([[*a, *[filler] * (width - len(a))] for a in flat], device=device)
    counts = torch.tensor([[1.0] * len(a) + [0.0] * (width - len(a)) for a in flat], device=device)
    first = prompt_logits.repeat_interleave(n_answers, 0)[:, None]
    if width > 1:
        wide = deepcopy(cache)
        wide.batch_repeat_interleave(n_answers)
        placed = {}
        if padding:
            copies = torch.arange(n_rows, device=device).repeat_interleave(n_answers)
            placed = padding.rows(copies).arguments(padding.width, width - 1)
        out = system.language_model(input_ids=rows[:, :-1], past_key_values=wide, use_cache=True, **placed)
        logits = torch.cat([first, out.logits.float()], dim=1)
    else:
        logits = first
    chosen = logits.log_softmax(-1).gather(-1, rows[..., None])[..., 0]
    return (chosen * counts).sum(-1).reshape(n_rows, n_answers).cpu()


def all_layers(system: WhiteBoxModel) -> tuple[int, ...]:
    """Return every layer's index: 0 is what the first block receives."""
    return tuple(range(len(system.decoder_layers) + 1))


def at_span(states: dict[int, Tensor], prepared: Prepared, row: int = 0) -> dict[int, Tensor]:
    """Return a row's states at the clip's positions, by layer; the first row is the plain one."""
    start, stop = prepared.span
    return {layer: recorded[row, start:stop] for layer, recorded in states.items()}


def span_states(system: WhiteBoxModel, prepared: Prepared) -> dict[int, Tensor]:
    """Return the plain prompt's states at the clip's positions, layer by layer: [positions, d_model], float32."""
    passed = run_arms(system, prepared, record_layers=all_layers(system), max_new_tokens=1)
    return at_span(passed.states, prepared)


@torch.inference_mode()
def read_states(
    system: WhiteBoxModel,
    prepared: Prepared,
    edits: RowEdits | None = None,
    layers: Sequence[int] | None = None,
) -> list[dict[int, Tensor]]:
    """Return for each row of `edits` (one plain row without them) layer -> states [positions, d_model], float32.

    Blocks above the highest layer that is wanted or edited do not run, nor does the head.

    Args:
        system: whose backbone runs.
        prepared: the prompt, the same for every row.
        edits: of the residual stream; what they count is filled in.
        layers: whose states are wanted, None for all.
    """
    n_rows = len(edits.rows) if edits else 1
    wanted = all_layers(system) if layers is None else layers
    edited = edits.layers() if edits else []
    with ExitStack() as stack:
        stack.enter_context(BACKBONE_LOCK)
        if edits and edited:
            stack.enter_context(editing(system.decoder_layers, edits))
        stop = max(wanted) >= max(edited, default=0)
        with recording(system.decoder_layers, wanted, stop=stop) as states:
            system.language_model(
                inputs_embeds=prepared.embeddings.expand(n_rows, -1, -1), use_cache=False, logits_to_keep=1
            )
    return [{layer: recorded[row] for layer, recorded in states.items()} for row in range(n_rows)]


@torch.inference_mode()
def run_blocks(
    system: WhiteBoxModel, states: Float[Tensor, "rows positions d_model"], first: int, last: int
) -> Float[Tensor, "rows positions d_model"]:
    """Return what states that stand at layer `first` become at layer `last`; both in the backbone's own dtype.

    What `read_states` finds above its edits, without running the blocks below them again: whoever walks up the
    layers (fitting erasers on what those below leave) pays for each block once.

    Args:
        system: whose blocks `first` + 1 to `last` run.
        states: of whole prompts of one length, positions counted from 0.
        first: where they stand, 0 to the number of blocks.
        last: above `first`.
    """
    decoder = cast(Any, system.language_model).get_decoder()
    every = decoder.layers
    with BACKBONE_LOCK:
        decoder.layers = nn.ModuleList(every[first:last])
        try:
            with recording(decoder.layers, [last - first], stop=True) as found:
                system.language_model(inputs_embeds=states, use_cache=False, logits_to_keep=1)
        finally:
            decoder.layers = every
    return found[last - first].to(states.dtype)
