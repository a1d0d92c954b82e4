"""Ultravox, its checkpoints' layouts, and the readout of letters."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

from engine.audio import AudioClip
from engine.errors import ModelFilesError
from engine.systems.catalogue import get_spec
from engine.systems.checkpoint import fingerprint, read_tensors
from engine.systems.text_llm import TextLLM
from engine.systems.ultravox import (
    LETTERS,
    SYMBOLS,
    Bases,
    LetterReadout,
    Ultravox,
    UltravoxEars,
    UltravoxProjector,
)
from tests.engine.published import (
    QUESTION,
    TOLERANCE,
    change_tensors,
    sentence_of_refusal,
)
from tests.engine.tiny_systems import ears_config, load_ultravox, sound, write_ears
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

# 16 mel frames of 10 ms make a position; a clip shorter than 20 ms is heard as 20 ms.
COUNTS_30_S = ((0.01, 1), (0.16, 1), (0.161, 2), (0.5, 4), (1.0, 7), (1.234, 8), (6.0, 38), (31.0, 188 + 7))


@pytest.fixture(scope="module")
def post_norm(tmp_path_factory: pytest.TempPathFactory, text_llm: TextLLM, models: Path) -> Ultravox:
    """A checkpoint as old as v0.4: no key for the norm's place, norm after the second linear map."""
    folder = tmp_path_factory.mktemp("post")
    write_ears(folder / "mini-ultravox", ears_config(ln_mid=False))
    (folder / "mini-llama").symlink_to(models / "mini-llama")
    return load_ultravox(folder, text_llm)


@pytest.fixture(scope="module")
def window_30_s(tmp_path_factory: pytest.TempPathFactory, text_llm: TextLLM, models: Path) -> Ultravox:
    folder = tmp_path_factory.mktemp("long")
    write_ears(folder / "mini-ultravox", ears_config(window_s=30))
    (folder / "mini-llama").symlink_to(models / "mini-llama")
    return load_ultravox(folder, text_llm)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-6)


def plain_projector(tensors: dict[str, Tensor], frames: Tensor) -> Tensor:
    """One clip, written out: stack eight frames, norm, linear, second half gates the first, norm, linear."""
    get = {name.removeprefix("multi_modal_projector."): tensor for name, tensor in tensors.items()}
    rows = []
    for start in range(0, len(frames), 8):
        stack = torch.zeros(8, frames.shape[1])
        stack[: len(frames[start : start + 8])] = frames[start : start + 8]
        hidden = get["linear_1.weight"] @ rms_norm(stack.flatten(), get["ln_pre.weight"])
        value, gate = hidden[: len(hidden) // 2], hidden[len(hidden) // 2 :]
        hidden = gate * torch.sigmoid(gate) * value
        if "ln_mid.weight" in get:
            rows.append(get["linear_2.weight"] @ rms_norm(hidden, get["ln_mid.weight"]))
        else:
            rows.append(rms_norm(get["linear_2.weight"] @ hidden, get["ln_post.weight"]))
    return torch.stack(rows)


@pytest.mark.parametrize("n_frames", [1, 8, 13, 40])
@pytest.mark.parametrize("name", ["ultravox", "post_norm"])
@torch.inference_mode()
def test_the_projector_is_the_published_one_in_both_layouts(
    name: str, n_frames: int, request: pytest.FixtureRequest
) -> None:
    projector = request.getfixturevalue(name).ears.multi_modal_projector
    frames = torch.randn(1, n_frames, 16, generator=torch.Generator().manual_seed(n_frames))
    expected = plain_projector(projector.state_dict(), frames[0])
    torch.testing.assert_close(projector(frames)[0], expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_two_layouts_and_the_two_halves_differ(ultravox: Ultravox) -> None:
    """Else the test above could not tell a wrong order from the right one."""
    tensors = ultravox.ears.multi_modal_projector.state_dict()
    frames = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    right = plain_projector(tensors, frames)
    halves = tensors["linear_1.weight"].chunk(2)
    swapped = plain_projector(tensors | {"linear_1.weight": torch.cat(halves[::-1])}, frames)
    late = {name: tensor for name, tensor in tensors.items() if name != "ln_mid.weight"}
    post = plain_projector(late | {"ln_post.weight": torch.ones(32)}, frames)
    assert (right - swapped).abs().max() > 0.01 and (right - post).abs().max() > 0.01


def test_no_bias_anywhere_in_the_projector() -> None:
    projector = UltravoxProjector(4, 6, hidden=8, stack_factor=2, ln_mid=True, norm_init=0.4)
    names = set(projector.state_dict())
    assert names == {"ln_pre.weight", "linear_1.weight", "ln_mid.weight", "linear_2.weight"}
    assert projector.ln_pre.weight.tolist() == pytest.approx([0.4] * 8)


def test_the_published_sizes_make_the_published_shapes() -> None:
    """Of v0.5 on Llama-3.1-8B with whisper-large-v3-turbo, as its file lists them; nothing is drawn."""
    audio = {"d_model": 1280, "encoder_layers": 1, "encoder_attention_heads": 20, "num_mel_bins": 128}
    config = {"audio_config": audio, "hidden_size": 4096, "stack_factor": 8, "projector_ln_mid": True}
    with torch.device("meta"):
        found = UltravoxEars(config, 4096).multi_modal_projector.state_dict()
    shapes = {name: list(tensor.shape) for name, tensor in found.items()}
    assert shapes.pop("ln_pre.weight") == [10240] and shapes.pop("ln_mid.weight") == [2048]
    assert shapes == {"linear_1.weight": [4096, 10240], "linear_2.weight": [4096, 2048]}


@pytest.mark.parametrize(("duration_s", "n_positions"), COUNTS_30_S)
def test_positions_of_a_clip_with_a_window_of_30_s(
    window_30_s: Ultravox, duration_s: float, n_positions: int
) -> None:
    heard = window_30_s.hear(sound(duration_s))
    assert heard.embeddings.shape == (n_positions, 32) and heard.embeddings.isfinite().all()
    assert heard.seconds_per_position == pytest.approx(0.16) and heard.text == "" and heard.words == ()


@pytest.mark.parametrize("duration_s", [0.01, 0.5, 1.0, 1.234, 2.0, 2.01, 6.0])
def test_positions_are_the_formula_of_each_window(ultravox: Ultravox, duration_s: float) -> None:
    n_frames = max(2, -(-round(duration_s * 16_000) // 160))
    windows = [min(200, n_frames - start) for start in range(0, n_frames, 200)]
    expected = int(ultravox.ears.token_counts(torch.tensor(windows)).sum())
    assert len(ultravox.hear(sound(duration_s)).embeddings) == expected


@torch.inference_mode()
def test_a_batch_equals_its_singles(ultravox: Ultravox) -> None:
    clips = [sound(duration_s, seed) for seed, duration_s in enumerate((0.5, 1.0, 1.234, 2.0))]
    features = [ultravox.features(clip.samples) for clip in clips]
    lengths = torch.tensor([n_frames for _, n_frames in features])
    mels = torch.stack([torch.nn.functional.pad(mel, (0, 200 - mel.shape[1])) for mel, _ in features])
    batch, counts = ultravox.ears(mels, lengths), ultravox.ears.token_counts(lengths)
    for row, clip in enumerate(clips):
        single = ultravox.hear(clip).embeddings
        assert len(single) == counts[row]
        torch.testing.assert_close(batch[row, : counts[row]], single, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_last_stack_is_filled_with_zeros(ultravox: Ultravox) -> None:
    """1.0 s has 50 encoder states: six full stacks and one of two states and six zeros."""
    from engine.systems.whisper import encode_mel

    mel, n_frames = ultravox.features(sound(1.0).samples)
    states = encode_mel(ultravox.ears.audio_tower, mel[None], torch.tensor([n_frames]))[0]
    assert states.shape == (50, 16)
    expected = plain_projector(ultravox.ears.multi_modal_projector.state_dict(), states)
    found = ultravox.hear(sound(1.0)).embeddings
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    repeated = torch.cat([states, states[-1:].expand(6, -1)])
    other = plain_projector(ultravox.ears.multi_modal_projector.state_dict(), repeated)
    assert (other[-1] - found[-1]).abs().max() > 1e-3


@torch.inference_mode()
def test_a_long_clip_is_heard_window_by_window(ultravox: Ultravox) -> None:
    """Five seconds through a window of two: the embeddings are those of the mel cut at 2 and 4 s."""
    clip = sound(5.0)
    mel, n_frames = ultravox.features(clip.samples)
    assert n_frames == 500
    pieces = []
    for start, stop in ((0, 200), (200, 400), (400, 500)):
        length = torch.tensor([stop - start])
        out = ultravox.ears(mel[None, :, start:stop], length)
        pieces.append(out[0, : int(ultravox.ears.token_counts(length)[0])])
    assert [len(piece) for piece in pieces] == [13, 13, 7]
    torch.testing.assert_close(ultravox.hear(clip).embeddings, torch.cat(pieces), atol=1e-5, rtol=1e-4)


def test_features_are_whispers_own_without_the_padding_to_a_window(ultravox: Ultravox, models: Path) -> None:
    extractor = WhisperFeatureExtractor.from_pretrained(models / "mini-ultravox")
    samples = sound(1.234).samples
    expected = extractor(samples, sampling_rate=16_000, return_tensors="np").input_features[0]
    mel, n_frames = ultravox.features(samples)
    assert mel.shape == (80, 124) and n_frames == 124
    # The last frame looks into what follows: silence there, the clip's mirror image here.
    np.testing.assert_allclose(mel[:, :120].numpy(), expected[:, :120], atol=1e-4)


def test_the_prompt_holds_the_clip_between_the_templates_own_ids(ultravox: Ultravox) -> None:
    heard = ultravox.hear(sound(1.0))
    prepared = ultravox.prepare(heard, "Is this positive or negative?")
    start, stop = prepared.span
    ids = ultravox.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Is this positive or negative?"}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=False,
    )
    around = torch.cat([prepared.embeddings[0, :start], prepared.embeddings[0, stop:]])
    model: Any = ultravox.language_model
    expected = model.get_input_embeddings()(torch.tensor(ids))
    assert torch.equal(prepared.embeddings[0, start:stop], heard.embeddings)
    assert start == 2 and torch.equal(around, expected)


def test_modules_are_the_backbones_own(ultravox: Ultravox, text_llm: TextLLM) -> None:
    model = text_llm.language_model
    decoder: Any = model.model
    assert ultravox.language_model is model and ultravox.unembedding is model.lm_head
    assert ultravox.decoder_layers is decoder.layers and ultravox.final_norm is decoder.norm
    assert not any(weight.requires_grad for weight in ultravox.ears.parameters())


def test_the_fingerprint_covers_ears_and_backbone(
    ultravox: Ultravox, text_llm: TextLLM, models: Path
) -> None:
    folders = [models / "mini-ultravox", models / "mini-llama"]
    assert ultravox.fingerprint == fingerprint(folders) != text_llm.fingerprint


@pytest.fixture
def own_folder(models: Path, tmp_path: Path) -> Path:
    """A copy of the ears that a test may spoil, beside the shared backbone."""
    shutil.copytree(
        models / "mini-ultravox", tmp_path / "mini-ultravox", ignore=shutil.ignore_patterns("erasers")
    )
    (tmp_path / "mini-llama").symlink_to(models / "mini-llama")
    return tmp_path


def refusal(models: Path, backbone: TextLLM) -> str:
    with pytest.raises(ModelFilesError) as caught:
        Ultravox(get_spec("mini-ultravox"), models / "mini-ultravox", backbone)
    message = str(caught.value)
    assert str(models) not in message and "\n" not in message
    return message


def spoil_tensors(folder: Path, change: dict[str, Tensor | None]) -> None:
    file = folder / "mini-ultravox" / "model.safetensors"
    tensors: dict[str, Any] = load_file(file) | change
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"multi_modal_projector.ln_mid.weight": None},
            "lacks tensor multi_modal_projector.ln_mid.weight (1 such",
        ),
        ({"audio_tower.conv1.bias": None}, "lacks tensor audio_tower.conv1.bias"),
        ({"extra.weight": torch.zeros(2)}, "has an unexpected tensor extra.weight"),
        (
            {"multi_modal_projector.linear_2.weight": torch.zeros(3, 3)},
            "multi_modal_projector.linear_2.weight",
        ),
    ],
)
def test_tensors_must_fit_exactly(
    own_folder: Path, text_llm: TextLLM, change: dict[str, Tensor | None], words: str
) -> None:
    spoil_tensors(own_folder, change)
    message = refusal(own_folder, text_llm)
    assert words in message and message.startswith("mini-Ultravox")


def test_post_norm_weights_under_a_mid_norm_config_are_refused(own_folder: Path, text_llm: TextLLM) -> None:
    config = own_folder / "mini-ultravox" / "config.json"
    config.write_text(json.dumps(ears_config(ln_mid=False)), encoding="utf-8")
    assert "lacks tensor multi_modal_projector.ln_post.weight" in refusal(own_folder, text_llm)


@pytest.mark.parametrize("key", ["audio_config", "text_model_id", "hidden_size", "stack_factor"])
def test_a_config_without_a_needed_key_is_refused(own_folder: Path, text_llm: TextLLM, key: str) -> None:
    config = {name: value for name, value in ears_config().items() if name != key}
    (own_folder / "mini-ultravox" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert f"config.json lacks {key}" in refusal(own_folder, text_llm)


@pytest.mark.parametrize("text", ["", "{", None])
def test_a_missing_or_damaged_config_is_refused(
    own_folder: Path, text_llm: TextLLM, text: str | None
) -> None:
    file = own_folder / "mini-ultravox" / "config.json"
    file.unlink()
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert "no readable config.json" in refusal(own_folder, text_llm)


def test_the_ears_take_the_backbones_precision(models: Path) -> None:
    backbone = TextLLM(get_spec("mini-llama"), models / "mini-llama", dtype=torch.bfloat16)
    heard = load_ultravox(models, backbone).hear(sound(2.5)).embeddings
    assert heard.dtype == torch.bfloat16 and heard.isfinite().all()


def test_silence_is_heard_too(ultravox: Ultravox) -> None:
    heard = ultravox.hear(AudioClip(np.zeros(16_000, np.float32), "silence"))
    assert heard.embeddings.shape == (7, 32) and heard.embeddings.isfinite().all()


LINEAR_2 = "multi_modal_projector.linear_2.weight"
NAME = "ultravox-v0_5-llama-3_1-8b"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def hub_models(hub: Path) -> Path:
    """Where the base language model lies: under another name than the checkpoint's config has."""
    write_llama(hub / "bases" / "mini-llama")
    return hub / "bases"


@pytest.fixture(scope="module")
def hub_llm(hub_models: Path) -> TextLLM:
    return TextLLM(get_spec("mini-llama"), hub_models / "mini-llama")


@pytest.fixture(scope="module")
def encoder(hub: Path) -> dict[str, Tensor]:
    return write_whisper(hub / "whisper")


@pytest.fixture(scope="module")
def truths(hub: Path, encoder: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Layout -> the tensors that its checkpoint must come to."""
    return {
        layout: write_ultravox(hub / layout / NAME, hub / "whisper", encoder, layout) for layout in LAYOUTS
    }


def load(folder: Path, hub_llm: TextLLM, hub_models: Path, audio: Path | None) -> Ultravox:
    return Ultravox(get_spec("mini-ultravox"), folder, hub_llm, Bases(hub_models / "mini-llama", audio))


@pytest.fixture(scope="module")
def systems(hub: Path, truths: dict[str, Any], hub_llm: TextLLM, hub_models: Path) -> dict[str, Ultravox]:
    """Each layout loaded; those that hold their tower need no Whisper."""
    whole = ("merged", "post norm", "older prefix")
    return {
        layout: load(hub / layout / NAME, hub_llm, hub_models, None if layout in whole else hub / "whisper")
        for layout in LAYOUTS
    }


@torch.inference_mode()
def logits(hub_llm: TextLLM, heard: Tensor) -> Tensor:
    """What the base model makes of a prompt with these embeddings between the template's own ids."""
    model: Any = hub_llm.language_model
    mark = "<|audio|>"
    prompt = hub_llm.tokenizer.apply_chat_template(
        [{"role": "user", "content": mark + QUESTION}], tokenize=False, add_generation_prompt=True
    )
    around = [hub_llm.tokenizer.encode(part, add_special_tokens=False) for part in str(prompt).split(mark)]
    before, after = (model.get_input_embeddings()(torch.tensor([ids])) for ids in around)
    return model(inputs_embeds=torch.cat([before, heard[None], after], dim=1)).logits  # type: ignore[no-any-return]


# 1.01 s has an odd number of mel frames; of 31 s, the second chunk is filled up to 30 s.
@pytest.mark.parametrize("duration_s", [0.01, 1.01, 6.0, 31.0])
@pytest.mark.parametrize("layout", LAYOUTS)
@torch.inference_mode()
def test_the_logits_are_those_of_the_published_formulas(
    layout: str, duration_s: float, systems: dict[str, Ultravox], truths: dict[str, Any], hub_llm: TextLLM
) -> None:
    clip, system = sound(duration_s), systems[layout]
    expected = logits(hub_llm, embeddings_by_formula(truths[layout], clip.samples))
    prepared = system.prepare(system.hear(clip), QUESTION)
    found = system.language_model(inputs_embeds=prepared.embeddings).logits
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_the_layouts_differ_where_they_must(truths: dict[str, Any], hub_llm: TextLLM) -> None:
    """Else the test above could not tell an adapter that was left out, a wrong norm or a wrong last stack."""
    samples = sound(1.01).samples
    found = {name: logits(hub_llm, embeddings_by_formula(truths[name], samples)) for name in LAYOUTS}
    for name in ("post norm", "adapters alone"):
        assert (found["merged"] - found[name]).abs().max() > 100 * TOLERANCE
    padded = torch.cat([torch.from_numpy(samples), torch.zeros(160)]).numpy()
    other = logits(hub_llm, embeddings_by_formula(truths["merged"], padded)[:7])
    assert (found["merged"] - other).abs().max() > 100 * TOLERANCE


def test_the_fingerprint_covers_all_weights_that_are_run(
    systems: dict[str, Ultravox], hub: Path, hub_models: Path
) -> None:
    text = hub_models / "mini-llama"
    assert systems["merged"].fingerprint == fingerprint([hub / "merged" / NAME, text])
    parts = [hub / "projector alone" / NAME, hub / "whisper", text]
    assert systems["projector alone"].fingerprint == fingerprint(parts)


@pytest.mark.parametrize("block", [30, 100])
@torch.inference_mode()
def test_a_block_mask_hides_what_comes_later(
    block: int, tmp_path: Path, hub: Path, truths: dict[str, Any], hub_llm: TextLLM, hub_models: Path
) -> None:
    folder = changed(tmp_path, hub, "merged", audio_latency_block_size=block)
    found = load(folder, hub_llm, hub_models, None)
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
def test_tensors_of_each_layout_must_fit_exactly(
    layout: str,
    change: dict[str, Tensor | None],
    words: str,
    tmp_path: Path,
    hub: Path,
    truths: dict[str, Any],
    hub_llm: TextLLM,
    hub_models: Path,
) -> None:
    folder = changed(tmp_path, hub, layout)
    change_tensors(folder, change)
    message = sentence_of_refusal(folder, lambda: load(folder, hub_llm, hub_models, hub / "whisper"))
    assert words in message and message.startswith("mini-Ultravox")


def test_a_renamed_tensor_is_named(
    tmp_path: Path, hub: Path, truths: dict[str, Any], hub_llm: TextLLM, hub_models: Path
) -> None:
    folder = changed(tmp_path, hub, "merged")
    change_tensors(folder, {}, renamed=(LINEAR_2, "multi_modal_projector.linear_3.weight"))
    message = sentence_of_refusal(folder, lambda: load(folder, hub_llm, hub_models, None))
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
    hub_llm: TextLLM,
    hub_models: Path,
) -> None:
    folder = changed(tmp_path, hub, layout, **config)
    assert words in sentence_of_refusal(folder, lambda: load(folder, hub_llm, hub_models, hub / "whisper"))


def test_a_checkpoint_without_a_tower_asks_for_its_whisper(
    tmp_path: Path, hub: Path, truths: dict[str, Any], hub_llm: TextLLM, hub_models: Path
) -> None:
    folder = hub / "projector alone" / NAME
    message = sentence_of_refusal(folder, lambda: load(folder, hub_llm, hub_models, None))
    assert "openai/whisper-large-v3-turbo; say where its folder is" in message
    spoilt = changed(tmp_path, hub, "merged")
    held = read_tensors(hub / "merged" / NAME)
    change_tensors(spoilt, {name: None for name in held if name.startswith("audio_tower.")})
    message = sentence_of_refusal(spoilt, lambda: load(spoilt, hub_llm, hub_models, None))
    assert "has no audio tower of its own" in message


def test_a_feature_extractor_must_be_there_and_fit(
    tmp_path: Path, hub: Path, truths: dict[str, Any], hub_llm: TextLLM, hub_models: Path
) -> None:
    folder = changed(tmp_path, hub, "merged")
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    message = sentence_of_refusal(folder, lambda: load(folder, hub_llm, hub_models, None))
    assert "makes 80 mel bands, the audio tower takes 128" in message
    (folder / "preprocessor_config.json").write_text("{", encoding="utf-8")
    message = sentence_of_refusal(folder, lambda: load(folder, hub_llm, hub_models, None))
    assert "preprocessor_config.json is damaged" in message
    (folder / "preprocessor_config.json").unlink()
    message = sentence_of_refusal(folder, lambda: load(folder, hub_llm, hub_models, None))
    assert "lacks preprocessor_config.json" in message


def test_the_scale_of_the_adapters_is_the_configs(
    tmp_path: Path, hub: Path, truths: dict[str, Any], hub_llm: TextLLM, hub_models: Path
) -> None:
    """Twice the alpha is another model: a scale that is not read would pass at alpha = rank."""
    assert ALPHA != RANK
    folder = changed(
        tmp_path, hub, "adapters alone", audio_model_lora_config={"r": RANK, "lora_alpha": 2 * ALPHA}
    )
    other = load(folder, hub_llm, hub_models, hub / "whisper")
    same = load(hub / "adapters alone" / NAME, hub_llm, hub_models, hub / "whisper")
    gap = (other.hear(sound(1.0)).embeddings - same.hear(sound(1.0)).embeddings).abs().max()
    assert gap > 100 * TOLERANCE


PIECES = ["Ġa", "Ġb", "at", "Ġbat", "Ġat", "ab", "Ġall", "ball", "Ġhello", "The", "Ġthe", "ĠThe"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {piece: index for index, piece in enumerate([*"abehlotTĠ'", *PIECES, "Ġ12", "Ã©"])}
    raw = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=raw)


def said(letters: str, *, confidence: float = 0.98) -> np.ndarray:
    """Log-probabilities of positions that each hold one symbol; "-" is CTC's blank."""
    rows = np.full((len(letters), SYMBOLS), (1 - confidence) / (SYMBOLS - 1))
    for place, letter in enumerate(letters):
        rows[place, 0 if letter == "-" else 1 + LETTERS.index(letter)] = confidence
    return np.log(rows)


def words(tokenizer: PreTrainedTokenizerFast, tokens: np.ndarray) -> list[str]:
    return [str(tokenizer.decode([token])) for token in tokens]


def test_letters_that_spell_words_come_back_as_their_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    found = LetterReadout(tokenizer).read(said("hel-lo -bbat- all-l"), candidates=5)
    assert words(tokenizer, found.tokens[:, 0]) == [" hello", " bat", " all"]
    assert found.weights.sum(axis=1) == pytest.approx(1.0, abs=1e-6)
    assert (found.weights[:, 0] > 0.9).all()


def test_stretches_follow_each_other_and_cover_the_clip(tokenizer: PreTrainedTokenizerFast) -> None:
    letters = "--hel-lo bat-"
    found = LetterReadout(tokenizer).read(said(letters), candidates=5)
    assert found.starts[0] == 0 and found.ends[-1] == len(letters)
    assert (found.starts[1:] == found.ends[:-1]).all() and (found.ends > found.starts).all()


def test_a_doubled_letter_needs_a_blank_between(tokenizer: PreTrainedTokenizerFast) -> None:
    readout = LetterReadout(tokenizer)
    assert words(tokenizer, readout.read(said("hel-lo"), candidates=3).tokens[:1, 0]) == [" hello"]
    # Without one the letter was said once; "helo" is no token, and its pieces are read instead.
    assert " hello" not in words(
        tokenizer, readout.read(said("helo", confidence=1 - 1e-9), candidates=3).tokens[:, 0]
    )


def test_a_word_that_is_no_token_comes_as_its_pieces(tokenizer: PreTrainedTokenizerFast) -> None:
    found = LetterReadout(tokenizer).read(said("abal-l"), candidates=3)
    assert "".join(words(tokenizer, found.tokens[:, 0])) == " aball"


def test_a_penalty_on_the_blank_brings_back_a_letter_left_out(tokenizer: PreTrainedTokenizerFast) -> None:
    """Of people's speech the letters are less sure than of training's, and the blank took their place."""
    unsure = said("b-t")
    unsure[1, 1 + LETTERS.index("a")] = np.log(0.3)
    unsure[1, 0] = np.log(0.68)
    # With a prior this weak, "b" and "t" alone explain the sound better than " bat" does.
    settings = {"prior_scale": 0.01, "token_bonus": 0.0}
    plain, penalised = (
        LetterReadout(tokenizer, blank_penalty=nats, **settings).read(unsure, candidates=3)
        for nats in (0.0, 1.5)
    )
    assert "".join(words(tokenizer, plain.tokens[:, 0])) == " bt"
    assert "".join(words(tokenizer, penalised.tokens[:, 0])) == " bat"


def test_a_low_temperature_leaves_the_likeliest_token_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    unsure = said("bat", confidence=0.4)
    soft = LetterReadout(tokenizer).read(unsure, temperature=4.0, candidates=5)
    hard = LetterReadout(tokenizer).read(unsure, temperature=1e-3, candidates=5)
    assert hard.weights[0, 0] == pytest.approx(1.0, abs=1e-6)
    assert soft.weights[0, 0] < 0.9 and (soft.tokens == hard.tokens).all()


def test_one_spelling_shares_its_weight_among_its_ways_of_writing(tokenizer: PreTrainedTokenizerFast) -> None:
    found = LetterReadout(tokenizer).read(said("the"), candidates=3)
    assert sorted(words(tokenizer, found.tokens[0, :2])) == [" The", " the"]
    assert found.weights[0, :2].sum() > 0.9


def _alignments(spelling: str, n: int) -> list[tuple[int, ...]]:
    """All ways in which n positions may spell a text by CTC's rule."""
    wanted = [1 + LETTERS.index(letter) for letter in spelling]
    found = []
    for path in itertools.product(sorted({0, *wanted}), repeat=n):
        kept = [symbol for symbol, _ in itertools.groupby(path) if symbol]
        if kept == wanted:
            found.append(path)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_search_equals_enumerating_every_sequence_of_tokens(
    tokenizer: PreTrainedTokenizerFast, seed: int
) -> None:
    """At most two tokens over five positions: the best total of letters and priors, by hand and by the search."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 3, (5, SYMBOLS))
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    readout = LetterReadout(tokenizer, prior_scale=1.0, token_bonus=-8.0)
    known = {
        token: tokenizer.decode([token]).lower()
        for token in range(len(tokenizer))
        if set(tokenizer.decode([token]).lower()) <= set(LETTERS) and tokenizer.decode([token]).strip()
    }
    common = {token: 1 / (token + 100) for token in known}
    total = sum(common.values())
    by_spelling: dict[str, float] = {}
    for token, spelling in known.items():
        by_spelling[spelling] = by_spelling.get(spelling, 0.0) + common[token]
    prior = {spelling: math.log(share / total) - 8.0 for spelling, share in by_spelling.items()}
    lead = np.full((1, SYMBOLS), -1e9)
    lead[0, 1] = 0.0
    rows = np.concatenate([lead, scores])

    def best(spelling: str, start: int, stop: int) -> float:
        paths = _alignments(spelling, stop - start)
        return max((sum(rows[start + i, s] for i, s in enumerate(path)) for path in paths), default=-math.inf)

    scored: dict[tuple[tuple[int, int], ...], float] = {
        ((0, 6),): max(best(s, 0, 6) + p for s, p in prior.items()),
        **{
            ((0, cut), (cut, 6)): max(best(s, 0, cut) + p for s, p in prior.items())
            + max(best(s, cut, 6) + p for s, p in prior.items())
            for cut in range(1, 6)
        },
    }
    bounds = max(scored, key=lambda key: scored[key])
    found = readout.read(scores, candidates=3)
    assert len(found.starts) <= 2, "three tokens or more are not enumerated here"
    edges = [(0 if start == 0 else start - 1, stop - 1) for start, stop in bounds]
    assert list(zip(found.starts, found.ends, strict=True)) == edges
