"""Published Ultravox checkpoints, in every layout, against the published formulas written out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import WhisperFeatureExtractor

from engine.systems.catalogue import get_spec
from engine.systems.checkpoint import fingerprint, read_tensors
from engine.systems.text_llm import TextLLM
from engine.systems.ultravox import Bases, Ultravox
from tests.engine.published import (
    QUESTION,
    TOLERANCE,
    change_tensors,
    sentence_of_refusal,
)
from tests.engine.tiny_systems import sound
from tests.engine.tiny_ultravox import (
    ALPHA,
    LAYOUTS,
    PEFT,
    RANK,
    embeddings_by_formula,
    write_llama,
    write_ultravox,
    write_whisper,
)

LINEAR_2 = "multi_modal_projector.linear_2.weight"
NAME = "ultravox-v0_5-llama-3_1-8b"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def models(hub: Path) -> Path:
    """Where the base language model lies: under another name than the checkpoint's config has."""
    write_llama(hub / "bases" / "mini-llama")
    return hub / "bases"


@pytest.fixture(scope="module")
def text_llm(models: Path) -> TextLLM:
    return TextLLM(get_spec("mini-llama"), models / "mini-llama")


@pytest.fixture(scope="module")
def encoder(hub: Path) -> dict[str, Tensor]:
    return write_whisper(hub / "whisper")


@pytest.fixture(scope="module")
def truths(hub: Path, encoder: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Layout -> the tensors that its checkpoint must come to."""
    return {
        layout: write_ultravox(hub / layout / NAME, hub / "whisper", encoder, layout) for layout in LAYOUTS
    }


def load(folder: Path, text_llm: TextLLM, models: Path, audio: Path | None) -> Ultravox:
    return Ultravox(get_spec("mini-ultravox"), folder, text_llm, Bases(models / "mini-llama", audio))


@pytest.fixture(scope="module")
def systems(hub: Path, truths: dict[str, Any], text_llm: TextLLM, models: Path) -> dict[str, Ultravox]:
    """Each layout loaded; those that hold their tower need no Whisper."""
    whole = ("merged", "post norm", "older prefix")
    return {
        layout: load(hub / layout / NAME, text_llm, models, None if layout in whole else hub / "whisper")
        for layout in LAYOUTS
    }


@torch.inference_mode()
def logits(text_llm: TextLLM, heard: Tensor) -> Tensor:
    """What the base model makes of a prompt with these embeddings between the template's own ids."""
    model: Any = text_llm.language_model
    mark = "<|audio|>"
    prompt = text_llm.tokenizer.apply_chat_template(
        [{"role": "user", "content": mark + QUESTION}], tokenize=False, add_generation_prompt=True
    )
    around = [text_llm.tokenizer.encode(part, add_special_tokens=False) for part in str(prompt).split(mark)]
    before, after = (model.get_input_embeddings()(torch.tensor([ids])) for ids in around)
    return model(inputs_embeds=torch.cat([before, heard[None], after], dim=1)).logits  # type: ignore[no-any-return]


# 1.01 s has an odd number of mel frames; of 31 s, the second chunk is filled up to 30 s.
@pytest.mark.parametrize("duration_s", [0.01, 1.01, 6.0, 31.0])
@pytest.mark.parametrize("layout", LAYOUTS)
@torch.inference_mode()
def test_the_logits_are_those_of_the_published_formulas(
    layout: str, duration_s: float, systems: dict[str, Ultravox], truths: dict[str, Any], text_llm: TextLLM
) -> None:
    clip, system = sound(duration_s), systems[layout]
    expected = logits(text_llm, embeddings_by_formula(truths[layout], clip.samples))
    prepared = system.prepare(system.hear(clip), QUESTION)
    found = system.language_model(inputs_embeds=prepared.embeddings).logits
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_the_layouts_differ_where_they_must(truths: dict[str, Any], text_llm: TextLLM) -> None:
    """Else the test above could not tell an adapter that was left out, a wrong norm or a wrong last stack."""
    samples = sound(1.01).samples
    found = {name: logits(text_llm, embeddings_by_formula(truths[name], samples)) for name in LAYOUTS}
    for name in ("post norm", "adapters alone"):
        assert (found["merged"] - found[name]).abs().max() > 100 * TOLERANCE
    padded = torch.cat([torch.from_numpy(samples), torch.zeros(160)]).numpy()
    other = logits(text_llm, embeddings_by_formula(truths["merged"], padded)[:7])
    assert (found["merged"] - other).abs().max() > 100 * TOLERANCE


def test_the_fingerprint_covers_all_weights_that_are_run(
    systems: dict[str, Ultravox], hub: Path, models: Path
) -> None:
    text = models / "mini-llama"
    assert systems["merged"].fingerprint == fingerprint([hub / "merged" / NAME, text])
    parts = [hub / "projector alone" / NAME, hub / "whisper", text]
    assert systems["projector alone"].fingerprint == fingerprint(parts)


@pytest.mark.parametrize("block", [30, 100])
@torch.inference_mode()
def test_a_block_mask_hides_what_comes_later(
    block: int, tmp_path: Path, hub: Path, truths: dict[str, Any], text_llm: TextLLM, models: Path
) -> None:
    folder = changed(tmp_path, hub, "merged", audio_latency_block_size=block)
    found = load(folder, text_llm, models, None)
    clip = sound(6.01)
    expected = embeddings_by_formula(truths["merged"], clip.samples, block)
    torch.testing.assert_close(found.hear(clip).embeddings, expected, atol=TOLERANCE, rtol=0)
    open_to_all = embeddings_by_formula(truths["merged"], clip.samples)
    assert (expected - open_to_all).abs().max() > 100 * TOLERANCE


def changed(tmp_path: Path, hub: Path, layout: str, **config: Any) -> Path:
    """A copy that a test may spoil, with other values in its config; None takes a key away."""
    folder = Path(shutil.copytree(hub / layout / NAME, tmp_path / NAME))
    found = json.loads((folder / "config.json").read_text(encoding="utf-8")) | config
    kept = {key: value for key, value in found.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept), encoding="utf-8")
    return folder


A = f"{PEFT}layers.0.self_attn.q_proj.lora_A.default.weight"
B = A.replace("lora_A", "lora_B")


@pytest.mark.parametrize(
    ("layout", "change", "words"),
    [
        ("merged", {LINEAR_2: None}, f"lacks tensor {LINEAR_2}"),
        ("merged", {LINEAR_2: torch.zeros(3, 3)}, f"size mismatch for {LINEAR_2}"),
        ("merged", {"audio_tower.layers.1.fc1.bias": None}, "lacks tensor audio_tower.layers.1.fc1.bias"),
        ("merged", {"language_model.lm_head.weight": torch.zeros(2)}, "unexpected tensor language_model.lm"),
        ("older prefix", {"audio_tower.conv1.bias": torch.zeros(16)}, "audio_tower.conv1.bias under two"),
        ("projector alone", {LINEAR_2: None}, f"lacks tensor {LINEAR_2}"),
        ("adapters alone", {A: None}, "lacks tensor audio_tower.layers.0.self_attn.q_proj.lora_A"),
        ("adapters alone", {B: None}, "lacks tensor audio_tower.layers.0.self_attn.q_proj.lora_B"),
        ("adapters alone", {A: torch.zeros(RANK, 3)}, "q_proj.lora_A.default.weight is not of rank 2"),
        ("adapters alone", {A: torch.zeros(3, 16), B: torch.zeros(16, 3)}, "is not of rank 2"),
        (
            "adapters alone",
            {f"{PEFT}layers.9.fc1.lora_A.default.weight": torch.zeros(2, 16)},
            "has an unexpected tensor audio_tower.layers.9.fc1.lora_A",
        ),
    ],
)
def test_tensors_must_fit_exactly(
    layout: str,
    change: dict[str, Tensor | None],
    words: str,
    tmp_path: Path,
    hub: Path,
    truths: dict[str, Any],
    text_llm: TextLLM,
    models: Path,
) -> None:
    folder = changed(tmp_path, hub, layout)
    change_tensors(folder, change)
    message = sentence_of_refusal(folder, lambda: load(folder, text_llm, models, hub / "whisper"))
    assert words in message and message.startswith("mini-Ultravox")


def test_a_renamed_tensor_is_named(
    tmp_path: Path, hub: Path, truths: dict[str, Any], text_llm: TextLLM, models: Path
) -> None:
    folder = changed(tmp_path, hub, "merged")
    change_tensors(folder, {}, renamed=(LINEAR_2, "multi_modal_projector.linear_3.weight"))
    message = sentence_of_refusal(folder, lambda: load(folder, text_llm, models, None))
    assert f"lacks tensor {LINEAR_2}" in message


@pytest.mark.parametrize(
    ("layout", "config", "words"),
    [
        ("merged", {"projector_act": "relu"}, "its projector uses relu, only swiglu"),
        ("merged", {"text_model_lora_config": {"r": 8}}, "has adapters on its language model"),
        ("merged", {"audio_latency_block_size": 70}, "audio_latency_block_size 70 does not divide"),
        ("merged", {"projector_ln_mid": None}, "lacks tensor multi_modal_projector.ln_post.weight"),
        ("merged", {"stack_factor": None}, "config.json lacks stack_factor"),
        ("adapters alone", {"audio_model_lora_config": {"r": 0}}, "is not of rank 0"),
        (
            "projector alone",
            {"audio_model_lora_config": {"r": 8}},
            "was trained with adapters on its audio tower and holds neither",
        ),
    ],
)
def test_a_config_that_would_be_read_wrongly_is_refused(
    layout: str,
    config: dict[str, Any],
    words: str,
    tmp_path: Path,
    hub: Path,
    truths: dict[str, Any],
    text_llm: TextLLM,
    models: Path,
) -> None:
    folder = changed(tmp_path, hub, layout, **config)
    assert words in sentence_of_refusal(folder, lambda: load(folder, text_llm, models, hub / "whisper"))


def test_a_checkpoint_without_a_tower_asks_for_its_whisper(
    tmp_path: Path, hub: Path, truths: dict[str, Any], text_llm: TextLLM, models: Path
) -> None:
    folder = hub / "projector alone" / NAME
    message = sentence_of_refusal(folder, lambda: load(folder, text_llm, models, None))
    assert "openai/whisper-large-v3-turbo; say where its folder is" in message
    spoilt = changed(tmp_path, hub, "merged")
    held = read_tensors(hub / "merged" / NAME)
    change_tensors(spoilt, {name: None for name in held if name.startswith("audio_tower.")})
    message = sentence_of_refusal(spoilt, lambda: load(spoilt, text_llm, models, None))
    assert "has no audio tower of its own" in message


def test_a_feature_extractor_must_be_there_and_fit(
    tmp_path: Path, hub: Path, truths: dict[str, Any], text_llm: TextLLM, models: Path
) -> None:
    folder = changed(tmp_path, hub, "merged")
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    message = sentence_of_refusal(folder, lambda: load(folder, text_llm, models, None))
    assert "makes 80 mel bands, the audio tower takes 128" in message
    (folder / "preprocessor_config.json").write_text("{", encoding="utf-8")
    message = sentence_of_refusal(folder, lambda: load(folder, text_llm, models, None))
    assert "preprocessor_config.json is damaged" in message
    (folder / "preprocessor_config.json").unlink()
    message = sentence_of_refusal(folder, lambda: load(folder, text_llm, models, None))
    assert "lacks preprocessor_config.json" in message


def test_the_scale_of_the_adapters_is_the_configs(
    tmp_path: Path, hub: Path, truths: dict[str, Any], text_llm: TextLLM, models: Path
) -> None:
    """Twice the alpha is another model: a scale that is not read would pass at alpha = rank."""
    assert ALPHA != RANK
    folder = changed(
        tmp_path, hub, "adapters alone", audio_model_lora_config={"r": RANK, "lora_alpha": 2 * ALPHA}
    )
    other = load(folder, text_llm, models, hub / "whisper")
    same = load(hub / "adapters alone" / NAME, text_llm, models, hub / "whisper")
    gap = (other.hear(sound(1.0)).embeddings - same.hear(sound(1.0)).embeddings).abs().max()
    assert gap > 100 * TOLERANCE
