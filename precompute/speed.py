"""What instruments cost, as ratios taken in one run: `python -m precompute speed`.

The things compared are timed in turn (A B A B) after one uncounted round, and a ratio is of neighbours, so
that a machine that slows down slows both. Absolute seconds are of this machine only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from engine.answers import Bench, control_transcripts
from engine.audio import AudioClip
from engine.erasure import Eraser, load_eraser
from engine.errors import EngineError
from engine.generate import run_arms
from engine.lens import read_lens
from engine.request import ERASURES, RunRequest, preset_layers
from engine.run import run
from engine.systems.base import WhiteBoxSystem
from engine.systems.catalogue import get_pair
from engine.systems.loading import load_speech_llm
from engine.tasks import MAX_NEW_TOKENS, TASKS
from engine.words import SpokenWord
from precompute.mini.held_out import held_out_items, say_item
from precompute.mini.voices import test_voices
from precompute.speed_benchmark import benchmark_arms

ROOT = Path(__file__).resolve().parent.parent
PAIR = "mini-ultravox"
CONDITION = "boc"
SEED = 0
PAGE_CODE = "import app"  # imports everything and builds the Blocks; models load later, when it is served
BARE_CODE = "import gradio"


@dataclass(frozen=True)
class SpeedRow:
    """One comparison.

    Attributes:
        name: of the thing measured.
        compares: what was timed against what, in words.
        ratio: median over repeats of measured / baseline; low and high are the least and the greatest.
        n_repeats: how many ratios that is of.
        measured_s, baseline_s: medians in seconds.
    """

    name: str
    compares: str
    ratio: float
    low: float
    high: float
    n_repeats: int
    measured_s: float
    baseline_s: float


def measure_speed(repeats: int) -> list[SpeedRow]:
    """Return all comparisons on one held-out clip; two or three minutes for seven repeats on two cores.

    Raises:
        EngineError: `repeats` is not positive; weights, erasers or the synthesiser are missing.
    """
    if repeats < 1:
        raise EngineError(f"The number of repeats is {repeats}; give 1 or more.")
    clip, words, _ = say_item(held_out_items("topic", 1)[0], test_voices())
    system = load_speech_llm(get_pair(PAIR).speech_llm)
    eraser = load_eraser(PAIR, CONDITION, system.fingerprint)
    return [
        generation_row(system, eraser, clip, words, repeats),
        *erasure_rows(clip, repeats),
        benchmark_row(repeats),
        start_row(repeats),
    ]


def time_in_turn(arms: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each arm, one a repeat; they take turns after one uncounted round."""
    for arm in arms.values():
        arm()
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, arm in arms.items():
            started = time.perf_counter()
            arm()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio_row(name: str, compares: str, measured: Sequence[float], baseline: Sequence[float]) -> SpeedRow:
    """Return the row of seconds that were measured in turn; each ratio is of one repeat."""
    ratios = [m / b for m, b in zip(measured, baseline, strict=True)]
    return SpeedRow(
        name,
        compares,
        median(ratios),
        min(ratios),
        max(ratios),
        len(ratios),
        median(measured),
        median(baseline),
    )


def generation_row(
    system: WhiteBoxSystem,
    eraser: Eraser,
    clip: AudioClip,
    words: tuple[SpokenWord, ...],
    repeats: int,
    most_tokens: int = MAX_NEW_TOKENS,
) -> SpeedRow:
    """Compare an answer read by the nine-layer lens and erased once, control beside it, with the bare answer.

    Both generate as many tokens as the bare answer has, which is cut at `most_tokens`; the clip is encoded before.
    """
    heard = system.hear(clip)
    prepared = system.prepare(heard, TASKS["transcribe"].instruction)
    start, stop = prepared.span
    layers = preset_layers(len(system.decoder_layers))
    bench = Bench({eraser.condition: eraser}, layers, "audio", "linear", SEED)
    bare = run_arms(system, prepared, max_new_tokens=most_tokens)
    n_tokens = max(1, len(bare.decoded[0].token_ids))

    def plain() -> object:
        return run_arms(system, prepared, max_new_tokens=n_tokens)

    def instrumented() -> object:
        edits = bench.edits(prepared.span, prepared.embeddings.shape[1])
        passed = run_arms(system, prepared, edits=edits, record_layers=layers, max_new_tokens=n_tokens)
        return read_lens(
            system,
            {layer: states[0, start:stop] for layer, states in passed.states.items()},
            seconds_per_position=heard.seconds_per_position,
            position_ends_s=heard.position_ends_s,
            words=words,
            words_from="reference",
            other_transcripts=control_transcripts(),
        )

    seconds = time_in_turn({"plain": plain, "instrumented": instrumented}, repeats)
    return ratio_row(
        "instrumented answer",
        f"lens at {len(layers)} layers, one erasure and its random control, against the same answer of "
        f"{n_tokens} tokens without instruments",
        seconds["instrumented"],
        seconds["plain"],
    )


def erasure_rows(clip: AudioClip, repeats: int) -> list[SpeedRow]:
    """Compare runs with all erasures, in one batch and one after the other, with a plain run of the clip.

    What the systems hear in the clip is kept from the uncounted round, for all three alike.
    """
    plain = RunRequest(clip, "topic", pair=PAIR, seed=SEED)
    seconds = time_in_turn(
        {
            "plain": lambda: run(plain),
            "together": lambda: run(replace(plain, erasures=ERASURES)),
            "one by one": lambda: [run(replace(plain, erasures=(condition,))) for condition in ERASURES],
        },
        repeats,
    )
    # The paper's fifth condition, random, is the control that stands beside each of the four.
    what = "four erasures and their four random controls"
    return [
        ratio_row(
            "all erasures, one batch",
            f"{what} in one run, against one plain run",
            seconds["together"],
            seconds["plain"],
        ),
        ratio_row(
            "all erasures, one by one",
            f"{what} in four runs one after the other, against one plain run",
            seconds["one by one"],
            seconds["plain"],
        ),
    ]


def benchmark_row(repeats: int) -> SpeedRow:
    """Compare a plain script that makes one answer after another with the benchmark's stages, in one process."""
    arms, n_answers = benchmark_arms()
    seconds = time_in_turn(arms, repeats)
    return ratio_row(
        "benchmark, plain script",
        f"{n_answers} answers one after the other, against the same answers by the stages of the benchmark",
        seconds["plain"],
        seconds["stages"],
    )


def start_row(repeats: int) -> SpeedRow:
    """Compare a fresh Python that builds the page with one that imports gradio and nothing else."""
    seconds = time_in_turn(
        {"bare": lambda: _run_python(BARE_CODE), "page": lambda: _run_python(PAGE_CODE)}, repeats
    )
    return ratio_row(
        "page start-up",
        "a new Python that builds the page, against one that imports gradio only",
        seconds["page"],
        seconds["bare"],
    )


def _run_python(code: str) -> None:
    # Offline and without telemetry, so that no look-up on the network is timed.
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True)


def format_speed(rows: Sequence[SpeedRow]) -> str:
    """Return the comparisons as text: a line of numbers and, under it, what was compared."""
    lines = [f"{'':26}ratio [least .. most]   repeats  measured s  baseline s"]
    for row in rows:
        spread = f"{row.ratio:.2f} [{row.low:.2f} .. {row.high:.2f}]"
        lines.append(f"{row.name:26}{spread:24}{row.n_repeats:7}{row.measured_s:12.3f}{row.baseline_s:12.3f}")
        lines.append(f"    {row.compares}")
    return "\n".join(lines)
