"""One low-rank update of SmolLM2-135M-Instruct, taught on text only, that every system of the laptop profile runs on.

The update (rank 16 on every linear map of the decoder) learns to read what the speech LLMs send in the clip's place
(`precompute.training.disturb`) and to answer in the form that `engine.tasks` reads. It never hears audio, so that
speech LLM, cascade and oracle run on the same weights. It resumes from its checkpoint, and writes a folder that
`engine.systems.text_llm` loads beside its base: config.json, adapter.safetensors (float16), training.json.

On a CPU with AVX512-BF16 the base runs in bf16 (a step costs 0.6 of fp32's time there); its attention runs in fp32,
whose backward is several times faster than bf16's.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import jiwer
import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AttentionInterface

from engine.generate import run_prompts
from engine.matching import LANGUAGE_MODEL, ORIGIN
from engine.systems.base import Heard, prompt_frame
from engine.systems.catalogue import LAPTOP_SYSTEMS
from engine.systems.checkpoint import fingerprint
from engine.systems.text_llm import USER_TEMPLATE, TextLLM
from engine.systems.weights import REVISION_DIGITS, REVISION_FILE
from engine.tasks import get_task, parse_answer
from engine.words import normalise
from precompute.mini.loop import LoopSettings, count_parameters, train
from precompute.training.disturb import Confusables, Disturber, plain_words
from precompute.training.texts import Corpora, Exchange, Exchanges, read_corpora

logger = logging.getLogger(__name__)

RANK, ALPHA = 16, 32
MAPS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SEED, BATCH, POOL_STEPS = 17, 12, 8
STEPS, PEAK_RATE = 800, 6e-4
LONGEST_POSITIONS = 220
# A label is one token or two and a repeated text thirty: without this the labels would hardly count.
LABEL_WEIGHT = 4.0
DEV_ITEMS = {"transcribe": 48, "topic": 48, "sentiment": 48}
CAUSAL = "causal_fp32"


def causal_fp32(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of rows that are padded on the right: causal alone, so no row's own positions see its padding."""
    groups = query.shape[1] // key.shape[1]
    key, value = (part.float().repeat_interleave(groups, 1) for part in (key, value))
    out = nn.functional.scaled_dot_product_attention(query.float(), key, value, is_causal=True, scale=scaling)
    return out.to(query.dtype).transpose(1, 2).contiguous(), None


AttentionInterface.register(CAUSAL, causal_fp32)


class TaughtLinear(nn.Module):
    """A frozen linear map with a low-rank update in float32 beside it, kept in `update` under this map's name."""

    def __init__(self, base: nn.Linear, update: nn.ParameterDict, name: str) -> None:
        super().__init__()
        self.base = base
        down = torch.empty(RANK, base.in_features)
        nn.init.kaiming_uniform_(down, a=5**0.5)
        update[f"{name}/lora_A"] = nn.Parameter(down)
        update[f"{name}/lora_B"] = nn.Parameter(torch.zeros(base.out_features, RANK))
        # Held, not registered: the checkpoint is the update's own.
        self._factors = (update[f"{name}/lora_A"], update[f"{name}/lora_B"])

    def forward(self, states: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        """Return base(x) + alpha / rank x up(down(x))."""
        down, up = (factor.to(states.dtype) for factor in self._factors)
        low = nn.functional.linear(states, down)
        out: Tensor = self.base(states) + (ALPHA / RANK) * nn.functional.linear(low, up)
        return out


def add_update(model: nn.Module) -> nn.ParameterDict:
    """Put a low-rank update beside each linear map of a decoder, in place; returns its parameters, seeded."""
    torch.manual_seed(SEED)
    update = nn.ParameterDict()
    for name, module in list(model.named_modules()):
        for child, linear in list(module.named_children()):
            if child in MAPS and isinstance(linear, nn.Linear):
                path = f"{name}.{child}".replace(".", "/")
                setattr(module, child, TaughtLinear(linear, update, path))
    return update


class TextSource:
    """Batches of exchanges with the clip's place filled; a batch depends on seed and step alone."""

    def __init__(self, llm: TextLLM, exchanges: Exchanges, disturber: Disturber) -> None:
        self._llm, self._exchanges, self._disturber = llm, exchanges, disturber
        self._pool: tuple[int, list[tuple[Exchange, random.Random]]] = (-1, [])

    def batch(
        self, step: int
    ) -> tuple[Float[Tensor, "rows positions d_model"], Int[Tensor, "rows positions"]]:
        """Return the rows' input embeddings, and the token to follow each position (-100 where none counts)."""
        number, place = divmod(step, POOL_STEPS)
        if self._pool[0] != number:
            # Rows of a batch are of like length, for padding costs as much as text.
            rng = random.Random(f"{SEED}|{number}")
            drawn = [self._exchanges.draw(rng) for _ in range(BATCH * POOL_STEPS)]
            drawn.sort(key=lambda e: len(e.text) * (2 if e.task == "transcribe" else 1))
            groups = [drawn[at : at + BATCH] for at in range(0, len(drawn), BATCH)]
            rng.shuffle(groups)
            rows = [
                (e, random.Random(f"{SEED}|{number}|{at}"))
                for at, e in enumerate(chain.from_iterable(groups))
            ]
            self._pool = (number, rows)
        made = [self._row(*row) for row in self._pool[1][place * BATCH : (place + 1) * BATCH]]
        width = min(LONGEST_POSITIONS, max(len(row[0]) for row in made))
        inputs = torch.stack(
            [
                nn.functional.pad(vectors[:width], (0, 0, 0, max(0, width - len(vectors))))
                for vectors, _ in made
            ]
        )
        targets = torch.full((len(made), width), -100)
        for row, (_, ids) in enumerate(made):
            targets[row, : min(width, len(ids))] = torch.tensor(ids[:width])
        return inputs, targets

    def _row(self, exchange: Exchange, rng: random.Random) -> tuple[Tensor, list[int]]:
        tokenizer = self._llm.tokenizer
        given = self._disturber.draw(exchange.text, rng)
        answer = given.text if exchange.task == "transcribe" else exchange.answer
        frame = prompt_frame(tokenizer, exchange.instruction, template=USER_TEMPLATE)
        said = [*tokenizer.encode(answer.strip(), add_special_tokens=False), int(tokenizer.eos_token_id)]
        weight = self._llm.embedding.weight
        assert isinstance(weight, Tensor)
        ids = torch.tensor([*frame.before, *frame.after, *said[:-1]])
        embedded = weight[ids].float()
        start = len(frame.before)
        vectors = torch.cat([embedded[:start], given.vectors, embedded[start:]])
        targets = [-100] * (len(vectors) - len(said)) + said
        return vectors.to(weight.dtype), targets


def loss_of(llm: TextLLM, inputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Return the weighted cross-entropy of the answers' tokens, and their plain one in nats a token."""
    decoder: Any = llm.language_model
    states = decoder.model(inputs_embeds=inputs, use_cache=False).last_hidden_state
    counted = targets != -100
    # Answers' positions only: the vocabulary's map is a fifth of the model.
    logits = llm.unembedding(states[counted]).float()
    losses = nn.functional.cross_entropy(logits, targets[counted], reduction="none")
    lengths = counted.sum(1, keepdim=True).expand_as(targets)[counted]
    weights = torch.where(lengths <= 6, LABEL_WEIGHT, 1.0)
    right = (logits.argmax(-1) == targets[counted]).float().mean()
    return (losses * weights).sum() / weights.sum(), {
        "nats": float(losses.detach().mean()),
        "right": float(right),
    }


def repeat_errors(llm: TextLLM, texts: Sequence[str], hear: Any = None) -> float:
    """Return the word error rate of repeating these texts, all together; `hear` fills the clip's place."""
    hear = hear or llm.hear_text
    instruction = get_task("transcribe").instruction
    said: list[str] = []
    for at in range(0, len(texts), 12):
        prompts = [llm.prepare(hear(text), instruction) for text in texts[at : at + 12]]
        replies = run_prompts(llm, prompts, continuations=[()] * len(prompts), max_new_tokens=96)
        said += [normalise(reply.decoded.text) or "(nothing)" for reply in replies]
    return float(jiwer.wer([normalise(text) for text in texts], said))


def label_shares(llm: TextLLM, exchanges: Sequence[Exchange]) -> dict[str, float]:
    """Return the share of exchanges answered right: as generated and read, and by the labels' likelihood."""
    generated = likeliest = 0
    for at in range(0, len(exchanges), 12):
        some = exchanges[at : at + 12]
        tasks = [get_task(exchange.task) for exchange in some]
        prompts = [llm.prepare(llm.hear_text(e.text), e.instruction) for e in some]
        replies = run_prompts(llm, prompts, continuations=[t.labels for t in tasks], max_new_tokens=12)
        for exchange, task, reply in zip(some, tasks, replies, strict=True):
            label, _ = parse_answer(task, reply.decoded.text, task.labels)
            generated += label == exchange.answer
            likeliest += task.labels[int(reply.continuation_scores.argmax())] == exchange.answer
    n = len(exchanges)
    return {"generated": round(generated / n, 3), "by_likelihood": round(likeliest / n, 3), "n": n}


def evaluate(llm: TextLLM, corpora: Corpora, disturber: Disturber) -> dict[str, Any]:
    """Return what the update reaches on the development texts, which it was not taught on."""
    rng = random.Random(SEED)
    texts = [e.text for task in ("topic", "commonsense", "emotion") for e in corpora.of(task, "dev")]
    texts = [text for text in rng.sample(texts, len(texts)) if 4 <= len(text.split()) <= 40]
    texts = texts[: DEV_ITEMS["transcribe"]]
    found: dict[str, Any] = {"repeat_word_error_rate": round(repeat_errors(llm, texts), 4)}
    for kind in ("plain", "sharp", "confused"):
        drawing = random.Random(SEED)
        given = {text: disturber.draw(text, drawing, kind) for text in texts}
        dtype = llm.embedding.weight.dtype
        found[f"repeat_{kind}_word_error_rate"] = round(
            repeat_errors(
                llm,
                texts,
                lambda text, given=given, dtype=dtype: Heard(given[text].vectors.to(dtype), 0.0, "", (), 0.0),
            ),
            4,
        )
    for task in ("topic", "sentiment"):
        some = rng.sample(corpora.of(task, "dev"), DEV_ITEMS[task])
        found[task] = label_shares(llm, some)
    return found


def teach_backbone(
    corpora_folder: Path, base: Path, work: Path, out: Path, *, steps: int = STEPS, bfloat16: bool = True
) -> dict[str, Any]:
    """Teach the update, or go on where it stopped, write its folder, and return its record.

    Args:
        corpora_folder: of the text corpora.
        base: folder of SmolLM2-135M-Instruct.
        work: folder of checkpoints.
        out: folder to be written.
        steps: of BATCH texts each.
        bfloat16: the frozen base's precision; its attention runs in float32 all the same.
    """
    corpora = read_corpora(corpora_folder)
    exchanges = Exchanges(corpora)
    llm = TextLLM(LAPTOP_SYSTEMS["smollm2"], base, dtype=torch.bfloat16 if bfloat16 else torch.float32)
    decoder: Any = llm.language_model
    rng = random.Random(SEED)
    some = [text for text in exchanges.texts if rng.random() < 0.5]
    used = {i for text in some for t in (text, plain_words(text)) for i in llm.tokenizer.encode(f" {t}")}
    embedding = decoder.get_input_embeddings().weight.detach()
    disturber = Disturber(llm.tokenizer, embedding, Confusables(llm.tokenizer, embedding, sorted(used)))
    logger.info("%d texts, %d tokens with confusables", len(exchanges.texts), len(used))
    update = add_update(decoder)
    source = TextSource(llm, exchanges, disturber)
    decoder.set_attn_implementation(CAUSAL)
    settings = LoopSettings("smollm2-135m-tuned", steps, PEAK_RATE, work, save_every=25)
    decoder.train()

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        return loss_of(llm, *source.batch(step))

    record: dict[str, Any] = dict(train(update, loss_of_step, settings))
    decoder.set_attn_implementation("sdpa")
    decoder.eval()
    record |= {"evaluation": evaluate(llm, corpora, disturber), "corpora": corpora.hashes}
    export(update, base, out, record)
    logger.info("%s", record)
    return record


def export(update: nn.ParameterDict, base: Path, out: Path, record: dict[str, Any]) -> None:
    """Write the update's folder; its names are those of peft's files."""
    out.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{name.replace('/', '.')}.weight": value.detach().to(torch.float16).contiguous()
        for name, value in update.items()
    }
    save_file(tensors, out / "adapter.safetensors", metadata={"format": "pt"})
    # The base's own config, so that whoever asks for the model's shape finds it here too.
    config = json.loads((base / "config.json").read_text(encoding="utf-8")) | {
        "base_model": base.name,
        "lora_rank": RANK,
        "lora_alpha": ALPHA,
        ORIGIN: {LANGUAGE_MODEL: fingerprint([base])},
    }
    (out / REVISION_FILE).write_text(fingerprint([out])[:REVISION_DIGITS] + "\n", encoding="utf-8")
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    record = {"parameters": count_parameters(update.values()), "batch": BATCH, "seed": SEED} | record
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
