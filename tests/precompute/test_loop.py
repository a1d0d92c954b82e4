"""Facts about the training loop: a run that was stopped anywhere ends where an undisturbed one does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from precompute.mini import loop
from precompute.mini.loop import LoopSettings, _rate_factor, count_parameters, train

STEPS = 24


class StoppedError(Exception):
    """Stands for a killed process."""


def settings(directory: Path) -> LoopSettings:
    return LoopSettings("linear", STEPS, 0.05, directory, save_every=6)


def new_model() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def loss_with(
    model: nn.Linear, stop_at: int = -1
) -> tuple[Callable[[int], tuple[Tensor, dict[str, float]]], list[int]]:
    """A loss whose batch is a pure function of the step, and the list of steps that were asked for."""
    asked: list[int] = []

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        if step == stop_at:
            raise StoppedError
        asked.append(step)
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        loss = ((model(x)[:, 0] - x @ torch.tensor([1.0, -2.0, 0.5])) ** 2).mean()
        return loss, {"error": float(loss.detach())}

    return loss_of_step, asked


def undisturbed(directory: Path) -> tuple[nn.Linear, dict[str, float]]:
    model = new_model()
    return model, train(model, loss_with(model)[0], settings(directory))


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("stop_at", [3, 6, 7, 13, 23])
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path, stop_at: int) -> None:
    whole, record = undisturbed(tmp_path / "whole")
    model = new_model()
    with pytest.raises(StoppedError):
        train(model, loss_with(model, stop_at)[0], settings(tmp_path / "stopped"))
    again = new_model()
    loss, asked = loss_with(again)
    resumed = train(again, loss, settings(tmp_path / "stopped"))
    assert asked == list(range(6 * (stop_at // 6), STEPS))
    assert same_weights(whole, again)
    assert resumed["loss"] == pytest.approx(record["loss"]) and resumed["steps"] == STEPS


def test_it_learns(tmp_path: Path) -> None:
    model, _ = undisturbed(tmp_path)
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(99))
    target = x @ torch.tensor([1.0, -2.0, 0.5])
    assert ((model(x)[:, 0] - target) ** 2).mean() < ((new_model()(x)[:, 0] - target) ** 2).mean()


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    whole, record = undisturbed(tmp_path)
    again = new_model()
    loss, asked = loss_with(again)
    assert train(again, loss, settings(tmp_path))["loss"] == record["loss"]
    assert not asked and same_weights(whole, again)


def test_a_run_killed_between_its_two_files_repeats_and_skips_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record was ahead of the weights after such a kill, and six steps were left out."""
    whole, _ = undisturbed(tmp_path / "whole")
    replace_file = Path.replace

    def killed_at_second_checkpoint(self: Path, target: Path) -> Path:
        if target.suffix == ".safetensors" and target.exists():
            raise StoppedError
        return replace_file(self, target)

    model = new_model()
    monkeypatch.setattr(Path, "replace", killed_at_second_checkpoint)
    with pytest.raises(StoppedError):
        train(model, loss_with(model)[0], settings(tmp_path / "killed"))
    monkeypatch.undo()
    again = new_model()
    loss, asked = loss_with(again)
    train(again, loss, settings(tmp_path / "killed"))
    assert asked == list(range(6, STEPS)) and same_weights(whole, again)


def test_checkpoints_are_safetensors_and_text(tmp_path: Path) -> None:
    """Nothing that could run code when it is read."""
    undisturbed(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "linear.checkpoint.safetensors",
        "linear.checkpoint.json",
    }
    assert "model.weight" in load_file(tmp_path / "linear.checkpoint.safetensors")
    source = Path(loop.__file__).read_text(encoding="utf-8")
    assert "torch.load" not in source and "torch.save" not in source and "pickle" not in source


def test_frozen_parameters_stay_and_are_not_counted_as_trained(tmp_path: Path) -> None:
    model = new_model()
    model.bias.requires_grad_(False)
    before = model.bias.clone()
    train(model, loss_with(model)[0], settings(tmp_path))
    assert torch.equal(model.bias, before)
    assert count_parameters(model.parameters()) == 4


def test_the_rate_rises_then_falls_to_a_fiftieth() -> None:
    factors = [_rate_factor(step, 1000) for step in range(1000)]
    assert factors[0] == pytest.approx(1 / 30) and max(factors) == 1 == factors[30]
    assert factors[-1] == pytest.approx(0.02, abs=1e-4)
    assert all(a >= b for a, b in pairwise(factors[30:]))


def test_the_seconds_of_a_resumed_run_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves one second a reading: the record's seconds can only grow."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
    model = new_model()
    with pytest.raises(StoppedError):
        train(model, loss_with(model, 12)[0], settings(tmp_path))
    again = new_model()
    resumed = train(again, loss_with(again)[0], replace(settings(tmp_path), steps=STEPS))
    assert resumed["seconds"] >= STEPS
