"""Facts about the untrained control: nothing learned is left, sizes are, and the seed decides."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from engine.probes import redraw


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(64, 48)
        self.norm = nn.LayerNorm(48)
        self.embed_positions = nn.Embedding(10, 64)
        with torch.no_grad():
            self.linear.weight.mul_(5)
            self.norm.weight.fill_(3.0)


def test_matrices_keep_their_size_and_nothing_else() -> None:
    trained = Small()
    drawn = deepcopy(trained)
    redraw(drawn, seed=1)
    before, after = trained.linear.weight.detach(), drawn.linear.weight.detach()
    correlation = torch.corrcoef(torch.stack([before.ravel(), after.ravel()]))[0, 1]
    assert abs(float(correlation)) < 0.06
    assert abs(float(after.std() / before.std()) - 1) < 0.05
    assert (drawn.norm.weight == 1).all() and (drawn.norm.bias == 0).all() and (drawn.linear.bias == 0).all()
    assert torch.equal(drawn.embed_positions.weight, trained.embed_positions.weight)


def test_the_seed_decides() -> None:
    one, two, other = Small(), Small(), Small()
    for module, seed in ((one, 1), (two, 1), (other, 2)):
        redraw(module, seed=seed)
    assert torch.equal(one.linear.weight, two.linear.weight)
    assert not torch.equal(one.linear.weight, other.linear.weight)
