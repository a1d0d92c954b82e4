"""The work behind the answers: sound and transcripts, what speech LLMs and text LLMs say, and a system's memory.

Every function `do_KIND` returns a batch's rows and raises what its jobs make any part raise. Each model is loaded once
in a process. `python -m precompute.measure_answers SYSTEM MODELS` prints the megabytes that a system takes.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from engine.answers import answer_all
from engine.audio import AudioClip
from engine.checks import BatchFinding, check_batches
from engine.errors import ServiceError
from engine.request import Question
from engine.results import AnyAnswer, BehaviourAnswer
from engine.systems.base import Heard, WhiteBoxModel, WhiteBoxSystem, words_alone
from engine.systems.catalogue import get_spec
from engine.systems.loading import (
    load_behaviour,
    load_cascade,
    load_speech_llm,
    load_text_llm,
    load_transcriber,
)
from engine.systems.text_llm import TextLLM
from engine.voice import CLEAN, Recipe, say_recipe, spoil
from precompute.jobs import STOPPED, Batch, Job, Outcome, portions
from precompute.plan import CLIPS_IN_BATCH, ClipQuestion, ReaderPlace, SoundPlace, reader_name
from precompute.store import ResultRow

DIGITS = 6  # of a probability: what a batch of another make-up leaves unchanged, and more than anyone reads
BYTES_PER_MB = 1_000_000
MEMORY_TIME_LIMIT_S = 1800

transformers_logging.disable_progress_bar()  # its bars would break ours


def speech_llm(key: str, models: Path) -> WhiteBoxSystem:
    """Return a speech LLM.

    Raises:
        ModelFilesError: weights are missing or damaged.
    """
    return load_speech_llm(key, models)


def text_llm(via: str, models: Path) -> TextLLM:
    """Return the text LLM behind a cascade or an oracle.

    Raises:
        ModelFilesError: weights are missing or damaged.
    """
    is_alone = get_spec(via).kind == "text_llm"
    return load_text_llm(via, models) if is_alone else load_cascade(via, models).backbone


@cache
def batching_of(key: str, models: Path) -> BatchFinding:
    """Return whether a system's batches equal its singles in this process, checked at first use."""
    hears = get_spec(key).kind == "speech_llm"
    return check_batches(speech_llm(key, models) if hears else text_llm(key, models))


# --- sound ---


@lru_cache(maxsize=4)
def _clean(recipe: Recipe, folder: Path) -> AudioClip:
    return say_recipe(recipe, folder).clip


@lru_cache(maxsize=CLIPS_IN_BATCH)
def rendered(recipe: Recipe, folder: Path, musan: Path | None) -> tuple[AudioClip, float | None]:
    """Return a clip as the models hear it, and the ratio achieved in dB, None where no level of noise was asked for.

    What was rendered last is kept in the process: every model of a run hears it.

    Raises:
        VoiceError, ClipError, NoiseError: it cannot be made here.
    """
    # Clips of one item in one voice follow one another; only their noise differs.
    clean = _clean(replace(recipe, noise=CLEAN, snr_db=None, seed=0, tracks=""), folder)
    noisy = spoil(clean, recipe, musan)
    if noisy is None:
        return clean, None
    return noisy.clip, None if math.isnan(noisy.snr_db_achieved) else noisy.snr_db_achieved


def _sound(job: Job, place: SoundPlace) -> AudioClip:
    asked: ClipQuestion = job.payload
    return rendered(asked.recipe, place.folder, place.musan)[0]


def do_render(batch: Batch) -> Outcome:
    """Return what each clip's sound is: its length, its hash, the ratio achieved, and flags of a recording."""
    rows, place = [], batch.shared
    for job in batch.jobs:
        began = time.perf_counter()
        recipe: Recipe = job.payload.recipe
        clip, achieved = rendered(recipe, place.folder, place.musan)
        rows.append(
            job.row(
                seconds=time.perf_counter() - began,
                audio_s=clip.duration_s,
                snr_db_achieved=achieved,
                audio_sha256=clip.fingerprint,
                flags=_flags(recipe, clip),
            )
        )
    return Outcome(tuple(rows))


def _flags(recipe: Recipe, clip: AudioClip) -> str:
    """Return what is wrong with a recording as it came; what is spoken here, or spoilt here, has no flags."""
    if not recipe.file or recipe.noise != CLEAN:
        return ""
    from precompute.corpora.clip_flags import flags_of

    return ",".join(flags_of("", clip).names)


def do_transcribe(batch: Batch) -> Outcome:
    """Return each clip's transcript; a published transcriber is run as the batch says."""
    rows, place = [], batch.shared
    for job in batch.jobs:
        clip = _sound(job, place)
        began = time.perf_counter()
        text, _ = load_transcriber(batch.model, place.models, place.hearing).transcribe(clip)
        rows.append(job.row(text=text, seconds=time.perf_counter() - began))
    return Outcome(tuple(rows))


# --- answers ---


def do_listen(batch: Batch) -> Outcome:
    """Return a speech LLM's answers, each clip encoded once; a service is sent the clips one by one."""
    place: SoundPlace = batch.shared
    if batch.is_request:
        return _asked(batch, batch.model, lambda job: _sound(job, place))
    system, finding = speech_llm(batch.model, place.models), batching_of(batch.model, place.models)
    heard = {job.key: system.hear(_sound(job, place)) for job in batch.jobs}
    # Alike in length and in the number of labels: a batch is filled up to its widest row.
    jobs = sorted(
        batch.jobs, key=lambda job: (len(job.payload.question.labels), len(heard[job.key].embeddings))
    )
    rows = _answered(system, finding, jobs, lambda job: heard[job.key])
    return Outcome(rows, {batch.model: finding.sentence})


def do_read(batch: Batch) -> Outcome:
    """Return a text LLM's answers to prompts, which come sorted by length."""
    place: ReaderPlace = batch.shared
    if batch.is_request:
        return _asked(batch, place.via, lambda job: words_alone(job.payload.heard, ()))
    system, finding = text_llm(place.via, place.models), batching_of(place.via, place.models)
    rows = _answered(system, finding, batch.jobs, lambda job: system.hear_text(job.payload.heard))
    return Outcome(rows, {reader_name(batch.model): finding.sentence})


def _answered(
    system: WhiteBoxModel, finding: BatchFinding, jobs: Sequence[Job], hear: Callable[[Job], Heard]
) -> tuple[ResultRow, ...]:
    rows: list[ResultRow] = []
    for part in portions(jobs, finding.batch_size):
        began = time.perf_counter()
        heard = [hear(job) for job in part]
        questions: list[Question] = [job.payload.question for job in part]
        answers = answer_all(system, heard, questions, batch_size=finding.batch_size)
        share = (time.perf_counter() - began) / len(part)
        rows += [
            _answer_row(job, answer, one.seconds + share)
            for job, answer, one in zip(part, answers, heard, strict=True)
        ]
    return tuple(rows)


def _asked(batch: Batch, service: str, given: Callable[[Job], Heard | AudioClip]) -> Outcome:
    """Return a service's answers; where it gave none, a failed row with its sentence, asked again next run."""
    rows = []
    for job in batch.jobs:
        try:
            # Made in this process, and its key read from the environment here: it goes nowhere else.
            system, question = load_behaviour(service), job.payload.question
            (answer,) = answer_all(system, [given(job)], [question], tell=_go_on)
        except ServiceError as error:
            rows.append(job.row(status="failed", reason=str(error)))
            continue
        assert isinstance(answer, BehaviourAnswer)
        rows.append(_answer_row(job, answer, answer.seconds))
    return Outcome(tuple(rows))


def _answer_row(job: Job, answer: AnyAnswer, seconds: float) -> ResultRow:
    """Return an answer as a row; probabilities are rounded so that its bytes are the same on every run."""
    told: dict[str, Any] = {
        "status": answer.status,
        "text": answer.text,
        "label": answer.label,
        "seconds": seconds,
        "note": answer.note,
    }
    if isinstance(answer, BehaviourAnswer):
        told |= {
            "model_version": answer.model_version,
            "prompt_tokens": answer.prompt_tokens,
            "answer_tokens": answer.answer_tokens,
        }
    else:
        forced = {label: round(share, DIGITS) for label, share in sorted(answer.forced_choice.items())}
        told |= {
            "forced_choice": json.dumps(forced, ensure_ascii=False),
            "log_likelihood": round(answer.log_likelihood, DIGITS),
        }
    return job.row(**told)


def _go_on(_: str) -> None:
    """End the waiting for a service when the run is stopped; told several times a second."""
    if STOPPED.is_set():
        raise KeyboardInterrupt


# --- memory ---


def do_memory(batch: Batch) -> Outcome:
    """Return the most memory that each system holds while it answers, in a process that does nothing else."""
    rows = []
    for job in batch.jobs:
        command = [sys.executable, "-m", "precompute.measure_answers", job.model, str(batch.shared)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=MEMORY_TIME_LIMIT_S
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["it said nothing"]
            raise RuntimeError(f"the measuring process ended with {done.returncode}: {said[-1]}")
        rows.append(job.row(peak_memory_mb=float(done.stdout)))
    return Outcome(tuple(rows))


def main() -> int:
    """Load one system, answer the probes one by one and in a batch, and print the peak in megabytes."""
    key, models = sys.argv[1], Path(sys.argv[2])
    if get_spec(key).kind == "cascade":
        check_batches(load_cascade(key, models))
    else:
        batching_of(key, models)
    sys.stdout.write(f"{peak_memory_mb_here():.1f}\n")
    return 0


def peak_memory_mb_here() -> float:
    """Return the most memory this process has held, its interpreter and libraries included, in megabytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would count the parent's memory too: Linux carries its peak over an exec.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / BYTES_PER_MB
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / BYTES_PER_MB  # bytes on macOS


if __name__ == "__main__":
    sys.exit(main())
