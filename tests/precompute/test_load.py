"""Facts about the paper's load: its counts, what costs grow with, and prices by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import UnknownKeyError
from engine.systems.catalogue import get_spec
from engine.systems.profiles import PAPER_SYSTEMS, PROFILES
from precompute.corpora.catalogue import CORPORA
from precompute.corpora.folder import open_corpora
from precompute.estimate import (
    ACCOUNTING,
    GPUS,
    NEW_TOKENS,
    QUESTION_TOKENS,
    Prices,
    TaskLoad,
    audio_seconds,
    cost_of,
    disk_of,
    format_load,
    tasks_of_load,
)
from precompute.settings import Settings
from precompute.store import Store
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
    parts = disk.speech_gb + disk.footage_gb + disk.musan_gb + disk.weights_gb + disk.store_gb
    assert disk.total_gb == pytest.approx(parts)
    served, local = (disk_of([get_spec(key)], WHOLE).store_gb for key in ("gemini", "qwen2-audio-7b"))
    assert served == local > 0, "each reply is a row"


# --- the load as text: the paper's totals, every assumption, a sentence for what is missing ---


def shown(tmp_path: Path, settings: Settings) -> str:
    return format_load(settings, Store(tmp_path / "none"), GPUS["h100"], Prices(2.5))


def test_the_papers_plan_needs_nothing_that_is_here(tmp_path: Path) -> None:
    text = shown(tmp_path, Settings(profile="paper", models=tmp_path / "models"))
    assert text.startswith("9 systems, 6 tasks, 27,300 files, 245,700 inferences.")
    assert "32,000 more files, 288,000 more inferences; 533,700 in all" in text and ACCOUNTING in text
    for papers, ours in PAPER_SYSTEMS.items():
        (line,) = (line for line in text.splitlines() if line.startswith(ours + " "))
        assert line.split()[1:9] == [papers, "6,000", "6,000", "6,000", "6,000", "2,610", "690", "27,300"]
    for words in (
        "32 tokens a second",
        "Edge-TTS: free",
        "NVIDIA H100",
        "Assumed:",
        "Disk: about",
        "Ultravox v0.6",
    ):
        assert words in text
    for key in (*CORPORA, "musan"):
        assert f"\n{key}/ is missing" in text
    assert text.count("cannot run yet: ") == 9 and list(tmp_path.iterdir()) == []


def test_real_counts_and_their_differences_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_corpora(tmp_path / "corpora", monkeypatch)
    settings = Settings(profile="paper", corpora=folder, models=tmp_path / "models")
    text = shown(tmp_path, settings)
    assert text.startswith("9 systems, 6 tasks, 77 files, 693 inferences.")
    assert "MELD: 3 items are here; the paper has 2,610." in text and "is missing" not in text
    part = shown(tmp_path, Settings(profile="paper", tasks=("meld",), systems=("gemini",), models=tmp_path))
    assert part.startswith("1 system, 1 task, 2,610 files, 2,610 inferences.")
    with pytest.raises(UnknownKeyError, match=r'no task "topic" here\. Choose from: ag_news'):
        shown(tmp_path, Settings(profile="paper", tasks=("topic",)))
