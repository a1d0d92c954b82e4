"""Facts about units: runs are merged, times add up, words find their positions, encoders are the libraries' own."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_tensors
from transformers import HubertModel

from engine.checks import probe_clip
from engine.errors import ModelFilesError
from engine.systems.unit_lm import (
    HubertFrames,
    UnitEncoder,
    WhisperFrames,
    merge_repeats,
    nearest,
    read_centres,
    word_positions,
)
from engine.systems.weights import MODELS
from engine.systems.whisper import WhisperEars, layer_states
from engine.words import SpokenWord
from tests.engine.tiny_interleaved import WIDTH, write_centres, write_hubert

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
