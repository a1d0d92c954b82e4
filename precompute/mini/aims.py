"""What the minis were aimed at, beside what the evaluation says they reach.

The aims are the project's own, set before training; a verdict is computed from the table and never typed. The
model card shows them; an aim whose figure is not in the table is "not measured", not met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.evaluation import Figure
from engine.systems.catalogue import get_pair, get_spec
from engine.tasks import TASKS
from precompute.mini.held_out import TASKS as MEASURED_TASKS

Verdict = Literal["met", "missed", "not measured"]

PAIR = "mini-ultravox"
SEEN_ENGINE, UNSEEN_ENGINE = "espeak, unseen voices", "unseen engine"
TRANSCRIBER = "mini-Whisper"

CASCADE_WER_LIMIT = 0.05
UNSEEN_ENGINE_WER_LIMIT = 0.35
ORACLE_RANGE = (0.70, 0.97)
GAP_LIMIT = 0.10
TOTAL_LIMIT_MB, FILE_LIMIT_MB = 80.0, 9.0


@dataclass(frozen=True)
class Aim:
    """One aim: what it is about, what was wanted, what is reached (with its interval), and the verdict."""

    what: str
    wanted: str
    reached: str
    verdict: Verdict


def all_aims(figures: Sequence[Figure], models: Path) -> list[Aim]:
    """Return every aim with its verdict.

    Args:
        figures: of a full evaluation.
        models: folder of the weights, for their size.
    """
    return [*word_error_aims(figures), *accuracy_aims(figures), *size_aims(models)]


def word_error_aims(figures: Sequence[Figure]) -> list[Aim]:
    """Return the aims on the cascade's transcripts: seen engine, and each talker of the unseen one."""
    found = [f for f in figures if f.measure == "wer" and f.system == TRANSCRIBER]
    aims = []
    for part, limit in ((SEEN_ENGINE, CASCADE_WER_LIMIT), (UNSEEN_ENGINE, UNSEEN_ENGINE_WER_LIMIT)):
        wanted, here = f"at most {limit:.2f}", [f for f in found if part in f.voices]
        aims += [
            Aim(f"word error rate of the cascade, {f.voices}", wanted, _shown(f), _at_most(f.value, limit))
            for f in here
        ]
        if not here:
            aims.append(Aim(f"word error rate of the cascade, {part}", wanted, "", "not measured"))
    return aims


def accuracy_aims(figures: Sequence[Figure]) -> list[Aim]:
    """Return the aims on the tasks that the words decide: the oracle's range, the speech LLM's distance."""
    pair = get_pair(PAIR)
    speech, cascade, oracle = (
        get_spec(key).name for key in (pair.speech_llm, pair.cascade, pair.text_oracle)
    )
    by_place = {(f.task, f.system): f for f in figures if f.measure == "accuracy"}
    low, high = ORACLE_RANGE
    aims = []
    for task in (t for t in MEASURED_TASKS if not TASKS[t].needs_voice):
        top = by_place.get((task, oracle))
        verdict: Verdict = "not measured"
        if top and top.value is not None:
            verdict = "met" if low <= top.value <= high else "missed"
        aims.append(
            Aim(f"accuracy of the text oracle, {task}", f"{low:.2f} to {high:.2f}", _shown(top), verdict)
        )
    for task in (t for t in MEASURED_TASKS if not TASKS[t].needs_voice):
        aims.append(_gap_aim(task, by_place.get((task, speech)), by_place.get((task, cascade))))
    return aims


def _gap_aim(task: str, speech: Figure | None, cascade: Figure | None) -> Aim:
    what = f"accuracy of the speech LLM beside the cascade's, {task}"
    wanted = f"within {100 * GAP_LIMIT:.0f} points"
    if not speech or not cascade or speech.value is None or cascade.value is None:
        return Aim(what, wanted, "", "not measured")
    gap = speech.value - cascade.value
    reached = f"{100 * gap:+.1f} points: {_shown(speech)} beside {_shown(cascade)}"
    return Aim(what, wanted, reached, _at_most(abs(gap), GAP_LIMIT))


def size_aims(models: Path) -> list[Aim]:
    """Return the aims on what has to be downloaded, in megabytes of 10^6 bytes."""
    sizes = [file.stat().st_size / 1e6 for file in models.glob("mini-*/**/*") if file.is_file()]
    total, largest = sum(sizes), max(sizes, default=0.0)
    return [
        Aim(what, f"at most {limit:.0f} MB", f"{size:.1f} MB", _at_most(size, limit))
        for what, size, limit in (
            ("size of all weights and erasers", total, TOTAL_LIMIT_MB),
            ("size of the largest file", largest, FILE_LIMIT_MB),
        )
    ]


def _at_most(value: float | None, limit: float) -> Verdict:
    if value is None:
        return "not measured"
    # The table has four decimals; a difference of two of its numbers may miss the limit by rounding alone.
    return "met" if round(value, 4) <= limit else "missed"


def _shown(figure: Figure | None) -> str:
    return f"{figure.with_interval()}, n = {figure.n_items}" if figure else ""
