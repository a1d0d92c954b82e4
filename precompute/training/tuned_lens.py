"""Fitting a tuned lens (Belrose et al., arXiv 2303.08112): a low-rank affine map a layer, by KL to the model's output.

Three steps, each of which goes on where it was stopped: states of prompts are collected in shards, each layer is
fitted on its own, and the maps are judged on prompts that none was fitted on. `python -m precompute train --stage
tuned-lens` calls `make_tuned_lens`.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.errors import ModelFilesError
from engine.generate import all_layers, run_arms
from engine.lens import Translator, save_tuned_lens, unembed
from engine.systems.base import Prepared, WhiteBoxModel
from precompute.mini.loop import LoopSettings, train

logger = logging.getLogger(__name__)

PROMPTS_A_SHARD = 25
KINDS = ("audio", "text")


@dataclass(frozen=True)
class LensSettings:
    """How the maps are fitted.

    Attributes:
        rank: of each map.
        steps: of each layer; positions: drawn for each step; rate: the highest, of AdamW.
        positions_a_prompt: kept of each prompt and kind (audio, text), drawn by the seed.
        bfloat16: multiply with the head in bfloat16 while fitting, half of the time where a CPU is fast in it; scores
            are taken in float32 all the same.
    """

    rank: int = 32
    steps: int = 150
    positions: int = 128
    rate: float = 2e-3
    positions_a_prompt: int = 24
    seed: int = 42
    bfloat16: bool = False


@dataclass(frozen=True)
class LayerScore:
    """One layer on prompts that no map was fitted on; all in nats a position.

    Attributes:
        kind: "audio" (a clip's positions) or "text" (the others).
        kl_before, kl_after: KL of the model's output to what the logit lens and the tuned lens read here.
        kl_control: the same to the mean output over the fitted positions: what is reached without any state.
    """

    layer: int
    kind: str
    kl_before: float
    kl_after: float
    kl_control: float
    n_positions: int


def make_tuned_lens(
    system: WhiteBoxModel,
    fitted_on: Iterable[Prepared],
    held_out: Iterable[Prepared],
    build: Path,
    file: Path,
    settings: LensSettings | None = None,
) -> list[LayerScore]:
    """Fit, judge and write the maps of one system, and return how they do on the held-out prompts.

    Args:
        system: whose states and head.
        fitted_on: its prompts, of clips and of texts; in the same order at every call, so that it can go on.
        held_out: prompts of other clips.
        build: folder for states and fitted layers.
        file: of the maps, beside which the scores stand as a CSV; see `engine.request.tuned_lens_file`.
        settings: the standing ones where None.

    Raises:
        ModelFilesError: the folder holds states of other weights, or there is nothing to fit on.
    """
    settings = settings or LensSettings()
    pools = {name: build / name for name in ("fitted", "held_out")}
    for name, prompts in (("fitted", fitted_on), ("held_out", held_out)):
        collect_states(system, prompts, pools[name], settings)
    maps = fit_tuned_lens(system, pools["fitted"], build, settings)
    scores = score_tuned_lens(system, maps, pools["fitted"], pools["held_out"])
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, list(asdict(scores[0])))
        writer.writeheader()
        writer.writerows(asdict(score) for score in scores)
    save_tuned_lens(file, maps, system.fingerprint)
    return scores


def collect_states(
    system: WhiteBoxModel, prompts: Iterable[Prepared], folder: Path, settings: LensSettings
) -> None:
    """Keep states of all layers at some positions of each prompt, in shards; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    shard: list[tuple[Tensor, Tensor]] = []
    number = 0
    for index, prompt in enumerate(prompts):
        if index % PROMPTS_A_SHARD == 0 and shard:
            _write_shard(system, _shard_file(folder, number), shard)
            shard = []
        number = index // PROMPTS_A_SHARD
        if not _shard_file(folder, number).exists():
            shard.append(_states_of(system, prompt, index, settings))
    if shard:
        _write_shard(system, _shard_file(folder, number), shard)


def _states_of(
    system: WhiteBoxModel, prompt: Prepared, index: int, settings: LensSettings
) -> tuple[Float[Tensor, "layers positions d_model"], Tensor]:
    """Return states of drawn positions, as float16 of the layer's own scale, and which of them are audio."""
    states = run_arms(system, prompt, record_layers=all_layers(system), max_new_tokens=1).states
    n_positions = states[0].shape[1]
    is_audio = torch.zeros(n_positions, dtype=torch.bool)
    is_audio[slice(*prompt.span)] = True
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + index)
    drawn = torch.cat(
        [
            (places := torch.nonzero(is_audio == kind)[:, 0])[
                torch.randperm(len(places), generator=generator)[: settings.positions_a_prompt]
            ]
            for kind in (True, False)
        ]
    )
    return torch.stack([states[layer][0, drawn].float().cpu() for layer in sorted(states)]), is_audio[drawn]


def _shard_file(folder: Path, number: int) -> Path:
    return folder / f"states_{number:05d}.safetensors"


def _write_shard(system: WhiteBoxModel, file: Path, shard: Sequence[tuple[Tensor, Tensor]]) -> None:
    states = torch.cat([states for states, _ in shard], dim=1).to(torch.bfloat16)
    tensors = {f"layer_{layer}": one.contiguous() for layer, one in enumerate(states)}
    tensors["is_audio"] = torch.cat([is_audio for _, is_audio in shard])
    unfinished = file.with_suffix(".part")
    save_file(tensors, unfinished, metadata={"fingerprint": system.fingerprint})
    unfinished.replace(file)
    logger.info("%s: %d positions", file.name, len(tensors["is_audio"]))


def _layer(system: WhiteBoxModel, folder: Path, name: str) -> Tensor:
    """Return one tensor of all shards of a folder, joined."""
    parts = []
    for file in sorted(folder.glob("states_*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            if (stored.metadata() or {}).get("fingerprint") != system.fingerprint:
                raise ModelFilesError(
                    f"{file.name} holds states of other weights; empty its folder and start again."
                )
            parts.append(stored.get_tensor(name))
    if not parts:
        raise ModelFilesError("There are no prompts to fit the tuned lens on; name clips or texts.")
    joined = torch.cat(parts)
    return joined if joined.dtype == torch.bool else joined.float()


class LayerMap(nn.Module):
    """One layer's map while it is fitted; it starts as the identity.

    States of a layer may be a thousand times those of another: the shift is learned in units of their size.
    """

    def __init__(self, width: int, rank: int, size: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.down = nn.Parameter(
            torch.linalg.qr(torch.randn(width, rank, generator=generator)).Q.T.contiguous()
        )
        self.up = nn.Parameter(torch.zeros(width, rank))
        self.shift = nn.Parameter(torch.zeros(width))
        self._size = size

    def translator(self) -> Translator:
        """Return the map as the lens applies it, with its gradients."""
        return Translator(self.down, self.up, self._size * self.shift)


def fit_tuned_lens(
    system: WhiteBoxModel, states: Path, build: Path, settings: LensSettings
) -> list[Translator]:
    """Return the maps of layers 0 to the last but one, fitted on a folder of states; checkpoints are kept in `build`.

    Each map learns to make the model's own norm and head say of its layer what they say of the last one:
    KL(output || reading), mean over positions.
    """
    n_layers = len(system.decoder_layers)
    last = _layer(system, states, f"layer_{n_layers}")
    dtype = torch.bfloat16 if settings.bfloat16 else torch.float32
    head = system.unembedding.get_parameter("weight").detach().to(dtype)
    maps = []
    for layer in range(n_layers):
        one = _layer(system, states, f"layer_{layer}")
        fitted = _fit_layer(system, head, one, last, layer, build, settings)
        maps.append(Translator(*(getattr(fitted, part).detach().cpu() for part in ("down", "up", "bias"))))
    return maps


def _fit_layer(
    system: WhiteBoxModel,
    head: Float[Tensor, "vocab d_model"],
    states: Float[Tensor, "n d_model"],
    last: Float[Tensor, "n d_model"],
    layer: int,
    build: Path,
    settings: LensSettings,
) -> Translator:
    device = next(system.language_model.parameters()).device
    size = float(states.square().mean().sqrt())
    layer_map = LayerMap(states.shape[1], settings.rank, size, settings.seed * 1000 + layer).to(device)

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed((settings.seed * 1000 + layer) * 1_000_000 + step)
        drawn = torch.randint(len(states), (settings.positions,), generator=generator)
        with torch.no_grad():
            wanted = _log_probabilities(system, head, last[drawn].to(device))
        read = _log_probabilities(system, head, layer_map.translator().apply(states[drawn].to(device)))
        return (wanted.exp() * (wanted - read)).sum(-1).mean(), {}

    name = f"tuned_lens_{layer:02d}"
    train(layer_map, loss_of_step, LoopSettings(name, settings.steps, settings.rate, build, weight_decay=0.0))
    return layer_map.translator()


def _log_probabilities(
    system: WhiteBoxModel, head: Float[Tensor, "vocab d_model"], states: Float[Tensor, "n d_model"]
) -> Float[Tensor, "n vocab"]:
    """Return what the model's own norm and head make of states, with gradients (`engine.lens.unembed` has none)."""
    normed = system.final_norm(states).to(head.dtype)
    return torch.nn.functional.linear(normed, head).float().log_softmax(-1)


@torch.inference_mode()
def score_tuned_lens(
    system: WhiteBoxModel, maps: Sequence[Translator], fitted: Path, held_out: Path, chunk: int = 64
) -> list[LayerScore]:
    """Return the scores of all layers on a folder of held-out states, audio and text apart.

    Args:
        system: whose states and head.
        maps: of layers 0, 1, ...
        fitted: states that the maps were fitted on; the control's mean output is theirs.
        held_out: other states.
        chunk: positions that are read at once.
    """
    name = f"layer_{len(system.decoder_layers)}"
    mean = torch.stack(
        [
            unembed(system, part).softmax(-1).mean(0)
            for part in _layer(system, fitted, name)[: 32 * chunk].split(chunk)
        ]
    ).mean(0)
    last, is_audio = _layer(system, held_out, name), _layer(system, held_out, "is_audio")
    scores = []
    for layer, one in enumerate(maps):
        states = _layer(system, held_out, f"layer_{layer}")
        for kind in KINDS:
            chosen = is_audio == (kind == "audio")
            if not bool(chosen.any()):
                continue
            sums = torch.zeros(3, dtype=torch.float64)
            for here, there in zip(states[chosen].split(chunk), last[chosen].split(chunk), strict=True):
                wanted = unembed(system, there).log_softmax(-1)
                readings = (
                    unembed(system, here).log_softmax(-1),
                    unembed(system, one.apply(here)).log_softmax(-1),
                    mean.log().expand_as(wanted),
                )
                sums += torch.stack(
                    [(wanted.exp() * (wanted - reading)).sum().double().cpu() for reading in readings]
                )
            n_positions = int(chosen.sum())
            before, after, control = (sums / n_positions).tolist()
            scores.append(LayerScore(layer, kind, before, after, control, n_positions))
    return scores
