"""One training loop for all minis: seeded steps, cosine rate, checkpoints that resume without repetition.

A step's batch is a pure function of (seed, step), so a run that was stopped goes on at the step after its
last checkpoint and yields what an undisturbed run would have seen. Only safetensors are written.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

logger = logging.getLogger(__name__)

WARM_UP_SHARE = 0.03
GRADIENT_NORM_LIMIT = 1.0
LOG_EVERY_STEPS = 25


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast one model is trained; `peak_rate` is AdamW's."""

    name: str
    steps: int
    peak_rate: float
    directory: Path
    save_every: int = 250
    weight_decay: float = 0.01
    slower: tuple[str, float] = ("", 1.0)  # parameters whose names start so learn at this share of the rate


def train(
    model: nn.Module,
    loss_of_step: Callable[[int], tuple[Tensor, dict[str, float]]],
    settings: LoopSettings,
) -> dict[str, float]:
    """Train the parameters of `model` that require gradients; resume when a checkpoint is there.

    Args:
        model: its state dict is what checkpoints hold.
        loss_of_step: maps a step number to a loss to be lowered and numbers to be logged.
        settings: steps, rate and the folder of the checkpoint.

    Returns:
        {"steps", "seconds", and the last logged numbers}; seconds add up over resumed runs.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    parameters = [p for _, p in named]
    prefix, share = settings.slower
    slow = [p for name, p in named if prefix and name.startswith(prefix)]
    fast = [p for name, p in named if not (prefix and name.startswith(prefix))]
    groups = [{"params": group, "share": rate} for group, rate in ((fast, 1.0), (slow, share)) if group]
    optimizer = torch.optim.AdamW(
        groups, lr=settings.peak_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=True
    )
    start, seconds_before, smooth = _resume(model, optimizer, settings)
    started = time.monotonic()
    model.train()
    for step in range(start, settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = group["share"] * settings.peak_rate * _rate_factor(step, settings.steps)
        loss, numbers = loss_of_step(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM_LIMIT)
        optimizer.step()
        for key, value in {"loss": float(loss.detach()), **numbers}.items():
            smooth[key] = value if key not in smooth else 0.95 * smooth[key] + 0.05 * value
        elapsed = time.monotonic() - started
        if (step + 1) % LOG_EVERY_STEPS == 0:
            _log(settings, step, smooth, elapsed / (step + 1 - start))
        if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
            _save(model, optimizer, settings, step + 1, seconds_before + elapsed, smooth)
    total = seconds_before + time.monotonic() - started
    return {"steps": settings.steps, "seconds": total, **smooth}


def _rate_factor(step: int, steps: int) -> float:
    warm_up = max(1, round(steps * WARM_UP_SHARE))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _log(settings: LoopSettings, step: int, smooth: dict[str, float], seconds_per_step: float) -> None:
    left_minutes = (settings.steps - step - 1) * seconds_per_step / 60
    numbers = "  ".join(f"{key} {value:.3f}" for key, value in smooth.items())
    logger.info(
        "%s %d/%d  %s  %.2f s/step  about %.0f min left",
        settings.name,
        step + 1,
        settings.steps,
        numbers,
        seconds_per_step,
        left_minutes,
    )


def _files(settings: LoopSettings) -> tuple[Path, Path]:
    return (
        settings.directory / f"{settings.name}.checkpoint.safetensors",
        settings.directory / f"{settings.name}.checkpoint.json",
    )


def _save(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: LoopSettings,
    step: int,
    seconds: float,
    smooth: dict[str, float],
) -> None:
    tensors = {f"model.{name}": t.detach().clone().contiguous() for name, t in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer.{index}.{key}"] = value.clone().contiguous()
    settings.directory.mkdir(parents=True, exist_ok=True)
    weights, record = _files(settings)
    part = weights.with_suffix(".part")
    save_file(tensors, part, metadata={"step": str(step)})
    # Both appear whole or not at all; the step that counts is the one inside the weights' own file.
    record_part = record.with_suffix(".json.part")
    record_part.write_text(json.dumps({"step": step, "seconds": seconds, "smooth": smooth}), encoding="utf-8")
    record_part.replace(record)
    part.replace(weights)


def _resume(
    model: nn.Module, optimizer: torch.optim.Optimizer, settings: LoopSettings
) -> tuple[int, float, dict[str, float]]:
    weights, record_file = _files(settings)
    if not weights.exists():
        return 0, 0.0, {}
    record = json.loads(record_file.read_text(encoding="utf-8"))
    with safe_open(weights, framework="pt") as stored:
        step = int(stored.metadata()["step"])
    tensors = load_file(weights)
    model.load_state_dict(_under(tensors, "model."), strict=True)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(tensors, "optimizer.").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    logger.info("%s resumes at step %d of %d", settings.name, step, settings.steps)
    return step, float(record["seconds"]), dict(record["smooth"])


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def count_parameters(parameters: Iterable[nn.Parameter]) -> int:
    """Return the number of scalars in these parameters."""
    return sum(p.numel() for p in parameters)
