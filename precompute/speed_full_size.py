"""What instruments cost at 8 B, on a GPU: `python -m precompute speed --profile paper --random-weights`.

Time and memory do not depend on what the weights are, only on their shapes: random ones need no download. Every
figure is a ratio of neighbours in one run, as for the minis; the seconds are of the hardware that is named beside.
"""

from __future__ import annotations

import csv
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from engine.answers import Bench
from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.erasure import Eraser, random_subspace
from engine.errors import EngineError, PlacementError
from engine.generate import run_arms
from engine.request import CONDITIONS, preset_layers
from engine.systems.base import SpeechLLM
from engine.systems.catalogue import get_spec
from engine.systems.loading import GIB, LOADED, load_speech_llm, using
from engine.tasks import TASKS
from engine.words import SpokenWord
from precompute.measure_answers import peak_memory_mb_here
from precompute.random_checkpoints import WRITERS, Scale, draw_weights
from precompute.speed import generation_row, time_in_turn

SYSTEMS = ("ultravox-v0.6-8b", "qwen2-audio-7b-instruct", "phi-4-multimodal")
NEEDS_GPU = (
    "These figures are of 8 B models on a GPU, and this machine has none that torch can use: run it where there is "
    "one, or try the command with --scale tiny."
)
CLIP_S = 10.0
N_TOKENS = 16  # of each answer; random weights do not end one
ERASED_RANK = 27  # that of the bag of characters, the largest of a linear concept here
SEED = 0
SAID = ("the", "bank", "raised", "its", "rates")
WORDS = tuple(SpokenWord(word, at / 2, at / 2 + 0.5) for at, word in enumerate(SAID))


@dataclass(frozen=True)
class FullSizeRow:
    """One system.

    Attributes:
        parameters_b: 10^9 parameters that run for an answer.
        plain_s: median seconds of a plain answer of N_TOKENS tokens, the clip heard before.
        instrumented: ratio to that, with the nine-layer lens, one erasure and its control; low, high: its range.
        all_conditions: ratio of all erasures and their controls in one batch; low, high: its range.
        audio_s_per_s: seconds of audio heard and answered in one second.
        peak_gib: most memory in use while this was measured: of the GPU, or of the process without one.
    """

    system: str
    parameters_b: float
    plain_s: float
    instrumented: float
    instrumented_low: float
    instrumented_high: float
    all_conditions: float
    all_conditions_low: float
    all_conditions_high: float
    audio_s_per_s: float
    peak_gib: float
    n_repeats: int


def measure_full_size(repeats: int, scale: str = "full") -> list[FullSizeRow]:
    """Return a row for each system; minutes on a GPU, seconds for the tiny ones.

    Args:
        repeats: how often each thing is timed.
        scale: "full" is the published size and needs a GPU; "tiny" runs the same code anywhere.

    Raises:
        EngineError: an argument cannot be used, or the machine has no GPU.
    """
    if repeats < 1:
        raise EngineError(f"The number of repeats is {repeats}; give 1 or more.")
    if scale not in get_args(Scale):
        raise EngineError(f'There is no scale "{scale[:40]}"; choose one of: {", ".join(get_args(Scale))}.')
    if scale == "full" and not torch.cuda.is_available():
        raise PlacementError(NEEDS_GPU)
    return [_measured(key, repeats, "full" if scale == "full" else "tiny") for key in SYSTEMS]


def _measured(key: str, repeats: int, scale: Scale) -> FullSizeRow:
    with tempfile.TemporaryDirectory() as folder, using():
        models = Path(folder)
        WRITERS[get_spec(key).family](models, key, scale)
        system = load_speech_llm(key, models)
        for part in (system.ears, system.language_model):
            draw_weights(part, SEED)
        row = _row(system, repeats)
    # The files are gone with their folder; so must be what was read from them.
    del system
    LOADED.drop_unused()
    return row


def _row(system: SpeechLLM, repeats: int) -> FullSizeRow:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    clip = sound(CLIP_S)
    layers = preset_layers(len(system.decoder_layers))
    erasers = {key: random_eraser(system, key, layers) for key in CONDITIONS}
    instrumented = generation_row(system, erasers["boc"], clip, WORDS, repeats, N_TOKENS)
    heard = system.hear(clip)
    prepared = system.prepare(heard, TASKS["transcribe"].instruction)
    bench = Bench(erasers, layers, "audio", "linear", SEED)

    def together() -> object:
        edits = bench.edits(prepared.span, prepared.embeddings.shape[1])
        return run_arms(system, prepared, edits=edits, record_layers=layers, max_new_tokens=N_TOKENS)

    seconds = time_in_turn(
        {
            "plain": lambda: run_arms(system, prepared, max_new_tokens=N_TOKENS),
            "together": together,
            "heard": lambda: system.hear(clip).embeddings.cpu(),
        },
        repeats,
    )
    plain = float(np.median(seconds["plain"]))
    ratios = [a / b for a, b in zip(seconds["together"], seconds["plain"], strict=True)]
    used = {id(w): w.numel() for part in (system.ears, system.language_model) for w in part.parameters()}
    return FullSizeRow(
        system=system.spec.name,
        parameters_b=sum(used.values()) / 1e9,
        plain_s=plain,
        instrumented=instrumented.ratio,
        instrumented_low=instrumented.low,
        instrumented_high=instrumented.high,
        all_conditions=float(np.median(ratios)),
        all_conditions_low=min(ratios),
        all_conditions_high=max(ratios),
        audio_s_per_s=CLIP_S / (float(np.median(seconds["heard"])) + plain),
        peak_gib=_peak_gib(),
        n_repeats=repeats,
    )


def sound(duration_s: float) -> AudioClip:
    """Return seeded noise of this length: what is said does not matter to the time."""
    noise = np.random.default_rng(SEED).standard_normal(round(duration_s * SAMPLE_RATE_HZ))
    return AudioClip((0.05 * noise).astype(np.float32), "noise")


def random_eraser(system: SpeechLLM, condition: str, layers: Sequence[int]) -> Eraser:
    """Return an eraser of the usual size that takes random directions out: it costs what a fitted one costs."""
    width = int(system.unembedding.weight.shape[1])  # type: ignore[union-attr, index]
    rank = min(ERASED_RANK, width // 2)
    left = {layer: random_subspace(width, rank, SEED + layer) for layer in layers}
    return Eraser(
        condition=condition,
        layers=tuple(layers),
        left=left,
        right={layer: basis.T for layer, basis in left.items()},
        mean={layer: torch.zeros(width) for layer in layers},
        kept_rank=dict.fromkeys(layers, rank),
        targets=("nothing",),
        fit="drawn at random, for its size",
    )


def _peak_gib() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / GIB
    return peak_memory_mb_here() * 1e6 / GIB


def hardware() -> str:
    """Return what the figures are of, in words."""
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        name = f"{properties.name}, {properties.total_memory / GIB:.0f} GiB"
    else:
        name = f"{platform.machine()} processor, {torch.get_num_threads()} threads"
    return f"{name}; torch {torch.__version__}, bfloat16"


def format_full_size(rows: Sequence[FullSizeRow]) -> str:
    """Return the figures as text, the hardware first."""
    lines = [
        f"Random weights of the published shapes on: {hardware()}.",
        f"A clip of {CLIP_S:g} s, answers of {N_TOKENS} tokens; ratios are to the plain answer, median "
        f"[least .. most] of {rows[0].n_repeats} repeats.",
        f"{'':26}{'B':>6}{'plain s':>9}  {'lens, erasure, control':24}{'all erasures, one batch':25}"
        f"{'audio s/s':>10}{'peak GiB':>10}",
    ]
    for row in rows:
        one = f"{row.instrumented:.2f} [{row.instrumented_low:.2f} .. {row.instrumented_high:.2f}]"
        every = f"{row.all_conditions:.2f} [{row.all_conditions_low:.2f} .. {row.all_conditions_high:.2f}]"
        lines.append(
            f"{row.system:26}{row.parameters_b:6.2f}{row.plain_s:9.3f}  {one:24}{every:25}"
            f"{row.audio_s_per_s:10.1f}{row.peak_gib:10.2f}"
        )
    return "\n".join(lines)


def write_full_size(rows: Sequence[FullSizeRow], file: Path) -> None:
    """Write the figures as CSV, the hardware in a column of its own."""
    names = [*(one.name for one in fields(FullSizeRow)), "hardware"]
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(asdict(row) | {"hardware": hardware()} for row in rows)
