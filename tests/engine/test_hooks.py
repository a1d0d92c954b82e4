"""Recording and editing the residual stream: identities by hand, exact scopes, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from engine.hooks import Projection, RowEdits, Scope, editing, recording
from engine.lens import unit_roundoff
from engine.systems.base import Prepared
from engine.systems.ultravox import Ultravox

WIDTH = 6
SPAN, N_PROMPT = (2, 4), 5


def projection(rank: int, *, mean: Tensor | None = None, seed: int = 0, width: int = WIDTH) -> Projection:
    basis = torch.linalg.qr(torch.randn(width, rank, generator=torch.Generator().manual_seed(seed))).Q
    return Projection(basis, basis.T, mean)


def states(rows: int = 1, positions: int = 7, seed: int = 9) -> Tensor:
    return torch.randn(rows, positions, WIDTH, generator=torch.Generator().manual_seed(seed))


def hooks_on(system: Ultravox) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in system.language_model.modules())


def test_rank_zero_is_the_identity() -> None:
    nothing = Projection(torch.zeros(WIDTH, 0), torch.zeros(0, WIDTH))
    assert nothing.rank == 0 and torch.equal(nothing(states()), states())


def test_full_rank_takes_everything() -> None:
    assert projection(WIDTH)(states()).abs().max() < 1e-5


@pytest.mark.parametrize("mean", [None, torch.arange(6.0)])
def test_an_orthonormal_projection_done_twice_is_done_once(mean: Tensor | None) -> None:
    erase = projection(2, mean=mean)
    once = erase(states())
    assert erase.rank == 2 and (once - states()).norm() > 0.5
    torch.testing.assert_close(erase(once), once, atol=1e-5, rtol=1e-5)


def test_what_was_taken_out_cannot_be_seen_any_more() -> None:
    erase = projection(2)
    assert (erase(states()) @ erase.left).abs().max() < 1e-5


def test_affine_keeps_the_mean_and_linear_does_not() -> None:
    mean = torch.arange(6.0)
    cloud = states(positions=50) - states(positions=50).mean(1, keepdim=True) + mean
    torch.testing.assert_close(projection(3, mean=mean)(cloud).mean(1)[0], mean, atol=1e-5, rtol=1e-5)
    assert (projection(3)(cloud).mean(1)[0] - mean).norm() > 0.5


def assert_rounded(found: Tensor, expected: Tensor) -> None:
    """Equal but for rounding: products of other shapes add their terms in another order on some processors.

    The bound is that of a sum (Higham, section 4.2): terms, times the unit roundoff of the dtype, of the largest
    number. A wrong row or position is many times as far off.
    """
    n_terms = 3 * expected.shape[-1]  # two products and a difference
    bound = n_terms * unit_roundoff(expected.dtype) * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("mean", [None, torch.arange(6.0)])
def test_strength_0_is_the_state_itself_and_1_the_whole_cut_bit_for_bit(mean: Tensor | None) -> None:
    whole = projection(2, mean=mean)
    assert torch.equal(replace(whole, strength=0.0)(states()), states())
    assert torch.equal(replace(whole, strength=1.0)(states()), whole(states()))
    by_hand = states() - ((states() - (0 if mean is None else mean)) @ whole.right.T) @ whole.left.T
    assert torch.equal(whole(states()), by_hand), "products of equal shapes may be compared exactly"


def test_strength_a_quarter_moves_a_state_a_quarter_of_the_way() -> None:
    whole, part = projection(2), replace(projection(2), strength=0.25)
    torch.testing.assert_close(
        part(states()) - states(), 0.25 * (whole(states()) - states()), atol=1e-6, rtol=0
    )


def test_the_dtype_of_the_states_is_kept() -> None:
    assert projection(2)(states().bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("scope", "edited_positions"), [("audio", {2, 3}), ("prompt", {0, 1, 2, 3, 4}), ("all", set(range(7)))]
)
def test_a_scope_edits_its_positions_and_no_others(scope: Scope, edited_positions: set[int]) -> None:
    edits = RowEdits([{1: projection(2)}], SPAN, N_PROMPT, scope)
    moved = (edits.apply(1, states(), 0) - states()).abs().amax((0, 2)) > 1e-6
    assert {position for position in range(7) if moved[position]} == edited_positions


@pytest.mark.parametrize("scope", ["audio", "prompt", "all"])
@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 6])
def test_positions_count_from_the_start_of_the_sequence_not_of_the_pass(scope: Scope, cut: int) -> None:
    """Whole at once, or a beginning and a rest that continues from a cache: the same edits."""
    edits = RowEdits([{1: projection(2)}], SPAN, N_PROMPT, scope)
    whole = edits.apply(1, states(), 0)
    parts = [edits.apply(1, states()[:, :cut], 0), edits.apply(1, states()[:, cut:], cut)]
    assert_rounded(torch.cat(parts, dim=1), whole)


def test_each_row_has_its_own_edits_and_plain_rows_none() -> None:
    rows = states(rows=3)
    edits = RowEdits([None, {1: projection(2)}, {2: projection(3, seed=1)}], SPAN, N_PROMPT, "all")
    at_1, at_2 = edits.apply(1, rows, 0), edits.apply(2, rows, 0)
    assert edits.layers() == [1, 2]
    assert torch.equal(at_1[[0, 2]], rows[[0, 2]]) and torch.equal(at_2[:2], rows[:2])
    assert_rounded(at_1[1], projection(2)(rows[1]))
    assert_rounded(at_2[2], projection(3, seed=1)(rows[2]))


def test_copies_of_a_row_side_by_side_are_edited_as_the_row() -> None:
    rows = states(rows=2)
    edits = RowEdits([None, {1: projection(2)}], SPAN, N_PROMPT, "prompt")
    copied = edits.apply(1, rows.repeat_interleave(3, 0), 0)
    assert_rounded(copied, edits.apply(1, rows, 0).repeat_interleave(3, 0))


def test_the_states_given_are_not_written_to() -> None:
    given = states()
    RowEdits([{1: projection(2)}], SPAN, N_PROMPT, "all").apply(1, given, 0)
    assert torch.equal(given, states())


def test_the_change_is_the_mean_of_the_relative_changes_at_prompt_positions() -> None:
    edits = RowEdits([None, {1: projection(2), 3: projection(2)}], SPAN, N_PROMPT, "all")
    rows = states(rows=2)
    by_hand = []
    for layer in (1, 3):
        edits.apply(layer, rows[:, :N_PROMPT], 0)
        edits.apply(layer, rows[:, N_PROMPT:], N_PROMPT)
        before = rows[1, :N_PROMPT]
        by_hand.append((projection(2)(before) - before).norm(dim=-1) / before.norm(dim=-1))
    assert edits.relative_change(1) == pytest.approx(float(torch.cat(by_hand).mean()), rel=1e-5)
    assert edits.relative_change(0) == 0.0


@pytest.mark.parametrize("mean", [None, torch.ones(WIDTH)])
def test_a_state_of_zero_has_no_relative_change(mean: Tensor | None) -> None:
    """A padding token's embedding is zero: the share moved was told as 10^8, or as no number by hand."""
    rows = states(positions=N_PROMPT)
    edits, others = (RowEdits([{0: projection(2, mean=mean)}], (2, 4), N_PROMPT, "audio") for _ in range(2))
    rows[0, 2] = 0
    edits.apply(0, rows, 0)
    others.apply(0, rows[:, [0, 1, 3, 3, 4]], 0)
    assert 0 < edits.relative_change(0) == pytest.approx(others.relative_change(0), rel=1e-5)
    nothing = RowEdits([{0: projection(2, mean=mean)}], (2, 4), N_PROMPT, "audio")
    nothing.apply(0, torch.zeros_like(rows), 0)
    assert nothing.relative_change(0) == 0.0 and nothing.change_by_group(0) == {0: {"audio": 0.0}}


def test_one_row_alone_starts_its_count_anew() -> None:
    edits = RowEdits([None, {1: projection(2)}], SPAN, N_PROMPT, "all")
    edits.apply(1, states(rows=2), 0)
    alone = edits.only(1)
    assert alone.count == [{}] and torch.equal(
        alone.apply(1, states(rows=2)[1:], 0), edits.apply(1, states(rows=2), 0)[1:]
    )


@torch.inference_mode()
def test_layer_0_is_the_input_and_layer_i_the_output_of_block_i(
    ultravox: Ultravox, prepared: Prepared
) -> None:
    decoder: Any = ultravox.language_model.model
    with recording(ultravox.decoder_layers, [0, 1, 2, 3]) as recorded:
        out = ultravox.language_model(inputs_embeds=prepared.embeddings)
    assert torch.equal(recorded[0], prepared.embeddings)
    n_positions = prepared.embeddings.shape[1]
    mask = torch.full((n_positions, n_positions), -torch.inf).triu(1)[None, None]
    position_ids = torch.arange(n_positions)[None]
    hidden = prepared.embeddings
    for layer, block in enumerate(decoder.layers, 1):
        rotary = decoder.rotary_emb(hidden, position_ids)
        hidden = block(hidden, attention_mask=mask, position_ids=position_ids, position_embeddings=rotary)
        torch.testing.assert_close(recorded[layer], hidden, atol=1e-4, rtol=1e-4)
    logits = ultravox.unembedding(decoder.norm(hidden))
    torch.testing.assert_close(out.logits, logits, atol=1e-3, rtol=1e-4)


@torch.inference_mode()
def test_only_the_prompts_pass_is_recorded(ultravox: Ultravox, prepared: Prepared) -> None:
    with recording(ultravox.decoder_layers, [2]) as recorded:
        out = ultravox.language_model(
            inputs_embeds=prepared.embeddings, past_key_values=DynamicCache(), use_cache=True
        )
        first = recorded[2].clone()
        ultravox.language_model(
            input_ids=torch.tensor([[7]]), past_key_values=out.past_key_values, use_cache=True
        )
    assert torch.equal(recorded[2], first) and first.shape == prepared.embeddings.shape


@torch.inference_mode()
def test_a_recording_inside_an_edit_sees_the_edited_states(ultravox: Ultravox, prepared: Prepared) -> None:
    erase = projection(4, width=32)
    edits = RowEdits([{0: erase, 2: erase}], prepared.span, prepared.embeddings.shape[1], "audio")
    start, stop = prepared.span
    with editing(ultravox.decoder_layers, edits), recording(ultravox.decoder_layers, [0, 2]) as recorded:
        ultravox.language_model(inputs_embeds=prepared.embeddings)
    for layer in (0, 2):
        assert (recorded[layer][:, start:stop] @ erase.left).abs().max() < 1e-4
        assert (recorded[layer][:, :start] @ erase.left).abs().max() > 1e-2


def break_off(system: Ultravox, prepared: Prepared) -> None:
    edits = RowEdits([{0: projection(1, width=32), 3: projection(1, width=32)}], prepared.span, 9, "audio")
    with editing(system.decoder_layers, edits), recording(system.decoder_layers, [0, 1]):
        assert hooks_on(system) == 4
        raise KeyError("broken off")


def outside(system: Ultravox, _prepared: Prepared) -> None:
    """The first layer exists and gets its hook before the second is found not to exist."""
    with recording(system.decoder_layers, [0, 9]):
        raise AssertionError("not reached")


@pytest.mark.parametrize(("leave", "error"), [(break_off, KeyError), (outside, IndexError)])
def test_hooks_are_gone_after_an_exception(
    ultravox: Ultravox,
    prepared: Prepared,
    leave: Callable[[Ultravox, Prepared], None],
    error: type[Exception],
) -> None:
    try:
        with pytest.raises(error):
            leave(ultravox, prepared)
        assert hooks_on(ultravox) == 0
    finally:
        # A hook left on the shared system would make other tests fail too.
        for module in ultravox.language_model.modules():
            module._forward_hooks.clear()
            module._forward_pre_hooks.clear()


def test_a_layer_that_never_ran_is_an_error(ultravox: Ultravox) -> None:
    edits = RowEdits([{2: projection(1, width=32)}], SPAN, N_PROMPT, "audio")
    never_edited = pytest.raises(RuntimeError, match=r"\[2\] were to be edited but never ran")
    with never_edited, editing(ultravox.decoder_layers, edits):
        pass
    never_recorded = pytest.raises(RuntimeError, match=r"\[1, 3\] were to be recorded but never ran")
    with never_recorded, recording(ultravox.decoder_layers, [1, 3]):
        pass
    assert hooks_on(ultravox) == 0
