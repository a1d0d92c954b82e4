"""What asking the paper's corpora amounts to: files, inferences, GPU-hours, disk and money, with every assumption.

A dry run: no corpus, no weights and no network are needed. Counts are the paper's (arXiv 2602.17598v2, sections
3.1 and 3.2) unless a corpus is there. Seconds are guessed from parameters and a GPU's data sheet until a ledger
holds measured ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.systems.catalogue import PUBLISHED_SYSTEMS, SystemSpec, parameters_m_of
from engine.systems.weights import size_gb
from precompute.corpora.catalogue import CORPORA
from precompute.corpora.folder import PAPER_VOICES
from precompute.corpora.source import Sample
from precompute.corpora_clips import NOISY_VOICES, PAPER_NOISE, QUICK_PAPER_NOISE

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
ROW_BYTES, ANSWER_BYTES = 200, 120
PART_BYTES = 5_100  # of a part of the ledger that holds one row: each reply of a service is one


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
        is_measured: whether they come from the ledger.
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
        measured: (stage, who) -> seconds a result, as a ledger has them.
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
    ledger_gb: float

    @property
    def total_gb(self) -> float:
        """All together."""
        return self.speech_gb + self.footage_gb + self.musan_gb + self.weights_gb + self.ledger_gb


def disk_of(specs: Sequence[SystemSpec], tasks: Sequence[TaskLoad]) -> Disk:
    """Return what has to be stored; noisy copies are made when they are heard."""
    spoken = [task for task in tasks if CORPORA[task.task].is_text]
    clips = sum(task.n_clean + task.n_noisy for task in tasks)
    ears = {spec.transcriber for spec in specs if spec.transcriber}
    n_services = sum(spec.is_remote for spec in specs)
    rows = clips * (1 + len(ears) + len(specs) - n_services)
    return Disk(
        speech_gb=audio_seconds(spoken) * EDGE_BYTES_A_SECOND / 1e9,
        footage_gb=MELD_GB if any(task.task == "meld" for task in tasks) else 0.0,
        musan_gb=MUSAN_GB if any(task.n_noisy for task in tasks) else 0.0,
        weights_gb=size_gb(dict.fromkeys(name for spec in specs for name in spec.folders)),
        ledger_gb=(rows * ROW_BYTES + clips * (n_services * PART_BYTES + len(specs) * ANSWER_BYTES)) / 1e9,
    )
