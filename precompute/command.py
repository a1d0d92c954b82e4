"""The benchmark's three jobs on the command line: plan, run, summarize."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from engine.errors import EngineError, UnknownKeyError
from engine.systems.profiles import DEFAULT_PROFILE

if TYPE_CHECKING:
    from precompute.benchmark import Report
    from precompute.executors import Executor
    from precompute.ledger import Ledger
    from precompute.settings import Settings

PlanT = TypeVar("PlanT")

BENCHMARK_JOBS = ("plan", "run", "summarize")
STAGES = ("behaviour", "mechanism", "interleaved")
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
        choices=STAGES,
        default=STAGES[0],
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
    if arguments.job == "summarize":
        from precompute.stages.summary import summarize

        summarize(arguments.out, reread=arguments.reread)
        sys.stdout.write(f"Tables written to {arguments.out / 'tables'}.\n")
        return 0
    from precompute.settings import asks_corpora, take_profile

    take_profile(arguments.profile)
    if arguments.stage == "mechanism":
        return _run_mechanism_job(arguments)
    if arguments.stage == "interleaved":
        return _run_interleaved_job(arguments)
    from precompute.benchmark import ledger_of, run_plan
    from precompute.estimate import format_plan
    from precompute.executors import make_executor, n_workers_of
    from precompute.plan import make_plan, ready_systems
    from precompute.recordings import fetch_recordings
    from precompute.stages.perform import PERFORM

    n_workers = n_workers_of(arguments.executor, arguments.workers, arguments.address)
    settings = _settings(arguments)
    if asks_corpora(settings):
        if arguments.job == "plan":
            return _plan_corpora(arguments, settings, n_workers)
        ready_systems(settings)  # hours of recordings are not for a run that cannot start
        fetch_recordings(settings, sys.stderr)
    plan = make_plan(settings)
    shown = format_plan(plan, ledger_of(arguments.out), n_workers)
    if arguments.job == "plan":
        sys.stdout.write(shown + "\n")
        return 0
    sys.stderr.write(shown.rsplit("\n\n", 1)[1] + "\n")
    executor = make_executor(arguments.executor, n_workers, PERFORM, arguments.address)
    report = run_plan(plan, arguments.out, executor, sys.stderr)
    failed = f"; {report.n_failed:,} failed, each with its reason in the table" if report.n_failed else ""
    sys.stdout.write(
        f"{report.n_rows:,} answers in {arguments.out / 'answers.parquet'}{failed}. "
        f"Next: python -m precompute summarize --out {arguments.out}\n"
    )
    return 0


def _plan_corpora(arguments: argparse.Namespace, settings: Settings, n_workers: int) -> int:
    """Write what asking the paper's corpora takes, and what is left of it where all is there to run it."""
    from precompute.benchmark import ledger_of
    from precompute.estimate import format_plan
    from precompute.load import GPUS, Prices
    from precompute.load_text import format_load
    from precompute.plan import make_plan

    if arguments.gpu not in GPUS:
        raise UnknownKeyError(f'There is no GPU "{arguments.gpu[:20]}" here. Choose: {", ".join(GPUS)}.')
    gpu, ledger = GPUS[arguments.gpu], ledger_of(arguments.out)
    prices = Prices(arguments.usd_gpu_hour or gpu.usd_an_hour)
    if arguments.usd_audio_tokens is not None:
        prices = replace(prices, usd_audio_m=arguments.usd_audio_tokens, gemini_source="as given")
    sys.stdout.write(format_load(settings, ledger, gpu, prices) + "\n\n")
    try:
        shown = format_plan(make_plan(settings), ledger, n_workers)
    except EngineError as error:
        shown = f"It cannot run here yet. {error}"
    sys.stdout.write(shown + "\n")
    return 0


def _run_mechanism_job(arguments: argparse.Namespace) -> int:
    from precompute.mechanism.estimate import format_mechanism_plan
    from precompute.mechanism.plan import make_mechanism_plan
    from precompute.mechanism.run import run_mechanism

    return _run_stage(
        arguments,
        make_mechanism_plan(_settings(arguments)),
        format_mechanism_plan,
        run_mechanism,
    )


def _run_interleaved_job(arguments: argparse.Namespace) -> int:
    from precompute.interleaved.plan import SNAPSHOTS, make_interleaved_plan
    from precompute.interleaved.run import format_interleaved_plan, run_interleaved

    return _run_stage(
        arguments,
        make_interleaved_plan(_settings(arguments), arguments.snapshots or SNAPSHOTS),
        lambda plan, ledger, _: format_interleaved_plan(plan, ledger),
        run_interleaved,
    )


def _run_stage(
    arguments: argparse.Namespace,
    plan: PlanT,
    shown_of: Callable[[PlanT, Ledger, int], str],
    run: Callable[[PlanT, Path, Executor, TextIO], Report],
) -> int:
    """Show a stage's plan and, unless only the plan was asked for, work through it; its tables bear its name."""
    from precompute.benchmark import ledger_of
    from precompute.executors import make_executor, n_workers_of
    from precompute.stages.perform import PERFORM

    n_workers = n_workers_of(arguments.executor, arguments.workers, arguments.address)
    shown = shown_of(plan, ledger_of(arguments.out), n_workers)
    if arguments.job == "plan":
        sys.stdout.write(shown + "\n")
        return 0
    sys.stderr.write(shown + "\n")
    executor = make_executor(arguments.executor, n_workers, PERFORM, arguments.address)
    report = run(plan, arguments.out, executor, sys.stderr)
    stage = arguments.stage
    failed = f"; {report.n_failed:,} failed, each with its reason in {stage}.json" if report.n_failed else ""
    sys.stdout.write(
        f"{report.n_rows:,} measurements in {arguments.out / stage}{failed}. "
        f"Next: python -m precompute summarize --out {arguments.out}\n"
    )
    return 0


def _settings(arguments: argparse.Namespace) -> Settings:
    from precompute.settings import Settings

    return Settings(
        profile=arguments.profile,
        quick=arguments.quick,
        systems=arguments.systems,
        tasks=arguments.tasks,
        limit=arguments.limit,
        corpus=arguments.corpus,
        corpora=arguments.corpora,
        speech=arguments.speech,
    )
