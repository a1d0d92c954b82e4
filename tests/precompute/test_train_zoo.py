"""Facts about the zoo as training leaves it: what loads, what is matched, and what a stage needs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen2AudioForConditionalGeneration

from engine.checks import check_adapter
from engine.errors import ModelFilesError, UnknownKeyError
from engine.systems.catalogue import MINI_SYSTEMS, match_between, systems
from engine.systems.checkpoint import fingerprint, read_tensors
from engine.systems.loading import load_cascade, load_speech_llm, load_text_llm
from engine.systems.qwen2_audio import Qwen2Audio
from precompute.mini import train as training
from precompute.mini.workshop import Workshop
from tests.precompute.conftest import TINY, make_batches_small

Folders = tuple[Path, Path]


def test_every_system_of_the_catalogue_is_ready_and_matched_as_it_was_made(trained: Folders) -> None:
    _, models = trained
    assert {info.status for info in systems(models) if info.key in MINI_SYSTEMS} == {"ready"}
    for speech, cascade, match in (
        ("mini-ultravox", "mini-cascade", "exact"),
        ("mini-ultravox", "mini-cascade-weak", "exact"),
        ("mini-ultravox", "mini-cascade-qwen2", "none"),
        ("mini-qwen2-audio", "mini-cascade-qwen2", "ancestor"),
        ("mini-qwen2-audio", "mini-cascade-self", "self"),
        ("mini-qwen2-audio", "mini-cascade", "none"),
    ):
        assert match_between(speech, cascade, models) == match


def test_the_audio_model_loads_back_through_its_adapter_and_through_transformers(trained: Folders) -> None:
    build, models = trained
    system = load_speech_llm("mini-qwen2-audio", models)
    assert isinstance(system, Qwen2Audio) and all(f.passed for f in check_adapter(system))
    stored = load_file(build / "qwen2_audio.checkpoint.safetensors")
    for part, module in (("ears", system.ears), ("language_model", system.language_model)):
        for name, tensor in module.state_dict().items():
            torch.testing.assert_close(tensor, stored[f"model.{part}.{name}"], atol=1e-4, rtol=1e-3)
    loaded: Any = Qwen2AudioForConditionalGeneration.from_pretrained(
        models / "mini-qwen2-audio", dtype=torch.float32, output_loading_info=True
    )
    own, loading = loaded
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    head = own.get_output_embeddings().weight
    assert torch.equal(head, system.unembedding.get_parameter("weight"))


def test_all_that_read_with_one_models_weights_share_them(trained: Folders) -> None:
    _, models = trained
    speech = load_speech_llm("mini-qwen2-audio", models)
    assert load_cascade("mini-cascade-self", models).language_model is speech.language_model
    assert load_text_llm("mini-qwen2-audio-llm", models).language_model is speech.language_model
    assert load_cascade("mini-cascade-qwen2", models).backbone is load_text_llm("mini-qwen2", models)
    ears = {id(load_cascade(f"mini-cascade{name}", models).transcriber) for name in ("", "-qwen2", "-self")}
    assert len(ears) == 1
    weak, strong = (load_cascade(key, models) for key in ("mini-cascade-weak", "mini-cascade"))
    assert weak.backbone is strong.backbone and weak.transcriber is not strong.transcriber


def test_the_audio_model_names_the_weights_that_it_began_with_and_left(trained: Folders) -> None:
    _, models = trained
    config = json.loads((models / "mini-qwen2-audio" / "config.json").read_text(encoding="utf-8"))
    began = fingerprint([models / "mini-qwen2"])
    assert config["initialised_from"] == {"language_model": began, "audio_tower": "mini-whisper"}
    assert config["model_type"] == "qwen2_audio"


def test_both_qwens_share_the_llamas_ids_and_have_one_more(trained: Folders) -> None:
    _, models = trained
    llama, qwen2, audio = (
        load_text_llm(key, models).tokenizer for key in ("mini-llama", "mini-qwen2", "mini-qwen2-audio-llm")
    )
    assert llama.get_vocab().items() < qwen2.get_vocab().items()
    assert qwen2.get_vocab() == audio.get_vocab() and len(qwen2) == len(llama) + 1
    assert llama.chat_template == qwen2.chat_template == audio.chat_template


def test_without_a_transcriber_the_tower_begins_as_the_one_that_ships(
    trained: Folders, tmp_path: Path
) -> None:
    """The transcriber itself ships in 8 bits for another runtime; its encoder lives on in mini-Ultravox."""
    build, models = trained
    encoder = Workshop(tmp_path, models, TINY).encoder()
    tower = read_tensors(models / "mini-ultravox", lambda name: name.startswith("audio_tower."))
    assert encoder.origin == "mini-ultravox" and len(encoder.tensors) == len(tower) > 10
    assert all(torch.equal(t, tower[f"audio_tower.{name}"]) for name, t in encoder.tensors.items())
    assert Workshop(build, models, TINY).encoder().sizes == encoder.sizes


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("qwen2_audio", "--stage qwen2"),
        ("speech_llm", 'train --stage transcriber" first'),
    ],
)
def test_a_stage_says_what_it_needs(tmp_path: Path, stage: str, words: str) -> None:
    with pytest.raises(ModelFilesError) as caught:
        training.train_all(tmp_path / "build", tmp_path / "models", TINY, [stage])
    assert words in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_a_checkpoint_that_was_begun_with_other_weights_is_not_gone_on_with(
    trained: Folders, tmp_path: Path
) -> None:
    build, models = trained
    origin = {"language_model": "0" * 64, "audio_tower": "mini-whisper"}
    shop = Workshop(build, models, TINY)
    with pytest.raises(ModelFilesError, match="begun with other weights"):
        shop.keep_origin("qwen2_audio", origin)
    Workshop(tmp_path, models, TINY).keep_origin("qwen2_audio", origin)
    assert json.loads((tmp_path / "qwen2_audio.origin.json").read_text(encoding="utf-8")) == origin


def test_stages_are_those_named_or_those_whose_model_is_missing(trained: Folders, tmp_path: Path) -> None:
    _, models = trained
    assert training.choose_stages([], models) == [] and training.choose_stages([], tmp_path) == [
        *training.STAGES
    ]
    assert training.choose_stages(["weak_asr", "qwen2"], models) == ["qwen2", "weak_asr"]
    assert training.choose_stages(["all"], models) == [*training.STAGES]
    with pytest.raises(UnknownKeyError, match='no stage "bake"'):
        training.choose_stages(["bake"], models)


def test_one_stage_alone_leaves_the_others_records_and_models(
    trained: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, models = trained
    record = json.loads((models / "training.json").read_text(encoding="utf-8"))
    record["models"] = {"mini-llama": {"steps": 7}}
    record["recipe"] = {"backbone_steps": 7}
    (tmp_path / "training.json").write_text(json.dumps(record), encoding="utf-8")
    make_batches_small(monkeypatch)
    shutil.copy(build / "qwen2.checkpoint.safetensors", tmp_path)
    shutil.copy(build / "qwen2.checkpoint.json", tmp_path)
    assert list(training.train_all(tmp_path, tmp_path, TINY, ["qwen2"])) == ["mini-qwen2"]
    after = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))
    assert after["models"]["mini-llama"] == {"steps": 7} and after["models"]["mini-qwen2"]["steps"] == 2
    assert after["recipe"]["backbone_steps"] == 7 and after["recipe"]["qwen2_steps"] == 2
    assert not (tmp_path / "mini-llama").exists()
    revisions = [(folder / "mini-qwen2" / "revision.txt").read_text() for folder in (tmp_path, models)]
    assert revisions[0] == revisions[1]
