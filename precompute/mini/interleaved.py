"""The mini-interleaved and its three controls: {text LM, random} to begin with x {interleaved, speech only} to learn.

All four have the same sizes, steps, tokens a step and rates; only what they begin with and what they read differ.
The one that begins with the mini-Qwen2 and reads interleaved documents ships.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from precompute.mini.export import export_interleaved
from precompute.mini.interleaving import INTERLEAVED, SPEECH_ONLY, DocumentSource, Mixture, Vocabulary
from precompute.mini.loop import LoopSettings, train
from precompute.mini.unit_speech import UnitClip

logger = logging.getLogger(__name__)

INTERLEAVED_SEED = 42
PEAK_RATE, WEIGHT_DECAY = 1e-3, 0.05
# Shares of the training at which a model is kept, to be measured while it learns; doubling, for most happens early.
SNAPSHOT_SHARES = (0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)


@dataclass(frozen=True)
class Arm:
    """One cell of the grid."""

    key: str
    begins_with_text: bool
    mixture: Mixture


MAIN = "text-interleaved"
ARMS = {
    arm.key: arm
    for arm in (
        Arm(MAIN, True, INTERLEAVED),
        Arm("random-interleaved", False, INTERLEAVED),
        Arm("text-speech", True, SPEECH_ONLY),
        Arm("random-speech", False, SPEECH_ONLY),
    )
}


def new_model(backbone: Qwen2ForCausalLM, size: int, *, begins_with_text: bool) -> Qwen2ForCausalLM:
    """Return the model to be trained, seeded.

    Args:
        backbone: the mini-Qwen2, whose sizes it has.
        size: of its vocabulary: the backbone's ids come first.
        begins_with_text: with the backbone's weights; its new rows are drawn like the old ones. Else all is drawn.
    """
    torch.manual_seed(INTERLEAVED_SEED)
    config = Qwen2Config.from_dict({**backbone.config.to_dict(), "vocab_size": size})
    model = Qwen2ForCausalLM(config)
    if not begins_with_text:
        return model
    old = backbone.state_dict()
    grown = {}
    for name, tensor in old.items():
        fresh = model.state_dict()[name]
        if tensor.shape == fresh.shape:
            grown[name] = tensor
            continue
        rows = torch.randn(size - len(tensor), tensor.shape[1]) * tensor.std(0) + tensor.mean(0)
        grown[name] = torch.cat([tensor, rows])
    model.load_state_dict(grown, strict=True)
    return model


def document_loss(model: nn.Module, ids: Tensor, base: int) -> tuple[Tensor, dict[str, float]]:
    """Return the cross-entropy of every next id in nats; apart, that of units and that of text and tags.

    Args:
        model: a causal LM.
        ids: rows of documents.
        base: id of the first unit; the tags count as text.
    """
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids).logits
    wanted = ids[:, 1:].flatten()
    each = nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), wanted, reduction="none")
    is_unit = (wanted >= base) & (wanted < int(logits.shape[-1]) - 2)
    parts = {"unit": each[is_unit], "text": each[~is_unit]}
    return each.mean(), {key: float(part.detach().mean()) for key, part in parts.items() if len(part)}


@dataclass(frozen=True)
class Bench:
    """Where one arm is trained: what all arms share.

    Attributes:
        build: folder of checkpoints; an arm's snapshots lie in build / arm / step-NNNNN.
        steps: of each arm.
        description: what an exported folder's config says beside the model's own settings.
        centres: file of the units' centres.
    """

    build: Path
    steps: int
    description: dict[str, object]
    centres: Path


def train_arm(
    arm: Arm,
    bench: Bench,
    backbone: Qwen2ForCausalLM,
    vocabulary: Vocabulary,
    source: DocumentSource,
) -> tuple[dict[str, float], Qwen2ForCausalLM]:
    """Train one arm, resuming where it stopped; its snapshots and its end are written as folders."""
    model = new_model(backbone, vocabulary.size, begins_with_text=arm.begins_with_text)
    at = {round(share * bench.steps): bench.build / arm.key for share in SNAPSHOT_SHARES}

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        if step in at:
            write(model, bench, at[step] / f"step-{step:05d}")
        # The same draws for arms that read alike.
        rng = random.Random(f"{INTERLEAVED_SEED}|{step}")
        return document_loss(model, source.batch(rng), vocabulary.base)

    settings = LoopSettings(
        arm.key, bench.steps, PEAK_RATE, bench.build, save_every=200, weight_decay=WEIGHT_DECAY
    )
    record = train(model, loss_of_step, settings)
    write(model, bench, bench.build / arm.key / f"step-{bench.steps:05d}")
    return record, model


def write(model: Qwen2ForCausalLM, bench: Bench, folder: Path) -> None:
    """Write a model as a folder that the adapter reads, in half precision."""
    export_interleaved(model, bench.description, bench.centres, folder)


@torch.inference_mode()
def held_out_losses(model: nn.Module, vocabulary: Vocabulary, clips: Sequence[UnitClip]) -> dict[str, float]:
    """Return nats for each unit of spoken documents and for each token of the same as text, over unseen clips."""
    model.eval()
    found = {}
    for kind, documents in (
        ("unit", [vocabulary.speech(clip) for clip in clips]),
        ("text", [vocabulary.text(clip.text) for clip in clips]),
    ):
        total, n = 0.0, 0
        for document in documents:
            ids = torch.tensor([document])
            logits = model(input_ids=ids).logits[0, :-1].float()
            each = nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
            # The end of the document is neither.
            total, n = total + float(each[:-1].sum()), n + len(each) - 1
        found[f"held_out_{kind}_nats"] = total / n
    return found


def write_curve(file: Path, rows: Sequence[dict[str, object]]) -> None:
    """Write what was measured along the training as JSON lines."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
