"""A bare text LLM with its tokenizer: the second half of a cascade, and the oracle that is given the true transcript.

It is read from a transformers folder, from a speech LLM's own, or from a GGUF file that was written as such a folder.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.integrations.gguf import (  # type: ignore[attr-defined]
    GgufHeader,
    convert_gguf_tokenizer,
    get_gguf_tokenizer,
    load_gguf_state_dict,
    read_gguf_metadata,
)
from transformers.integrations.gguf.dequant import dequantize
from transformers.integrations.mistral.tokenizer import MistralConverter

from engine.errors import ModelFilesError, is_out_of_memory
from engine.matching import read_config
from engine.systems.base import CLIP_MARK, Heard, Prepared, prompt_frame, text_ids
from engine.systems.catalogue import SystemSpec
from engine.systems.checkpoint import (
    INLINE_PREFIX,
    fingerprint,
    fold,
    load_strictly,
    read_tensors,
    shape_fits,
    under,
    weight_files,
)
from engine.words import SpokenWord

TEKKEN = "tekken.json"
_QWEN2_AUDIO = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_VOXTRAL = (
    "{{ '<s>' }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ message['content'] + '</s>' }}{% else %}{{ '[INST]' + message['content'] + '[/INST]' }}{% endif %}"
    "{% endfor %}"
)
# Of transformers' Qwen2AudioProcessor (5.23), and of mistral-common's instruct tokens.
TEMPLATES = {"qwen2_audio": _QWEN2_AUDIO, "voxtral": _VOXTRAL}
_REPLY = "reply"


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return a folder's tokenizer, its chat template filled in where the folder keeps it elsewhere.

    Its end token is the one that ends a turn of the chat: generation stops there.

    Raises:
        OSError, ValueError: the files are missing or damaged.
    """
    # transformers 5.23's AutoTokenizer makes a Qwen2 tokenizer for every model of that type, whatever
    # the folder holds, and it would split words in another way than the model was trained on.
    if not (folder / "tokenizer.json").exists() and (folder / TEKKEN).exists():
        tokenizer = _from_tekken(folder / TEKKEN)
    else:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = _template_elsewhere(folder)
    end = end_of_turn(tokenizer) if tokenizer.chat_template else None
    if end is not None and end != tokenizer.eos_token:
        tokenizer.eos_token = end
    return tokenizer


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the special token that the chat template puts behind an answer, None where there is none."""
    turns = [{"role": "user", "content": "ask"}, {"role": "assistant", "content": _REPLY}]
    rest = str(tokenizer.apply_chat_template(turns, tokenize=False)).rpartition(_REPLY)[2]
    ids = tokenizer.encode(rest, add_special_tokens=False)
    special = set(tokenizer.added_tokens_decoder)
    first = next((token for token in ids if token in special), None)
    return None if first is None else str(tokenizer.convert_ids_to_tokens(first))


def _from_tekken(file: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a folder that has Mistral's own file alone; mistral-common is not needed."""
    try:
        converted = MistralConverter(str(file)).converted()
    except (KeyError, TypeError, ImportError) as error:
        raise ValueError(f"{file.name} is damaged or of an older version") from error
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    # One that the vocabulary lacks would be given an id of its own, for which the model has no row.
    known = {role: token for role, token in named.items() if converted.token_to_id(token) is not None}
    return PreTrainedTokenizerFast(tokenizer_object=converted, **known)


def _template_elsewhere(folder: Path) -> str | None:
    """Return the template in the processor's file, or the one that the model's library has built in."""
    file = folder / "chat_template.json"
    if file.exists():
        template: str | None = json.loads(file.read_text(encoding="utf-8")).get("chat_template")
        return template
    config = folder / "config.json"
    kind = json.loads(config.read_text(encoding="utf-8")).get("model_type") if config.exists() else None
    return TEMPLATES.get(str(kind))


def likeliest(
    logits: Float[Tensor, "positions vocab"], n: int, temperature: float
) -> tuple[Int[Tensor, "positions n"], Float[Tensor, "positions n"]]:
    """Return the likeliest tokens at each position and their weights, which sum to 1.

    Args:
        logits: of a posterior; -inf for tokens that cannot be.
        n: how many are kept; all where there are fewer.
        temperature: above 0; logits are divided by it, so that below 1 the posterior is sharper.
    """
    top = logits.float().topk(min(n, logits.shape[-1]), dim=-1)
    return top.indices, (top.values / temperature).softmax(-1)


def expected_embeddings(
    embedding: Float[Tensor, "vocab d_model"],
    tokens: Int[Tensor, "positions n"],
    weights: Float[Tensor, "positions n"],
) -> Float[Tensor, "positions d_model"]:
    """Return at each position the sum over its tokens of weight x embedding.

    Args:
        embedding: an LLM's input embeddings, or any table with a row for each token named.
        tokens: rows of the table.
        weights: at least 0, summing to 1 at each position.
    """
    expected: Tensor = torch.nn.functional.embedding_bag(
        tokens, embedding, per_sample_weights=weights.to(embedding.dtype), mode="sum"
    )
    return expected


# The clip or its transcript stands first: what a model makes of it does not depend on the question.
USER_TEMPLATE = CLIP_MARK + "{instruction}"
CPU = torch.device("cpu")
# A tensor of another shape is reported and refused here by name; transformers' own error does not name it.
REPORTED: dict[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True}
Ears = TypeVar("Ears", bound=nn.Module)


class TextLLM:
    """A causal LM that reads a transcript where a speech LLM has its audio positions.

    Its folder is a text model's, or that of a speech LLM with a language model of its own: then only that part
    is read, and the speech LLM runs on these very modules. With `base` it holds a low-rank update of the model in
    that folder, which is folded into the weights.

    `dtype` and `device` are those of its weights, which a speech LLM's ears on it take too; states are recorded in
    float32. Weights that are stored in this precision are mapped from their files, and each goes to a GPU by itself:
    a model is never in memory twice, nor in a wider precision on the way.

    Attributes:
        spec: catalogue row.
        language_model, decoder_layers, final_norm, unembedding: the model and its own modules.
        fingerprint: sha256 of the weights.
    """

    def __init__(
        self,
        spec: SystemSpec,
        folder: Path,
        *,
        base: Path | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device = CPU,
    ) -> None:
        folders = [folder] if base is None else [base, folder]
        for one in folders:
            weight_files(one)
        self.spec = spec
        whole = folders[0]
        try:
            self.tokenizer: PreTrainedTokenizerBase = read_tokenizer(whole)
            model, loading = _load(whole, dtype)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            if is_out_of_memory(error):
                raise
            raise ModelFilesError(f"{spec.name} could not be loaded: {type(error).__name__}.") from error
        refuse_what_does_not_fit(spec.name, loading)
        if base is not None:
            fold_update(model, folder)
        model.generation_config.eos_token_id = _end_ids_in(whole)
        self.language_model: nn.Module = model.eval().requires_grad_(False).to(device)
        decoder = model.get_decoder()
        self.decoder_layers: nn.ModuleList = decoder.layers
        self.final_norm: nn.Module = decoder.norm
        self.unembedding: nn.Module = model.get_output_embeddings()
        self.embedding: nn.Module = model.get_input_embeddings()
        self.fingerprint = fingerprint(folders)

    def hear_text(self, text: str, words: tuple[SpokenWord, ...] = (), seconds: float = 0.0) -> Heard:
        """Return a transcript as what was heard, all of it text; an empty one leaves the clip's place empty."""
        started = time.perf_counter()
        ids = text_ids(self.tokenizer, text) if text.strip() else []
        return Heard(self._embed(ids), 0.0, text, words, seconds + time.perf_counter() - started)

    def prepare(self, heard: Heard, instruction: str, *, template: str = USER_TEMPLATE) -> Prepared:
        """Return the prompt with what was heard in the clip's place; `template` is as for `prompt_frame`."""
        frame = prompt_frame(self.tokenizer, instruction, template=template)
        parts = [self._embed(frame.before), heard.embeddings, self._embed(frame.after)]
        embeddings = torch.cat(parts)[None]
        start = len(frame.before)
        return Prepared(embeddings, (start, start + len(heard.embeddings)), heard)

    def _embed(self, ids: Sequence[int]) -> Float[Tensor, "ids d_model"]:
        weight: Any = self.embedding.weight
        embedded: Tensor = self.embedding(torch.tensor(ids, dtype=torch.long, device=weight.device))
        return embedded


class OnBackbone:
    """A system that answers with a text LLM, which others may share; see `engine.systems.base.WhiteBoxSystem`.

    Attributes:
        template: user turn around the clip, as for `prompt_frame`.
    """

    template = USER_TEMPLATE

    def __init__(self, spec: SystemSpec, backbone: TextLLM) -> None:
        self.spec = spec
        self.backbone = backbone
        self.tokenizer = backbone.tokenizer
        self.language_model = backbone.language_model
        self.decoder_layers = backbone.decoder_layers
        self.final_norm = backbone.final_norm
        self.unembedding = backbone.unembedding
        self.fingerprint = backbone.fingerprint

    def prepare(self, heard: Heard, instruction: str) -> Prepared:
        """Return the prompt with what was heard in the clip's place."""
        return self.backbone.prepare(heard, instruction, template=self.template)


def _load(folder: Path, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """Return the causal LM of a folder, and what transformers says about the loading."""
    config = AutoConfig.from_pretrained(folder)
    text_config = getattr(config, "text_config", None)
    if text_config is not None:
        tensors = read_tensors(folder, lambda name: name.startswith(INLINE_PREFIX))
        return build_causal_lm(text_config, under(tensors, INLINE_PREFIX), dtype)
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **REPORTED)
    model, loading = loaded
    return model, loading


@torch.no_grad()
def fold_update(model: nn.Module, folder: Path) -> None:
    """Fold a folder's low-rank update into a model's linear maps, in place.

    Raises:
        ModelFilesError: a factor is missing, or belongs to no map of the model.
    """
    try:
        scale = float(read_config(folder)["lora_alpha"]) / float(read_config(folder)["lora_rank"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelFilesError(f"{folder.name}/config.json names no rank and alpha; restore it.") from error
    tensors = read_tensors(folder)
    names = sorted({name.rpartition(".lora_")[0] for name in tensors})
    maps = dict(model.named_modules())
    for name in names:
        linear = maps.get(name)
        down, up = (tensors.get(f"{name}.lora_{factor}.weight") for factor in "AB")
        if (
            not isinstance(linear, nn.Linear)
            or down is None
            or up is None
            or not shape_fits(linear, down, up, len(down))
        ):
            raise ModelFilesError(f"{folder.name} does not fit its base at {name}; restore both folders.")
        linear.weight.copy_(
            fold(linear.weight, down.to(linear.weight.device), up.to(linear.weight.device), scale)
        )


def build_causal_lm(
    config: PretrainedConfig, tensors: dict[str, Tensor], dtype: torch.dtype
) -> tuple[Any, dict[str, Any]]:
    """Return the plain causal LM of a text config with these tensors, and what transformers says about the loading."""
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    model, loading = model_class.from_pretrained(
        None, config=config, state_dict=tensors, dtype=dtype, **REPORTED
    )
    return model, loading


def refuse_what_does_not_fit(name: str, loading: dict[str, Any]) -> None:
    """Refuse what transformers only logs: it makes up a missing or reshaped tensor and drops an unexpected one.

    Raises:
        ModelFilesError: names the first such tensor.
    """
    for kind, keys in (("lacks", "missing_keys"), ("has an unexpected", "unexpected_keys")):
        if found := sorted(loading[keys]):
            raise ModelFilesError(f"{name} {kind} tensor {found[0]} ({len(found)} such in all).")
    if reshaped := sorted(key[0] for key in loading["mismatched_keys"]):
        raise ModelFilesError(f"{name} does not fit its config: {reshaped[0]} has another shape.")


def _end_ids_in(folder: Path) -> Any:
    """Return the end tokens that a folder's own settings name: an id, a list of ids, or None.

    Those that transformers makes up where the file is missing are a class's defaults, not the model's.
    """
    file = folder / "generation_config.json"
    return json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") if file.exists() else None


def make_ears(build: Callable[[], Ears], tensors: Mapping[str, Tensor], backbone: TextLLM, name: str) -> Ears:
    """Return a system's ears with these weights, where its language model is and in that precision.

    Args:
        build: makes the modules; nothing is drawn for them, for every weight comes from the file.
        tensors: by the modules' names.
        backbone: the language model.
        name: of the system, for errors.

    Raises:
        ModelFilesError: a tensor is missing, unexpected or of another shape; the message names it.
    """
    weight: Any = backbone.embedding.weight
    with torch.device("meta"):
        ears = build()
    placed = {key: tensor.to(weight.device, weight.dtype) for key, tensor in tensors.items()}
    load_strictly(ears, placed, name, assign=True)
    return ears.eval().requires_grad_(False)


def read_ears_beside(folder: Path) -> dict[str, Tensor]:
    """Return what a folder holds beside its language model; raises ModelFilesError as `read_tensors`."""
    return read_tensors(folder, lambda tensor: not tensor.startswith(INLINE_PREFIX))


ARCHITECTURE = "llama"
# What is known of the format's names of parts, as llama.cpp writes them.
_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_ENDS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


def write_gguf_as_transformers(file: Path, target: Path) -> None:
    """Write the model of a GGUF file: config, weights in float32, tokenizer, chat template, generation settings.

    Args:
        file: of a Llama with a byte-level vocabulary.
        target: an empty folder.

    Raises:
        ModelFilesError: the file is damaged, or not of this kind.
    """
    try:
        config = _gguf_config(file)
        tensors = _gguf_tensors(file, config)
        tokenizer = _gguf_tokenizer(file)
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, struct.error) as error:
        raise ModelFilesError(f"{file.name} cannot be read as a Llama; fetch it again.") from error
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    if config.tie_word_embeddings:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    load_strictly(model, tensors, file.name, assign=True)
    model.tie_weights()
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _gguf_config(file: Path) -> LlamaConfig:
    written, names = read_gguf_metadata(str(file))
    if written["general.architecture"] != ARCHITECTURE:
        raise ValueError("another architecture")
    return LlamaConfig(
        vocab_size=written["llama.vocab_size"],
        hidden_size=written["llama.embedding_length"],
        intermediate_size=written["llama.feed_forward_length"],
        num_hidden_layers=written["llama.block_count"],
        num_attention_heads=written["llama.attention.head_count"],
        num_key_value_heads=written["llama.attention.head_count_kv"],
        head_dim=written["llama.rope.dimension_count"],
        max_position_embeddings=written["llama.context_length"],
        rms_norm_eps=written["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": written["llama.rope.freq_base"]},
        tie_word_embeddings="output.weight" not in names,
        bos_token_id=written["tokenizer.ggml.bos_token_id"],
        eos_token_id=written["tokenizer.ggml.eos_token_id"],
        pad_token_id=written.get("tokenizer.ggml.padding_token_id"),
        dtype=torch.float32,
    )


def _gguf_tensors(file: Path, config: LlamaConfig) -> dict[str, Tensor]:
    """Return the weights in float32 under transformers' names."""
    groups = config.num_key_value_heads or config.num_attention_heads
    heads: dict[str, int] = {"attn_q": config.num_attention_heads, "attn_k": groups}
    header = GgufHeader.from_file(str(file))
    stored, found = load_gguf_state_dict(header), {}
    for info in header.tensors:
        name, raw = info.name, stored[info.name][...]
        tensor = raw.float() if raw.is_floating_point() else dequantize(raw, info.ggml_type)
        tensor = tensor.reshape(info.shape)
        if name in _ENDS:
            found[_ENDS[name]] = tensor
            continue
        _, layer, part, end = name.split(".")
        if part in heads:
            tensor = _halves_in_a_row(tensor, heads[part])
        found[f"model.layers.{layer}.{_PARTS[part]}.{end}"] = tensor
    return found


def _halves_in_a_row(weight: Tensor, n_heads: int) -> Tensor:
    """Undo the format's order of a head's rows: it rotates neighbours, transformers the two halves of a head."""
    pairs = weight.reshape(n_heads, weight.shape[0] // n_heads // 2, 2, *weight.shape[1:])
    return pairs.transpose(1, 2).reshape(weight.shape).contiguous()


def _gguf_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    architecture, written, settings = get_gguf_tokenizer(str(file))
    backend: Any = convert_gguf_tokenizer(architecture, written)[0]
    if written.get("pre_tokenizer_type") == "smollm":
        # transformers 5.23 does not know this name: digits one by one, told apart before spaces are.
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=settings.get("chat_template"),
        clean_up_tokenization_spaces=False,
        **{name: settings[name] for name in _SPECIAL if settings.get(name) is not None},
    )
