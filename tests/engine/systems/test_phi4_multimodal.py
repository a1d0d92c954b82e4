"""Phi-4-Multimodal with its speech adapters against transformers' own class with the adapters in its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Phi4MultimodalFeatureExtractor, Phi4MultimodalForCausalLM

from engine.audio import AudioClip
from engine.errors import ModelFilesError, PromptError
from engine.systems.catalogue import get_spec
from engine.systems.checkpoint import fingerprint
from engine.systems.phi4_multimodal import Phi4Multimodal
from engine.systems.text_llm import TextLLM
from tests.engine.published import (
    QUESTION,
    TOLERANCE,
    change_tensors,
    sentence_of_refusal,
)
from tests.engine.tiny_phi4 import ALPHA, RANK, write_phi4
from tests.engine.tiny_systems import sound

DOWN = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"
UP_PROJECTION = "model.embed_tokens_extend.audio_embed.up_proj_for_speech.weight"
Factors = dict[str, tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub") / "phi-4-multimodal-instruct"


@pytest.fixture(scope="module")
def factors(folder: Path) -> Factors:
    return write_phi4(folder)


def load(folder: Path) -> Phi4Multimodal:
    backbone = TextLLM(get_spec("mini-llama"), folder)
    return Phi4Multimodal(get_spec("mini-ultravox"), folder, backbone)


@pytest.fixture(scope="module")
def phi4(folder: Path, factors: Factors) -> Phi4Multimodal:
    return load(folder)


@pytest.fixture(scope="module")
def own(folder: Path, factors: Factors) -> Any:
    """transformers' own model, the adapters added to its weights."""
    model: Any = Phi4MultimodalForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, (down, up) in factors.items():
            model.get_submodule(name).weight += ALPHA / RANK * up @ down
    return model


def inputs(system: Phi4Multimodal, folder: Path, clip: AudioClip) -> dict[str, Tensor]:
    """What the published processor makes of the published prompt: one mark for each position."""
    features = Phi4MultimodalFeatureExtractor.from_pretrained(folder)(
        clip.samples, sampling_rate=16_000, return_tensors="pt"
    )
    marks = "<|audio|>" * int(features["audio_embed_sizes"][0])
    text = f"<|user|>{marks}{QUESTION}<|end|><|assistant|>"
    ids = torch.tensor([system.tokenizer.encode(text, add_special_tokens=False)])
    return {"input_ids": ids, **features}


@pytest.mark.parametrize("duration_s", [0.05, 1.0, 1.234, 6.0, 45.0])
@torch.inference_mode()
def test_the_logits_are_those_of_transformers_own_forward(
    phi4: Phi4Multimodal, own: Any, folder: Path, duration_s: float
) -> None:
    clip = sound(duration_s)
    given = inputs(phi4, folder, clip)
    prepared = phi4.prepare(phi4.hear(clip), QUESTION)
    found = phi4.language_model(inputs_embeds=prepared.embeddings).logits
    torch.testing.assert_close(found, own(**given).logits, atol=TOLERANCE, rtol=0)
    marks = (given["input_ids"][0] == own.config.audio_config.audio_token_id).nonzero()[:, 0]
    assert prepared.span == (int(marks[0]), int(marks[-1]) + 1)


@torch.inference_mode()
def test_the_adapters_and_the_clip_both_count(phi4: Phi4Multimodal) -> None:
    """Else the test above would pass for a system that is deaf."""
    first, second = (phi4.prepare(phi4.hear(sound(1.0, seed)), QUESTION) for seed in (0, 1))
    model, plain = phi4.language_model, phi4.backbone.language_model
    hearing = model(inputs_embeds=first.embeddings).logits
    assert (hearing - plain(inputs_embeds=first.embeddings).logits).abs().max() > 100 * TOLERANCE
    assert (hearing - model(inputs_embeds=second.embeddings).logits).abs().max() > 100 * TOLERANCE


@torch.inference_mode()
def test_the_cascades_model_is_the_same_weights_without_adapters(
    phi4: Phi4Multimodal, folder: Path, factors: Factors
) -> None:
    """One copy of every weight but the adapters', and the text LLM answers as if they were not there."""
    plain: Any = phi4.backbone.language_model
    own: Any = Phi4MultimodalForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([phi4.tokenizer.encode("the queen scored", add_special_tokens=False)])
    assert torch.equal(plain(input_ids=ids).logits, own(input_ids=ids).logits)
    held = {tensor.data_ptr() for tensor in plain.parameters()}
    new = [name for name, t in phi4.language_model.named_parameters() if t.data_ptr() not in held]
    assert len(new) == 2 * len(factors) and all(".lora_" in name for name in new)


def test_generation_stops_at_the_end_of_the_turn(phi4: Phi4Multimodal) -> None:
    """The folder's own end token is that of a document."""
    assert phi4.tokenizer.eos_token == "<|end|>"


def test_the_fingerprint_covers_the_adapters(phi4: Phi4Multimodal, folder: Path) -> None:
    assert phi4.fingerprint == fingerprint([folder, folder / "speech-lora"]) != phi4.backbone.fingerprint


def test_a_prompt_past_the_first_rotation_is_refused(phi4: Phi4Multimodal) -> None:
    heard = phi4.hear(sound(1.0))
    long = type(heard)(torch.zeros(4_096, 32), heard.seconds_per_position, "", (), 0.0)
    with pytest.raises(PromptError, match="takes prompts of 3,896 positions"):
        phi4.prepare(long, QUESTION)


@pytest.fixture
def spoilt(folder: Path, factors: Factors, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(folder, tmp_path / folder.name))


def refusal(folder: Path) -> str:
    return sentence_of_refusal(folder, lambda: load(folder))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({UP_PROJECTION: None}, f"lacks tensor {UP_PROJECTION}"),
        ({UP_PROJECTION: torch.zeros(3, 3)}, f"{UP_PROJECTION} has another shape"),
        ({"model.norm.weight": None}, "lacks tensor model.norm.weight"),
        ({"model.extra.weight": torch.zeros(2)}, "has an unexpected tensor model.extra.weight"),
    ],
)
def test_tensors_must_fit_exactly(spoilt: Path, change: dict[str, Tensor | None], words: str) -> None:
    change_tensors(spoilt, change)
    forget_the_index(spoilt)
    assert words in refusal(spoilt)


def test_a_renamed_tensor_is_named(spoilt: Path) -> None:
    change_tensors(spoilt, {}, renamed=(UP_PROJECTION, UP_PROJECTION.replace("up_", "upper_")))
    forget_the_index(spoilt)
    assert f"lacks tensor {UP_PROJECTION}" in refusal(spoilt)


def forget_the_index(folder: Path) -> None:
    """Write all shards as one file: an index would name the tensors of before."""
    from safetensors.torch import load_file, save_file

    tensors: dict[str, Tensor] = {}
    for file in folder.glob("*.safetensors"):
        tensors |= load_file(file)
        file.unlink()
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({DOWN: None}, "lacks tensor model.layers.1.mlp.down_proj.lora_A.weight in speech-lora"),
        ({DOWN: torch.zeros(RANK, 5)}, "model.layers.1.mlp.down_proj.lora_A or lora_B is reshaped"),
        ({DOWN.replace("1.mlp", "7.mlp"): torch.zeros(2)}, "unexpected tensor model.layers.7.mlp.down_proj"),
        ({"lm_head.weight": torch.zeros(2)}, "unexpected tensor lm_head.weight in speech-lora"),
    ],
)
def test_adapters_must_fit_every_layer(spoilt: Path, change: dict[str, Tensor | None], words: str) -> None:
    change_tensors(spoilt / "speech-lora", change)
    assert words in refusal(spoilt)


def test_without_its_adapters_it_does_not_answer(spoilt: Path) -> None:
    shutil.rmtree(spoilt / "speech-lora")
    assert "lacks its speech adapters, without which it cannot hear" in refusal(spoilt)


def test_adapters_that_change_nothing_are_refused(spoilt: Path, factors: Factors) -> None:
    """As a training begins: the second factors are zero."""
    silent = {
        f"base_model.model.{name}.lora_B.weight": torch.zeros_like(up) for name, (_, up) in factors.items()
    }
    change_tensors(spoilt / "speech-lora", dict(silent))
    assert "are all zero and hear nothing" in refusal(spoilt)


@pytest.mark.parametrize("key", ["use_rslora", "use_dora"])
def test_adapters_of_another_formula_are_refused(spoilt: Path, key: str) -> None:
    file = spoilt / "speech-lora" / "adapter_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) | {key: True}
    file.write_text(json.dumps(settings), encoding="utf-8")
    assert f"use {key}, which is not known here" in refusal(spoilt)


def test_the_main_revision_is_refused_by_its_type(spoilt: Path, phi4: Phi4Multimodal) -> None:
    file = spoilt / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | {"model_type": "phi4mm"}
    file.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelFilesError, match="is of type phi4mm, which needs code"):
        Phi4Multimodal(get_spec("mini-ultravox"), spoilt, phi4.backbone)


def test_a_missing_feature_extractor_is_refused(spoilt: Path) -> None:
    for file in (*spoilt.glob("preprocessor_config.json"), *spoilt.glob("processor_config.json")):
        file.unlink()
    assert "no readable preprocessor_config.json" in refusal(spoilt)
