"""Facts about weights in 8 bits: what is read back is off by half a step of its row at most."""

from __future__ import annotations

import torch

from engine.systems.checkpoint import SCALE, from_eight_bits, to_eight_bits


def test_a_row_is_off_by_half_a_step_at_most_and_vectors_by_half_precision() -> None:
    torch.manual_seed(0)
    rows = torch.randn(20, 30) * torch.logspace(-3, 1, 20)[:, None]
    vector = torch.randn(30)
    stored = to_eight_bits({"w": rows, "b": vector})
    assert stored["w"].dtype == torch.int8 and stored["w" + SCALE].dtype == torch.float16
    back = from_eight_bits(stored)
    step = stored["w" + SCALE].float()
    assert set(back) == {"w", "b"} and back["w"].dtype == torch.float32
    # The largest value may be cut by the rounding of the scale itself, by less than half a step.
    assert ((back["w"] - rows).abs() <= 0.5 * step + 0.07 * step).all()
    assert torch.equal(back["b"], vector.half())


def test_whole_steps_and_rows_of_zeros_come_back_exactly() -> None:
    rows = torch.tensor([[127.0, -64.0, 1.0], [0.0, 0.0, 0.0]]) * 0.25
    assert torch.equal(from_eight_bits(to_eight_bits({"w": rows}))["w"], rows)


def test_a_checkpoint_that_was_never_quantised_is_left_as_it_is() -> None:
    tensors = {"w": torch.randn(3, 3, dtype=torch.float16)}
    assert from_eight_bits(tensors)["w"] is tensors["w"]
