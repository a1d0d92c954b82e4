"""What a run would take, said before anything runs: of a plan of any kind, and of the paper's corpora.

Seconds are means of what is done already; where nothing of a kind is done they are guessed, and marked. Published
models are guessed from their parameters and a GPU's data sheet. The paper's counts (arXiv 2602.17598v2, sections 3.1
and 3.2) stand for a corpus that is not there; no corpus, no weights and no network are needed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.noise import HEARD_IN_TRAINING, ULTRAVOX_NOTE
from engine.systems.catalogue import PUBLISHED_SYSTEMS, SystemSpec, get_spec, parameters_m_of
from engine.systems.profiles import PAPER_SYSTEMS, preparation, read_profile
from engine.systems.weights import size_gb
from precompute.corpora.catalogue import CORPORA
from precompute.corpora.edge_speech import PAUSE_S
from precompute.corpora.folder import PAPER_VOICES, WHERE, OpenedCorpora, open_corpora
from precompute.corpora.source import Sample
from precompute.corpora_clips import NOISY_VOICES, PAPER_NOISE, QUICK_PAPER_NOISE
from precompute.jobs import RunPlan, stages_of
from precompute.settings import Settings, corpora_keys, items_a_corpus
from precompute.store import Store

# Of one job on one core of a common machine, for the minis; published models are guessed as on this GPU.
GUESSED_GPU = "h200"
GUESSED_S = {
    **{"render": 0.02, "transcribe": 0.05, "listen": 0.05, "read": 0.015, "memory": 10.0},
    **{"pitch": 0.05, "lens": 0.24, "erase": 1.5, "probe": 30.0, "damage": 90.0},
    **{"phases": 0.3, "knowledge": 0.2, "erase_word": 1.0, "patch_word": 0.15},
}
# Bytes of a row whose text is a measurement; others are as large as `ROW_BYTES` says.
MEASURED_BYTES = {
    **{"pitch": 1_800, "lens": 4_000, "erase": 14_000, "probe": 6_000, "damage": 5_000},
    **{"phases": 900, "erase_word": 2_000},
}
START_S = 12.0  # loading libraries and models, once

# Words an item, our guess from the corpora's cards, at a voice's pace and with its pauses.
WORDS_AN_ITEM = {"ag_news": 36.0, "sst2": 19.0, "csqa": 13.0, "triviaqa": 14.0}
WORDS_A_SECOND, PAUSES_S = 2.6, 0.8
# Mean length of a clip in seconds, as the papers of the corpora state it.
RECORDED_S = {"meld": 3.6, "mustard": 5.2}

# Of a prompt and its answer.
AUDIO_TOKENS_A_SECOND, QUESTION_TOKENS, NEW_TOKENS = 25.0, 60.0, 8.0
PASSES = 2  # over the prompt: the answer, and the scores of the allowed answers
TOKENS_A_WORD = 1.4
ENCODER_M, ENCODER_FRAMES = 640.0, 1_500.0  # Whisper large's encoder, which always hears 30 s
BYTES_A_PARAMETER = 2
TYPICAL_CLIP_S = 8.0
SERVICE_S = 1.5  # of a request, over a network
EFFICIENCY = 0.3  # share of the data sheet's figures that one prompt at a time reaches

GEMINI_TOKENS_A_SECOND = 32.0  # of audio, as Google documents it
EDGE_BYTES_A_SECOND = 6_000.0  # its MP3: 48 kbit/s
MELD_GB, MUSAN_GB = 3.0, 11.0  # MELD's files and the clips laid out from them
ROW_BYTES, ANSWER_BYTES = 450, 120  # of the store and of the table of answers, as measured


# --- a plan of any kind ---


@dataclass(frozen=True)
class Estimate:
    """What is left.

    Attributes:
        n_left: kind of job -> results to be made.
        guessed: kinds whose seconds are a guess.
        seconds: with all workers.
        n_bytes: that --out will grow by.
    """

    n_left: dict[str, int]
    guessed: tuple[str, ...]
    seconds: float
    n_bytes: int


def estimate(plan: RunPlan, store: Store, n_workers: int) -> Estimate:
    """Return what is left to do and what it will take."""
    left: Counter[tuple[str, str]] = Counter(plan.later(store))
    for stage in stages_of(plan, store):
        for batch in stage.batches_of(plan, store):
            left[batch.kind, batch.model] += len(batch.jobs)
    mean_s, guessed, seconds, n_bytes = seconds_measured(store), set(), 0.0, 0.0
    for (kind, model), count in left.items():
        if count and (kind, model) not in mean_s:
            guessed.add(kind)
        own_s = mean_s.get((kind, model), guessed_s(kind, model, GPUS[GUESSED_GPU]) or GUESSED_S[kind])
        seconds += count * own_s
        n_bytes += count * MEASURED_BYTES.get(kind, ROW_BYTES)
    total = {kind: sum(n for (one, _), n in left.items() if one == kind) for kind in GUESSED_S}
    n_rows = sum(total.values())
    n_answers = sum(1 for _ in plan.behaviour.cells()) if n_rows else 0
    wall_s = (START_S if n_rows else 0.0) + seconds / n_workers
    return Estimate(total, tuple(sorted(guessed)), wall_s, round(n_bytes + ANSWER_BYTES * n_answers))


def seconds_measured(store: Store) -> dict[tuple[str, str], float]:
    """Return (kind of job, model) -> mean seconds of a result, of those that are done."""
    spent: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in store.rows.values():
        if not row.failed and row.stage != "memory":
            spent[row.stage, row.who].append(row.seconds)
    return {place: sum(seconds) / len(seconds) for place, seconds in spent.items()}


def format_plan(plan: RunPlan, store: Store, n_workers: int, *, whole: bool = True) -> str:
    """Return the plan as text: what is wanted, what to know of it, and what is left.

    Args:
        plan: of any kind.
        store: what is done.
        n_workers: that will do it.
        whole: whether it begins with a line for each part that is wanted, where there are such lines.
    """
    table = plan.table(store) if whole else []
    lines = [*table, *([""] if table else []), plan.headline(), *plan.notes]
    found = estimate(plan, store, n_workers)
    n_failed = sum(row.failed for row in store.rows.values())
    if n_failed:
        lines.append(f"{n_failed:,} results failed in an earlier run; a run tries them again.")
    if store.damage:
        lines.append(store.damage)
    if not any(found.n_left.values()):
        return "\n".join([*lines, "Everything is done; run only writes the tables again."])
    counts = [
        f"{n:,} to {kind.replace('_', ' ')}" for kind, n in found.n_left.items() if n and kind != "memory"
    ]
    by = f"{n_workers} worker{'s' if n_workers > 1 else ''}"
    named = ", ".join(found.guessed).replace("_", " ")
    basis = f"; guessed for {named}" if found.guessed else ", from what is done"
    if found.guessed and any(spec.key in PUBLISHED_SYSTEMS for spec in plan.behaviour.systems):
        basis += f", published models as on one {GPUS[GUESSED_GPU].name}"
    return "\n".join(
        [
            *lines,
            f"Left: {', '.join(counts) or 'memory to measure'}.",
            f"About {duration(found.seconds)} with {by}{basis}; about {found.n_bytes / 1e6:.1f} MB on disk.",
        ]
    )


def duration(seconds: float) -> str:
    """Return a time in words fit for an estimate."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# --- the paper's corpora ---


@dataclass(frozen=True)
class Gpu:
    """A GPU by its data sheet, and what an hour of it costs to rent."""

    name: str
    terabytes_a_second: float
    bf16_teraflops: float
    usd_an_hour: float


GPUS = {
    "h200": Gpu("NVIDIA H200", 4.8, 989.0, 3.5),
    "h100": Gpu("NVIDIA H100", 3.35, 989.0, 2.5),
    "a100": Gpu("NVIDIA A100 80 GB", 2.04, 312.0, 1.5),
    "l4": Gpu("NVIDIA L4", 0.3, 121.0, 0.7),
}
RENT_SOURCE = "our guess of November 2026"


@dataclass(frozen=True)
class Prices:
    """What is paid for.

    Attributes:
        usd_gpu_hour: rent of the GPU.
        usd_audio_m: a million tokens of audio that Gemini hears; `usd_text_m` of a question, `usd_answer_m` of an
            answer.
        gemini_source: where and when these stood.
    """

    usd_gpu_hour: float
    usd_audio_m: float = 0.70
    usd_text_m: float = 0.10
    usd_answer_m: float = 0.40
    gemini_source: str = "Gemini 2.0 Flash in Google's list of 2025"


@dataclass(frozen=True)
class TaskLoad:
    """One corpus as it is asked.

    Attributes:
        seconds: mean length of a clip.
        n_noises: noisy copies of each item.
    """

    task: str
    n_items: int
    n_voices: int
    n_noises: int
    seconds: float

    @property
    def n_clean(self) -> int:
        """Clean files."""
        return self.n_items * self.n_voices

    @property
    def n_noisy(self) -> int:
        """Noisy copies, which are made when they are heard and never stored."""
        return self.n_items * self.n_noises


@dataclass(frozen=True)
class SystemCost:
    """What one system takes on all clips.

    Attributes:
        seconds: a clip, on the GPU; NaN for a service.
        is_measured: whether they come from the store.
        gpu_h, gpu_noisy_h: for the clean files, and for the noisy copies besides.
        usd, usd_noisy: what a service is paid for the same.
    """

    key: str
    seconds: float
    is_measured: bool
    gpu_h: float
    gpu_noisy_h: float
    usd: float
    usd_noisy: float


def tasks_of_load(
    keys: Sequence[str], samples: Mapping[str, Sample], limit: int | None, *, quick: bool
) -> tuple[TaskLoad, ...]:
    """Return how each corpus is asked: with the items that are there, or as many as the paper has."""
    return tuple(_task(key, samples.get(key), limit, quick=quick) for key in keys)


def _task(key: str, sample: Sample | None, limit: int | None, *, quick: bool) -> TaskLoad:
    spec = CORPORA[key]
    n_items = len(sample.items) if sample else min(limit or spec.n_items, spec.n_items)
    if not spec.is_text:
        return TaskLoad(key, n_items, 1, 0, RECORDED_S[key])
    n_words = WORDS_AN_ITEM[key]
    if sample:
        n_words = sum(len(item.text.split()) for item in sample.items) / n_items
    n_voices, n_noises = PAPER_VOICES, NOISY_VOICES * len(PAPER_NOISE)
    if quick:
        n_voices, n_noises = 1, len(QUICK_PAPER_NOISE)
    return TaskLoad(key, n_items, n_voices, n_noises, n_words / WORDS_A_SECOND + PAUSES_S)


def cost_of(
    spec: SystemSpec,
    tasks: Sequence[TaskLoad],
    gpu: Gpu,
    prices: Prices,
    measured: Mapping[tuple[str, str], float],
) -> SystemCost:
    """Return what a system takes.

    Args:
        spec: its row.
        tasks: what is asked.
        gpu: what it runs on, alone.
        prices: of the GPU and of Gemini.
        measured: (stage, who) -> seconds a result, as a store has them.
    """
    clips, noisy = sum(task.n_clean for task in tasks), sum(task.n_noisy for task in tasks)
    seconds, is_measured = _seconds(spec, _mean_s(tasks), gpu, measured)
    paid = [_paid(spec, tasks, prices, noisy=which) for which in (False, True)]
    hours = [0.0 if math.isnan(seconds) else seconds * n / 3600 for n in (clips, noisy)]
    return SystemCost(spec.key, seconds, is_measured, hours[0], hours[1], paid[0], paid[1])


def _mean_s(tasks: Sequence[TaskLoad]) -> float:
    return sum(task.n_clean * task.seconds for task in tasks) / max(1, sum(task.n_clean for task in tasks))


def audio_seconds(tasks: Sequence[TaskLoad], *, noisy: bool = False) -> float:
    """Return the length of all clean files, or of all noisy copies."""
    return sum((task.n_noisy if noisy else task.n_clean) * task.seconds for task in tasks)


def _seconds(
    spec: SystemSpec, clip_s: float, gpu: Gpu, measured: Mapping[tuple[str, str], float]
) -> tuple[float, bool]:
    """Return seconds of a clip on the GPU, and whether all parts of them were measured."""
    if spec.is_remote and not spec.transcriber:
        return math.nan, False
    hears = ("listen", spec.key) if spec.kind == "speech_llm" else ("transcribe", spec.transcriber or "")
    reads = ("read", spec.backbone)
    places = [hears] if spec.kind == "speech_llm" or spec.is_remote else [hears, reads]
    if not spec.transcriber and spec.kind == "text_llm":
        places = [reads]
    found = [measured.get(place, guessed_s(*place, gpu, clip_s) or 0.0) for place in places]
    return sum(found), all(place in measured for place in places)


def guessed_s(stage: str, who: str, gpu: Gpu, clip_s: float = TYPICAL_CLIP_S) -> float | None:
    """Return guessed seconds of a result on a GPU; None for models that do not come from the published rows.

    Args:
        stage: "listen", "transcribe" or "read".
        who: key of a system, or folder of a transcriber or a text LLM.
        gpu: what it runs on, alone.
        clip_s: length of the clip.
    """
    words = clip_s * WORDS_A_SECOND * TOKENS_A_WORD
    if who in PUBLISHED_SYSTEMS and PUBLISHED_SYSTEMS[who].is_remote:
        return SERVICE_S
    if stage == "listen" and who in PUBLISHED_SYSTEMS:
        heard = AUDIO_TOKENS_A_SECOND * clip_s
        return _encode_s(gpu) + _answer_s(PUBLISHED_SYSTEMS[who].parameters_m, heard, gpu)
    parameters_m = parameters_m_of(who)
    if not parameters_m:
        return None
    if stage == "transcribe":
        return _encode_s(gpu) + words * _token_s(parameters_m, gpu)
    return _answer_s(parameters_m, words, gpu) if stage == "read" else None


def _encode_s(gpu: Gpu) -> float:
    return 2 * ENCODER_M * 1e6 * ENCODER_FRAMES / (gpu.bf16_teraflops * 1e12 * EFFICIENCY)


def _token_s(parameters_m: float, gpu: Gpu) -> float:
    """Each new token reads all weights from memory once."""
    return parameters_m * 1e6 * BYTES_A_PARAMETER / (gpu.terabytes_a_second * 1e12 * EFFICIENCY)


def _answer_s(parameters_m: float, heard_tokens: float, gpu: Gpu) -> float:
    flops = 2 * parameters_m * 1e6 * (heard_tokens + QUESTION_TOKENS) * PASSES
    return flops / (gpu.bf16_teraflops * 1e12 * EFFICIENCY) + NEW_TOKENS * _token_s(parameters_m, gpu)


def _paid(spec: SystemSpec, tasks: Sequence[TaskLoad], prices: Prices, *, noisy: bool) -> float:
    """Return dollars for Gemini; what other services ask is not known here and counts as nothing."""
    if spec.service != "gemini":
        return 0.0
    n_clips = sum(task.n_noisy if noisy else task.n_clean for task in tasks)
    heard = audio_seconds(tasks, noisy=noisy) * GEMINI_TOKENS_A_SECOND * prices.usd_audio_m
    asked = n_clips * (QUESTION_TOKENS * prices.usd_text_m + NEW_TOKENS * prices.usd_answer_m)
    return (heard + asked) / 1e6


@dataclass(frozen=True)
class Disk:
    """Gigabytes of 10^9 bytes."""

    speech_gb: float
    footage_gb: float
    musan_gb: float
    weights_gb: float
    store_gb: float

    @property
    def total_gb(self) -> float:
        """All together."""
        return self.speech_gb + self.footage_gb + self.musan_gb + self.weights_gb + self.store_gb


def disk_of(specs: Sequence[SystemSpec], tasks: Sequence[TaskLoad]) -> Disk:
    """Return what has to be stored; noisy copies are made when they are heard."""
    spoken = [task for task in tasks if CORPORA[task.task].is_text]
    clips = sum(task.n_clean + task.n_noisy for task in tasks)
    ears = {spec.transcriber for spec in specs if spec.transcriber}
    rows = clips * (1 + len(ears) + len(specs))
    return Disk(
        speech_gb=audio_seconds(spoken) * EDGE_BYTES_A_SECOND / 1e9,
        footage_gb=MELD_GB if any(task.task == "meld" for task in tasks) else 0.0,
        musan_gb=MUSAN_GB if any(task.n_noisy for task in tasks) else 0.0,
        weights_gb=size_gb(dict.fromkeys(name for spec in specs for name in spec.folders)),
        store_gb=(rows * ROW_BYTES + clips * len(specs) * ANSWER_BYTES) / 1e9,
    )


# --- the load as text ---


ACCOUNTING = (
    "The paper states 27,300 files and not whether noisy copies count: six voices of four texts and 3,300 recordings "
    "make 27,300 clean files, and so do 24,000 noisy copies of three texts and the 3,300 recordings. Both are shown."
)
NOT_IN_6300 = "Its 6,300 samples leave out TriviaQA, which it reports as accuracy only."


def format_load(settings: Settings, store: Store, gpu: Gpu, prices: Prices) -> str:
    """Return the load of a run on the paper's corpora: files, inferences, cost, assumptions, what is missing.

    Raises:
        UnknownKeyError: a profile, system or corpus that does not exist.
        CorpusError: a corpus is there and not as published.
    """
    keys = corpora_keys(settings)
    opened = open_corpora(settings.corpora, keys, items_a_corpus(settings))
    tasks = tasks_of_load(keys, opened.samples, items_a_corpus(settings), quick=settings.quick)
    specs = [get_spec(key) for key in settings.systems or read_profile(settings.profile).systems]
    measured = seconds_measured(store)
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
        f"{disk.speech_gb:.1f}, MELD {disk.footage_gb:.0f}, store and tables {disk.store_gb:.2f}. "
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
