"""The model card of the minis: `python -m precompute cards` writes assets/models/MODEL_CARD.md.

Every number is read from what ships (configs, weights, erasers, training.json, evaluation.csv) or from the
constants of the jobs that made it; none is typed here but the aims, and whether they are met is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.erasure import Eraser, load_eraser
from engine.errors import ModelFilesError
from engine.evaluation import Figure, read_figures
from engine.probes import OTHER_WORD
from engine.request import CONDITIONS
from engine.systems.catalogue import get_spec, revision_in
from engine.systems.checkpoint import fingerprint
from precompute.mini.aims import Aim, all_aims
from precompute.mini.card_models import architecture, markdown_table, read_json, training
from precompute.mini.evaluate import FULL_WORDS_ITEMS
from precompute.mini.train import STAGES
from precompute.mini.world import World, build_world

CARD = "MODEL_CARD.md"
# Pairs whose speech LLM has erasers -> the folders of the weights that they were fitted on.
FITTED = {"mini-ultravox": ("mini-ultravox", "mini-llama"), "mini-qwen2-audio": ("mini-qwen2-audio",)}

# The card's fixed words; what is in braces is filled in from files.
_HEAD = """\
# Model card of the minis

Written by `python -m precompute cards`; edits are lost. Revisions: {revisions}.

## What they are

Small models of the architectures that Cascade Lens looks into, trained from random initialisation on
sentences of our own, said by synthetic voices. **mini-Llama** is a text LLM: the backbone of both arms of
the first pair. **mini-Whisper** is a transcriber; in front of mini-Llama it makes the cascade.
**mini-Ultravox** is a speech LLM: an audio tower and a projector in front of the same frozen mini-Llama,
whose weights are stored once. **mini-Qwen2** is a text LLM of another architecture, and
**mini-Qwen2-Audio** the speech LLM that was trained further from it, as Qwen2-Audio was: all of its language
model learned from audio. **mini-Whisper-weak** is a smaller transcriber, trained for a shorter time, that
is meant to mishear.

## What they are not

They are stand-ins that make the whole page run on a laptop. They know about {vocabulary:,} words of
English, the tasks listed here and a few forms of question, and nothing about the world beyond. They learned
from synthesisers only: a person's voice is outside of what they were trained on. What they show about
larger models is for larger models to confirm; nobody should decide anything by their answers. Emotion,
sarcasm and speaker were never taught to mini-Ultravox from the voice: it learned from a teacher that reads
words only. mini-Qwen2-Audio was taught their labels.
"""

_TAIL = """\
## Make every figure again

| section | command |
|---|---|
| Architecture, Training | `python -m precompute train --stage all`, then `python -m precompute cards` |
| Erasers | `python -m precompute erasers --system NAME` prints them by layer |
| Aims, All figures | `python -m precompute evaluate --out assets/models/evaluation.csv` |
| this card | `python -m precompute cards` |

Where the history of these very weights differs from the recipe, [HISTORY.md](HISTORY.md) says so.
Training needs Debian's flite, the unseen engine Debian's festival. Licence of the weights: MIT.
"""


def write_cards(models: Path, evaluation_csv: Path) -> None:
    """Write MODEL_CARD.md into `models`.

    Args:
        models: folder of the models, their training.json and the erasers.
        evaluation_csv: table of a full run of `python -m precompute evaluate --out`.

    Raises:
        ModelFilesError: weights, training.json or the table are missing or damaged, or it is a quick one.
        ErasureError: an eraser is missing or was fitted on other weights.
    """
    figures = read_figures(evaluation_csv)
    _refuse_quick(figures)
    record = read_json(models / "training.json", 'run "python -m precompute train --stage all"')
    folders = [stage.folder for stage in STAGES.values() if stage.folder in record["models"]]
    revisions = ", ".join(f"{folder} {revision_in(models / folder)}" for folder in folders)
    text = "\n".join(
        (
            _HEAD.format(revisions=revisions, vocabulary=record["vocabulary_words"]),
            architecture(models, record),
            training(record, _same_world(record)),
            *(_erasers_of(pair, models) for pair in FITTED if pair in folders),
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


def _erasers_of(pair: str, models: Path) -> str:
    prints = fingerprint([models / folder for folder in FITTED[pair]])
    erasers = [load_eraser(pair, condition, prints, models) for condition in CONDITIONS]
    return eraser_section(get_spec(pair).name, erasers)


def eraser_section(name: str, erasers: Sequence[Eraser]) -> str:
    """Return the section of kept ranks and of what fresh probes read, in every way of erasing that was measured."""
    rows = []
    for eraser in erasers:
        ranks = sorted(set(eraser.kept_rank.values()))
        rank = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
        targets = [target for target in eraser.targets if target != OTHER_WORD]
        about = (CONDITIONS[eraser.condition].name, len(targets), rank)
        if eraser.proof is None:
            rows.append((*about, "not measured", *[""] * 6))
            continue
        for setting, proofs in eraser.proof.settings.items():
            found = list(proofs.values())
            n_gone = sum(one.verdict == "not found" for one in found)
            scores = ([getattr(one, name) for one in found] for name in ("plain", "random", "erased"))
            rows.append(
                (
                    *about,
                    setting,
                    eraser.proof.measure,
                    *map(_mean_and_range, scores),
                    f"{found[0].chance:.3f}",
                    f"{n_gone} of {len(found)} layers",
                )
            )
    layers, proof = erasers[0].layers, erasers[0].proof
    chained = (
        ", and for the nine layers of the preset on the states that those below have edited"
        if erasers[0].chained
        else ""
    )
    proven = (
        f" Scores are of a linear probe fitted anew on {proof.clips}, which sees runs erased as named and no clip "
        "of the fit: mean over layers (least to greatest). Gone: at how many layers it finds nothing where the plain "
        "probe does."
        if proof
        else " Whether anything is gone was not measured on other clips, so nothing is claimed."
    )
    return (
        f"## Erasers of {name}\n\nLEACE in float64, for each condition and layer ({layers[0]} to {layers[-1]}) on the "
        f"plain states at audio positions{chained}; fitted on {erasers[0].fit}.{proven}\n\n"
        + markdown_table(
            (
                *("condition", "targets", "kept rank", "erased", "score"),
                *("plain", "random directions", "after", "chance", "gone"),
            ),
            rows,
        )
    )


def _mean_and_range(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def aims_section(aims: Sequence[Aim]) -> str:
    """Return the section that puts what was aimed at beside what is reached."""
    rows = [(aim.what, aim.wanted, aim.reached, f"**{aim.verdict}**") for aim in aims]
    return "## Aims and what is reached\n\n" + markdown_table(("aim", "wanted", "reached", "verdict"), rows)


def figures_section(figures: Sequence[Figure]) -> str:
    """Return every row of the evaluation with its interval."""
    rows = [(f.measure, f.task, f.system, f.voices, f.n_items, f.with_interval()) for f in figures]
    return (
        "## All figures\n\nShares of 1 with 95 % intervals over items: Wilson's for shares, a percentile "
        "bootstrap for kappa (two unparsed answers never agree) and word error rates (wer, corpus level).\n\n"
        + markdown_table(("measure", "task", "system", "voices", "n", "value [95 %]"), rows)
    )
