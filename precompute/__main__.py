"""python -m precompute plan | run | summarize | figures | train | erasers | examples | evaluate | cards | slim | speed.

The first four are the benchmark; the others make and measure what ships.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from engine.errors import EngineError
from engine.evaluation import FILE_NAME as EVALUATION
from engine.evaluation import revisions_of
from engine.examples import FOLDER, RESULTS
from engine.systems.weights import MODELS
from precompute.command import BENCHMARK_JOBS, add_benchmark_jobs, run_benchmark_job

BUILD = Path("build") / "mini"
QUICK_BUILD = Path("build") / "quick"
PAIR_HELP = "store what this pair makes of the examples instead; may be given several times"
STAGE_HELP = (
    "backbone, transcriber, speech_llm, qwen2, qwen2_audio, weak_asr, interleaved or all; may be given "
    "several times (default: those whose model is missing)"
)
TRAINED = "Trained: {}. Next: python -m precompute erasers, then python -m precompute evaluate.\n"
NOTHING_TO_TRAIN = "Every model is there; name a stage to train it again.\n"
EVALUATED_PAIR = "mini-ultravox"


def main() -> int:
    """Parse the command line, run one job, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m precompute", description=__doc__)
    jobs = parser.add_subparsers(dest="job", required=True)
    train = jobs.add_parser("train", help="train the models that ship; resumes")
    train.add_argument("--profile", default="mini", help="mini, from random weights; or laptop, on real ones")
    train.add_argument("--corpora", type=Path, help="folder of the text corpora, for the laptop pair")
    train.add_argument("--stage", action="append", default=[], help=STAGE_HELP)
    train.add_argument("--quick", action="store_true", help="a few minutes, to try it; weights know nothing")
    train.add_argument("--build", type=Path, help="folder of checkpoints (default: under build)")
    train.add_argument("--out", type=Path, help="folder for weights (default: assets/models; quick: build)")
    erasers = jobs.add_parser("erasers", help="fit the erasers of a speech LLM on its own states")
    erasers.add_argument("--system", default="mini-ultravox", help="key of a speech LLM")
    erasers.add_argument("--quick", action="store_true", help="fit on 60 clips, to try the command")
    erasers.add_argument("--out", type=Path, help="folder for the erasers (default: beside the model)")
    erasers.add_argument("--corpora", type=Path, help="say their train texts instead of the mini world's")
    erasers.add_argument("--clips", type=int, help="clips to fit on (default: 900; laptop systems fewer)")
    erasers.add_argument("--held", type=int, help="other clips, for the proof (default: 500; laptop fewer)")
    evaluate = jobs.add_parser("evaluate", help="word error rates and accuracy on held-out speech")
    evaluate.add_argument("--profile", default="mini", help="mini; or laptop, on recordings of people")
    evaluate.add_argument(
        "--speech", type=Path, help="folder of recordings with index.csv, for the laptop pair"
    )
    evaluate.add_argument(
        "--system", action="append", default=[], help="key of one; may be given several times"
    )
    evaluate.add_argument("--aim-only", action="store_true", help="the six corpora that the aims are told on")
    evaluate.add_argument("--limit", type=int, help="clips of each corpus at most, drawn by a seed")
    evaluate.add_argument("--quick", action="store_true", help="20 items a task")
    evaluate.add_argument("--out", type=Path, help="write the figures as CSV")
    examples = jobs.add_parser("examples", help="make the example clips that ship, or store their results")
    wanted = examples.add_mutually_exclusive_group()
    wanted.add_argument("--pair", action="append", default=[], help=PAIR_HELP)
    wanted.add_argument("--natural", action="store_true", help="make those in natural voices, not the minis'")
    examples.add_argument(
        "--person", type=Path, help="with --natural: recording of John F. Kennedy's sentence"
    )
    examples.add_argument(
        "--example", action="append", default=[], help="key of one; may be given several times"
    )
    examples.add_argument("--out", type=Path, help="folder of the clips, or of the results")
    jobs.add_parser("cards", help="write the model card from the weights, the records and the evaluation")
    jobs.add_parser(
        "slim", help="store once what shipped models share, and JSON without blanks; no bit is lost"
    )
    speed = jobs.add_parser("speed", help="what instruments cost, as ratios taken in one run")
    speed.add_argument("--repeats", type=int, default=7)
    speed.add_argument("--profile", default="mini", help="mini, or paper for its 8 B models on a GPU")
    speed.add_argument("--random-weights", action="store_true", help="8 B without a download")
    speed.add_argument("--scale", default="full", help="of random weights: full, or tiny to try the command")
    speed.add_argument("--out", type=Path, help="write the figures of random weights as CSV")
    add_benchmark_jobs(jobs)
    figures = jobs.add_parser("figures", help="write the documents' figures from the tables that ship")
    figures.add_argument("--check", action="store_true", help="only say whether they are those of the tables")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for chatty in ("faster_whisper", "torch"):  # torch adds its cache's counts when a run is stopped
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        return _run(arguments)
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. Run the same command to go on from where it was.\n")
        return 130


def _run(arguments: argparse.Namespace) -> int:
    # Jobs are imported when asked for: each pulls in libraries that the others do not need.
    if arguments.job in BENCHMARK_JOBS:
        return run_benchmark_job(arguments)
    if arguments.job == "train" and arguments.profile == "laptop":
        from precompute.training.train import BUILD as LAPTOP_BUILD
        from precompute.training.train import train_laptop

        if arguments.corpora is None:
            raise EngineError("The laptop pair is taught on texts: give their folder with --corpora.")
        if arguments.quick:
            raise EngineError(
                "The laptop's stages have no quick form; leave --quick out and name one by --stage."
            )
        build, out = arguments.build or LAPTOP_BUILD, arguments.out or MODELS
        stages = train_laptop(arguments.corpora, build, out, arguments.stage)
        sys.stdout.write(f"Done: {', '.join(stages)}.\n" if stages else NOTHING_TO_TRAIN)
    elif arguments.job == "train":
        from precompute.mini.train import FULL, QUICK, train_all

        build = arguments.build or (QUICK_BUILD if arguments.quick else BUILD)
        out = arguments.out or (build / "models" if arguments.quick else MODELS)
        done = train_all(build, out, QUICK if arguments.quick else FULL, arguments.stage)
        sys.stdout.write(TRAINED.format(", ".join(done)) if done else NOTHING_TO_TRAIN)
    elif arguments.job == "erasers":
        from precompute.mini.eraser_job import fit_all

        counts = arguments.clips, arguments.held
        table = fit_all(arguments.quick, arguments.out, arguments.system, arguments.corpora, counts)
        sys.stdout.write(f"{table}\n")
    elif arguments.job == "examples":
        _make_examples(arguments)
    elif arguments.job == "evaluate" and arguments.profile == "laptop":
        from precompute.training.evaluate import evaluate_people

        if arguments.speech is None:
            raise EngineError(
                "The laptop pair is measured on people: give the recordings' folder with --speech."
            )
        aim_only, limit = arguments.aim_only, arguments.limit
        sys.stdout.write(
            evaluate_people(arguments.speech, arguments.system, aim_only=aim_only, limit=limit) + "\n"
        )
    elif arguments.job == "evaluate":
        from precompute.mini.evaluate import evaluate, format_rows, write_rows

        rows = evaluate(arguments.quick)
        sys.stdout.write(format_rows(rows) + "\n")
        if arguments.out:
            write_rows(rows, arguments.out, revisions_of(EVALUATED_PAIR))
    elif arguments.job == "cards":
        from precompute.mini.cards import write_cards

        write_cards(MODELS, MODELS / EVALUATION)
    elif arguments.job == "figures":
        from precompute.figures import write_figures

        sys.stdout.write(f"{write_figures(check=arguments.check)}\n")
    elif arguments.job == "slim":
        from precompute.mini.slim import slim

        sys.stdout.write(f"{slim(MODELS) / 1e6:.2f} MB freed.\n")
    else:
        _measure_speed(arguments)
    return 0


def _make_examples(arguments: argparse.Namespace) -> None:
    if arguments.person and not arguments.natural:
        raise EngineError("--person is one of the natural examples; give --natural, too.")
    if arguments.pair:
        from precompute.example_results import write_results

        n_written = write_results(arguments.out or RESULTS, arguments.pair, arguments.example)
        sys.stdout.write(f"{n_written} results stored.\n")
        return
    if arguments.natural:
        from precompute.training.examples import write_natural_examples

        n_written = write_natural_examples(arguments.out or FOLDER, arguments.person, arguments.example)
    elif arguments.example:
        raise EngineError("The minis' examples are made together; give --natural or --pair to choose one.")
    else:
        from precompute.mini.example_clips import write_examples

        n_written = write_examples(arguments.out or FOLDER)
    sys.stdout.write(f"{n_written} example clips written.\n")


def _measure_speed(arguments: argparse.Namespace) -> None:
    if (arguments.profile != "mini") != arguments.random_weights:
        raise EngineError("Give --profile paper and --random-weights together, or neither for the minis.")
    if not arguments.random_weights:
        from precompute.speed import format_speed, measure_speed

        sys.stdout.write(format_speed(measure_speed(arguments.repeats)) + "\n")
        return
    from precompute.speed_full_size import format_full_size, measure_full_size, write_full_size

    if arguments.profile != "paper":
        raise EngineError(f'No random weights are made for "{arguments.profile[:40]}"; give --profile paper.')
    rows = measure_full_size(arguments.repeats, arguments.scale)
    sys.stdout.write(format_full_size(rows) + "\n")
    if arguments.out:
        write_full_size(rows, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
