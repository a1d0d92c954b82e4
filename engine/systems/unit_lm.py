"""Interleaved speech-text language models: a causal LM whose vocabulary holds text tokens and speech units.

Units are the nearest of k centres for each 40 ms of an encoder's states, repeats merged. Two encoders: the HuBERT of
published unit language models (slamkit, commit 388b402: layer 11 of mhubert-base-25hz, waveform padded by 40 samples on
each side), and our own mini-Whisper's. Centres come from a safetensors or .npz file alone; the published ones are a
pickle and have to be converted once, elsewhere.

The models' published layout (slamkit's `UnitLM`): config.json of type "speech_language_model" with the text model's
config inside, all tensors under `lm.`, the vocabulary that of the text model, then <Un0>.., <speech>, <text>. Read
here as the plain causal LM it is. Our minis have the same layout, and name their parts' folders in the config.
"""

from __future__ import annotations

import time
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
from torch import Tensor, nn
from transformers import AddedToken, AutoConfig, HubertConfig, HubertModel, PreTrainedTokenizerBase

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.errors import ModelFilesError
from engine.matching import read_config
from engine.systems.base import Heard, Prepared, text_ids
from engine.systems.catalogue import SystemSpec
from engine.systems.checkpoint import fingerprint, from_eight_bits, read_tensors, under
from engine.systems.text_llm import REPORTED, build_causal_lm, read_tokenizer, refuse_what_does_not_fit
from engine.systems.weights import MODELS
from engine.systems.whisper import WhisperEars, layer_states
from engine.words import SpokenWord

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

MODEL_TYPE = "speech_language_model"
PREFIX = "lm."
SPEECH_TAG, TEXT_TAG = "<speech>", "<text>"
UNITS_FOLDER, CENTRES_FILE = "units", "centres.safetensors"


@dataclass(frozen=True)
class UnitParts:
    """What a unit language model needs beside its own folder.

    Attributes:
        tokenizer: folder of the text model whose vocabulary was extended.
        encoder: makes units of sound.
    """

    tokenizer: Path
    encoder: UnitEncoder


def mini_parts(folder: Path, models: Path = MODELS) -> UnitParts:
    """Return the parts that one of our own checkpoints names in its config; `models` holds their folders.

    Raises:
        ModelFilesError: the config or a part is missing or damaged.
    """
    config = read_unit_config(folder)
    try:
        tokenizer = models / str(config["text_model_id"])
        ears, layer = models / str(config["unit_encoder"]["model"]), int(config["unit_encoder"]["layer"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFilesError(
            f"{folder.name}/config.json does not name its unit encoder; restore it."
        ) from error
    centres = read_centres(folder / UNITS_FOLDER / CENTRES_FILE)
    return UnitParts(tokenizer, UnitEncoder(WhisperFrames(ears, layer), centres))


def published_parts(tokenizer: Path, hubert: Path, centres: Path) -> UnitParts:
    """Return the parts of a SIMS checkpoint.

    Args:
        tokenizer: folder of its text model (Qwen2.5-7B, Llama-3.2-3B).
        hubert: folder of slprl/mhubert-base-25hz.
        centres: its 500 centres of layer 11, converted once from the published pickle to .npz or .safetensors.

    Raises:
        ModelFilesError: a part is missing or damaged.
    """
    return UnitParts(tokenizer, UnitEncoder(HubertFrames(hubert), read_centres(centres)))


class Interleaved:
    """A unit language model; see `engine.systems.base.WhiteBoxSystem` for the attributes not named here.

    Attributes:
        text_ids: vocabulary ids of text, the text model's special tokens included.
        unit_ids: ids of the units; unit u has `unit_ids[u]`.
        speech_tag, text_tag: ids that say what follows.
        units: makes units of sound.
    """

    def __init__(
        self, spec: SystemSpec, folder: Path, parts: UnitParts, *, dtype: torch.dtype = torch.float32
    ) -> None:
        self.spec = spec
        self.units = parts.encoder
        n_units = len(parts.encoder.centres)
        try:
            self.tokenizer: PreTrainedTokenizerBase = read_tokenizer(parts.tokenizer)
            base = extend_vocabulary(self.tokenizer, n_units)
            model, loading = _load(folder, dtype)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelFilesError(f"{spec.name} could not be loaded: {type(error).__name__}.") from error
        refuse_what_does_not_fit(spec.name, loading)
        self.text_ids = range(base)
        self.unit_ids = range(base, base + n_units)
        self.speech_tag, self.text_tag = base + n_units, base + n_units + 1
        if model.config.vocab_size <= self.text_tag:
            raise ModelFilesError(
                f"{spec.name} has {model.config.vocab_size} rows for {self.text_tag + 1} tokens: its tokenizer or "
                f"its {n_units} units belong to another model."
            )
        self.language_model: nn.Module = model.eval().requires_grad_(False)
        decoder = model.get_decoder()
        self.decoder_layers: nn.ModuleList = decoder.layers
        self.final_norm: nn.Module = decoder.norm
        self.unembedding: nn.Module = model.get_output_embeddings()
        self.embedding: nn.Module = model.get_input_embeddings()
        own_units = [folder / UNITS_FOLDER] if (folder / UNITS_FOLDER).is_dir() else []
        self.fingerprint = fingerprint([folder, *own_units])

    def encode(self, clip: AudioClip) -> Units:
        """Return a clip's units, repeats merged."""
        return self.units.encode(clip.samples)

    def hear(self, clip: AudioClip) -> Heard:
        """Return the embeddings of a clip's units, with the time at which each ends."""
        started = time.perf_counter()
        return self.hear_units(self.encode(clip), time.perf_counter() - started)

    @torch.inference_mode()
    def hear_units(self, units: Units, seconds: float = 0.0) -> Heard:
        """Return units as what was heard; `seconds` is what making them took."""
        started = time.perf_counter()
        ids = torch.from_numpy(units.ids) + self.unit_ids.start
        embeddings = self.embedding(ids)
        return Heard(embeddings, FRAME_S, "", (), seconds + time.perf_counter() - started, units.ends_s)

    def prepare(self, heard: Heard, instruction: str) -> Prepared:
        """Return "<speech> units <text> instruction"; an empty instruction leaves the text to the model."""
        words = text_ids(self.tokenizer, instruction) if instruction else []
        return self._around(heard, [self.text_tag, *words])

    def prepare_speech(self, heard: Heard) -> Prepared:
        """Return "<speech> units": the model goes on in speech, and states are read as it listens."""
        return self._around(heard, [])

    @torch.inference_mode()
    def _around(self, heard: Heard, after: list[int]) -> Prepared:
        # As the published tokenizers do: the base's own special tokens come first (Llama has one, Qwen none).
        before = [*self.tokenizer.encode("", add_special_tokens=True), self.speech_tag]
        pieces = (
            self.embedding(torch.tensor(before)),
            heard.embeddings,
            self.embedding(torch.tensor(after, dtype=torch.long)),
        )
        stop = len(before) + len(heard.embeddings)
        return Prepared(torch.cat(pieces)[None], (len(before), stop), heard)


def extend_vocabulary(tokenizer: PreTrainedTokenizerBase, n_units: int) -> int:
    """Append <Un0>.. and the two tags to a tokenizer unless it has them; returns the id of <Un0>.

    Raises:
        ValueError: it has some of them, in other places.
    """
    marks = [*(f"<Un{unit}>" for unit in range(n_units)), SPEECH_TAG, TEXT_TAG]
    known = tokenizer.get_vocab()
    if marks[0] not in known:
        tokenizer.add_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
        known = tokenizer.get_vocab()
    base = int(known[marks[0]])
    if [known.get(mark) for mark in marks] != list(range(base, base + len(marks))):
        raise ValueError("the units are not in a row")
    return base


def read_unit_config(folder: Path) -> dict[str, Any]:
    """Return the config of a unit language model.

    Raises:
        ModelFilesError: it is missing, damaged or of another kind.
    """
    config = read_config(folder)
    if config.get("model_type") != MODEL_TYPE or not isinstance(config.get("base_config"), dict):
        raise ModelFilesError(
            f"{folder.name}/config.json is not that of a {MODEL_TYPE} with its base_config; restore it."
        )
    return config


def _load(folder: Path, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """Return the plain causal LM, and what transformers says about the loading."""
    outer = read_unit_config(folder)
    base = {key: value for key, value in outer["base_config"].items() if key != "model_type"}
    # The inner size is that of the text model before it was given units.
    base["vocab_size"] = int(outer.get("vocab_size") or base["vocab_size"])
    config = AutoConfig.for_model(outer["base_config"]["model_type"], **base)
    tensors = from_eight_bits(read_tensors(folder))
    stray = [name for name in tensors if not name.startswith(PREFIX)]
    model, loading = build_causal_lm(config, under(tensors, PREFIX), dtype)
    return model, {**loading, "unexpected_keys": [*loading["unexpected_keys"], *stray]}
