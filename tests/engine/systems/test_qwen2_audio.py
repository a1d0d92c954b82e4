"""Qwen2-Audio against transformers' own, and its layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from engine.audio import AudioClip
from engine.generate import run_arms
from engine.systems import cascade as cascade_module
from engine.systems.base import SpeechLLM, WhiteBoxSystem
from engine.systems.catalogue import get_spec
from engine.systems.checkpoint import fingerprint, read_tensors
from engine.systems.loading import load_cascade, load_speech_llm, load_text_llm
from engine.systems.qwen2_audio import Qwen2Audio
from engine.systems.text_llm import TextLLM
from precompute.mini.tokens import AUDIO_MARK
from tests.engine.published import (
    QUESTION,
    TOLERANCE,
    change_tensors,
    sentence_of_refusal,
)
from tests.engine.tiny_qwen2_audio import marked_tokenizer, write_published, write_qwen2_audio
from tests.engine.tiny_systems import FromFolder, sound

# As the published model counts, at 40 ms a position.
COUNTS_30_S = ((0.03, 1), (0.05, 1), (0.5, 12), (1.0, 25), (1.234, 31), (3.0, 75), (30.0, 750))


@pytest.fixture(scope="module")
def own(qwen_models: Path) -> Qwen2AudioForConditionalGeneration:
    """transformers' own model on the same folder."""
    folder = qwen_models / "mini-qwen2-audio"
    return Qwen2AudioForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def load(folder: Path) -> Qwen2Audio:
    backbone = TextLLM(get_spec("mini-qwen2-audio-llm"), folder)
    return Qwen2Audio(get_spec("mini-qwen2-audio"), folder, backbone)


def processed(folder: Path, clip: AudioClip, text: str) -> dict[str, Tensor]:
    """What the published processor makes of a text with one audio mark and a clip."""
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    tokenizer = load(folder).tokenizer
    processor = Qwen2AudioProcessor(extractor, tokenizer, audio_token=AUDIO_MARK)
    return dict(processor(text=text, audio=clip.samples, sampling_rate=16_000, return_tensors="pt"))


def prompt_text(system: Qwen2Audio, content: str) -> str:
    message = [{"role": "user", "content": content}]
    return str(system.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))


@pytest.mark.parametrize("duration_s", [0.05, 0.5, 1.0, 1.234, 1.999, 2.0])
@torch.inference_mode()
def test_the_logits_are_those_of_transformers_own_forward(
    qwen2_audio: Qwen2Audio, own: Qwen2AudioForConditionalGeneration, qwen_models: Path, duration_s: float
) -> None:
    """The library's processor expands the mark, its encoder takes the whole window, its model merges."""
    clip = sound(duration_s)
    inputs = processed(
        qwen_models / "mini-qwen2-audio", clip, prompt_text(qwen2_audio, AUDIO_MARK + " " + QUESTION)
    )
    expected = own(**inputs).logits
    prepared = qwen2_audio.prepare(qwen2_audio.hear(clip), QUESTION)
    found = qwen2_audio.language_model(inputs_embeds=prepared.embeddings).logits
    marks = (inputs["input_ids"][0] == own.config.audio_token_id).nonzero()[:, 0]
    assert prepared.span == (int(marks[0]), int(marks[-1]) + 1)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


def test_greedy_answers_are_those_of_generate(
    qwen2_audio: Qwen2Audio, own: Qwen2AudioForConditionalGeneration, qwen_models: Path
) -> None:
    clip = sound(1.0)
    inputs = processed(
        qwen_models / "mini-qwen2-audio", clip, prompt_text(qwen2_audio, AUDIO_MARK + " " + QUESTION)
    )
    model: Any = own
    expected = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    prepared = qwen2_audio.prepare(qwen2_audio.hear(clip), QUESTION)
    ids = list(run_arms(qwen2_audio, prepared, max_new_tokens=6).decoded[0].token_ids)
    end = int(qwen2_audio.tokenizer.eos_token_id)
    assert ids == [int(token) for token in expected if int(token) != end]


@pytest.fixture(scope="module")
def window_30_s(tmp_path_factory: pytest.TempPathFactory) -> Qwen2Audio:
    """The published window and the published marks around a clip."""
    folder = tmp_path_factory.mktemp("long") / "mini-qwen2-audio"
    return load(write_qwen2_audio(folder, marked_tokenizer(), window_s=30))


@pytest.mark.parametrize(("duration_s", "n_positions"), COUNTS_30_S)
def test_positions_of_a_clip_with_a_window_of_30_s(
    window_30_s: Qwen2Audio, duration_s: float, n_positions: int
) -> None:
    heard = window_30_s.hear(sound(duration_s))
    assert heard.embeddings.shape == (n_positions, 32) and heard.embeddings.isfinite().all()
    assert heard.seconds_per_position == pytest.approx(0.04) and heard.text == "" and heard.words == ()


def test_the_published_marks_stand_around_the_clip_and_not_in_the_span(window_30_s: Qwen2Audio) -> None:
    heard = window_30_s.hear(sound(1.0))
    prepared = window_30_s.prepare(heard, QUESTION)
    start, stop = prepared.span
    content = "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n" + QUESTION
    before, after = prompt_text(window_30_s, content).split(AUDIO_MARK)
    model: Any = window_30_s.language_model
    for piece, found in ((before, prepared.embeddings[0, :start]), (after, prepared.embeddings[0, stop:])):
        ids = window_30_s.tokenizer.encode(piece, add_special_tokens=False)
        assert torch.equal(found, model.get_input_embeddings()(torch.tensor(ids)))
    assert torch.equal(prepared.embeddings[0, start:stop], heard.embeddings)


def test_without_the_marks_the_clip_stands_where_a_transcript_would(qwen2_audio: Qwen2Audio) -> None:
    text = load_like(qwen2_audio).hear_text("the queen scored")
    as_text = load_like(qwen2_audio).prepare(text, QUESTION)
    as_audio = qwen2_audio.prepare(qwen2_audio.hear(sound(1.0)), QUESTION)
    start, stop = as_audio.span
    assert as_text.span[0] == start
    torch.testing.assert_close(as_text.embeddings[0, as_text.span[1] :], as_audio.embeddings[0, stop:])


def load_like(system: Qwen2Audio) -> TextLLM:
    return system.backbone


@pytest.mark.parametrize("duration_s", [2.01, 2.04, 5.0])
@torch.inference_mode()
def test_a_long_clip_is_heard_window_by_window(qwen2_audio: Qwen2Audio, duration_s: float) -> None:
    clip = sound(duration_s)
    pieces = [
        qwen2_audio.hear(AudioClip(clip.samples[start : start + 32_000], "part")).embeddings
        for start in range(0, len(clip.samples), 32_000)
    ]
    torch.testing.assert_close(qwen2_audio.hear(clip).embeddings, torch.cat(pieces))


@torch.inference_mode()
def test_a_batch_equals_its_singles(qwen2_audio: Qwen2Audio) -> None:
    clips = [sound(duration_s, seed) for seed, duration_s in enumerate((0.5, 1.0, 1.234, 1.7))]
    features = [qwen2_audio.features(clip.samples) for clip in clips]
    lengths = torch.tensor([n_frames for _, n_frames in features])
    widest = max(mel.shape[1] for mel, _ in features)
    # What follows a clip in its window is silence, which is the least that its features have.
    mels = [torch.nn.functional.pad(mel, (0, widest - mel.shape[1]), value=mel.min()) for mel, _ in features]
    batch, counts = qwen2_audio.ears(torch.stack(mels), lengths), qwen2_audio.ears.token_counts(lengths)
    for row, clip in enumerate(clips):
        single = qwen2_audio.hear(clip).embeddings
        assert len(single) == counts[row]
        torch.testing.assert_close(batch[row, : counts[row]], single, atol=1e-4, rtol=1e-4)


def test_the_lengths_are_those_of_the_feature_extractor(qwen2_audio: Qwen2Audio, qwen_models: Path) -> None:
    extractor = WhisperFeatureExtractor.from_pretrained(qwen_models / "mini-qwen2-audio")
    for n_samples in (480, 481, 8_000, 16_001, 31_999, 32_000):
        samples = sound(2.0).samples[:n_samples]
        mask = extractor(samples, sampling_rate=16_000, padding="max_length", return_attention_mask=True)
        mel, n_frames = qwen2_audio.features(samples)
        assert n_frames == int(mask.attention_mask.sum())
        np.testing.assert_array_equal(mel.numpy(), mask.input_features[0][:, : mel.shape[1]])


@torch.inference_mode()
def test_frames_are_the_towers_states_before_pooling(qwen2_audio: Qwen2Audio) -> None:
    frames = qwen2_audio.frames(sound(1.01).samples)
    assert frames.shape == (51, 16) and qwen2_audio.frames_per_position == 2
    assert len(qwen2_audio.hear(sound(1.01)).embeddings) == 25


def test_it_is_a_speech_llm_whose_modules_are_its_own(qwen2_audio: Qwen2Audio, qwen_models: Path) -> None:
    assert isinstance(qwen2_audio, WhiteBoxSystem) and isinstance(qwen2_audio, SpeechLLM)
    model: Any = qwen2_audio.language_model
    assert qwen2_audio.decoder_layers is model.model.layers and qwen2_audio.final_norm is model.model.norm
    assert qwen2_audio.unembedding is model.lm_head and model.config.num_hidden_layers == 3
    stored = read_tensors(qwen_models / "mini-qwen2-audio", lambda name: name.startswith("language_model."))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, stored[f"language_model.{name}"])
    assert qwen2_audio.fingerprint == fingerprint([qwen_models / "mini-qwen2-audio"])


def test_a_cascade_into_its_own_weights_runs_the_very_same_modules(
    qwen_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Anywhere(FromFolder):
        def __init__(self, folder: Path, *, max_tokens: int) -> None:
            super().__init__(folder, max_tokens=max_tokens)

    monkeypatch.setattr(cascade_module, "Transcriber", Anywhere)
    speech = load_speech_llm("mini-qwen2-audio", qwen_models)
    cascade = load_cascade("mini-cascade-self", qwen_models)
    oracle = load_text_llm("mini-qwen2-audio-llm", qwen_models)
    assert isinstance(speech, Qwen2Audio)
    assert cascade.language_model is speech.language_model is oracle.language_model
    assert oracle.spec.key == "mini-qwen2-audio-llm" and cascade.spec.key == "mini-cascade-self"
    ancestor = load_cascade("mini-cascade-qwen2", qwen_models)
    assert ancestor.language_model is not speech.language_model
    assert ancestor.backbone is load_text_llm("mini-qwen2", qwen_models)


@pytest.mark.parametrize("n_samples", [0, 1, 100, 479])
def test_next_to_nothing_has_one_position(qwen2_audio: Qwen2Audio, n_samples: int) -> None:
    heard = qwen2_audio.hear(AudioClip(np.zeros(n_samples, np.float32), "short"))
    assert heard.embeddings.shape == (1, 32) and heard.embeddings.isfinite().all()


@pytest.fixture
def spoilt(qwen_models: Path, tmp_path: Path) -> Path:
    """A copy in one file, which a test may spoil."""
    copy = Path(shutil.copytree(qwen_models / "mini-qwen2-audio", tmp_path / "mini-qwen2-audio"))
    tensors = read_tensors(copy)
    for file in copy.glob("model*"):
        file.unlink()
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def test_one_file_is_read_as_well_as_shards(spoilt: Path, qwen2_audio: Qwen2Audio) -> None:
    found, expected = (system.hear(sound(1.0)).embeddings for system in (load(spoilt), qwen2_audio))
    assert torch.equal(found, expected)


def test_a_feature_extractor_of_another_window_is_refused(spoilt: Path) -> None:
    WhisperFeatureExtractor(feature_size=80, chunk_length=3).save_pretrained(spoilt)
    assert "window is 48,000 samples, the audio tower's 32,000" in sentence_of_refusal(
        spoilt, lambda: load(spoilt)
    )


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer.json"])
def test_a_missing_or_damaged_file_is_refused(spoilt: Path, name: str) -> None:
    (spoilt / name).write_text("{", encoding="utf-8")
    assert "could not be loaded" in sentence_of_refusal(spoilt, lambda: load(spoilt))
    (spoilt / name).unlink()
    assert "could not be loaded" in sentence_of_refusal(spoilt, lambda: load(spoilt))


def test_the_layout_is_the_published_one(qwen_models: Path) -> None:
    folder = qwen_models / "mini-qwen2-audio"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "qwen2_audio" and config["text_config"]["model_type"] == "qwen2"
    parts = {name.split(".")[0] for name in read_tensors(folder)}
    assert parts == {"audio_tower", "multi_modal_projector", "language_model"}


LINEAR = "multi_modal_projector.linear.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("hub") / "Qwen2-Audio-7B-Instruct")


@pytest.fixture(scope="module")
def qwen(folder: Path) -> Qwen2Audio:
    return load(folder)


@pytest.fixture(scope="module")
def published_own(folder: Path) -> Any:
    return Qwen2AudioForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def inputs(system: Qwen2Audio, folder: Path, clip: AudioClip) -> dict[str, Tensor]:
    """The published processor on the published conversation, by its own template."""
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    processor = Qwen2AudioProcessor(extractor, system.tokenizer)
    content = [{"type": "audio", "audio_url": "clip.wav"}, {"type": "text", "text": QUESTION}]
    text = system.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=processor.default_chat_template,
        tokenize=False,
        add_generation_prompt=True,
    )
    return dict(processor(text=text, audio=clip.samples, sampling_rate=16_000, return_tensors="pt"))


@pytest.mark.parametrize("duration_s", [0.03, 1.01, 6.0, 30.0])
@torch.inference_mode()
def test_the_published_logits_are_those_of_transformers_own_forward(
    qwen: Qwen2Audio, published_own: Any, folder: Path, duration_s: float
) -> None:
    clip = sound(duration_s)
    given = inputs(qwen, folder, clip)
    prepared = qwen.prepare(qwen.hear(clip), QUESTION)
    found = qwen.language_model(inputs_embeds=prepared.embeddings).logits
    torch.testing.assert_close(found, published_own(**given).logits, atol=TOLERANCE, rtol=0)
    marks = (given["input_ids"][0] == published_own.config.audio_token_id).nonzero()[:, 0]
    assert prepared.span == (int(marks[0]), int(marks[-1]) + 1)


@torch.inference_mode()
def test_another_clip_has_other_logits(qwen: Qwen2Audio) -> None:
    """Else the test above would pass for ears that hear nothing."""
    first, second = (
        qwen.language_model(inputs_embeds=qwen.prepare(qwen.hear(sound(2.0, n)), QUESTION).embeddings)
        for n in (0, 1)
    )
    assert (first.logits[0, -1] - second.logits[0, -1]).abs().max() > 100 * TOLERANCE


def test_generation_stops_at_the_end_of_the_turn(qwen: Qwen2Audio) -> None:
    assert qwen.tokenizer.eos_token == "<|im_end|>"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({LINEAR: None}, f"lacks tensor {LINEAR}"),
        ({LINEAR: torch.zeros(3, 3)}, f"size mismatch for {LINEAR}"),
        ({"multi_modal_projector.linear.bias": None}, "lacks tensor multi_modal_projector.linear.bias"),
        ({"audio_tower.conv1.bias": None}, "lacks tensor audio_tower.conv1.bias"),
        ({"audio_tower.extra.weight": torch.zeros(2)}, "has an unexpected tensor audio_tower.extra.weight"),
        ({"language_model.lm_head.weight": None}, "lacks tensor lm_head.weight"),
        ({"language_model.model.norm.weight": None}, "lacks tensor model.norm.weight"),
        ({"language_model.model.norm.weight": torch.zeros(3)}, "model.norm.weight has another shape"),
        ({"language_model.extra.weight": torch.zeros(2)}, "has an unexpected tensor extra.weight"),
        ({"extra.weight": torch.zeros(2)}, "has an unexpected tensor extra.weight"),
    ],
)
def test_tensors_must_fit_exactly(spoilt: Path, change: dict[str, Tensor | None], words: str) -> None:
    change_tensors(spoilt, change)
    assert words in sentence_of_refusal(spoilt, lambda: load(spoilt))


@pytest.mark.parametrize("name", [LINEAR, "language_model.lm_head.weight"])
def test_a_renamed_tensor_is_named(spoilt: Path, name: str) -> None:
    change_tensors(spoilt, {}, renamed=(name, name + "2"))
    message = sentence_of_refusal(spoilt, lambda: load(spoilt))
    assert f"lacks tensor {name.removeprefix('language_model.')}" in message
