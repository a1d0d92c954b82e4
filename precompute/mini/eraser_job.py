"""The eraser job: seeded clips, a CTC head, one eraser file for each condition, and the proof on other sentences."""

from __future__ import annotations

import random
from pathlib import Path

from engine.errors import EngineError
from engine.request import erasers_folder
from engine.systems.catalogue import LAPTOP_SYSTEMS, get_spec
from engine.systems.loading import load_speech_llm
from engine.voice import say_recipe
from precompute.mini.ctc_head import fit_ctc_head
from precompute.mini.fit_erasers import (
    ERASER_SEED,
    TARGETS,
    choose_first_words,
    draw_recipes,
    fit_and_prove,
    label_clips,
)
from precompute.mini.sentence import Sentence
from precompute.mini.voices import train_voices
from precompute.mini.world import build_world
from precompute.training.sentences import read_sentences, spoken_form
from precompute.training.texts import share_of

# Clips that are fitted on, and others that the probes are scored on.
FULL_CLIPS, LAPTOP_CLIPS, QUICK_CLIPS = (900, 500), (300, 150), (60, 40)
LEAST_CLIPS = 20  # fewer hold too few sentences for the probes' folds
HEAD_CLIPS = 300
HELD_PARTS = 10  # of the corpora's sentences one in ten is kept for the scores


def fit_all(
    quick: bool,
    out: Path | None,
    key: str = "mini-ultravox",
    corpora: Path | None = None,
    counts: tuple[int | None, int | None] = (None, None),
) -> str:
    """Fit all erasers of one speech LLM; returns a table of what fresh probes read of them.

    Args:
        quick: few clips, to try the command.
        out: folder of the erasers; None for the system's own.
        key: of the speech LLM.
        corpora: folder of the text corpora, whose train splits are said; None for the mini world's sentences.
        counts: of clips to fit on and of held-out ones; None for what is usual for the system.

    Raises:
        EngineError: there is no such speech LLM, its weights are missing, or a corpus is; too few clips.
    """
    if get_spec(key).kind != "speech_llm":
        raise EngineError(f"{get_spec(key).name} hears no audio of its own; name a speech LLM.")
    usual = QUICK_CLIPS if quick else LAPTOP_CLIPS if key in LAPTOP_SYSTEMS else FULL_CLIPS
    n_fit, n_held = (
        standing if given is None else given for given, standing in zip(counts, usual, strict=True)
    )
    if min(n_fit, n_held) < LEAST_CLIPS:
        raise EngineError(
            f"Erasers need {LEAST_CLIPS} clips to fit on and as many held out; give more of them."
        )
    system = load_speech_llm(key)
    train, test = _mini_world() if corpora is None else _sentences_of(corpora)
    rng = random.Random(ERASER_SEED)
    fit_sentences, held_sentences = rng.sample(train, n_fit), rng.sample(test, n_held)
    voices = [voice for voice in train_voices() if voice.engine == "espeak"]
    said = draw_recipes(fit_sentences[:HEAD_CLIPS], voices, ERASER_SEED + 2, feel=False)
    frames = [system.frames(say_recipe(one).clip.samples).float().cpu() for one in said]
    head = fit_ctc_head(frames, [one.text for one in said])
    first_words = choose_first_words(train)
    fit, held = (
        label_clips(system, head, sentences, draw_recipes(sentences, voices, seed), first_words)
        for sentences, seed in ((fit_sentences, ERASER_SEED), (held_sentences, ERASER_SEED + 1))
    )
    notes = (
        f"{n_fit} training sentences, {len(voices)} espeak-ng voices, seed {ERASER_SEED}",
        f"{n_held} held-out sentences in the same voices, seed {ERASER_SEED + 1}",
    )
    clips = {"seed": ERASER_SEED, "fit": fit[1], "proof": held[1]}
    folder = out or erasers_folder(key)
    erasers = fit_and_prove(
        system,
        fit[0],
        held[0],
        {"text": first_words, **TARGETS},
        folder,
        notes,
        clips,
        every_layer=key not in LAPTOP_SYSTEMS,
    )
    lines = ["condition  setting            layer  plain  random  erased [95 %]      chance  verdict"]
    for condition, eraser in erasers.items():
        assert eraser.proof is not None
        lines += [
            f"{condition:10} {setting:18} {layer:5}  {one.plain:5.2f}   {one.random:5.2f}   {one.erased:5.2f} "
            f"[{one.low:5.2f}, {one.high:5.2f}]   {one.chance:5.2f}  {one.verdict}"
            for setting, layers in eraser.proof.settings.items()
            for layer, one in layers.items()
        ]
    return "\n".join(lines)


def _mini_world() -> tuple[list[Sentence], list[Sentence]]:
    world = build_world()
    return list(world.train), list(world.test)


def _sentences_of(corpora: Path) -> tuple[list[Sentence], list[Sentence]]:
    """Return sentences of the corpora's train splits to fit on, and those kept for scoring the probes."""
    said = sorted({spoken for text in read_sentences(corpora)[0] if (spoken := spoken_form(text))})
    parts: tuple[list[Sentence], list[Sentence]] = ([], [])
    for text in said:
        parts[share_of(text, HELD_PARTS) == 0].append(Sentence("transcribe", text, "", text))
    return parts
