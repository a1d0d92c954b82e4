"""accuracy.csv and cost.csv: what each system does alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.noise import HEARD_IN_TRAINING, MUSAN, ULTRAVOX_NOTE
from engine.stats.intervals import Estimate, bootstrap_share, per_group
from engine.stats.scores import macro_f1, majority_baseline, word_errors
from engine.systems.catalogue import SYSTEMS, UNAVAILABLE, is_service
from precompute.stages.cells import Answer, Cell, Clip

if TYPE_CHECKING:
    import pandas as pd

NOT_RECORDED = "not recorded"


def accuracy_rows(cells: Iterable[Cell], *, seed: int) -> list[dict[str, Any]]:
    """Return the rows of accuracy.csv; a clip without a label, or that failed, is a wrong answer."""
    cells = list(cells)
    # A system that never hands words on writes no transcript; one that heard nothing in a cell made errors.
    writers = {
        system
        for cell in cells
        for system, answers in cell.systems.items()
        if any(answer.heard for answer in answers.values())
    }
    return [
        _accuracy_row(cell, system, writes=system in writers, seed=seed)
        for cell in cells
        for system in cell.systems
    ]


def _accuracy_row(cell: Cell, system: str, *, writes: bool, seed: int) -> dict[str, Any]:
    places = list(cell.systems[system])
    answers = [cell.systems[system][place] for place in places]
    clips = [cell.clips[place] for place in places]
    golds = [clip.gold_class for clip in clips]
    items, groups = (np.array([of[place] for place in places]) for of in (cell.items, cell.groups))
    right = [answer.right for answer in answers]
    accuracy = _share(right, groups, seed)
    forced = [answer.forced_right for answer in answers if answer.forced_right is not None]
    statuses = Counter(answer.status for answer in answers)
    wer = _word_error_rate(clips, answers) if writes else math.nan
    notes = [
        *_notes(cell, clips, statuses, len(forced), sum(a.is_cut for a in answers), is_service(system)),
        *_wer_note(wer, writes),
        *_other_accuracies(clips, answers, groups, seed),
    ]
    if cell.noise == MUSAN and system in HEARD_IN_TRAINING:
        notes.append(ULTRAVOX_NOTE)
    read = [clip.gold_class if a.right else a.label_class for clip, a in zip(clips, answers, strict=True)]
    return {
        "system": system,
        "task": cell.task,
        "noise": cell.noise,
        "snr_db": cell.snr_db,
        "n_items": len(np.unique(items)),
        "n_groups": len(np.unique(groups)),
        "n_clips": len(clips),
        "accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "macro_f1": math.nan if cell.is_open else macro_f1(golds, read),
        "forced_choice_accuracy": sum(forced) / len(forced) if forced else math.nan,
        "majority_baseline": majority_baseline(golds),
        "unparsed_rate": (len(clips) - statuses["parsed"] - statuses["refused"]) / len(clips),
        "refused_rate": statuses["refused"] / len(clips),
        "wer": wer,
        "note": " ".join(filter(None, [*notes, accuracy.note])),
    }


def _notes(
    cell: Cell, clips: list[Clip], statuses: Counter[str], n_forced: int, n_cut: int, is_remote: bool
) -> list[str]:
    notes = []
    if cell.is_open:
        notes.append("Open answers have no classes: macro-F1 and forced choice are not defined.")
    elif not n_forced:
        notes.append(UNAVAILABLE["forced_choice"] if is_remote else "No forced choice was taken.")
    elif n_forced < len(clips):
        notes.append(f"Forced choice on {n_forced:,} of {len(clips):,} clips.")
    if any(clip.by_place for clip in clips):
        notes.append("Choices differ by clip and count by their place.")
    notes += [f"Answers cut off at the token limit: {n_cut:,}."] if n_cut else []
    notes += [
        f"Answers {status}: {statuses[status]:,}." for status in ("empty", "failed") if statuses[status]
    ]
    return notes


def _share(right: Sequence[bool], groups: np.ndarray, seed: int) -> Estimate:
    hits = np.array([[one, 1.0] for one in right], dtype=np.float64)
    return bootstrap_share(per_group(groups, hits), seed=seed)


def _other_accuracies(
    clips: Sequence[Clip], answers: Sequence[Answer], groups: np.ndarray, seed: int
) -> list[str]:
    """Say what accuracy is by the exact match alone, and without flagged clips, where that differs."""
    notes = []
    if any(answer.is_exact != answer.right for answer in answers):
        exact = _share([answer.is_exact for answer in answers], groups, seed)
        notes.append(f"Exact match alone: {_figure(exact)}.")
    kept = [place for place, clip in enumerate(clips) if not clip.flags]
    if len(kept) < len(clips):
        n_left = f"{len(clips) - len(kept):,} of {len(clips):,} clips are flagged"
        if not kept:
            return [*notes, f"{n_left}: none is left without them."]
        rest = _share([answers[place].right for place in kept], groups[kept], seed)
        notes.append(f"{n_left}; without them accuracy is {_figure(rest)}.")
    return notes


def _figure(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _wer_note(wer: float, writes: bool) -> list[str]:
    if not math.isnan(wer):
        return []
    return ["The words said are not known." if writes else "It hands no transcript on."]


def _word_error_rate(clips: list[Clip], answers: list[Answer]) -> float:
    """Return word errors over words said, all clips together; failed answers have no transcript."""
    counted = [
        word_errors(clip.reference, answer.heard)
        for clip, answer in zip(clips, answers, strict=True)
        if answer.status != "failed"
    ]
    n_words = sum(words for _, words in counted)
    return sum(errors for errors, words in counted if words) / n_words if n_words else math.nan


def _hardware(system: str, record: Mapping[str, Any]) -> str:
    here = str(record.get("hardware", NOT_RECORDED))
    return f"a service; the time is that of a request from {here}" if is_service(system) else here


def cost_rows(answers: pd.DataFrame, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of cost.csv: all conditions of a task together, over the clips that were timed.

    Args:
        answers: of the run.
        record: what the run wrote about itself (run.json), {} when it wrote nothing.
    """
    rows = []
    systems = record.get("systems", {})
    for (system, task), group in answers.groupby(["system", "task"], sort=True):
        timed = group[group["seconds"].notna()]
        seconds, audio_s = timed["seconds"].sum(), timed["audio_s"].sum()
        rows.append(
            {
                "system": system,
                "parameters_m": SYSTEMS[system].parameters_m if system in SYSTEMS else math.nan,
                "task": task,
                "n_clips": len(timed),
                "seconds_per_clip": seconds / len(timed) if len(timed) else math.nan,
                "real_time_factor": seconds / audio_s if audio_s > 0 else math.nan,
                "peak_memory_mb": systems.get(system, {}).get("peak_memory_mb", math.nan),
                "hardware": _hardware(system, record),
                "prompt_tokens_per_clip": group["prompt_tokens"].mean(),
                "answer_tokens_per_clip": group["answer_tokens"].mean(),
            }
        )
    return rows
