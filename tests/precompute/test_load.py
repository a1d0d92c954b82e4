"""Facts about the paper's load: its counts, what costs grow with, and prices by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from engine.systems.catalogue import get_spec
from engine.systems.profiles import PROFILES
from precompute.corpora.catalogue import CORPORA
from precompute.corpora.folder import open_corpora
from precompute.load import (
    GPUS,
    NEW_TOKENS,
    PART_BYTES,
    QUESTION_TOKENS,
    ROW_BYTES,
    Prices,
    TaskLoad,
    audio_seconds,
    cost_of,
    disk_of,
    tasks_of_load,
)
from tests.precompute.tiny_corpora import N_TEXTS, write_corpora

GPU, PRICES = GPUS["h200"], Prices(2.0)
WHOLE = tasks_of_load(tuple(CORPORA), {}, None, quick=False)
SPECS = tuple(get_spec(key) for key in PROFILES["paper"].systems)


def test_the_counts_are_the_papers() -> None:
    assert sum(task.n_clean for task in WHOLE) == 27_300 and len(SPECS) == 9
    assert len(SPECS) * sum(task.n_clean for task in WHOLE) == 245_700
    noisy = {task.task: task.n_noisy for task in WHOLE}
    assert sum(noisy.values()) == 32_000 and noisy["meld"] == noisy["mustard"] == 0
    # The other reading of 27,300: three texts' noisy copies and the recordings.
    assert sum(noisy.values()) - noisy["triviaqa"] + 3_300 == 27_300


def test_what_is_there_counts_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_corpora(write_corpora(tmp_path, monkeypatch), tuple(CORPORA), None)
    found = {t.task: t for t in tasks_of_load(tuple(CORPORA), opened.samples, None, quick=False)}
    assert found["ag_news"].n_clean == 6 * N_TEXTS and found["mustard"].n_clean == 2
    assert found["ag_news"].seconds == pytest.approx(7 / 2.6 + 0.8), "seven words each"
    quick = tasks_of_load(("ag_news", "meld"), {}, 20, quick=True)
    assert [(t.n_clean, t.n_noisy) for t in quick] == [(20, 20), (20, 0)]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key)
def test_a_slower_gpu_takes_longer_and_a_service_none_of_ours(spec) -> None:  # type: ignore[no-untyped-def]
    here, slow = (cost_of(spec, WHOLE, GPUS[name], PRICES, {}) for name in ("h200", "l4"))
    if spec.is_remote:
        assert math.isnan(here.seconds) and here.gpu_h == 0 and here.usd > 0
        return
    assert 0.01 < here.seconds < 2 and slow.seconds > 5 * here.seconds and here.usd == 0
    assert here.gpu_h == pytest.approx(here.seconds * 27_300 / 3600) and not here.is_measured
    assert here.gpu_noisy_h == pytest.approx(here.gpu_h * 32_000 / 27_300)


def test_measured_seconds_replace_guesses() -> None:
    speech, cascade = get_spec("ultravox-v0.6-8b"), get_spec("whisper-small-qwen2.5-7b")
    found = cost_of(speech, WHOLE, GPU, PRICES, {("listen", speech.key): 0.5})
    assert found.seconds == 0.5 and found.is_measured
    half = {("transcribe", "faster-whisper-small"): 0.25}
    assert not cost_of(cascade, WHOLE, GPU, PRICES, half).is_measured
    both = cost_of(cascade, WHOLE, GPU, PRICES, half | {("read", "qwen2.5-7b-instruct"): 0.5})
    assert both.seconds == 0.75 and both.is_measured


def test_gemini_by_hand() -> None:
    """A thousand clips of ten seconds: 320,000 tokens of audio."""
    (task,) = (TaskLoad("meld", 1_000, 1, 0, 10.0),)
    prices = Prices(2.0, usd_audio_m=1.0, usd_text_m=10.0, usd_answer_m=100.0)
    cost = cost_of(get_spec("gemini"), [task], GPU, prices, {})
    assert cost.usd == pytest.approx(0.32 + QUESTION_TOKENS * 0.01 + NEW_TOKENS * 0.1)
    assert cost.usd_noisy == 0


def test_weights_are_stored_once_and_noise_never() -> None:
    disk = disk_of(SPECS, WHOLE)
    assert disk.weights_gb == pytest.approx(disk_of((*SPECS, *SPECS), WHOLE).weights_gb)
    assert disk_of(SPECS[:1], WHOLE).weights_gb < disk.weights_gb < 200
    quiet = [replace(task, n_noises=0) for task in WHOLE]
    assert disk_of(SPECS, quiet).speech_gb == disk.speech_gb and disk_of(SPECS, quiet).musan_gb == 0
    assert audio_seconds(quiet, noisy=True) == 0 < audio_seconds(WHOLE, noisy=True)
    parts = disk.speech_gb + disk.footage_gb + disk.musan_gb + disk.weights_gb + disk.ledger_gb
    assert disk.total_gb == pytest.approx(parts)
    n_clips = sum(task.n_clean + task.n_noisy for task in WHOLE)
    served, local = (disk_of([get_spec(key)], WHOLE).ledger_gb for key in ("gemini", "qwen2-audio-7b"))
    assert served - local == pytest.approx(n_clips * (PART_BYTES - ROW_BYTES) / 1e9), "each reply is a file"
