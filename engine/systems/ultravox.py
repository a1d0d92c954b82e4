"""Ultravox: a Whisper encoder, a frame-stacking projector and a frozen text LLM that another system may share.

Our own implementation of the published architecture (fixie-ai/ultravox at 648efe7, v0.4 to v0.6). A checkpoint holds
its projector always, its audio tower whole (merged), as low-rank adapters on a Whisper's, or not at all; its language
model never. The base models are then those of `Bases`. The minis have its file layout.

ultravox-smollm2 has one thing more: its projector was taught letters, and `LetterReadout` hands them to the LLM as
expected embeddings of its own tokens. The audio encoder gives at each position a posterior over letters (CTC). An LLM
reads tokens, so the letters' posterior is read as one over tokens: every token that can be spelled is scored by how
well its spelling explains a stretch of sound, times how common it is. The stretches are those of the most probable
sequence of tokens; what is handed on for each is no token but the likeliest ones with their weights, of which the
backbone gets the expected embedding. Words that no training clip held can be heard too, of the same letters.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.errors import ModelFilesError
from engine.matching import read_config
from engine.systems.base import Heard
from engine.systems.catalogue import SystemSpec
from engine.systems.checkpoint import fingerprint, fold, read_tensors
from engine.systems.text_llm import OnBackbone, TextLLM, expected_embeddings, make_ears
from engine.systems.whisper import HOP_SAMPLES, encode_mel

TOWER = "audio_tower."
WHISPER_ENCODER = re.compile(r"(?:model\.)?encoder\.(.+)")
# Older files wrap the encoder in its model; a checkpoint written in training wraps it in peft's classes.
OLDER_TOWERS = ("audio_tower.model.encoder.", "audio_tower.base_model.model.")
LORA = re.compile(r"(.+)\.lora_([AB])\.(?:default\.)?weight")
# A config's settings of the readout that ultravox-smollm2 has between its projector and its language model.
LETTER_READOUT = "letter_readout"
NEEDED_KEYS = ("text_model_id", "hidden_size", "stack_factor")


@dataclass(frozen=True)
class Bases:
    """Where the base models lie that a published checkpoint names by their ids.

    Attributes:
        text: folder of the language model.
        audio: folder of the Whisper whose encoder is the tower, or that part of it which the checkpoint lacks; None for
            a checkpoint that holds its tower.
    """

    text: Path
    audio: Path | None = None


@dataclass(frozen=True)
class EarsFiles:
    """What was read.

    Attributes:
        config: the checkpoint's, with the tower's own settings under "audio_config".
        tensors: by the names `audio_tower.*` and `multi_modal_projector.*`, adapters folded in.
        folders: whose weights these are, in order.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    folders: tuple[Path, ...]


def read_ears(folder: Path, bases: Bases | None, name: str) -> EarsFiles:
    """Return config and tensors of a checkpoint's audio tower and projector.

    Args:
        folder: of the checkpoint.
        bases: where its base models lie; None for one whose tower is its own.
        name: of the system, for errors.

    Raises:
        ModelFilesError: a file is missing or damaged, or the checkpoint is of a kind that would be read wrongly.
    """
    audio = bases.audio if bases else None
    config = read_ears_config(folder, audio)
    tensors: dict[str, Tensor] = {}
    for found, tensor in read_tensors(folder).items():
        ours = _our_name(found)
        if ours in tensors:
            raise ModelFilesError(f"{name} holds tensor {ours} under two names; restore {folder.name}.")
        tensors[ours] = tensor
    adapters = {key: tensors.pop(key) for key in list(tensors) if LORA.fullmatch(key)}
    folders: tuple[Path, ...] = (folder,)
    if LETTER_READOUT in config and audio is not None:
        tensors = _whisper_encoder(audio) | tensors
        folders = (folder, audio)
    elif not any(key.startswith(TOWER) for key in tensors):
        if audio is None:
            model = str(config.get("audio_model_id") or "a Whisper")[:60]
            raise ModelFilesError(
                f"{name} has no audio tower of its own; say where the folder of {model} is."
            )
        if _rank(config, "audio_model_lora_config") and not adapters:
            raise ModelFilesError(
                f"{name} was trained with adapters on its audio tower and holds neither; restore it."
            )
        tensors |= _whisper_encoder(audio)
        folders = (folder, audio)
    _fold_adapters(tensors, adapters, config, name)
    return EarsFiles(config, tensors, folders)


def read_ears_config(folder: Path, audio: Path | None = None) -> dict[str, Any]:
    """Return a checkpoint's config with the tower's settings in it; `audio` is the Whisper's folder, if any.

    Raises:
        ModelFilesError: it is missing or damaged, lacks a key, or asks for what is not built here.
    """
    config = read_config(folder)
    for key in NEEDED_KEYS:
        if key not in config:
            raise ModelFilesError(f"{folder.name}/config.json lacks {key}.")
    # As in the published classes: a named model wins over inline settings.
    if config.get("audio_model_id") and audio is not None:
        config["audio_config"] = read_config(audio)
    if not isinstance(config.get("audio_config"), dict):
        if config.get("audio_model_id"):
            model = str(config["audio_model_id"])[:60]
            raise ModelFilesError(
                f"{folder.name} takes its audio tower from {model}; say where its folder is."
            )
        raise ModelFilesError(f"{folder.name}/config.json lacks audio_config.")
    activation = config.get("projector_act", "swiglu")
    if activation != "swiglu":
        raise ModelFilesError(
            f"{folder.name}: its projector uses {str(activation)[:40]}, only swiglu is known here."
        )
    if _rank(config, "text_model_lora_config"):
        raise ModelFilesError(
            f"{folder.name} has adapters on its language model, which are not known here; take a version without."
        )
    return config


def read_feature_extractor(folder: Path, bases: Bases | None, n_mels: int) -> WhisperFeatureExtractor:
    """Return the checkpoint's feature extractor, or that of its Whisper where it has none.

    Raises:
        ModelFilesError: neither has one, or it makes another number of mel bands than the tower takes.
    """
    places = [folder, *([bases.audio] if bases and bases.audio else [])]
    place = next((one for one in places if (one / "preprocessor_config.json").exists()), None)
    if place is None:
        raise ModelFilesError(
            f"{folder.name} lacks preprocessor_config.json; put that of its Whisper beside the weights."
        )
    try:
        features: WhisperFeatureExtractor = WhisperFeatureExtractor.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise ModelFilesError(f"{place.name}/preprocessor_config.json is damaged; restore it.") from error
    if features.feature_size != n_mels:
        raise ModelFilesError(
            f"{place.name}/preprocessor_config.json makes {features.feature_size} mel bands, the audio tower "
            f"takes {n_mels}; restore it."
        )
    return features


def _our_name(name: str) -> str:
    for older in OLDER_TOWERS:
        if name.startswith(older):
            name = TOWER + name[len(older) :]
    return name.replace(".base_layer.", ".") if name.startswith(TOWER) else name


def _whisper_encoder(audio: Path) -> dict[str, Tensor]:
    """Return the encoder's tensors of a Whisper checkpoint; its decoder is not read."""
    found = read_tensors(audio, lambda name: WHISPER_ENCODER.fullmatch(name) is not None)
    return {TOWER + _after(WHISPER_ENCODER, name): tensor for name, tensor in found.items()}


def _after(pattern: re.Pattern[str], name: str) -> str:
    match = pattern.fullmatch(name)
    assert match is not None
    return match.group(1)


def _fold_adapters(
    tensors: dict[str, Tensor], adapters: Mapping[str, Tensor], config: Mapping[str, Any], name: str
) -> None:
    """Add alpha / r x B A to each adapted weight, in place; every factor must fit and have its partner."""
    rank = _rank(config, "audio_model_lora_config")
    for key, down in adapters.items():
        target, factor = LORA.fullmatch(key).groups()  # type: ignore[union-attr]
        partner = key.replace(f".lora_{factor}.", f".lora_{'BA'['AB'.index(factor)]}.")
        weight = tensors.get(f"{target}.weight")
        if weight is None:
            raise ModelFilesError(f"{name} has an unexpected tensor {key}.")
        if partner not in adapters:
            raise ModelFilesError(f"{name} lacks tensor {partner}.")
        if factor == "B":
            continue
        up = adapters[partner]
        if (*down.shape, *up.shape) != (rank, weight.shape[1], weight.shape[0], rank):
            raise ModelFilesError(f"{name} does not fit its config: {key} is not of rank {rank}.")
        alpha = float(config["audio_model_lora_config"].get("lora_alpha", 8))
        tensors[f"{target}.weight"] = fold(weight, down, up, alpha / rank)


def _rank(config: Mapping[str, Any], key: str) -> int:
    """Return the rank of a part's adapters; 0 is none."""
    settings = config.get(key)
    return int(settings.get("r", 0)) if isinstance(settings, Mapping) else 0


LETTERS = " abcdefghijklmnopqrstuvwxyz'"
SYMBOLS = 1 + len(LETTERS)  # CTC's blank is symbol 0
BLANK, SPACE = 0, 1
_NEVER = np.float32(-1e9)


@dataclass(frozen=True)
class TokenPosterior:
    """The stretches of a clip with the tokens that each may hold.

    Attributes:
        tokens: the likeliest token ids of each stretch, most likely first.
        weights: their probabilities, each row summing to 1.
        starts, ends: first position of a stretch and the one after its last.
    """

    tokens: Int[np.ndarray, "stretches candidates"]
    weights: Float[np.ndarray, "stretches candidates"]
    starts: Int[np.ndarray, "stretches"]  # noqa: F821 - jaxtyping axis name
    ends: Int[np.ndarray, "stretches"]  # noqa: F821


class LetterReadout:
    """The spellings of a tokenizer's tokens as a tree, and the search over it.

    Args:
        tokenizer: byte-level BPE whose ids follow the order of its merges, so that a token's id tells how common it is
            (Zipf: probability about 1 / id).
        prior_scale: weight of how common a token is, against what is heard.
        token_bonus: nats for each token of the sequence; a low one joins words, a high one splits them.
        blank_penalty: nats taken off CTC's blank at each position: an encoder that is unsure leaves letters out.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prior_scale: float = 1.0,
        token_bonus: float = 0.0,
        blank_penalty: float = 0.0,
    ) -> None:
        self._blank_penalty = blank_penalty
        spellings = _spellings(tokenizer)
        nodes: dict[str, int] = {"": 0}
        ids: list[list[int]] = [[]]
        # Breadth first, so that a node's parent stands before it and the arrays are read almost in order.
        for prefix in sorted(
            {s[:n] for s in spellings for n in range(1, len(s) + 1)}, key=lambda s: (len(s), s)
        ):
            nodes[prefix] = len(nodes)
            ids.append(spellings.get(prefix, []))
        names = list(nodes)
        self._parent = np.array([0, *(nodes[name[:-1]] for name in names[1:])], np.int32)
        self._symbol = np.array([0, *(1 + LETTERS.index(name[-1]) for name in names[1:])], np.int32)
        # CTC needs a blank between two equal letters.
        self._is_repeat = self._symbol == self._symbol[self._parent]
        self._ends = np.array([node for node, found in enumerate(ids) if found], np.int32)
        self._tokens = np.array([token for node in self._ends for token in ids[node]], np.int64)
        self._token_node = np.array([node for node in self._ends for _ in ids[node]], np.int32)
        # Spellings compete by the scaled prior; the ways to write one spelling (the, The) share its probability.
        common = 1.0 / (self._tokens + 100.0)
        first = np.concatenate([[0], np.cumsum([len(ids[node]) for node in self._ends])[:-1]])
        total = np.add.reduceat(common, first)
        self._end_prior = (prior_scale * np.log(total / total.sum()) + token_bonus).astype(np.float32)
        per_token = np.repeat(np.arange(len(first)), np.diff([*first, len(common)]))
        self._token_prior = (self._end_prior[per_token] + np.log(common / total[per_token])).astype(
            np.float32
        )

    def read(
        self,
        log_probabilities: Float[np.ndarray, "positions symbols"],
        *,
        temperature: float = 1.0,
        candidates: int = 50,
    ) -> TokenPosterior:
        """Return the tokens that letters spell.

        Args:
            log_probabilities: of blank, space, a to z and the apostrophe at each position, natural logarithm.
            temperature: below 1 sharpens a stretch's posterior towards its likeliest token.
            candidates: how many tokens of a stretch are kept.
        """
        # A clip begins with a word: a space is put before it.
        lead = np.full((1, SYMBOLS), _NEVER, np.float32)
        lead[0, SPACE] = 0.0
        scores = np.concatenate([lead, log_probabilities.astype(np.float32)])
        scores[:, BLANK] -= self._blank_penalty
        bounds = self._segment(scores)
        tokens, weights = [], []
        for start, end in bounds:
            node_scores = self._spelled(scores[start:end])
            found = node_scores[self._token_node] + self._token_prior
            best = np.argpartition(-found, candidates)[:candidates]
            best = best[np.argsort(-found[best])]
            share = np.exp((found[best] - found[best[0]]) / temperature)
            tokens.append(self._tokens[best])
            weights.append(share / share.sum())
        shape = (len(bounds), candidates)
        edges = np.array(bounds, np.int64).reshape(-1, 2) - 1
        return TokenPosterior(
            np.array(tokens, np.int64).reshape(shape),
            np.array(weights, np.float32).reshape(shape),
            edges[:, 0].clip(0),
            edges[:, 1],
        )

    def _step(
        self, ended: np.ndarray, blank: np.ndarray, row: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the best scores of paths that end in each node's letter, from where each came (0 stays, 1 moves)."""
        came = np.where(self._is_repeat, blank[self._parent], np.maximum(blank, ended)[self._parent])
        moves = came > ended
        return np.where(moves, came, ended) + row[self._symbol], np.maximum(blank, ended) + row[0], moves

    def _spelled(self, scores: np.ndarray) -> np.ndarray:
        """Return each node's best log-likelihood of being spelled by exactly these positions."""
        ended = np.full(len(self._parent), _NEVER, np.float32)
        blank = ended.copy()
        blank[0] = 0.0
        for row in scores:
            ended, blank, _ = self._step(ended, blank, row)
            ended[0] = _NEVER
        return np.maximum(ended, blank)

    def _segment(self, scores: np.ndarray) -> list[tuple[int, int]]:
        """Return the stretches of the most probable sequence of tokens, each as (first row, row after the last)."""
        n_nodes = len(self._parent)
        ended = np.full(n_nodes, _NEVER, np.float32)
        blank = ended.copy()
        blank[0] = 0.0
        ended_since = np.zeros(n_nodes, np.int32)
        blank_since = np.zeros(n_nodes, np.int32)
        best_end = np.full(len(scores) + 1, _NEVER, np.float32)
        came_from = np.zeros(len(scores) + 1, np.int32)
        best_end[0] = 0.0
        for place, row in enumerate(scores):
            stays_letter = ended > blank
            moved_since = np.where(
                self._is_repeat,
                blank_since[self._parent],
                np.where(stays_letter, ended_since, blank_since)[self._parent],
            )
            new_ended, new_blank, moves = self._step(ended, blank, row)
            blank_since = np.where(stays_letter, ended_since, blank_since)
            ended_since = np.where(moves, moved_since, ended_since)
            ended, blank = new_ended, new_blank
            ended[0] = _NEVER
            in_letter, in_blank = ended[self._ends] + self._end_prior, blank[self._ends] + self._end_prior
            # A next token starts at the root as after a blank; the space that leads most tokens parts equal letters.
            total = np.maximum(in_letter, in_blank)
            winner = int(total.argmax())
            node = self._ends[winner]
            best_end[place + 1] = total[winner]
            came_from[place + 1] = (ended_since if in_letter[winner] >= in_blank[winner] else blank_since)[
                node
            ]
            blank[0], blank_since[0] = best_end[place + 1], place + 1
        bounds = []
        place = len(scores)
        while place > 0:
            bounds.append((int(came_from[place]), place))
            place = int(came_from[place])
        return bounds[::-1]


def _spellings(tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    """Return the tokens of each spelling in lower case: letters and apostrophes, a space before or not."""
    found: dict[str, list[int]] = {}
    for token in range(len(tokenizer)):
        text = str(tokenizer.decode([token])).lower()
        if (
            text.strip()
            and len(text.strip()) + 1 >= len(text)
            and set(text) <= set(LETTERS)
            and not text.endswith(" ")
        ):
            found.setdefault(text, []).append(token)
    return found


SHORTEST_SAMPLES = 320
RMS_EPSILON = 1e-6


class RMSNorm(nn.Module):
    """x * weight / rms(x), computed in float32."""

    def __init__(self, width: int, init: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), init))

    def forward(self, states: Tensor) -> Tensor:
        """Return the normed states in their own dtype."""
        exact = states.float()
        normed = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + RMS_EPSILON)
        return (self.weight * normed.to(self.weight.dtype)).to(states.dtype)


class UltravoxProjector(nn.Module):
    """Stacked encoder frames to backbone embeddings: norm, linear, SwiGLU, norm, linear (v0.5 order).

    With `ln_mid` False the last norm comes after the second linear map, as up to v0.4.1. No biases.
    """

    def __init__(
        self, d_audio: int, d_text: int, *, hidden: int, stack_factor: int, ln_mid: bool, norm_init: float
    ) -> None:
        super().__init__()
        self.stack_factor = stack_factor
        self.ln_pre = RMSNorm(d_audio * stack_factor, norm_init)
        self.linear_1 = nn.Linear(d_audio * stack_factor, hidden, bias=False)
        self.linear_2 = nn.Linear(hidden // 2, d_text, bias=False)
        self.ln_mid = RMSNorm(hidden // 2, norm_init) if ln_mid else None
        self.ln_post = None if ln_mid else RMSNorm(d_text, norm_init)

    def forward(self, frames: Float[Tensor, "clips frames d_audio"]) -> Float[Tensor, "clips tokens d_text"]:
        """Return ceil(frames / stack_factor) embeddings for each clip."""
        clips, n_frames, width = frames.shape
        frames = nn.functional.pad(frames, (0, 0, 0, -n_frames % self.stack_factor))
        stacked = frames.reshape(clips, -1, width * self.stack_factor)
        value, gate = self.linear_1(self.ln_pre(stacked)).chunk(2, dim=-1)
        hidden = nn.functional.silu(gate) * value
        if self.ln_mid is not None:
            hidden = self.ln_mid(hidden)
        out: Tensor = self.linear_2(hidden)
        return out if self.ln_post is None else self.ln_post(out)


class UltravoxEars(nn.Module):
    """Audio tower and projector: the part of Ultravox that is trained."""

    def __init__(self, config: dict[str, Any], d_text: int) -> None:
        super().__init__()
        audio = WhisperConfig(**config["audio_config"])
        self.audio_tower = WhisperEncoder(audio)
        # Encoder states, though the published training files speak of 10 ms frames: the code counts states.
        self.block: int | None = config.get("audio_latency_block_size")
        self.multi_modal_projector = UltravoxProjector(
            audio.d_model,
            d_text,
            hidden=config["hidden_size"],
            stack_factor=config["stack_factor"],
            # Checkpoints older than v0.5 do not have the key and norm after the second map.
            ln_mid=config.get("projector_ln_mid", False),
            norm_init=config.get("norm_init", 0.4),
        )
        if LETTER_READOUT in config:
            self.ctc_head = nn.Linear(d_text, SYMBOLS)

    def forward(
        self,
        mel: Float[Tensor, "clips mels frames"],
        mel_lengths: Int[Tensor, "clips"],  # noqa: F821
        *,
        keep_beyond: bool = False,
    ) -> Float[Tensor, "clips tokens d_text"]:
        """Return embeddings; a clip's own are its first `token_counts`.

        `keep_beyond` fills a clip's last stack with the states of the padding, as the published code does.
        """
        states = encode_mel(self.audio_tower, mel, mel_lengths, block=self.block)
        if keep_beyond:
            kept: Tensor = self.multi_modal_projector(states)
            return kept
        valid = (mel_lengths - 1) // 2 + 1
        beyond = torch.arange(states.shape[1], device=states.device)[None] >= valid[:, None]
        # Alone, a clip's last stack is filled with zeros; the same in a batch, so that batch equals single.
        out: Tensor = self.multi_modal_projector(states.masked_fill(beyond[..., None], 0.0))
        return out

    def token_counts(self, mel_lengths: Int[Tensor, "clips"]) -> Int[Tensor, "clips"]:  # noqa: F821
        """Return ceil(mel frames / (2 x stack factor)) for each clip."""
        per_token = 2 * self.multi_modal_projector.stack_factor
        return -(-mel_lengths // per_token)


class Ultravox(OnBackbone):
    """A speech LLM on a shared backbone; see `engine.systems.base.WhiteBoxSystem` for the attributes.

    With `bases` it is a published checkpoint, whose base models lie there, and hears bit by bit as the published
    code does, which pads what follows the first window; without, one of ours, trained on padding of zeros.
    """

    def __init__(self, spec: SystemSpec, folder: Path, backbone: TextLLM, bases: Bases | None = None) -> None:
        super().__init__(spec, backbone)
        files = read_ears(folder, bases, spec.name)
        embedding = cast(Tensor, backbone.embedding.weight)
        self.ears = make_ears(
            lambda: UltravoxEars(files.config, int(embedding.shape[1])), files.tensors, backbone, spec.name
        )
        tower = self.ears.audio_tower
        self._features = read_feature_extractor(folder, bases, int(tower.conv1.in_channels))
        self._window_frames = 2 * int(tower.embed_positions.weight.shape[0])
        if self.ears.block is not None and self._window_frames % self.ears.block:
            raise ModelFilesError(
                f"{spec.name}: audio_latency_block_size {self.ears.block} does not divide the window of "
                f"{self._window_frames} frames; restore config.json."
            )
        settings = files.config.get(LETTER_READOUT)
        self._letters = settings and LetterReadout(
            backbone.tokenizer, **{name: value for name, value in settings.items() if name != "temperature"}
        )
        self.temperature = settings["temperature"] if settings else 1.0
        self._published = bases is not None and settings is None
        if settings is None:
            text = bases.text if bases else folder.parent / files.config["text_model_id"]
            self.fingerprint = fingerprint([*files.folders, text])
        else:  # the readout shapes the states too
            named = (
                f"{fingerprint(files.folders)}|{backbone.fingerprint}|{json.dumps(settings, sort_keys=True)}"
            )
            self.fingerprint = hashlib.sha256(named.encode()).hexdigest()

    @property
    def seconds_per_position(self) -> float:
        """Clock width of one audio position: two mel frames a state, `stack_factor` states a position."""
        return 2 * self.frames_per_position * HOP_SAMPLES / SAMPLE_RATE_HZ

    @property
    def frames_per_position(self) -> int:
        """Encoder states that make one audio position."""
        return self.ears.multi_modal_projector.stack_factor

    @torch.inference_mode()
    def hear(self, clip: AudioClip) -> Heard:
        """Return the projected embeddings of a clip; longer ones are heard window by window."""
        started = time.perf_counter()
        mel, n_frames = self.features(clip.samples)
        pieces = []
        for start in range(0, n_frames, self._window_frames):
            chunk = mel[:, start : min(n_frames, start + self._window_frames)]
            length = torch.tensor([chunk.shape[-1]], device=chunk.device)
            chunk = self._filled(chunk, is_first=start == 0)
            embedded = self.ears(chunk[None], length, keep_beyond=self._published)
            pieces.append(embedded[0, : int(self.ears.token_counts(length)[0])])
        projected = torch.cat(pieces)
        if self._letters is None:
            return Heard(projected, self.seconds_per_position, "", (), time.perf_counter() - started)
        embeddings, ends_s = self._read_letters(projected)
        # The mean width: positions are as long as words are said.
        width_s = clip.duration_s / len(ends_s)
        return Heard(embeddings, width_s, "", (), time.perf_counter() - started, ends_s)

    def _read_letters(self, projected: Tensor) -> tuple[Float[Tensor, "tokens d_text"], np.ndarray]:
        """Return what the letters' posterior says in the LLM's own tokens, and when each of these ends, in seconds."""
        assert self._letters is not None
        log_probabilities = self.ears.ctc_head(projected).float().log_softmax(-1)
        found = self._letters.read(log_probabilities.cpu().numpy(), temperature=self.temperature)
        table = cast(Tensor, self.backbone.embedding.weight)
        tokens, weights = (torch.from_numpy(one).to(table.device) for one in (found.tokens, found.weights))
        return expected_embeddings(table, tokens, weights), found.ends * self.seconds_per_position

    @torch.inference_mode()
    def frames(self, samples: np.ndarray) -> Float[Tensor, "frames d_audio"]:
        """Return the audio tower's normed states of one clip of at most one window, 20 ms each."""
        mel, n_frames = self.features(samples)
        filled = self._filled(mel, is_first=True)
        length = torch.tensor([n_frames], device=mel.device)
        return encode_mel(self.ears.audio_tower, filled[None], length, block=self.ears.block)[0]

    def features(self, samples: np.ndarray) -> tuple[Float[Tensor, "mels frames"], int]:
        """Return log-mel features of 16 kHz samples and their number of 10 ms frames; not padded to a window."""
        padded = np.pad(samples, (0, max(0, SHORTEST_SAMPLES - len(samples))))
        features = self._features(
            padded,
            sampling_rate=SAMPLE_RATE_HZ,
            padding="longest",
            pad_to_multiple_of=HOP_SAMPLES,
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        )
        n_frames = -(-len(padded) // HOP_SAMPLES)
        weight = self.ears.audio_tower.conv1.weight
        return features.input_features[0][:, :n_frames].to(weight.device, weight.dtype), n_frames

    def _filled(self, mel: Float[Tensor, "mels frames"], *, is_first: bool) -> Float[Tensor, "mels filled"]:
        """Return one window's features with the frames behind them that its encoder was trained to see."""
        n_frames = mel.shape[-1]
        if not self._published:
            return nn.functional.pad(mel, (0, n_frames % 2))
        return mel if is_first else nn.functional.pad(mel, (0, self._window_frames - n_frames))
