"""The published rows against the published shapes, and their pairs against checkpoints in the published layout."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from engine.systems.catalogue import (
    MINI_PAIRS,
    PAIRS,
    PUBLISHED_PAIRS,
    PUBLISHED_SYSTEMS,
    READS,
    SPEAKS,
    SYSTEMS,
    TRANSCRIBERS,
    WRITES,
    match_of,
    revision_of,
    systems,
)
from engine.systems.profiles import PAPER_SYSTEMS, PROFILES

ROOT = Path(__file__).resolve().parents[3]


def decoder_m(
    layers: int,
    width: int,
    heads: tuple[int, int],
    inner: int,
    vocabulary: int,
    *,
    tied: bool = False,
    head: int = 0,
) -> float:
    """Millions of weights of a Llama-like model by the published config; norms and biases are below 0.01 %."""
    size = head or width // heads[0]
    attention = 2 * width * heads[0] * size + 2 * width * heads[1] * size
    return (layers * (attention + 3 * width * inner) + (1 if tied else 2) * vocabulary * width) / 1e6


def encoder_m(layers: int, width: int, mels: int) -> float:
    """Millions of weights of a Whisper encoder: attention, two maps of four times the width, two convolutions."""
    return (layers * 12 * width**2 + 3 * width * (mels + width) + 1500 * width) / 1e6


TOWER = encoder_m(32, 1280, 128)  # of whisper-large-v3 and its turbo, which all speech LLMs here hear with
LLAMA_8B = decoder_m(32, 4096, (32, 8), 14336, 128256)
LLAMA_1B = decoder_m(16, 2048, (32, 8), 8192, 128256, tied=True)
QWEN_7B = decoder_m(28, 3584, (28, 4), 18944, 152064)
PHI_MINI = decoder_m(32, 3072, (24, 8), 8192, 200064, tied=True)
QWEN_AUDIO = decoder_m(32, 4096, (32, 32), 11008, 156032)
VOXTRAL = decoder_m(30, 3072, (32, 8), 8192, 131072, head=128)
SMALL, LARGE = 244, 1543  # the published numbers of Whisper small and large


@pytest.mark.parametrize(
    ("key", "parameters_m"),
    [
        ("llama-3.1-8b-instruct", LLAMA_8B),
        ("llama-3.2-1b-instruct", LLAMA_1B),
        ("qwen2-7b-instruct", QWEN_7B),
        ("qwen2.5-7b-instruct", QWEN_7B),
        ("phi-4-mini-instruct", PHI_MINI),
        ("phi-4-multimodal-llm", PHI_MINI),
        ("qwen2-audio-7b-instruct-llm", QWEN_AUDIO),
        ("voxtral-mini-3b-2507-llm", VOXTRAL),
        ("ultravox-v0.6-8b", LLAMA_8B + TOWER + (10240 * 4096 + 2048 * 4096) / 1e6),
        ("ultravox-v0.5-1b", LLAMA_1B + TOWER + (10240 * 4096 + 2048 * 2048) / 1e6),
        ("qwen2-audio-7b-instruct", QWEN_AUDIO + TOWER + 1280 * 4096 / 1e6),
        ("voxtral-mini-3b-2507", VOXTRAL + TOWER + (5120 * 3072 + 3072 * 3072) / 1e6),
        ("whisper-large-v3-llama-3.1-8b", LARGE + LLAMA_8B),
        ("whisper-small-qwen2.5-7b", SMALL + QWEN_7B),
    ],
)
def test_parameters_are_those_of_the_published_shapes(key: str, parameters_m: float) -> None:
    assert SYSTEMS[key].parameters_m == pytest.approx(parameters_m, rel=1e-3)
    assert SYSTEMS[key].bf16_gb == pytest.approx(2 * parameters_m / 1e3, rel=1e-3)


def test_a_kind_decides_what_a_row_offers_and_what_it_is_made_of() -> None:
    offers = {"speech_llm": SPEAKS, "cascade": WRITES, "text_llm": READS}
    for key, spec in PUBLISHED_SYSTEMS.items():
        assert (spec.transcriber in TRANSCRIBERS) == (spec.kind == "cascade"), key
        if spec.is_remote:
            assert spec.capabilities == (("answer", "transcript") if spec.kind == "cascade" else ("answer",))
            assert (spec.folder, spec.backbone) == (None, "") and math.isnan(spec.parameters_m)
        else:
            assert spec.capabilities == offers[spec.kind] and spec.backbone and not spec.variables


def test_every_text_model_has_one_oracle() -> None:
    readers = [spec.backbone for spec in SYSTEMS.values() if spec.kind == "text_llm"]
    assert len(set(readers)) == len(readers)
    wanted = {spec.backbone for spec in SYSTEMS.values()}
    assert set(readers) == wanted


def test_a_pair_shares_its_oracle_with_its_cascade() -> None:
    for key, pair in PUBLISHED_PAIRS.items():
        cascade, oracle = SYSTEMS[pair.cascade], SYSTEMS[pair.text_oracle]
        assert (cascade.backbone, cascade.variables) == (oracle.backbone, oracle.variables), key
        assert key not in MINI_PAIRS


def test_the_papers_systems_are_those_of_its_table() -> None:
    with (ROOT / "assets" / "published" / "systems.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert set(PAPER_SYSTEMS) == set(rows) and len(rows) == 9
    for theirs, ours in PAPER_SYSTEMS.items():
        spec, row = SYSTEMS[ours], rows[theirs]
        assert spec.kind == row["kind"] and spec.is_remote == (row["access"] == "api")
        if row["transcriber"]:
            assert spec.transcriber == f"faster-{row['transcriber']}"
            assert spec.backbone.startswith(row["backbone"].lower())
    assert PROFILES["paper"].systems == tuple(PAPER_SYSTEMS.values())


@pytest.mark.parametrize(
    ("pair", "match"),
    [
        ("ultravox-v0.6-8b", "exact"),
        ("ultravox-v0.6-8b-turbo", "exact"),
        ("ultravox-v0.6-8b-other", "none"),
        ("ultravox-v0.5-8b", "exact"),
        ("ultravox-v0.5-1b", "exact"),
        ("qwen2-audio-7b-instruct", "paper"),
        ("qwen2-audio-7b-instruct-self", "self"),
        ("qwen2-audio-7b-self", "self"),
        ("phi-4-multimodal", "paper"),
        ("phi-4-multimodal-adapters-off", "exact"),
        ("voxtral-mini-3b-2507", "self"),
        ("gemini", "none"),
        ("gemini-mini", "none"),
        ("endpoint", "none"),
        ("endpoint-mini", "none"),
        ("gemini-endpoint-mini", "none"),
        ("mini-ultravox-endpoint", "none"),
    ],
)
def test_how_a_pair_is_matched_is_read_from_its_checkpoints(
    published_models: Path, pair: str, match: str
) -> None:
    assert match_of(PAIRS[pair], published_models) == match


def test_every_pair_is_held_above() -> None:
    marks = test_how_a_pair_is_matched_is_read_from_its_checkpoints.pytestmark  # type: ignore[attr-defined]
    assert [row[0] for row in marks[0].args[1]] == list(PUBLISHED_PAIRS)


def test_every_system_with_weights_is_ready_on_its_published_folders(published_models: Path) -> None:
    found = {info.key: info for info in systems(published_models) if info.key in PUBLISHED_SYSTEMS}
    for key, spec in PUBLISHED_SYSTEMS.items():
        assert (found[key].status == "ready") == (not spec.is_remote), found[key].reason
    assert "set GEMINI_MODEL" in found["gemini"].reason
    assert revision_of(SYSTEMS["gemini"]) == "told with each answer"
