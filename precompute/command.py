"""The benchmark's three jobs on the command line: plan, run, summarize."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from engine.errors import EngineError, UnknownKeyError
from engine.systems.profiles import DEFAULT_PROFILE

if TYPE_CHECKING:
    from precompute.settings import Settings

BENCHMARK_JOBS = ("plan", "run", "summarize")
STAGE_NAMES = ("behaviour", "mechanism", "interleaved")  # keys of `precompute.jobs.STAGES`
RESULTS = Path("results")


def add_benchmark_jobs(jobs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the jobs; plan and run take the same options, so that one tells of the other."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--profile", default=DEFAULT_PROFILE, help="laptop, mini, small, paper, or a YAML file of one's own"
    )
    shared.add_argument("--out", type=Path, help=f"results folder ({RESULTS / 'PROFILE'})")
    shared.add_argument(
        "--quick", action="store_true", help="20 items a task, one voice, clean and babble 5 dB"
    )
    shared.add_argument("--systems", type=_list, default=(), help="keys with commas between; all by default")
    shared.add_argument("--tasks", type=_list, default=(), help="keys with commas between; all by default")
    shared.add_argument("--limit", type=int, help="items a task")
    shared.add_argument(
        "--stage",
        choices=STAGE_NAMES,
        default=STAGE_NAMES[0],
        help="what is answered, or how: probes, lens, erasure; or the phases of speech-text models",
    )
    shared.add_argument(
        "--executor",
        choices=("inline", "pool", "ray"),
        default="pool",
        help="here, in processes, or on a Ray cluster (docs/cluster.md)",
    )
    shared.add_argument("--workers", type=int, help="processes at most; one a core by default")
    shared.add_argument(
        "--address", help="auto or host:port of a Ray cluster; by default one is started here"
    )
    shared.add_argument("--snapshots", type=Path, help="of the trainings (default: build/interleaved)")
    shared.add_argument(
        "--corpus", type=Path, help="manifest.csv of own clips: audio,question,choices,gold,group"
    )
    shared.add_argument(
        "--corpora",
        type=Path,
        help="folder of the paper's corpora: ag_news, sst2, csqa, triviaqa, meld, mustard, musan, speech",
    )
    shared.add_argument(
        "--speech", default="edge", help="who says the text corpora: edge, espeak, or a folder of recordings"
    )
    plan = jobs.add_parser(
        "plan", parents=[shared], help="what a run would do, with time, disk and money; computes nothing"
    )
    plan.add_argument("--gpu", default="h200", help="h200, h100, a100 or l4, for guessed seconds")
    plan.add_argument("--usd-gpu-hour", type=float, help="rent of that GPU")
    plan.add_argument("--usd-audio-tokens", type=float, help="Gemini's price of a million tokens of audio")
    jobs.add_parser("run", parents=[shared], help="answer everything in the plan; resumes")
    summarize = jobs.add_parser("summarize", help="answers to tables; loads no model")
    summarize.add_argument("--profile", default=DEFAULT_PROFILE, help="as for run; the answers know it")
    summarize.add_argument("--out", type=Path, help="results folder of the run")
    summarize.add_argument(
        "--reread", action="store_true", help="first read the stored answers' labels again from their text"
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def run_benchmark_job(arguments: argparse.Namespace) -> int:
    """Run one of the jobs and return its exit code."""
    arguments.out = arguments.out or RESULTS / Path(arguments.profile).stem
    # Jobs import what they need: summarize loads no model, and the help loads nothing.
    if arguments.job == "summarize":
        from precompute.stages.summary import summarize

        summarize(arguments.out, reread=arguments.reread)
        sys.stdout.write(f"Tables written to {arguments.out / 'tables'}.\n")
        return 0
    from precompute import jobs
    from precompute.benchmark import run_plan
    from precompute.estimate import format_plan
    from precompute.plan import ready_systems
    from precompute.settings import Settings, asks_corpora, take_profile
    from precompute.store import Store
    from precompute.workers import make_workers, n_workers_of

    take_profile(arguments.profile)
    names = ["profile", "quick", "systems", "tasks", "limit", "corpus", "corpora", "speech", "snapshots"]
    settings = Settings(**{name: getattr(arguments, name) for name in names})
    stage, is_answers = arguments.stage, arguments.stage == STAGE_NAMES[0]
    n_workers = n_workers_of(arguments.executor, arguments.workers, arguments.address)
    make_plan = jobs.named(jobs.PLANS[stage])
    if is_answers and asks_corpora(settings):
        if arguments.job == "plan":
            shown = _load_of_corpora(arguments, settings)
            try:
                shown += format_plan(make_plan(settings), Store(arguments.out), n_workers)
            except EngineError as error:
                shown += f"It cannot run here yet. {error}"
            sys.stdout.write(shown + "\n")
            return 0
        ready_systems(settings)  # hours of recordings are not for a run that cannot start
        fetch_recordings(settings, sys.stderr)
    plan = make_plan(settings)
    is_plan = arguments.job == "plan"
    shown = format_plan(plan, Store(arguments.out), n_workers, whole=is_plan)
    (sys.stdout if is_plan else sys.stderr).write(shown + "\n")
    if is_plan:
        return 0
    workers = make_workers(arguments.executor, n_workers, jobs.PERFORM, arguments.address)
    report = run_plan(plan, arguments.out, workers, sys.stderr)
    made, where = ("answers", jobs.ANSWERS) if is_answers else ("measurements", stage)
    told_in = "the table" if is_answers else f"{stage}.json"
    failed = f"; {report.n_failed:,} failed, each with its reason in {told_in}" if report.n_failed else ""
    sys.stdout.write(
        f"{report.n_rows:,} {made} in {arguments.out / where}{failed}. "
        f"Next: python -m precompute summarize --out {arguments.out}\n"
    )
    return 0


def _load_of_corpora(arguments: argparse.Namespace, settings: Settings) -> str:
    """Return what asking the paper's corpora takes, whether or not it can run here."""
    from precompute.estimate import GPUS, Prices, format_load
    from precompute.store import Store

    if arguments.gpu not in GPUS:
        raise UnknownKeyError(f'There is no GPU "{arguments.gpu[:20]}" here. Choose: {", ".join(GPUS)}.')
    gpu = GPUS[arguments.gpu]
    prices = Prices(arguments.usd_gpu_hour or gpu.usd_an_hour)
    if arguments.usd_audio_tokens is not None:
        prices = replace(prices, usd_audio_m=arguments.usd_audio_tokens, gemini_source="as given")
    return format_load(settings, Store(arguments.out), gpu, prices) + "\n\n"


def fetch_recordings(settings: Settings, stream: TextIO) -> None:
    """Let Edge-TTS say what is not recorded yet, where it is who speaks; a break loses nothing.

    Raises:
        VoiceError: recordings are missing and the package is not installed.
        CorpusError: corpora are not as published, the service failed, or the folder cannot be written.
    """
    from precompute.benchmark import Progress
    from precompute.corpora.edge_speech import PAUSE_S, VOICES, count_missing, fetch_speech
    from precompute.corpora.folder import (
        EDGE,
        PAPER_VOICES,
        SPEECH_FOLDER,
        open_corpora,
        open_speech,
        text_items,
    )
    from precompute.corpora.source import CorpusError
    from precompute.settings import corpora_keys, items_a_corpus

    if settings.corpora is None or settings.speech != EDGE:
        return
    opened = open_corpora(settings.corpora, corpora_keys(settings, texts_only=True), items_a_corpus(settings))
    items = text_items(opened)
    if not items:
        return
    n_voices = 1 if settings.quick else PAPER_VOICES
    try:
        open_speech(opened, EDGE, n_voices)
        return  # all are there, in whatever format
    except CorpusError:
        pass
    folder, voices = opened.folder / SPEECH_FOLDER, VOICES[:n_voices]
    n_missing = count_missing(items, folder, voices)
    stream.write(f"{n_missing:,} recordings are fetched from Edge-TTS, with {PAUSE_S:g} s between two.\n")
    progress = Progress(stream, "recordings fetched", n_missing)
    fetch_speech(items, folder, voices, progress=lambda *_: progress.add(1, 0))
    progress.finish()
