"""Speech as discrete units: the nearest of k centres for each 40 ms of an encoder's states, repeats merged.

Two encoders: the HuBERT of published unit language models (slamkit, commit 388b402: layer 11 of
mhubert-base-25hz, waveform padded by 40 samples on each side), and our own mini-Whisper's. Centres come from a
safetensors or .npz file alone; the published ones are a pickle and have to be converted once, elsewhere.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor
from transformers import HubertConfig, HubertModel

from engine.audio import SAMPLE_RATE_HZ
from engine.errors import ModelFilesError
from engine.result import SpokenWord
from engine.systems.audio_tower import layer_states
from engine.systems.text_llm import REPORTED, refuse_what_does_not_fit
from engine.systems.whisper_encoder import WhisperEars

FRAME_S = 0.04
POOLED_STATES = 2  # of 20 ms each
CENTRES = "centres"
HUBERT_LAYER = 11
HUBERT_PAD_SAMPLES = 40
_HUBERT_FRAME_SAMPLES = 640
# HuBERT's convolutions need a little more than one frame of sound.
_HUBERT_SHORTEST_SAMPLES = 960


# Takes of the layers' states [1, positions, width] what is wanted, [1, positions, ...].
_Chosen = Callable[[Iterator[Tensor]], Tensor]


@dataclass(frozen=True)
class Units:
    """Units in the order heard, no two alike in a row.

    Attributes:
        ids: which centre, 0 to k - 1.
        durations: frames of 40 ms that each lasts.
    """

    ids: Int[np.ndarray, "units"]  # noqa: F821 - jaxtyping axis name
    durations: Int[np.ndarray, "units"]  # noqa: F821

    @property
    def ends_s(self) -> Float[np.ndarray, "units"]:  # noqa: F821
        """When each unit ends, in seconds from the start of the clip."""
        return np.cumsum(self.durations) * FRAME_S


def merge_repeats(frames: Int[np.ndarray, "frames"]) -> Units:  # noqa: F821
    """Merge runs of one unit and keep how long each was: [7 7 3 7] is 7, 3, 7 lasting 2, 1, 1 frames."""
    starts = np.flatnonzero(np.diff(frames, prepend=-1))
    return Units(frames[starts].astype(np.int64), np.diff(starts, append=len(frames)))


def word_positions(
    words: Sequence[SpokenWord],
    ends_s: Float[np.ndarray, "positions"],  # noqa: F821
) -> tuple[tuple[int, int], ...]:
    """Return for each word its first position and the one after its last.

    A position counts to every word that it overlaps in time, so that the unit on a border belongs to both
    (slamkit bisects cumulative durations likewise). A word beyond the last position has none: start = stop.
    """
    ends = [round(float(end), 6) for end in ends_s]
    spans = []
    for word in words:
        start = bisect_right(ends, round(word.start_s, 6))
        stop = min(len(ends), bisect_left(ends, round(word.end_s, 6)) + 1)
        spans.append((start, max(start, stop)))
    return tuple(spans)


def read_centres(file: Path) -> Float[np.ndarray, "k width"]:
    """Return k-means centres from a .safetensors or .npz file that holds them as "centres".

    Raises:
        ModelFilesError: the file is missing, damaged, of another kind (a pickle is never read) or of another shape.
    """
    if file.suffix not in (".safetensors", ".npz"):
        raise ModelFilesError(
            f"{file.name} is not a safe file; convert the centres to .npz or .safetensors first."
        )
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as stored:
                centres = stored[CENTRES]
        else:
            centres = load_file(file)[CENTRES]
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise ModelFilesError(f"{file.name} holds no readable centres; restore it.") from error
    if centres.ndim != 2 or not len(centres) or not np.isfinite(centres).all():
        raise ModelFilesError(f"{file.name} holds centres of a wrong shape; restore it.")
    return np.asarray(centres, np.float32)


def nearest(
    features: Float[np.ndarray, "frames width"], centres: Float[np.ndarray, "k width"]
) -> Int[np.ndarray, "frames"]:  # noqa: F821
    """Return the centre nearest to each frame in squared distance; the first of equals."""
    # |f - c|^2 without |f|^2, which is the same for every centre.
    found: Int[np.ndarray, "frames"] = ((centres**2).sum(1) - 2 * features @ centres.T).argmin(1)  # noqa: F821
    return found


@runtime_checkable
class FrameEncoder(Protocol):
    """What makes a frame's features out of sound, 25 frames a second.

    Attributes:
        folder: of its weights.
    """

    folder: Path

    def features(self, samples: Float[np.ndarray, "samples"]) -> Float[np.ndarray, "frames width"]:  # noqa: F821
        """Return one row for each 40 ms of 16 kHz samples."""
        ...


class WhisperFrames:
    """One layer of the mini-Whisper's encoder: the mean of two states of 20 ms each.

    The encoder hears a clip of any length up to its window, as it was trained; longer ones window by window.
    """

    def __init__(self, folder: Path, layer: int) -> None:
        self.folder = folder
        self.layer = layer
        self._ears = WhisperEars(folder)
        self._window_samples = int(self._ears.encoder.embed_positions.weight.shape[0]) * 320
        if not 0 <= layer <= len(self._ears.encoder.layers):
            raise ModelFilesError(f"{folder.name} has no layer {layer}; restore the config of its units.")

    def features(self, samples: np.ndarray) -> Float[np.ndarray, "frames width"]:
        """Return one row for each 40 ms; the last may stand for less."""
        return self._pooled(samples, lambda states: next(islice(states, self.layer, None)))

    def every_layer(self, samples: np.ndarray) -> Float[np.ndarray, "frames layers width"]:
        """Return the same of all layers, 0 being what the first one receives."""
        return self._pooled(samples, lambda states: torch.stack(list(states), dim=2))

    @torch.inference_mode()
    def _pooled(self, samples: np.ndarray, chosen: _Chosen) -> np.ndarray:
        starts = range(0, max(1, len(samples)), self._window_samples)
        return np.concatenate(
            [self._window(samples[start : start + self._window_samples], chosen) for start in starts]
        )

    def _window(self, samples: np.ndarray, chosen: _Chosen) -> np.ndarray:
        mel, n_frames = self._ears.features(samples)
        heard = mel[None, :, : n_frames + n_frames % 2]
        states = chosen(layer_states(self._ears.encoder, heard, None))[0]
        pairs = [
            states[start : start + POOLED_STATES].mean(0) for start in range(0, len(states), POOLED_STATES)
        ]
        return torch.stack(pairs).numpy()


class HubertFrames:
    """Layer 11 of a HuBERT at 25 frames a second, the encoder of the published units."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            config = HubertConfig.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ModelFilesError(
                f"{folder.name} has no readable config.json; restore the folder."
            ) from error
        stride = int(np.prod(config.conv_stride))
        if stride != _HUBERT_FRAME_SAMPLES or config.num_hidden_layers < HUBERT_LAYER:
            raise ModelFilesError(
                f"{folder.name} makes frames of {stride} samples in {config.num_hidden_layers} layers, units need "
                f"{_HUBERT_FRAME_SAMPLES} (40 ms) and {HUBERT_LAYER}; take slprl/mhubert-base-25hz."
            )
        try:
            loaded: Any = HubertModel.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, **REPORTED
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelFilesError(f"{folder.name} could not be loaded: {type(error).__name__}.") from error
        model, loading = loaded
        refuse_what_does_not_fit(folder.name, loading)
        self._model = model.eval().requires_grad_(False)

    @torch.inference_mode()
    def features(self, samples: np.ndarray) -> Float[np.ndarray, "frames width"]:
        """Return one row for each 40 ms; the waveform is not normalised, as in the published code."""
        samples = np.pad(samples, (0, max(0, _HUBERT_SHORTEST_SAMPLES - len(samples))))
        wave = torch.from_numpy(np.pad(samples, HUBERT_PAD_SAMPLES).astype(np.float32))
        states = self._model(wave[None], output_hidden_states=True).hidden_states[HUBERT_LAYER]
        found: np.ndarray = states[0].numpy()
        return found


@dataclass(frozen=True)
class UnitEncoder:
    """An encoder with its centres: sound in, units out."""

    frames: FrameEncoder
    centres: Float[np.ndarray, "k width"]

    def encode(self, samples: Float[np.ndarray, "samples"]) -> Units:  # noqa: F821
        """Return the units of 16 kHz samples, repeats merged."""
        return merge_repeats(nearest(self.frames.features(samples), self.centres))


assert FRAME_S * SAMPLE_RATE_HZ == _HUBERT_FRAME_SAMPLES
