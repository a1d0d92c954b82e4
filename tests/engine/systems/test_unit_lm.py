"""Interleaved speech-text models and their units."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_tensors
from tokenizers.processors import TemplateProcessing
from transformers import HubertModel, PreTrainedModel

from engine.checks import check_adapter, probe_clip
from engine.errors import ModelFilesError
from engine.generate import run_arms
from engine.systems.base import WhiteBoxSystem
from engine.systems.catalogue import get_unit_model
from engine.systems.checkpoint import fingerprint, to_eight_bits
from engine.systems.unit_lm import (
    HubertFrames,
    Interleaved,
    UnitEncoder,
    UnitParts,
    WhisperFrames,
    merge_repeats,
    nearest,
    read_centres,
    word_positions,
)
from engine.systems.weights import MODELS
from engine.systems.whisper import WhisperEars, layer_states
from engine.words import SpokenWord
from tests.engine.tiny_interleaved import (
    WIDTH,
    K,
    write_centres,
    write_files,
    write_hubert,
    write_parts,
    write_units_model,
)

WHISPER = MODELS / "mini-whisper"
needs_weights = pytest.mark.skipif(not (WHISPER / "model.bin").exists(), reason="mini-whisper is not here")


@pytest.mark.parametrize(
    ("frames", "ids", "durations"),
    [
        ([7, 7, 3, 7], [7, 3, 7], [2, 1, 1]),
        ([0, 0, 0], [0], [3]),
        ([1, 2, 3], [1, 2, 3], [1, 1, 1]),
        ([], [], []),
    ],
)
def test_runs_are_merged_and_their_lengths_kept(
    frames: list[int], ids: list[int], durations: list[int]
) -> None:
    units = merge_repeats(np.array(frames, np.int64))
    assert units.ids.tolist() == ids and units.durations.tolist() == durations
    assert np.repeat(units.ids, units.durations).tolist() == frames


def test_a_unit_ends_when_its_frames_are_over() -> None:
    ends = merge_repeats(np.array([7, 7, 3, 7])).ends_s
    np.testing.assert_allclose(ends, [0.08, 0.12, 0.16])


def test_a_word_has_the_positions_that_it_overlaps_and_borders_belong_to_both() -> None:
    ends = np.array([0.08, 0.12, 0.24, 0.40])
    words = (
        SpokenWord("inside", 0.0, 0.06),
        SpokenWord("exact", 0.08, 0.12),
        SpokenWord("across", 0.10, 0.30),
        SpokenWord("to the end", 0.24, 0.50),
        SpokenWord("beyond", 0.40, 0.60),
        SpokenWord("of no length", 0.20, 0.20),
    )
    assert word_positions(words, ends) == ((0, 1), (1, 2), (1, 4), (3, 4), (4, 4), (2, 3))
    # Cumulative sums are not exact: 0.12 may come as 0.12000000000000001, which is no overlap.
    assert word_positions((SpokenWord("w", 0.12, 0.16),), np.cumsum([0.04] * 6)) == ((3, 4),)


def test_the_nearest_centre_is_the_nearest() -> None:
    generator = np.random.default_rng(1)
    features, centres = generator.standard_normal((50, 6)), generator.standard_normal((9, 6))
    slow = [int(np.argmin([((row - centre) ** 2).sum() for centre in centres])) for row in features]
    assert nearest(features, centres).tolist() == slow
    assert nearest(centres, centres).tolist() == list(range(9))


def test_centres_are_read_from_safe_files_alone(tmp_path: Path) -> None:
    centres = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.savez(tmp_path / "c.npz", centres=centres)
    save_file({"centres": centres}, tmp_path / "c.safetensors")
    for name in ("c.npz", "c.safetensors"):
        assert np.array_equal(read_centres(tmp_path / name), centres)
    (tmp_path / "km.bin").write_bytes(pickle.dumps(centres))
    with pytest.raises(ModelFilesError, match=r"km\.bin is not a safe file; convert"):
        read_centres(tmp_path / "km.bin")
    np.savez(tmp_path / "objects.npz", centres=np.array([{"a": 1}], dtype=object))
    np.savez(tmp_path / "flat.npz", centres=centres.ravel())
    np.savez(tmp_path / "holes.npz", centres=centres * np.nan)
    np.savez(tmp_path / "other.npz", means=centres)
    for name in ("objects", "flat", "holes", "other", "missing"):
        with pytest.raises(ModelFilesError, match=f"{name}.npz holds"):
            read_centres(tmp_path / f"{name}.npz")


@needs_weights
def test_a_whisper_frame_is_the_mean_of_two_states_of_one_layer() -> None:
    ears = WhisperEars(WHISPER)
    samples = probe_clip(1.03).samples  # 103 frames of 10 ms: 52 states, 26 units of 40 ms
    mel, n_frames = ears.features(samples)
    with torch.inference_mode():
        states = list(layer_states(ears.encoder, mel[None, :, : n_frames + 1], None))
    found = WhisperFrames(WHISPER, 3).features(samples)
    wanted = states[3][0].reshape(26, 2, -1).mean(1).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    every = WhisperFrames(WHISPER, 3).every_layer(samples)
    assert every.shape[:2] == (26, 6)
    np.testing.assert_allclose(every[:, 3], found, atol=1e-5)
    assert np.abs(every[:, 2] - found).max() > 0.1


@needs_weights
def test_a_clip_longer_than_the_window_is_heard_window_by_window() -> None:
    encoder = WhisperFrames(WHISPER, 2)
    samples = probe_clip(9.0).samples
    whole = encoder.features(samples)
    assert len(whole) == 225
    first, rest = encoder.features(samples[:128_000]), encoder.features(samples[128_000:])
    np.testing.assert_allclose(whole, np.concatenate([first, rest]), atol=1e-5)


@needs_weights
def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelFilesError, match="mini-whisper has no layer 6"):
        WhisperFrames(WHISPER, 6)


def test_hubert_frames_are_the_librarys_layer_11_of_the_padded_wave(tmp_path: Path) -> None:
    folder = write_hubert(tmp_path / "hubert")
    samples = probe_clip(1.0).samples
    own = HubertModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        wave = torch.nn.functional.pad(torch.from_numpy(samples), (40, 40))
        states = own(wave[None], output_hidden_states=True).hidden_states
    found = HubertFrames(folder).features(samples)
    assert found.shape == (25, WIDTH)
    np.testing.assert_allclose(found, states[11][0].numpy(), atol=1e-5)
    assert len(HubertFrames(folder).features(samples[:100])) == 1


def test_units_of_a_clip_are_its_nearest_centres_merged(tmp_path: Path) -> None:
    frames = HubertFrames(write_hubert(tmp_path / "hubert"))
    centres = read_centres(write_centres(tmp_path / "c.npz"))
    samples = probe_clip(2.0).samples
    units = UnitEncoder(frames, centres).encode(samples)
    every = nearest(frames.features(samples), centres)
    assert np.repeat(units.ids, units.durations).tolist() == every.tolist()
    assert (np.diff(units.ids) != 0).all()


def test_a_hubert_of_another_kind_or_with_a_tensor_missing_is_refused(tmp_path: Path) -> None:
    folder = write_hubert(tmp_path / "hubert")
    tensors = load_file(folder / "model.safetensors")
    name = "encoder.layers.4.attention.q_proj.weight"
    del tensors[name]
    save_tensors(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFilesError, match=f"hubert lacks tensor {name}"):
        HubertFrames(folder)
    fast = write_hubert(tmp_path / "fast", conv_stride=(5, 2, 2, 2, 2, 2, 2, 1))
    with pytest.raises(ModelFilesError, match="fast makes frames of 320 samples"):
        HubertFrames(fast)
    with pytest.raises(ModelFilesError, match=r"nowhere has no readable config\.json"):
        HubertFrames(tmp_path / "nowhere")


SPEC = get_unit_model("sims-7b")
Published = tuple[Path, UnitParts, PreTrainedModel]


@pytest.fixture
def published(tmp_path: Path) -> Published:
    parts = write_parts(tmp_path)
    return tmp_path / "sims-7b", parts, write_units_model(tmp_path / "sims-7b", parts.tokenizer)


def test_the_published_layout_gives_the_plain_models_logits(published: Published) -> None:
    folder, parts, plain = published
    system = Interleaved(SPEC, folder, parts)
    ids = torch.arange(plain.config.vocab_size)[None, :300]
    with torch.inference_mode():
        assert torch.equal(system.language_model(input_ids=ids).logits, plain(input_ids=ids).logits)
    assert system.fingerprint == fingerprint([folder])


def test_a_model_with_one_matrix_for_both_ends_loads_without_the_other(tmp_path: Path) -> None:
    parts = write_parts(tmp_path)
    plain = write_units_model(tmp_path / "tied", parts.tokenizer, tied=True)
    system = Interleaved(SPEC, tmp_path / "tied", parts)
    ids = torch.arange(50)[None]
    with torch.inference_mode():
        assert torch.equal(system.language_model(input_ids=ids).logits, plain(input_ids=ids).logits)
    assert torch.equal(system.unembedding.get_parameter("weight"), system.embedding.get_parameter("weight"))


def test_it_passes_every_adapter_check(published: Published) -> None:
    folder, parts, _ = published
    system = Interleaved(SPEC, folder, parts)
    assert isinstance(system, WhiteBoxSystem)
    assert not [f"{f.name}: {f.measured}" for f in check_adapter(system) if not f.passed]


def test_units_and_tags_come_behind_the_text_models_own_ids(published: Published) -> None:
    folder, parts, plain = published
    system = Interleaved(SPEC, folder, parts)
    n_text = plain.config.vocab_size - K - 2
    assert (system.text_ids, system.unit_ids) == (range(n_text), range(n_text, n_text + K))
    assert (system.speech_tag, system.text_tag) == (n_text + K, n_text + K + 1)
    written = system.tokenizer.encode("<speech><Un0><Un11><text> the queen", add_special_tokens=False)
    assert written[:4] == [system.speech_tag, n_text, n_text + 11, system.text_tag]
    assert all(i in system.text_ids for i in written[4:]) and len(written) > 4


def test_a_tokenizer_that_knows_the_units_is_not_given_them_again(published: Published) -> None:
    folder, parts, _ = published
    first = Interleaved(SPEC, folder, parts)
    first.tokenizer.save_pretrained(parts.tokenizer)
    assert Interleaved(SPEC, folder, parts).unit_ids == first.unit_ids


def test_what_is_heard_are_the_units_embeddings_with_their_times(published: Published) -> None:
    folder, parts, _ = published
    system = Interleaved(SPEC, folder, parts)
    clip = probe_clip(2.0)
    units, heard = system.encode(clip), system.hear(clip)
    rows = system.embedding.get_parameter("weight")[torch.from_numpy(units.ids) + system.unit_ids.start]
    assert torch.equal(heard.embeddings, rows) and heard.seconds_per_position == 0.04
    assert heard.position_ends_s is not None
    np.testing.assert_allclose(heard.position_ends_s, np.cumsum(units.durations) * 0.04)


def test_prompts_are_what_the_model_was_trained_on(published: Published) -> None:
    folder, parts, _ = published
    system = Interleaved(SPEC, folder, parts)
    heard = system.hear_units(merge_repeats(np.array([3, 3, 5])))
    matrix = system.embedding.get_parameter("weight")
    base = system.unit_ids.start
    words = system.tokenizer.encode(" the queen", add_special_tokens=False)
    for prepared, ids in (
        (system.prepare_speech(heard), [system.speech_tag, base + 3, base + 5]),
        (system.prepare(heard, ""), [system.speech_tag, base + 3, base + 5, system.text_tag]),
        (
            system.prepare(heard, " the queen"),
            [system.speech_tag, base + 3, base + 5, system.text_tag, *words],
        ),
    ):
        assert prepared.span == (1, 3)
        assert torch.equal(prepared.embeddings[0], matrix[torch.tensor(ids)])
    states = run_arms(system, system.prepare_speech(heard), record_layers=[0], max_new_tokens=1).states[0]
    assert torch.equal(states[0, 1:3], heard.embeddings)


def test_the_text_models_own_first_token_stays_first(published: Published) -> None:
    """Llama's tokenizer begins every text with a token, and the published prompts have it."""
    folder, parts, _ = published
    system = Interleaved(SPEC, folder, parts)
    begin = system.tokenizer.bos_token_id
    assert begin is not None
    rust = system.tokenizer.backend_tokenizer
    rust.post_processor = TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", int(begin))]
    )
    prepared = system.prepare_speech(system.hear_units(merge_repeats(np.array([3]))))
    assert prepared.span == (2, 3)
    assert torch.equal(prepared.embeddings[0, 0], system.embedding.get_parameter("weight")[begin])


def test_a_tensor_that_is_missing_renamed_or_reshaped_is_refused_by_name(published: Published) -> None:
    folder, parts, _ = published
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "model.safetensors")
    name = "lm.model.layers.1.mlp.up_proj.weight"
    weight = tensors.pop(name)
    for changed, message in (
        ({}, "lacks tensor model.layers.1.mlp.up_proj.weight"),
        (
            {"model.layers.1.mlp.up_proj.weight": weight.clone(), name: weight},
            "unexpected tensor model.layers.1.mlp",
        ),
        ({name: weight, "lm.extra.weight": weight.clone()}, "has an unexpected tensor extra.weight"),
        ({name: weight[:-1].contiguous()}, "model.layers.1.mlp.up_proj.weight has another shape"),
    ):
        write_files(folder, config, tensors | changed)
        with pytest.raises(ModelFilesError, match=f"SIMS-7B .*{message}"):
            Interleaved(SPEC, folder, parts)


def test_units_of_another_model_and_a_config_of_another_kind_are_refused(tmp_path: Path) -> None:
    parts = write_parts(tmp_path, k=K + 1)
    write_units_model(tmp_path / "sims-7b", parts.tokenizer)
    with pytest.raises(ModelFilesError, match="its 13 units belong to another model"):
        Interleaved(SPEC, tmp_path / "sims-7b", parts)
    (tmp_path / "sims-7b" / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    with pytest.raises(ModelFilesError, match="is not that of a speech_language_model"):
        Interleaved(SPEC, tmp_path / "sims-7b", parts)


def test_a_model_in_8_bits_is_the_model_of_its_rounded_weights(published: Published) -> None:
    folder, parts, plain = published
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "model.safetensors")
    write_files(folder, config, to_eight_bits(tensors))
    system = Interleaved(SPEC, folder, parts)
    own = dict(system.language_model.named_parameters())
    for name, weight in plain.named_parameters():
        bound = 0.01 * weight.detach().abs().amax(-1, keepdim=True)
        assert ((own[name] - weight).abs() <= bound).all()
    assert own["lm_head.weight"].dtype == torch.float32
