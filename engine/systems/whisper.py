"""Whisper in transformers' modules, every layer, the posterior and the cross-attention in reach.

Its encoder takes clips of any length up to its window, as speech LLMs use it; its weights come from a transformers
folder or from a CTranslate2 file, whose library hands out the encoder's last states and the likeliest tokens alone.
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder
from transformers.models.whisper.modeling_whisper import WhisperDecoder, WhisperEncoder

from engine.audio import SAMPLE_RATE_HZ
from engine.ctranslate2_file import n_layers, read_arrays
from engine.errors import ModelFilesError
from engine.systems.checkpoint import load_strictly, read_tensors, under

Encoder = WhisperEncoder | Qwen2AudioEncoder


def encode_mel(
    encoder: Encoder,
    mel: Float[Tensor, "clips mels frames"],
    mel_lengths: Int[Tensor, "clips"] | None = None,  # noqa: F821 - jaxtyping axis name
    *,
    block: int | None = None,
) -> Float[Tensor, "clips positions d_audio"]:
    """Return encoder states, one for two mel frames (20 ms), final layer norm applied.

    Args:
        encoder: a transformers encoder of Whisper's build.
        mel: log-mel features, 10 ms a frame, at most the encoder's window.
        mel_lengths: valid frames of each clip; positions beyond (length - 1) // 2 + 1 are hidden from
            attention as in Ultravox's modified encoder. None attends everywhere, as Whisper does.
        block: states to a block; a state attends to its own block and those before it, as in Ultravox's
            encoder for streams (`audio_latency_block_size`). None attends to all.

    Raises:
        ValueError: more frames than the encoder has positions for.
    """
    normed: Tensor = encoder.layer_norm(unnormed_states(encoder, mel, mel_lengths, block=block))
    return normed


def unnormed_states(
    encoder: Encoder,
    mel: Float[Tensor, "clips mels frames"],
    mel_lengths: Int[Tensor, "clips"] | None,  # noqa: F821
    *,
    block: int | None = None,
) -> Float[Tensor, "clips positions d_audio"]:
    """Return the last layer's states before the final norm; arguments and errors as for `encode_mel`."""
    (last,) = deque(layer_states(encoder, mel, mel_lengths, block=block), maxlen=1)
    return last


def layer_states(
    encoder: Encoder,
    mel: Float[Tensor, "clips mels frames"],
    mel_lengths: Int[Tensor, "clips"] | None,  # noqa: F821
    *,
    block: int | None = None,
) -> Iterator[Float[Tensor, "clips positions d_audio"]]:
    """Yield what the first layer receives, then each layer's states before any norm; arguments as `encode_mel`."""
    hidden = nn.functional.gelu(encoder.conv1(mel))
    hidden = nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
    n_positions = hidden.shape[1]
    if n_positions > encoder.embed_positions.weight.shape[0]:
        raise ValueError(
            f"{mel.shape[-1]} mel frames exceed the window of {2 * encoder.embed_positions.weight.shape[0]}"
        )
    hidden = hidden + encoder.embed_positions.weight[:n_positions]
    mask = None
    if mel_lengths is not None:
        valid = (mel_lengths - 1) // 2 + 1
        keys = torch.arange(n_positions, device=mel.device)[None] < valid[:, None]
        mask = keys[:, None, None, :].expand(-1, 1, n_positions, -1)
    if block is not None:
        blocks = torch.arange(n_positions, device=mel.device) // block
        past = (blocks[None, :] <= blocks[:, None])[None, None]
        mask = past if mask is None else mask & past
    yield hidden
    for layer in encoder.layers:
        out = layer(hidden, mask)
        hidden = out if torch.is_tensor(out) else out[0]
        yield hidden


def check_window(features_samples: int, tower_samples: int, name: str) -> None:
    """Refuse a feature extractor whose window is not the tower's, both in samples.

    Raises:
        ModelFilesError: they differ.
    """
    if features_samples != tower_samples:
        raise ModelFilesError(
            f"{name}: the feature extractor's window is {features_samples:,} samples, the audio "
            f"tower's {tower_samples:,}; restore preprocessor_config.json."
        )


_NORM = {"gamma": "weight", "beta": "bias"}
_END_TOKEN, _START_TOKEN = "<|endoftext|>", "<|startoftranscript|>"


def whisper_config(arrays: dict[str, np.ndarray]) -> WhisperConfig:
    """Return the shape of a Whisper as its arrays have it; special tokens are left to the tokenizer."""
    positions, width = arrays["encoder/position_encodings/encodings"].shape
    shape: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        shape |= {
            f"{side}_layers": n_layers(arrays, side),
            f"{side}_attention_heads": int(arrays[f"{side}/num_heads"]),
            f"{side}_ffn_dim": arrays[f"{side}/layer_0/ffn/linear_0/weight"].shape[0],
        }
    return WhisperConfig(
        d_model=width,
        num_mel_bins=arrays["encoder/conv1/weight"].shape[1],
        max_source_positions=positions,
        max_target_positions=arrays["decoder/position_encodings/encodings"].shape[0],
        vocab_size=arrays["decoder/embeddings/weight"].shape[0],
        **shape,
    )


def encoder_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Return the encoder's tensors, float32, under the names of transformers' WhisperEncoder."""
    found = _layers(arrays, "encoder")
    for conv in ("conv1", "conv2"):
        found |= {f"{conv}.{part}": arrays[f"encoder/{conv}/{part}"] for part in ("weight", "bias")}
    return _as_tensors(found)


def decoder_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Return the decoder's tensors, float32, under the names of transformers' WhisperDecoder."""
    return _as_tensors(
        _layers(arrays, "decoder") | {"embed_tokens.weight": arrays["decoder/embeddings/weight"]}
    )


def write_whisper_as_transformers(source: Path, target: Path) -> None:
    """Write a whole Whisper as transformers keeps it: config, weights, tokenizer, features, generation settings.

    The weights are those of the file, number for number: float16 where all of them are, else float32.

    Args:
        source: folder of a CTranslate2 Whisper with its config.json and tokenizer.json.
        target: an empty folder.

    Raises:
        ModelFilesError: a file is missing or damaged, or does not fit the others.
    """
    arrays = read_arrays(source / "model.bin")
    settings = _read_json(source / "config.json")
    tokens = {
        token["content"]: int(token["id"]) for token in _read_json(source / "tokenizer.json")["added_tokens"]
    }
    try:
        end, start = tokens[_END_TOKEN], tokens[_START_TOKEN]
        generation = _generation_settings(settings, tokens)
    except KeyError as error:
        raise ModelFilesError(f"{source.name} lacks {error.args[0]}; fetch it again.") from error
    config = whisper_config(arrays)
    config.bos_token_id = config.eos_token_id = config.pad_token_id = end
    config.decoder_start_token_id = start
    config.suppress_tokens = config.begin_suppress_tokens = None
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    tensors = {f"model.encoder.{name}": tensor for name, tensor in encoder_tensors(arrays).items()}
    tensors |= {f"model.decoder.{name}": tensor for name, tensor in decoder_tensors(arrays).items()}
    if all(torch.equal(tensor.half().float(), tensor) for tensor in tensors.values()):
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
    tied = {"proj_out.weight": tensors["model.decoder.embed_tokens.weight"]}
    load_strictly(model, tensors | tied, source.name, assign=True)
    model.tie_weights()
    model.config.dtype = next(iter(tensors.values())).dtype
    model.generation_config = GenerationConfig(**generation)
    model.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(target)
    shutil.copyfile(source / "tokenizer.json", target / "tokenizer.json")
    names = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), _END_TOKEN)
    described = {"tokenizer_class": "WhisperTokenizer", "clean_up_tokenization_spaces": False, **names}
    (target / "tokenizer_config.json").write_text(json.dumps(described, indent=2), encoding="utf-8")


def _generation_settings(settings: dict[str, Any], tokens: dict[str, int]) -> dict[str, Any]:
    """Return what transformers' Whisper needs to decode as its makers do."""
    languages = {name: index for name, index in tokens.items() if index in set(settings["lang_ids"])}
    # A vocabulary of English alone has the marks of languages too; its prompt names none.
    is_multilingual = tokens[_END_TOKEN] != ENGLISH_END
    found: dict[str, Any] = {
        "alignment_heads": settings["alignment_heads"],
        "suppress_tokens": settings["suppress_ids"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
        "no_timestamps_token_id": tokens["<|notimestamps|>"],
        "prev_sot_token_id": tokens["<|startofprev|>"],
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "return_timestamps": False,
        "is_multilingual": is_multilingual,
        "bos_token_id": tokens[_END_TOKEN],
        "eos_token_id": tokens[_END_TOKEN],
        "pad_token_id": tokens[_END_TOKEN],
        "decoder_start_token_id": tokens[_START_TOKEN],
    }
    if is_multilingual:
        found["lang_to_id"] = languages
        found["task_to_id"] = {task: tokens[f"<|{task}|>"] for task in ("transcribe", "translate")}
    return found


ENGLISH_END = 50_256  # the end token of the vocabulary of English alone; the other's is one piece behind


def _layers(arrays: dict[str, np.ndarray], side: str) -> dict[str, np.ndarray]:
    """Return one side's blocks, positions and last norm under transformers' names; keys have no bias in either."""
    found = {"embed_positions.weight": arrays[f"{side}/position_encodings/encodings"]}
    norms = {"layer_norm": f"{side}/layer_norm"}
    for layer in range(n_layers(arrays, side)):
        ours, theirs = f"layers.{layer}", f"{side}/layer_{layer}"
        norms[f"{ours}.self_attn_layer_norm"] = f"{theirs}/self_attention/layer_norm"
        norms[f"{ours}.final_layer_norm"] = f"{theirs}/ffn/layer_norm"
        found |= _attention(arrays, f"{ours}.self_attn", f"{theirs}/self_attention", (3,))
        if side == "decoder":
            norms[f"{ours}.encoder_attn_layer_norm"] = f"{theirs}/attention/layer_norm"
            found |= _attention(arrays, f"{ours}.encoder_attn", f"{theirs}/attention", (1, 2))
        for part in ("weight", "bias"):
            found[f"{ours}.fc1.{part}"] = arrays[f"{theirs}/ffn/linear_0/{part}"]
            found[f"{ours}.fc2.{part}"] = arrays[f"{theirs}/ffn/linear_1/{part}"]
    for ours, theirs in norms.items():
        found |= {f"{ours}.{_NORM[part]}": arrays[f"{theirs}/{part}"] for part in _NORM}
    return found


def _attention(
    arrays: dict[str, np.ndarray], ours: str, theirs: str, joined: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return one attention's maps; `joined` says how many of query, key and value each array holds in a row."""
    found: dict[str, np.ndarray] = {}
    for part in ("weight", "bias"):
        pieces = [
            piece
            for place, n_pieces in enumerate(joined)
            for piece in np.split(arrays[f"{theirs}/linear_{place}/{part}"], n_pieces)
        ]
        names = ("q_proj", "k_proj", "v_proj")
        found |= {f"{ours}.{name}.{part}": piece for name, piece in zip(names, pieces, strict=True)}
        found[f"{ours}.out_proj.{part}"] = arrays[f"{theirs}/linear_{len(joined)}/{part}"]
    assert not found.pop(f"{ours}.k_proj.bias").any(), "a key's bias would be lost"
    return found


def _as_tensors(found: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array, np.float32)) for name, array in found.items()}


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFilesError(f"{file.parent.name} has no readable {file.name}; fetch it again.") from error
    return found


HOP_SAMPLES = 160


class WhisperEars:
    """A Whisper encoder, float32; it hears whole windows, silence included, as the transcriber does.

    Attributes:
        encoder: transformers' module with the transcriber's weights.
    """

    seconds_per_position = 2 * HOP_SAMPLES / SAMPLE_RATE_HZ

    def __init__(self, folder: Path) -> None:
        arrays = read_arrays(folder / "model.bin")
        self.encoder = WhisperEncoder(whisper_config(arrays))
        load_strictly(self.encoder, encoder_tensors(arrays), folder.name)
        self.encoder.float().eval().requires_grad_(False)
        self._features = WhisperFeatureExtractor.from_pretrained(folder)

    @torch.inference_mode()
    def layer_states(self, samples: np.ndarray) -> dict[int, Float[Tensor, "frames d_audio"]]:
        """Return the states of one clip of at most one window, 20 ms each: 0 is what the first layer receives."""
        mel, n_frames = self.features(samples)
        valid = (n_frames - 1) // 2 + 1
        return {n: states[0, :valid] for n, states in enumerate(layer_states(self.encoder, mel[None], None))}

    def features(self, samples: np.ndarray) -> tuple[Float[Tensor, "mels frames"], int]:
        """Return the whole window's log-mel features, and how many frames of 10 ms are the clip's."""
        features = self._features(
            samples, sampling_rate=SAMPLE_RATE_HZ, padding="max_length", return_tensors="pt"
        )
        return features.input_features[0], max(1, -(-len(samples) // HOP_SAMPLES))


SECONDS_PER_STATE = 0.02
MEDIAN_WIDTH = 7  # states, as Whisper's own word timestamps smooth attention
_ENCODER, _DECODER = "model.encoder.", "model.decoder."
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class WindowHeard:
    """One window's transcript as Whisper wrote it.

    Attributes:
        tokens: text tokens, in order; at least one, for Whisper may not end before it has begun.
        logits: at each of them, before it was chosen; -inf for all that is not text.
        ends_s: when each ends within the window; rising, at most the sound's length.
    """

    tokens: Int[Tensor, "positions"]  # noqa: F821 - jaxtyping axis name
    logits: Float[Tensor, "positions vocab"]
    ends_s: Float[np.ndarray, "positions"]  # noqa: F821


class WhisperDecoding(nn.Module):
    """Encoder and decoder of a multilingual or English Whisper in a transformers folder.

    Attributes:
        encoder, decoder: transformers' modules; the decoder's embedding is its head too.
        tokenizer: Whisper's own.
        window_samples: of one window.
        n_tokens: of the vocabulary, special tokens included.

    Raises:
        ModelFilesError: a file is missing or damaged.
    """

    def __init__(
        self, folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device = _CPU
    ) -> None:
        super().__init__()
        try:
            config = WhisperConfig.from_pretrained(folder)
            settings = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
            self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
            self.features = WhisperFeatureExtractor.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ModelFilesError(f"{folder.name} lacks files of a Whisper; fetch it again.") from error
        with torch.device("meta"):
            self.encoder: WhisperEncoder = WhisperEncoder._from_config(config, attn_implementation="sdpa")
            self.decoder: WhisperDecoder = WhisperDecoder._from_config(config, attn_implementation="eager")
        tensors = {
            name: t.to(device, dtype) for name, t in read_tensors(folder).items() if name != "proj_out.weight"
        }
        load_strictly(self.encoder, under(tensors, _ENCODER), folder.name, assign=True)
        load_strictly(self.decoder, under(tensors, _DECODER), folder.name, assign=True)
        self.eval().requires_grad_(False)
        self.window_samples = int(self.features.n_samples)
        self.n_tokens = int(config.vocab_size)
        self._end = int(settings["eos_token_id"])
        self._prompt = _prompt(self.tokenizer, settings)
        self._never = torch.tensor(
            [*range(self._end + 1, config.vocab_size), *settings.get("suppress_tokens", ())]
        )
        self._not_first = torch.tensor([*settings.get("begin_suppress_tokens", ()), self._end])
        self._heads = [(int(layer), int(head)) for layer, head in settings["alignment_heads"]]
        self._limit = int(config.max_target_positions) // 2

    def mel(self, samples: Float[np.ndarray, "samples"]) -> Float[Tensor, "mels frames"]:  # noqa: F821
        """Return a whole window's log-mel features of at most one window of 16 kHz samples."""
        features = self.features(
            samples, sampling_rate=SAMPLE_RATE_HZ, padding="max_length", return_tensors="pt"
        )
        weight = self.encoder.conv1.weight
        mel: Tensor = features.input_features[0].to(weight.device, weight.dtype)
        return mel

    @torch.inference_mode()
    def states(self, samples: Float[np.ndarray, "samples"]) -> Float[Tensor, "states d_audio"]:  # noqa: F821
        """Return the encoder's normed states of a whole window, 20 ms each."""
        return encode_mel(self.encoder, self.mel(samples)[None])[0]

    @torch.inference_mode()
    def hear(self, samples: Float[np.ndarray, "samples"]) -> WindowHeard:  # noqa: F821
        """Return what Whisper writes about at most one window of samples, greedily."""
        states = self.states(samples)[None]
        tokens, logits = self._decode(states)
        limit_s = len(samples) / SAMPLE_RATE_HZ
        return WindowHeard(tokens.cpu(), logits.cpu(), self._ends(states, tokens, limit_s))

    def _decode(self, states: Tensor) -> tuple[Tensor, Tensor]:
        head = self.decoder.embed_tokens.weight
        given = torch.tensor([self._prompt], device=head.device)
        cache: Any = None
        tokens: list[int] = []
        kept: list[Tensor] = []
        while len(tokens) < self._limit:
            out = self.decoder(
                input_ids=given, encoder_hidden_states=states, past_key_values=cache, use_cache=True
            )
            cache = out.past_key_values
            logits = nn.functional.linear(out.last_hidden_state[0, -1], head).float()
            logits[self._never] = -torch.inf
            if not tokens:
                logits[self._not_first] = -torch.inf
            best = int(logits.argmax())
            if best == self._end:
                break
            logits[self._end] = -torch.inf
            tokens.append(best)
            kept.append(logits)
            given = torch.tensor([[best]], device=head.device)
        return torch.tensor(tokens, device=head.device), torch.stack(kept)

    def _ends(self, states: Tensor, tokens: Tensor, limit_s: float) -> np.ndarray:
        """Return when each token ends: where dynamic time warping over the alignment heads puts the next one."""
        prompt = torch.tensor(self._prompt, device=tokens.device)
        given = torch.cat([prompt, tokens])[None]
        out = self.decoder(
            input_ids=given, encoder_hidden_states=states, use_cache=False, output_attentions=True
        )
        n_states = max(1, min(round(limit_s / SECONDS_PER_STATE), states.shape[1]))
        # In the padded silence attention is arbitrary: only the sound's own states are aligned.
        heads = torch.stack([out.cross_attentions[layer][0, head] for layer, head in self._heads]).float()
        # A token is attended to where it is predicted; the last row predicts the end.
        heads = heads[:, len(prompt) - 1 :, :n_states]
        heads = (heads - heads.mean(-2, keepdim=True)) / (heads.std(-2, keepdim=True, unbiased=False) + 1e-6)
        cost = -_median(heads).mean(0).cpu().double().numpy()
        starts = _starts(cost) * SECONDS_PER_STATE
        return rising(starts[1:], limit_s)


def _prompt(tokenizer: PreTrainedTokenizerFast, settings: dict[str, Any]) -> list[int]:
    """Return the ids that begin a transcript without times; an English Whisper knows no language or task."""
    names = ["<|startoftranscript|>"]
    if settings.get("is_multilingual", True):
        names += ["<|en|>", "<|transcribe|>"]
    return [cast(int, tokenizer.convert_tokens_to_ids(name)) for name in (*names, "<|notimestamps|>")]


def _median(heads: Float[Tensor, "heads tokens states"]) -> Float[Tensor, "heads tokens states"]:
    """Smooth attention along time by a running median."""
    side = MEDIAN_WIDTH // 2
    if heads.shape[-1] <= side:
        return heads
    padded = nn.functional.pad(heads, (side, side), mode="reflect")
    return padded.unfold(-1, MEDIAN_WIDTH, 1).median(-1).values


def _starts(cost: Float[np.ndarray, "tokens states"]) -> Int[np.ndarray, "tokens"]:  # noqa: F821
    """Return the state at which each token begins on the cheapest monotonic path through all tokens and states."""
    n_tokens, n_states = cost.shape
    total = np.full((n_tokens + 1, n_states + 1), np.inf)
    total[0, 0] = 0.0
    step = np.zeros((n_tokens + 1, n_states + 1), np.int8)
    for j in range(1, n_states + 1):
        for i in range(1, n_tokens + 1):
            before = (total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])
            step[i, j] = best = int(np.argmin(before))
            total[i, j] = cost[i - 1, j - 1] + before[best]
    starts = np.zeros(n_tokens, int)
    i, j = n_tokens, n_states
    while i > 0:
        starts[i - 1] = j - 1
        if step[i, j] == 2 and j > 1:
            j -= 1
        elif step[i, j] == 1 or j == 1:
            i -= 1
        else:
            i, j = i - 1, j - 1
    return starts


def rising(ends_s: Float[np.ndarray, "positions"], limit_s: float) -> Float[np.ndarray, "positions"]:  # noqa: F821
    """Return ends that rise strictly and stay above 0 and within the limit, as near to those given as that allows.

    Tokens that share a state would have no width on the clock; each is given at least 5 ms, or an equal share of a
    clip too short for that.
    """
    width = min(0.005, limit_s / len(ends_s))
    places = np.arange(1, len(ends_s) + 1) * width
    rose = np.maximum.accumulate(np.maximum(ends_s - places, 0.0)) + places
    return np.minimum(rose, limit_s - (len(ends_s) * width - places))
