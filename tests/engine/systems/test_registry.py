"""Loading by key: each once, one backbone for all, and only when asked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.checks import BATCH_CHECK, Finding, batch_is_exact
from engine.errors import ModelFilesError, UnknownKeyError
from engine.systems import cascade as cascade_module
from engine.systems.loading import load_cascade, load_speech_llm, load_text_llm
from tests.engine.tiny_systems import FromFolder

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def own_models(models: Path, tmp_path: Path) -> Path:
    """A folder that no other test has loaded from."""
    for name in ("mini-llama", "mini-ultravox"):
        shutil.copytree(models / name, tmp_path / name, ignore=shutil.ignore_patterns("erasers"))
    return tmp_path


def test_each_system_is_loaded_once_and_all_share_one_backbone(
    own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade_module, "Transcriber", FromFolder)
    with ThreadPoolExecutor(4) as pool:
        speech = list(pool.map(lambda _: load_speech_llm("mini-ultravox", own_models), range(4)))
    assert all(system is speech[0] for system in speech)
    cascade = load_cascade("mini-cascade", own_models)
    assert cascade is load_cascade("mini-cascade", own_models)
    assert cascade.backbone is load_text_llm("mini-llama", own_models)
    assert cascade.language_model is speech[0].language_model


def test_unknown_keys_are_refused(own_models: Path) -> None:
    for load in (load_speech_llm, load_cascade, load_text_llm):
        with pytest.raises(UnknownKeyError, match='no system "nonsense"'):
            load("nonsense", own_models)


def test_missing_weights_are_refused_and_found_once_they_are_back(own_models: Path) -> None:
    (own_models / "mini-llama").rename(own_models / "away")
    with pytest.raises(ModelFilesError, match="mini-llama lacks"):
        load_speech_llm("mini-ultravox", own_models)
    (own_models / "away").rename(own_models / "mini-llama")
    assert load_speech_llm("mini-ultravox", own_models).spec.key == "mini-ultravox"


def test_a_config_cannot_lead_out_of_the_models_folder(own_models: Path) -> None:
    config = own_models / "mini-ultravox" / "config.json"
    changed = json.loads(config.read_text(encoding="utf-8")) | {"text_model_id": "../elsewhere"}
    config.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises((UnknownKeyError, ModelFilesError)):
        load_speech_llm("mini-ultravox", own_models)


def test_batches_are_used_where_they_equal_their_singles(own_models: Path) -> None:
    assert batch_is_exact("mini-ultravox", own_models)


@pytest.mark.parametrize(("failed", "exact"), [((), True), ((BATCH_CHECK,), False)])
def test_arms_run_one_by_one_where_only_parity_fails(
    own_models: Path, monkeypatch: pytest.MonkeyPatch, failed: tuple[str, ...], exact: bool
) -> None:
    findings = [Finding(name, "m", float(name in failed), 0) for name in ("a", BATCH_CHECK)]
    monkeypatch.setattr("engine.checks.check_adapter", lambda _system: findings)
    assert batch_is_exact("mini-ultravox", own_models) is exact


def test_any_other_failed_check_stops_the_system(own_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding("the span", "3 of 4", 3, 0), Finding(BATCH_CHECK, "m", 0, 0)]
    monkeypatch.setattr("engine.checks.check_adapter", lambda _system: findings)
    with pytest.raises(ModelFilesError, match=r"fails its adapter check: the span \(3 of 4\)"):
        batch_is_exact("mini-ultravox", own_models)


def test_importing_the_registry_loads_no_model_library() -> None:
    script = "import sys, engine.systems.loading; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"torch", "transformers", "faster_whisper", "ctranslate2"} & set(done.stdout.split())
