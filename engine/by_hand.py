"""Slow references, written plainly: what a model, its prompt and its ears must give, computed a second way.

`engine.checks` holds the instrument against these. So that one fault cannot stand in both, nothing here calls
hooks, decoding, scoring, erasers, the lens or an adapter: only a model's own modules, its tokenizer and transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Phi4MultimodalFeatureExtractor, WhisperFeatureExtractor
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder
from transformers.models.voxtral.modeling_voxtral import VoxtralEncoder
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from engine.systems.base import SpeechLLM, WhiteBoxModel

SAMPLE_RATE_HZ = 16_000
MEL_FRAME_SAMPLES = 160
CHAT_DATE = "26 Jul 2024"  # as Llama 3.1's template has it; 3.2's writes today's unless it is given one
MARK = "\u241fclip\u241f"  # stands for the clip in a rendered chat; no template writes it
RMS_EPSILON = 1e-6

# What is done to the hidden states of a layer, [1, positions, d_model].
Edit = Callable[[int, Tensor], Tensor]


def untouched(layer: int, hidden: Tensor) -> Tensor:
    """Return the states as they are."""
    del layer
    return hidden


@torch.inference_mode()
def run(
    system: WhiteBoxModel, embeddings: Float[Tensor, "rows positions d_model"], edit: Edit = untouched
) -> tuple[list[Float[Tensor, "rows positions d_model"]], Float[Tensor, "rows positions vocab"]]:
    """Return the states of every layer, float32, and the logits, block after block.

    The modules are those that the language model itself names; hooks on a block are passed by. Nothing is cached. A
    position sees those before it alone, so that what fills a row up behind its end changes nothing before it.
    """
    model = cast(Any, system.language_model)
    decoder = model.get_decoder()
    n_positions = embeddings.shape[1]
    places = torch.arange(n_positions, device=embeddings.device)[None]
    rotary = decoder.rotary_emb(embeddings, places)
    later = torch.ones(n_positions, n_positions, dtype=torch.bool, device=embeddings.device).triu(1)
    mask = torch.zeros_like(later, dtype=embeddings.dtype).masked_fill(
        later, torch.finfo(embeddings.dtype).min
    )
    hidden = edit(0, embeddings)
    states = [hidden.float()]
    for layer, block in enumerate(decoder.layers, start=1):
        out = block.forward(
            hidden,
            attention_mask=mask[None, None].expand(len(hidden), 1, -1, -1),
            position_ids=places,
            position_embeddings=rotary,
        )
        hidden = edit(layer, out if torch.is_tensor(out) else out[0])
        states.append(hidden.float())
    return states, read(system, hidden)


@torch.inference_mode()
def read(system: WhiteBoxModel, hidden: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows vocab"]:
    """Return logits: the model's own final norm and head, each once, in the model's own precision."""
    model = cast(Any, system.language_model)
    head = model.get_output_embeddings()
    logits: Tensor = head(model.get_decoder().norm(hidden.to(head.weight.dtype)))
    return logits.float()


def positions_of(scope: str, span: tuple[int, int], n_prompt: int) -> tuple[int, int | None]:
    """Return the first position that a scope edits and the one after its last; None where it has no end."""
    return {"audio": span, "prompt": (0, n_prompt), "all": (0, None)}[scope]


def edits_at(cuts: Mapping[int, Callable[[Tensor], Tensor]], where: tuple[int, int | None]) -> Edit:
    """Return an edit of these layers at these positions and nowhere else."""

    def edit(layer: int, hidden: Tensor) -> Tensor:
        if layer not in cuts:
            return hidden
        changed = hidden.clone()
        start, stop = where
        changed[:, start:stop] = cuts[layer](hidden[:, start:stop]).to(hidden.dtype)
        return changed

    return edit


@dataclass(frozen=True)
class Cut:
    """x - strength * left right (x - mean), in float64: what an eraser's stored factors say.

    Attributes:
        left: [d_model, rank]; right: [rank, d_model]; mean: [d_model], or None for a linear one.
    """

    left: Tensor
    right: Tensor
    mean: Tensor | None
    strength: float

    def __call__(self, states: Tensor) -> Tensor:
        """Return the states with the directions taken out, in their own dtype."""
        x = states.double()
        left, right = self.left.to(x), self.right.to(x)
        centred = x if self.mean is None else x - self.mean.to(x)
        taken = torch.einsum("dr,re,...e->...d", left, right, centred)
        return (x - self.strength * taken).to(states.dtype)


@torch.inference_mode()
def read_answers(
    system: WhiteBoxModel,
    prompt: Float[Tensor, "1 positions d_model"],
    answers: Sequence[Sequence[int]],
    edit: Edit = untouched,
) -> tuple[list[Float[Tensor, "positions d_model"]], list[Float[Tensor, "_ vocab"]]]:
    """Return the prompt's states by layer, and for each answer the log-probabilities before and after its every token.

    A row of its own for each answer, which is filled up behind its end: whole sequences, and no cache.
    """
    embed = cast(Any, system.language_model).get_input_embeddings()
    n_prompt, longest = prompt.shape[1], max(map(len, answers))
    rows = prompt.new_zeros(len(answers), n_prompt + longest, prompt.shape[2])
    rows[:, :n_prompt] = prompt
    for row, answer in zip(rows, answers, strict=True):
        tokens = torch.tensor(list(answer), dtype=torch.long, device=prompt.device)
        row[n_prompt : n_prompt + len(answer)] = embed(tokens)
    states, logits = run(system, rows, edit)
    read_out = [
        row[n_prompt - 1 : n_prompt + len(answer)].log_softmax(-1)
        for row, answer in zip(logits, answers, strict=True)
    ]
    return [layer[0, :n_prompt] for layer in states], read_out


def score(rows: Float[Tensor, "_ vocab"], answer: Sequence[int]) -> float:
    """Return the summed log-probability of these very tokens, one after the other, in rows of `read_answers`."""
    return sum(float(row[token]) for row, token in zip(rows, answer, strict=False))


def end_of_turn(system: WhiteBoxModel) -> int:
    """Return the token that ends an assistant's turn, as the chat template writes it; else the tokenizer's own."""
    tokenizer: Any = system.tokenizer
    if not tokenizer.chat_template:
        return int(tokenizer.eos_token_id)
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": MARK}]
    said = str(tokenizer.apply_chat_template(turns, tokenize=False, date_string=CHAT_DATE))
    behind = tokenizer.encode(said.rpartition(MARK)[2], add_special_tokens=False)
    marks = [token for token in behind if token in tokenizer.added_tokens_decoder]
    return int(marks[0] if marks else tokenizer.eos_token_id)


def ids_of(system: WhiteBoxModel, embeddings: Float[Tensor, "positions d_model"]) -> list[int]:
    """Return the token whose embedding each of these is; -1 where it is none's."""
    table = cast(Any, system.language_model).get_input_embeddings().weight
    found = []
    for row in embeddings:
        same = (table == row).all(1).nonzero()
        found.append(int(same[0, 0]) if len(same) else -1)
    return found


def text_of(system: WhiteBoxModel, ids: Sequence[int]) -> str:
    """Return tokens as text, marks and spaces as they are."""
    tokenizer: Any = system.tokenizer
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def chat_around(system: WhiteBoxModel) -> tuple[str, str]:
    """Return what the chat template writes before and after a user's words, up to where the answer begins."""
    tokenizer: Any = system.tokenizer
    said = tokenizer.apply_chat_template(
        [{"role": "user", "content": MARK}],
        tokenize=False,
        add_generation_prompt=True,
        date_string=CHAT_DATE,
    )
    before, after = str(said).split(MARK)
    return before, after


def mel_of(family: str, samples: np.ndarray, n_mels: int) -> Float[Tensor, "mels frames"] | None:
    """Return log-mel features by transformers' own extractor as it is by default; None for other families."""
    if family in ("ultravox", "qwen2_audio", "voxtral"):
        whisper = WhisperFeatureExtractor(feature_size=n_mels)
        made = whisper(samples, sampling_rate=SAMPLE_RATE_HZ, padding="longest", return_tensors="pt")
        return cast(Tensor, made.input_features[0])
    if family == "phi4_multimodal":
        made = Phi4MultimodalFeatureExtractor()(samples, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        return cast(Tensor, made["audio_input_features"][0].T)
    return None


def has_window(system: SpeechLLM) -> bool:
    """Say whether transformers' own encoder can be run on a system's windows: not one that hears in blocks."""
    tower = getattr(system.ears, "audio_tower", None)
    is_known = isinstance(tower, WhisperEncoder | Qwen2AudioEncoder | VoxtralEncoder)
    return is_known and not getattr(system.ears, "block", None)


@torch.inference_mode()
def embeddings_of_window(system: SpeechLLM) -> tuple[np.ndarray, Tensor]:
    """Return noise that fills a window to its end, and its embeddings by transformers' own encoder.

    A whole window needs no padding and no mask, so that transformers' own forward pass is the reference.
    """
    ears: Any = system.ears
    tower = ears.audio_tower
    n_frames = 2 * int(tower.embed_positions.weight.shape[0])
    drawn = np.random.default_rng(23).standard_normal(n_frames * MEL_FRAME_SAMPLES)
    samples = (0.05 * drawn).astype(np.float32)
    mel = mel_of("ultravox", samples, int(tower.conv1.in_channels))
    assert mel is not None
    states = tower(mel[None, :, :n_frames].to(tower.conv1.weight)).last_hidden_state
    if isinstance(tower, WhisperEncoder):
        return samples, _stacked_through(states[0], dict(ears.multi_modal_projector.state_dict()))
    if isinstance(tower, VoxtralEncoder):
        states = states.reshape(1, -1, int(tower.config.intermediate_size))
    return samples, ears.multi_modal_projector(states)[0]


def _stacked_through(states: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Return Ultravox's projection: stack, norm, map, SwiGLU with the gate second, norm and map in either order."""

    def norm(x: Tensor, name: str) -> Tensor:
        exact = x.float()
        scaled = exact / (exact.pow(2).mean(-1, keepdim=True) + RMS_EPSILON).sqrt()
        return (weights[f"{name}.weight"].float() * scaled).to(x.dtype)

    width = weights["ln_pre.weight"].shape[0]
    n_missing = -len(states) % (width // states.shape[1])
    stacked = nn.functional.pad(states, (0, 0, 0, n_missing)).reshape(-1, width)
    mapped = norm(stacked, "ln_pre") @ weights["linear_1.weight"].T
    half = mapped.shape[1] // 2
    gated = mapped[:, :half] * (mapped[:, half:] * mapped[:, half:].sigmoid())
    if "ln_mid.weight" in weights:
        return norm(gated, "ln_mid") @ weights["linear_2.weight"].T
    return norm(gated @ weights["linear_2.weight"].T, "ln_post")
