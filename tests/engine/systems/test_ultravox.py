"""The Ultravox adapter against a plain reference of the published architecture, and how it hears clips."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import WhisperFeatureExtractor

from engine.audio import AudioClip
from engine.errors import ModelFilesError
from engine.systems.catalogue import get_spec
from engine.systems.checkpoint import fingerprint
from engine.systems.text_llm import TextLLM
from engine.systems.ultravox import Ultravox, UltravoxEars, UltravoxProjector
from tests.engine.tiny_systems import ears_config, load_ultravox, sound, write_ears

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
