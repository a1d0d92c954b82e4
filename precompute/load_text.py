"""The paper's load as text: what `plan` prints for a run on the paper's corpora, before anything is there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.noise import HEARD_IN_TRAINING, ULTRAVOX_NOTE
from engine.systems.catalogue import SystemSpec, get_spec
from engine.systems.profiles import PAPER_SYSTEMS, preparation, read_profile
from precompute.corpora.catalogue import CORPORA
from precompute.corpora.edge_speech import PAUSE_S
from precompute.corpora.folder import WHERE, OpenedCorpora, open_corpora
from precompute.corpora_clips import NOISY_VOICES, PAPER_NOISE
from precompute.estimate import duration, seconds_measured
from precompute.ledger import Ledger
from precompute.load import (
    EFFICIENCY,
    GEMINI_TOKENS_A_SECOND,
    NEW_TOKENS,
    RENT_SOURCE,
    Gpu,
    Prices,
    SystemCost,
    TaskLoad,
    audio_seconds,
    cost_of,
    disk_of,
    tasks_of_load,
)
from precompute.settings import Settings, corpora_keys, items_a_corpus

ACCOUNTING = (
    "The paper states 27,300 files and not whether noisy copies count: six voices of four texts and 3,300 recordings "
    "make 27,300 clean files, and so do 24,000 noisy copies of three texts and the 3,300 recordings. Both are shown."
)
NOT_IN_6300 = "Its 6,300 samples leave out TriviaQA, which it reports as accuracy only."


def format_load(settings: Settings, ledger: Ledger, gpu: Gpu, prices: Prices) -> str:
    """Return the load of a run on the paper's corpora: files, inferences, cost, assumptions, what is missing.

    Raises:
        UnknownKeyError: a profile, system or corpus that does not exist.
        CorpusError: a corpus is there and not as published.
    """
    keys = corpora_keys(settings)
    opened = open_corpora(settings.corpora, keys, items_a_corpus(settings))
    tasks = tasks_of_load(keys, opened.samples, items_a_corpus(settings), quick=settings.quick)
    specs = [get_spec(key) for key in settings.systems or read_profile(settings.profile).systems]
    measured = seconds_measured(ledger)
    costs = [cost_of(spec, tasks, gpu, prices, measured) for spec in specs]
    lines = [
        *_headline(specs, tasks),
        "",
        *_task_lines(tasks),
        "",
        *_system_lines(specs, tasks, costs),
        "",
        *_cost_lines(specs, tasks, costs, gpu, prices),
        "",
        *_notes(settings, opened, specs, tasks),
    ]
    return "\n".join(lines)


def _headline(specs: Sequence[SystemSpec], tasks: Sequence[TaskLoad]) -> list[str]:
    clean, noisy = (sum(n) for n in ((t.n_clean for t in tasks), (t.n_noisy for t in tasks)))
    n = len(specs)
    systems, asked = ("system" if n == 1 else "systems"), ("task" if len(tasks) == 1 else "tasks")
    return [
        f"{n} {systems}, {len(tasks)} {asked}, {clean:,} files, {n * clean:,} inferences.",
        f"Noise copies, apart: MUSAN's babble at {', '.join(f'{c.snr_db:g}' for c in PAPER_NOISE)} dB in "
        f"{NOISY_VOICES} voices of the texts: {noisy:,} more files, {n * noisy:,} more inferences; "
        f"{n * (clean + noisy):,} in all.",
    ]


def _task_lines(tasks: Sequence[TaskLoad]) -> list[str]:
    lines = [
        f"{'task':12}{'corpus':16}{'items':>8}{'voices':>8}{'files':>8}{'noisy':>8}{'s each':>8}{'hours':>8}"
    ]
    for task in tasks:
        hours = task.n_clean * task.seconds / 3600
        lines.append(
            f"{task.task:12}{CORPORA[task.task].name:16}{task.n_items:8,}{task.n_voices:8}{task.n_clean:8,}"
            f"{task.n_noisy:8,}{task.seconds:8.1f}{hours:8.1f}"
        )
    total = [sum(n) for n in zip(*((t.n_items, t.n_clean, t.n_noisy) for t in tasks), strict=True)]
    hours = audio_seconds(tasks) / 3600
    return [*lines, f"{'all':28}{total[0]:8,}{'':8}{total[1]:8,}{total[2]:8,}{'':8}{hours:8.1f}"]


def _system_lines(
    specs: Sequence[SystemSpec], tasks: Sequence[TaskLoad], costs: Sequence[SystemCost]
) -> list[str]:
    papers = {ours: theirs for theirs, ours in PAPER_SYSTEMS.items()}
    heads = "".join(f"{task.task:>9}" for task in tasks)
    lines = [
        f"{'inferences on clean files':32}{'the paper’s':14}{heads}{'all':>9}{'s each':>8}{'GPU h':>7}{'+ noise':>8}"
    ]
    for spec, cost in zip(specs, costs, strict=True):
        cells = "".join(f"{task.n_clean:9,}" for task in tasks)
        n_all = sum(task.n_clean for task in tasks)
        if math.isnan(cost.seconds):
            took = f"{'service':>8}{'':7}{'':8}"
        else:
            mark = "" if cost.is_measured else "?"
            took = f"{f'{cost.seconds:.2f}{mark}':>8}{cost.gpu_h:7.1f}{cost.gpu_noisy_h:8.1f}"
        lines.append(f"{spec.key:32}{papers.get(spec.key, ''):14}{cells}{n_all:9,}{took}")
    return [*lines, "? is guessed; see the assumptions."]


def _cost_lines(
    specs: Sequence[SystemSpec],
    tasks: Sequence[TaskLoad],
    costs: Sequence[SystemCost],
    gpu: Gpu,
    prices: Prices,
) -> list[str]:
    hours, noisy = sum(cost.gpu_h for cost in costs), sum(cost.gpu_noisy_h for cost in costs)
    usd, usd_noisy = sum(cost.usd for cost in costs), sum(cost.usd_noisy for cost in costs)
    disk = disk_of(specs, tasks)
    n_spoken = sum(task.n_clean for task in tasks if CORPORA[task.task].is_text)
    lines = [
        f"GPU time: about {hours:.1f} h on one {gpu.name}, and {noisy:.1f} h more for the noise copies; "
        f"${hours * prices.usd_gpu_hour:,.0f} and ${noisy * prices.usd_gpu_hour:,.0f} at "
        f"${prices.usd_gpu_hour:g} an hour ({RENT_SOURCE}; --usd-gpu-hour says yours).",
        "  Assumed: one clip at a time; a new token reads all weights from memory once, and what goes in takes two "
        f"operations a parameter and token; {EFFICIENCY:.0%} of the data sheet's {gpu.terabytes_a_second:g} TB/s "
        f"and {gpu.bf16_teraflops:g} TFLOP/s; {NEW_TOKENS:g} tokens an answer; transcripts that cascades share are "
        "counted for each. Guessed from parameters, not "
        "measured: expect a factor of two either way, until --out holds measured seconds.",
    ]
    if any(spec.service == "gemini" for spec in specs):
        lines += [
            f"Gemini: about ${usd:,.2f}, and ${usd_noisy:,.2f} more for the noise copies.",
            f"  Assumed: {GEMINI_TOKENS_A_SECOND:g} tokens a second of audio at ${prices.usd_audio_m:g} a million "
            f"({prices.gemini_source}; --usd-audio-tokens says yours), ${prices.usd_text_m:g} for questions and "
            f"${prices.usd_answer_m:g} for answers; thoughts would cost more.",
        ]
    return [
        *lines,
        f"Edge-TTS: free; {n_spoken:,} recordings with {PAUSE_S:g} s between two take "
        f"{duration(n_spoken * PAUSE_S)} and more.",
        f"Disk: about {disk.total_gb:.0f} GB: weights {disk.weights_gb:.0f}, MUSAN {disk.musan_gb:.0f}, recordings "
        f"{disk.speech_gb:.1f}, MELD {disk.footage_gb:.0f}, ledger and tables {disk.ledger_gb:.2f}. "
        "Noise copies are made when they are heard and never stored.",
    ]


def _notes(
    settings: Settings, opened: OpenedCorpora, specs: Sequence[SystemSpec], tasks: Sequence[TaskLoad]
) -> list[str]:
    notes = []
    is_whole = not (settings.quick or settings.limit or settings.tasks)
    if is_whole:
        notes += [ACCOUNTING, NOT_IN_6300]
    for task in tasks:
        wanted = CORPORA[task.task].n_items
        if is_whole and task.n_items != wanted:
            notes.append(
                f"{CORPORA[task.task].name}: {task.n_items:,} items are here; the paper has {wanted:,}."
            )
    if any(task.n_noisy for task in tasks) and any(spec.key in HEARD_IN_TRAINING for spec in specs):
        notes.append(ULTRAVOX_NOTE)
    notes += [note for sample in opened.samples.values() for note in sample.notes]
    if opened.missing:
        notes += ["", WHERE, *opened.missing.values()]
    return [*notes, "", *preparation(read_profile(settings.profile), models=settings.models).lines]
