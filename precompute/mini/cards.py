"""The model card of the minis: `python -m precompute cards` writes assets/models/MODEL_CARD.md.

Every number is read from what ships (configs, weights, erasers, training.json, evaluation.csv) or from the
constants of the jobs that made it; none is typed here but the aims, and whether they are met is computed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from engine.concepts import OTHER_WORD
from engine.conditions import CONDITIONS
from engine.erasure import Eraser, load_eraser
from engine.errors import ModelFilesError
from engine.evaluation import Figure, read_figures
from engine.systems.checkpoint import fingerprint, weight_files
from precompute.mini.aims import Aim, all_aims
from precompute.mini.backbone import BACKBONE_SEED
from precompute.mini.ctc_head import CTC_SEED
from precompute.mini.evaluate import BOOTSTRAP_SEED, FULL_WORDS_ITEMS
from precompute.mini.fit_erasers import ERASER_SEED
from precompute.mini.held_out import HELD_OUT_SEED
from precompute.mini.speech_llm import SPEECH_LLM_SEED
from precompute.mini.train import SOURCE_SEED, SPEECH_SOURCE_SEED
from precompute.mini.transcriber import TRANSCRIBER_SEED
from precompute.mini.voices import test_voices, train_voices, unseen_engine_voices
from precompute.mini.workshop import FLITE_SEED
from precompute.mini.world import World, build_world

CARD = "MODEL_CARD.md"
PAIR = "mini-ultravox"
BACKBONE, WHISPER, ULTRAVOX = "mini-llama", "mini-whisper", "mini-ultravox"

# The card's fixed words; what is in braces is filled in from files.
_HEAD = """\
# Model card: mini-Llama, mini-Whisper, mini-Ultravox

Written by `python -m precompute cards`; edits are lost. Revisions: {revisions}.

## What they are

Three small models of the architectures that Cascade Lens looks into, trained from random initialisation on
sentences of our own, said by synthetic voices. **mini-Llama** is a text LLM: the backbone of both arms.
**mini-Whisper** is a transcriber; in front of mini-Llama it makes the cascade. **mini-Ultravox** is a
speech LLM: an audio tower and a projector in front of the same frozen mini-Llama, whose weights are stored
once.

## What they are not

They are stand-ins that make the whole page run on a laptop. They know about {vocabulary:,} words of
English, the tasks listed here and a few forms of question, and nothing about the world beyond. They learned
from synthesisers only: a person's voice is outside of what they were trained on. What they show about
larger models is for larger models to confirm; nobody should decide anything by their answers. Emotion,
sarcasm and speaker were never taught from the voice: mini-Ultravox learned from a teacher that reads words
only.
"""

_TAIL = """\
## Make every figure again

| section | command |
|---|---|
| Architecture, Training | `python -m precompute train --stage all`, then `python -m precompute cards` |
| Erasers | `python -m precompute erasers` prints them by layer |
| Aims, All figures | `python -m precompute evaluate --out assets/models/evaluation.csv` |
| this card | `python -m precompute cards` |

Where the history of these very weights differs from the recipe, [HISTORY.md](HISTORY.md) says so.
Training needs Debian's flite, the unseen engine Debian's festival. Licence of the weights: MIT.
"""


def write_cards(models: Path, evaluation_csv: Path) -> None:
    """Write MODEL_CARD.md into `models`.

    Args:
        models: folder of the three models, their training.json and the erasers.
        evaluation_csv: table of a full run of `python -m precompute evaluate --out`.

    Raises:
        ModelFilesError: weights, training.json or the table are missing or damaged, or it is a quick one.
        ErasureError: an eraser is missing or was fitted on other weights.
    """
    figures = read_figures(evaluation_csv)
    _refuse_quick(figures)
    record = _json(models / "training.json", 'run "python -m precompute train --stage all"')
    prints = fingerprint([models / ULTRAVOX, models / BACKBONE])
    erasers = [load_eraser(PAIR, condition, prints, models) for condition in CONDITIONS]
    revisions = ", ".join(f"{key} {_revision(models / key)}" for key in (BACKBONE, WHISPER, ULTRAVOX))
    text = "\n".join(
        (
            _HEAD.format(revisions=revisions, vocabulary=record["vocabulary_words"]),
            architecture(models, record),
            training(record, _same_world(record)),
            eraser_section(erasers),
            aims_section(all_aims(figures, models)),
            figures_section(figures),
            _TAIL,
        )
    )
    part = models / f"{CARD}.part"
    part.write_text(text, encoding="utf-8")
    part.replace(models / CARD)


def _refuse_quick(figures: Sequence[Figure]) -> None:
    if max((f.n_items for f in figures if f.measure == "wer"), default=0) < FULL_WORDS_ITEMS:
        raise ModelFilesError(
            "The evaluation table is not of a full run; "
            'run "python -m precompute evaluate --out assets/models/evaluation.csv" without --quick.'
        )


def _same_world(record: dict[str, Any]) -> World:
    world = build_world(record["world_seed"])
    if record["training_sentences"] != len(world.train):
        raise ModelFilesError(
            f"The models were trained on {record['training_sentences']:,} sentences, but the corpora now "
            f'give {len(world.train):,}; run "python -m precompute train --stage all".'
        )
    return world


def _json(file: Path, remedy: str) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ModelFilesError(f"{file.parent.name} has no readable {file.name}; {remedy}.") from error
    return loaded


def _revision(folder: Path) -> str:
    file = folder / "revision.txt"
    return file.read_text(encoding="utf-8").strip() if file.exists() else "unversioned"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def architecture(models: Path, record: dict[str, Any]) -> str:
    """Return the section of sizes, from the configs and the weights themselves."""
    llama = _json(models / BACKBONE / "config.json", "restore it")
    ultravox = _json(models / ULTRAVOX / "config.json", "restore it")
    audio = ultravox["audio_config"]
    window_s = audio["max_source_positions"] / 50  # one position is 20 ms
    token_ms = 20 * ultravox["stack_factor"]
    heads = f"{llama['num_attention_heads']} heads, {llama['num_key_value_heads']} of keys"
    encoder = f"{audio['encoder_layers']} encoder layers of width {audio['d_model']}"
    rows = (
        (
            BACKBONE,
            f"{llama['num_hidden_layers']} layers of width {llama['hidden_size']} (inner "
            f"{llama['intermediate_size']}), {heads}, {llama['vocab_size']:,} token ids, untied head",
            f"{_parameters(models / BACKBONE):,}",
            "float16 on disk, run in float32",
        ),
        (
            WHISPER,
            f"{encoder}, {_decoder_layers(models / WHISPER)} decoder layers, window {window_s:g} s, "
            f"{audio['num_mel_bins']} mel bands; converted by CTranslate2",
            f"{int(record['models'][WHISPER]['parameters']):,}",
            "8-bit on disk, run in float32",
        ),
        (
            ULTRAVOX,
            f"audio tower of {encoder} (inner {audio['encoder_ffn_dim']}), projector of "
            f"{ultravox['stack_factor']} states a position ({token_ms} ms) with {ultravox['hidden_size']} "
            "hidden units; the backbone is not counted",
            f"{_parameters(models / ULTRAVOX):,}",
            "float16 on disk, run in float32",
        ),
    )
    return "## Architecture\n\n" + _table(("model", "shape", "parameters", "numbers"), rows)


def _parameters(folder: Path) -> int:
    """Count the scalars in a folder's safetensors, from their headers."""
    total = 0
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                size = 1
                for side in tensors.get_slice(name).get_shape():
                    size *= side
                total += size
    return total


def _decoder_layers(folder: Path) -> int:
    """Count the decoder layers of a CTranslate2 model by its variables' names: its config has no sizes."""
    try:
        names = set(re.findall(rb"decoder/layer_(\d+)/", (folder / "model.bin").read_bytes()))
    except OSError as error:
        raise ModelFilesError(f"{folder.name} lacks model.bin; restore the folder.") from error
    return len(names)


def training(record: dict[str, Any], world: World) -> str:
    """Return the section of data, steps, minutes and seeds."""
    batch = record["batch"]
    stages = (
        (BACKBONE, "sentences with questions and answers, as text", batch["backbone"], "exchanges"),
        (WHISPER, "sentences said by synthetic voices, augmented", batch["transcriber"], "clips"),
        (ULTRAVOX, "the same, towards the text-prompted backbone", batch["speech_llm"], "clips"),
    )
    rows = []
    for key, data, size, unit in stages:
        numbers = record["models"][key]
        steps, minutes = int(numbers["steps"]), numbers["seconds"] / 60
        rows.append((key, data, f"{steps:,}", f"{size} {unit}", f"{steps * size:,}", f"{minutes:.0f}"))
    sides = [Counter(s.task for s in side) for side in (world.train, world.validation, world.test)]
    splits = [(task, *(f"{side[task]:,}" for side in sides)) for task in sorted(sides[0])]
    splits.append(("all", *(f"{side.total():,}" for side in sides)))
    seeds = {
        "world and split": record["world_seed"],
        "backbone": BACKBONE_SEED,
        "transcriber": TRANSCRIBER_SEED,
        "speech LLM": SPEECH_LLM_SEED,
        "flite pool": FLITE_SEED,
        "speech batches": f"{SOURCE_SEED} and {SPEECH_SOURCE_SEED}",
        "erasers": f"{ERASER_SEED} (CTC head {CTC_SEED})",
        "held-out clips": HELD_OUT_SEED,
        "bootstrap": BOOTSTRAP_SEED,
    }
    return (
        f"## Training\n\nOn CPU, torch {record['torch']}.\n\n"
        + _table(("model", "data", "steps", "batch", "examples seen", "minutes"), rows)
        + f"\nSentences by task ({record['training_texts']:,} different texts in training; the split is by "
        "sentence group, no text stands on two sides):\n\n"
        + _table(("task", "train", "validation", "test"), splits)
        + f"\nVoices: {len(train_voices())} in training (espeak-ng variants in several accents, and flite's "
        f"five), with random rate, pitch and range; {len(test_voices())} other espeak-ng variants for "
        f"testing, and Festival's {len(unseen_engine_voices())}, an engine that is never trained on.\n\n"
        "Seeds: " + ", ".join(f"{what} {seed}" for what, seed in seeds.items()) + ".\n"
    )


def eraser_section(erasers: Sequence[Eraser]) -> str:
    """Return the section of kept ranks and probe scores: means and ranges over all fitted layers."""
    rows = []
    for eraser in erasers:
        ranks = sorted(set(eraser.kept_rank.values()))
        rank = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
        scores = (eraser.probe_before, eraser.probe_after, eraser.probe_chance)
        targets = [target for target in eraser.targets if target != OTHER_WORD]
        rows.append(
            (
                CONDITIONS[eraser.condition].name,
                eraser.measure,
                len(targets),
                rank,
                *map(_mean_and_range, scores),
            )
        )
    layers = erasers[0].layers
    return (
        "## Erasers of mini-Ultravox\n\nLEACE in float64, one eraser for each condition and layer "
        f"({layers[0]} to {layers[-1]}), on the states at audio positions; fitted on {erasers[0].fit}. "
        "Scores are of a linear probe fitted afresh, on held-out sentences in training voices: mean over "
        "layers (least to greatest).\n\n"
        + _table(("condition", "score", "targets", "kept rank", "before", "after", "chance"), rows)
    )


def _mean_and_range(by_layer: Any) -> str:
    values = list(by_layer.values())
    return f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def aims_section(aims: Sequence[Aim]) -> str:
    """Return the section that puts what was aimed at beside what is reached."""
    rows = [(aim.what, aim.wanted, aim.reached, f"**{aim.verdict}**") for aim in aims]
    return "## Aims and what is reached\n\n" + _table(("aim", "wanted", "reached", "verdict"), rows)


def figures_section(figures: Sequence[Figure]) -> str:
    """Return every row of the evaluation with its interval."""
    rows = [(f.measure, f.task, f.system, f.voices, f.n_items, f.with_interval()) for f in figures]
    return (
        "## All figures\n\nShares of 1 with 95 % intervals over items: Wilson's for shares, a percentile "
        "bootstrap for kappa and word error rates (wer, corpus level).\n\n"
        + _table(("measure", "task", "system", "voices", "n", "value [95 %]"), rows)
    )
