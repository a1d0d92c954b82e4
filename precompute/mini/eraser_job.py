"""The eraser job: seeded clips, a CTC head, one eraser file for each condition, and the proof on other sentences."""

from __future__ import annotations

import random
from pathlib import Path

from engine.conditions import erasers_folder
from engine.errors import EngineError
from engine.recipe import say_recipe
from engine.systems.catalogue import get_spec
from engine.systems.registry import load_speech_llm
from precompute.mini.ctc_head import fit_ctc_head
from precompute.mini.fit_erasers import (
    ERASER_SEED,
    TARGETS,
    choose_first_words,
    draw_recipes,
    fit_and_prove,
    label_clips,
)
from precompute.mini.voices import train_voices
from precompute.mini.world import build_world

FULL_CLIPS, FULL_HELD_CLIPS = 900, 500
QUICK_CLIPS, QUICK_HELD_CLIPS = 60, 40
HEAD_CLIPS = 300


def fit_all(quick: bool, out: Path | None, key: str = "mini-ultravox") -> str:
    """Fit all erasers of one speech LLM; returns a table of what fresh probes read of them.

    Raises:
        EngineError: there is no such speech LLM, or its weights are missing.
    """
    if get_spec(key).kind != "speech_llm":
        raise EngineError(f"{get_spec(key).name} hears no audio of its own; name a speech LLM.")
    system = load_speech_llm(key)
    world = build_world()
    rng = random.Random(ERASER_SEED)
    n_fit, n_held = (QUICK_CLIPS, QUICK_HELD_CLIPS) if quick else (FULL_CLIPS, FULL_HELD_CLIPS)
    fit_sentences, held_sentences = rng.sample(world.train, n_fit), rng.sample(world.test, n_held)
    voices = [voice for voice in train_voices() if voice.engine == "espeak"]
    said = draw_recipes(fit_sentences[:HEAD_CLIPS], voices, ERASER_SEED + 2, feel=False)
    frames = [system.frames(say_recipe(one).clip.samples).float().cpu() for one in said]
    head = fit_ctc_head(frames, [one.text for one in said])
    first_words = choose_first_words(world.train)
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
    erasers = fit_and_prove(system, fit[0], held[0], {"text": first_words, **TARGETS}, folder, notes, clips)
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
