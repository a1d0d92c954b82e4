"""Facts about training and export as a whole, on minis of the real size after two steps each.

Two steps run every stage that `train --quick` has; the command itself takes more than a minute on one core
and needs flite, so that its test is marked slow.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engine.audio import AudioClip
from engine.generate import run_arms
from engine.systems.catalogue import MINI_SYSTEMS, get_spec
from engine.systems.checkpoint import read_tensors
from engine.systems.loading import load_cascade, load_speech_llm
from engine.systems.ultravox import Ultravox
from precompute.__main__ import main
from precompute.mini import train as training
from tests.precompute.conftest import TINY, make_batches_small

FOLDERS = tuple(stage.folder for stage in training.STAGES.values())
SHARD_LIMIT_BYTES, TOTAL_LIMIT_BYTES = 9_000_000, 75_000_000
# The zoo's own, in MB: 80 MB is for all assets.
FOLDER_LIMITS_MB = {"mini-qwen2": 10.0, "mini-qwen2-audio": 17.0, "mini-whisper-weak": 3.0}
Folders = tuple[Path, Path]


def sound() -> AudioClip:
    noise = 0.05 * np.random.default_rng(0).standard_normal(24_000)
    return AudioClip(noise.astype(np.float32), "noise")


def test_what_ships_is_small_enough_and_named_by_its_content(trained: Folders) -> None:
    """A Space refuses a file over 10 MB without large-file storage; the limit of all is the project's own."""
    files = [file for file in trained[1].rglob("*") if file.is_file()]
    assert max(file.stat().st_size for file in files) < SHARD_LIMIT_BYTES
    assert sum(file.stat().st_size for file in files) < TOTAL_LIMIT_BYTES
    revisions = {(trained[1] / name / "revision.txt").read_text(encoding="utf-8") for name in FOLDERS}
    for name, limit in FOLDER_LIMITS_MB.items():
        size = sum(file.stat().st_size for file in (trained[1] / name).rglob("*")) / 1e6
        assert size <= limit, f"{name}: {size:.1f} MB"
    assert len(revisions) == len(FOLDERS) and all(len(revision.strip()) == 12 for revision in revisions)


def test_nothing_that_ships_can_run_code(trained: Folders) -> None:
    suffixes = {file.suffix for file in trained[1].rglob("*") if file.is_file()}
    assert suffixes <= {".safetensors", ".json", ".txt", ".jinja", ".bin", ".md"}
    whispers = {file.parent.name for file in trained[1].rglob("*.bin")}
    assert whispers == {"mini-whisper", "mini-whisper-weak"}


def test_the_speech_llm_loads_back_through_its_adapter(trained: Folders) -> None:
    """Half precision is on disk: the weights differ from the checkpoint's by its rounding only."""
    build, models = trained
    system = load_speech_llm("mini-ultravox", models)
    assert isinstance(system, Ultravox)
    stored = load_file(build / "speech_llm.checkpoint.safetensors")
    for name, tensor in system.ears.state_dict().items():
        torch.testing.assert_close(tensor, stored[f"model.{name}"], atol=1e-4, rtol=1e-3)
    backbone = load_file(build / "backbone.checkpoint.safetensors")
    for name, tensor in system.language_model.state_dict().items():
        torch.testing.assert_close(tensor, backbone[f"model.{name}"], atol=1e-4, rtol=1e-3)
    prepared = system.prepare(system.hear(sound()), "Repeat what was said.")
    # 1.5 s are 150 mel frames; 16 make one position.
    assert prepared.span == (2, 12)
    assert len(run_arms(system, prepared, max_new_tokens=3).decoded[0].token_ids) <= 3


def test_the_cascade_loads_back_through_its_adapter(trained: Folders) -> None:
    heard = load_cascade("mini-cascade", trained[1]).hear(sound())
    assert isinstance(heard.text, str) and heard.embeddings.shape[1] == 256


def test_both_arms_run_on_one_backbone(trained: Folders) -> None:
    speech, cascade = load_speech_llm("mini-ultravox", trained[1]), load_cascade("mini-cascade", trained[1])
    assert speech.language_model is cascade.language_model
    assert not any("language_model" in name for name in read_tensors(trained[1] / "mini-ultravox"))


def test_sizes_are_those_that_the_catalogue_states(trained: Folders) -> None:
    """In millions, to one decimal: the speech LLM is its ears and the backbone."""
    record = json.loads((trained[1] / "training.json").read_text(encoding="utf-8"))["models"]
    parts = {name: record[name]["parameters"] / 1e6 for name in FOLDERS}
    own_llm = read_tensors(trained[1] / "mini-qwen2-audio", lambda name: name.startswith("language_model."))
    backbones = {**parts, "mini-qwen2-audio": sum(tensor.numel() for tensor in own_llm.values()) / 1e6}
    for key, spec in MINI_SYSTEMS.items():
        total = backbones[spec.backbone]
        if spec.kind == "cascade":
            total += parts[spec.transcriber or ""]
        elif spec.kind == "speech_llm":
            own = spec.folder == spec.backbone
            total = parts[spec.folder or ""] + (0 if own else total)
        assert get_spec(key).parameters_m == pytest.approx(total, abs=0.06), key


def test_the_record_says_what_was_done(trained: Folders) -> None:
    record = json.loads((trained[1] / "training.json").read_text(encoding="utf-8"))
    assert record["recipe"] == vars(TINY) and set(record["models"]) == set(FOLDERS)
    assert set(record["batch"]) == set(training.STAGES)
    assert all(record["models"][name]["word_error_rate"] > 0 for name in FOLDERS if "whisper" in name)
    for numbers in record["models"].values():
        assert numbers["steps"] == 2 and numbers["seconds"] > 0 and np.isfinite(numbers["loss"])


def test_a_second_call_repeats_no_step_and_changes_no_weight(
    trained: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished stages are read from their checkpoints: drawing a batch would be a repeated step."""

    def repeated(*_: object) -> None:
        raise AssertionError("a finished stage was trained again")

    build, models = trained
    make_batches_small(monkeypatch)
    monkeypatch.setattr("precompute.mini.backbone.TextSource.batch", repeated)
    monkeypatch.setattr("precompute.mini.speech_batch.SpeechSource.batch", repeated)
    monkeypatch.setattr("precompute.mini.speech_batch.SpeechSource.draw", repeated)
    training.train_all(build, tmp_path, TINY)
    for name in FOLDERS:
        revision = (tmp_path / name / "revision.txt").read_text(encoding="utf-8")
        assert revision == (models / name / "revision.txt").read_text(encoding="utf-8"), name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("flite") is None, reason="apt-get install flite to train with its voices")
def test_the_quick_command_leaves_whole_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["precompute", "train", "--quick", "--build", str(tmp_path)])
    assert main() == 0
    system = load_speech_llm("mini-ultravox", tmp_path / "models")
    prepared = system.prepare(system.hear(sound()), "Repeat what was said.")
    assert len(run_arms(system, prepared).decoded) == 1
