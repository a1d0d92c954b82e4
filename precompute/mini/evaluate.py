"""Measuring the minis on held-out speech: word error rates and accuracy per task and system.

Unseen sentences in unseen espeak-ng voices, and the same sentences by Festival, an engine never trained on.
Every figure in a model card comes from here.
"""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from engine.errors import VoiceError
from engine.request import RunRequest
from engine.results import RunResult
from engine.run import run
from engine.stats.agreement import Reading, bootstrap_kappas, confusion
from engine.stats.scores import word_errors
from engine.tasks import TASKS as TASK_TABLE
from engine.tasks import is_right
from engine.words import normalise
from precompute.mini.held_out import TASKS, HeldOutItem, gold_of, held_out_items, say_item
from precompute.mini.voices import Voice, test_voices, unseen_engine_voices

logger = logging.getLogger(__name__)

FULL_ITEMS, QUICK_ITEMS = 200, 20
FULL_WORDS_ITEMS, QUICK_WORDS_ITEMS = 200, 40
BOOTSTRAP_RESAMPLES = 10_000
BOOTSTRAP_SEED = 41
# Reading of unparsed answers -> measure; the first is the headline.
KAPPAS: dict[Reading, str] = {
    "never": "kappa",
    "agrees": "kappa_unparsed_agree",
    "left out": "kappa_both_parsed",
}


@dataclass(frozen=True)
class Row:
    """One figure of the evaluation: a share from 0 to 1 with its 95 % interval over items.

    Attributes:
        measure: accuracy, forced_choice_accuracy, unparsed_rate, one of KAPPAS, agreement, majority_baseline or wer.
        system: whose figure; "speech LLM and cascade" for kappa and agreement.
        voices: "espeak, unseen voices" or "festival, unseen engine".
    """

    measure: str
    task: str
    system: str
    voices: str
    n_items: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class _Answered:
    gold: str
    aliases: tuple[str, ...]
    result: RunResult


def evaluate(quick: bool) -> list[Row]:
    """Return all figures; about 2 minutes when quick, a quarter of an hour in full on two cores."""
    rows = []
    n_items = QUICK_ITEMS if quick else FULL_ITEMS
    started = time.monotonic()
    for index, task in enumerate(TASKS):
        answered = [_answer(item, test_voices()) for item in held_out_items(task, n_items)]
        rows += _task_rows(task, answered)
        elapsed = time.monotonic() - started
        left = elapsed / (index + 1) * (len(TASKS) - index - 1) / 60
        logger.info("%s: %d items; about %.1f min left for the tasks", task, len(answered), left)
    n_words = QUICK_WORDS_ITEMS if quick else FULL_WORDS_ITEMS
    rows += word_error_rows(test_voices(), "espeak, unseen voices", n_words)
    try:
        for voice in unseen_engine_voices():
            rows += word_error_rows([voice], f"festival {voice.name}, unseen engine", n_words // 2)
    except VoiceError as error:
        logger.warning("The unseen engine is left out: %s", error)
    return rows


def _answer(item: HeldOutItem, voices: Sequence[Voice]) -> _Answered:
    clip, words, voice = say_item(item, voices)
    gold = gold_of(item, voice)
    request = RunRequest(
        clip,
        item.task,
        prompt=item.prompt,
        reference=item.sentence.text,
        reference_words=words,
        gold=gold,
        aliases=item.sentence.aliases,
    )
    return _Answered(gold, item.sentence.aliases, run(request))


def _task_rows(task: str, answered: Sequence[_Answered]) -> list[Row]:
    table = TASK_TABLE[task]
    voices = "espeak, unseen voices"
    rows = []
    for lane in range(3):
        answers = [a.result.lanes[lane].answer for a in answered]
        system = answered[0].result.lanes[lane].name
        right = [
            is_right(table, answer.label, a.gold, a.aliases, text=answer.text)
            for answer, a in zip(answers, answered, strict=True)
        ]
        rows.append(_mean_row("accuracy", task, system, voices, right))
        rows.append(_mean_row("unparsed_rate", task, system, voices, [x.status != "parsed" for x in answers]))
        if answers[0].forced_choice:
            forced = [
                max(shares, key=shares.__getitem__) == a.gold
                for x, a in zip(answers, answered, strict=True)
                if (shares := x.forced_choice)
            ]
            rows.append(_mean_row("forced_choice_accuracy", task, system, voices, forced))
    labels = [[_label(a.result.lanes[lane].answer.label) for a in answered] for lane in (0, 1)]
    pair = "speech LLM and cascade"
    same = [a is not None and a == b for a, b in zip(*labels, strict=True)]
    rows.append(_mean_row("agreement", task, pair, voices, same))
    rows += _kappa_rows(task, pair, voices, *labels)
    if table.labels:
        golds = [a.gold for a in answered]
        commonest = max(set(golds), key=golds.count)
        rows.append(_mean_row("majority_baseline", task, "none", voices, [g == commonest for g in golds]))
    return rows


def _label(label: str | None) -> str | None:
    """A class for kappa, None for an answer that was not parsed."""
    return None if label is None else normalise(label)


def _mean_row(measure: str, task: str, system: str, voices: str, hits: Sequence[bool]) -> Row:
    """A share with Wilson's 95 % interval, which stays inside 0 to 1 at the ends."""
    n, p, z = len(hits), float(np.mean(hits)), 1.959964
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # The closed form misses 0, 1 and p by rounding when p is 0 or 1.
    low, high = max(0.0, min(p, float(centre - half))), min(1.0, max(p, float(centre + half)))
    return Row(measure, task, system, voices, n, p, low, high)


def _kappa_rows(task: str, system: str, voices: str, a: list[str | None], b: list[str | None]) -> list[Row]:
    """Cohen's kappa in three readings of unparsed answers, each with its bootstrap over items; NaN if not defined."""
    found = bootstrap_kappas(confusion(a, b), np.arange(len(a)), seed=BOOTSTRAP_SEED)
    return [
        Row(KAPPAS[reading], task, system, voices, len(a), one.value, one.low, one.high)
        for reading, one in found.items()
    ]


def word_error_rows(voices: Sequence[Voice], name: str, n_items: int) -> list[Row]:
    """Return the word error rate of the cascade's transcript and of the speech LLM's repetition.

    Corpus-level (errors over reference words); the interval is a bootstrap over clips.
    """
    texts = held_out_items("speaker", n_items)
    heard: dict[str, list[tuple[int, int]]] = {"mini-Whisper": [], "mini-Ultravox, asked to repeat": []}
    for item in texts:
        clip, _, _ = say_item(item, voices)
        result = run(RunRequest(clip, "transcribe"))
        said = item.sentence.text
        for system, text in (
            ("mini-Whisper", result.lanes[1].heard),
            ("mini-Ultravox, asked to repeat", result.lanes[0].answer.text),
        ):
            heard[system].append(word_errors(said, text))
    logger.info("%s: %d clips transcribed", name, len(texts))
    return [_wer_row(system, name, counts) for system, counts in heard.items()]


def _wer_row(system: str, voices: str, counts: list[tuple[int, int]]) -> Row:
    table = np.array(counts)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    draws = table[generator.integers(0, len(table), (BOOTSTRAP_RESAMPLES, len(table)))].sum(1)
    low, high = np.percentile(draws[:, 0] / draws[:, 1], [2.5, 97.5])
    errors, words = table.sum(0)
    return Row(
        "wer", "transcribe", system, voices, len(table), float(errors / words), float(low), float(high)
    )


def write_rows(rows: Sequence[Row], file: Path, revisions: str) -> None:
    """Write the figures as CSV, under a temporary name first.

    Args:
        rows: the figures.
        file: the table.
        revisions: of the weights that were measured; a column of its own, the same in every row.
    """
    part = file.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=[*Row.__dataclass_fields__, "revisions"])
        writer.writeheader()
        for row in rows:
            cells = {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in asdict(row).items()}
            writer.writerow({**cells, "revisions": revisions})
    part.replace(file)


def format_rows(rows: Sequence[Row]) -> str:
    """Return the figures as an aligned table for the terminal."""
    lines = [f"{'measure':24}{'task':13}{'system':34}{'voices':42}{'n':>5}  value [95 %]"]
    lines += [
        f"{r.measure:24}{r.task:13}{r.system:34}{r.voices:42}{r.n_items:>5}  {r.value:.3f} [{r.low:.3f}, {r.high:.3f}]"
        for r in rows
    ]
    return "\n".join(lines)
