"""The eraser job: states of seeded clips, a CTC head, and one eraser file for each condition."""

from __future__ import annotations

import logging
import random
from pathlib import Path

from engine.audio import clip_from_samples
from engine.conditions import erasers_folder
from engine.errors import EngineError
from engine.systems.catalogue import get_spec
from engine.systems.registry import load_speech_llm
from precompute.mini.ctc_head import fit_ctc_head
from precompute.mini.fit_erasers import ERASER_SEED, choose_first_words, collect_states, fit_erasers
from precompute.mini.sentence import Sentence
from precompute.mini.synth import render
from precompute.mini.voices import draw_prosody, train_voices
from precompute.mini.world import build_world
from precompute.training.sentences import read_sentences, spoken_form
from precompute.training.texts import share_of

logger = logging.getLogger(__name__)

FULL_CLIPS, FULL_HELD_CLIPS = 900, 250
QUICK_CLIPS, QUICK_HELD_CLIPS = 60, 20
HEAD_CLIPS = 300
HELD_PARTS = 10  # of the corpora's sentences one in ten is kept for the scores


def fit_all(quick: bool, out: Path | None, key: str = "mini-ultravox", corpora: Path | None = None) -> str:
    """Fit all erasers of one speech LLM; returns a table of ranks and probe scores.

    Args:
        quick: few clips, to try the command.
        out: folder of the erasers; None for the system's own.
        key: of the speech LLM.
        corpora: folder of the text corpora, whose train splits are said; None for the mini world's sentences.

    Raises:
        EngineError: there is no such speech LLM, its weights are missing, or a corpus is.
    """
    if get_spec(key).kind != "speech_llm":
        raise EngineError(f"{get_spec(key).name} hears no audio of its own; name a speech LLM.")
    system = load_speech_llm(key)
    train, test = _mini_world() if corpora is None else _sentences_of(corpora)
    rng = random.Random(ERASER_SEED)
    n_fit, n_held = (QUICK_CLIPS, QUICK_HELD_CLIPS) if quick else (FULL_CLIPS, FULL_HELD_CLIPS)
    fit_sentences = rng.sample(train, n_fit)
    held_sentences = rng.sample(test, n_held)
    voices = [voice for voice in train_voices() if voice.engine == "espeak"]
    said = [(s, render(s.text, rng.choice(voices), draw_prosody(rng))) for s in fit_sentences[:HEAD_CLIPS]]
    clips = [clip_from_samples(r.samples, r.rate_hz, "fit") for _, r in said]
    head = fit_ctc_head([system.frames(c.samples).float().cpu() for c in clips], [s.text for s, _ in said])
    first_words = choose_first_words(train)
    fit = collect_states(system, head, fit_sentences, voices, first_words, ERASER_SEED)
    held = collect_states(system, head, held_sentences, voices, first_words, ERASER_SEED + 1)
    note = f"{n_fit} training sentences, {len(voices)} espeak-ng voices, seed {ERASER_SEED}"
    folder = out or erasers_folder(key)
    records = fit_erasers(fit, held, system.fingerprint, folder, note)
    lines = ["condition  layer  rank  probe before  after   chance"]
    for condition, record in records.items():
        lines += [
            f"{condition:10} {layer:5}  {record['kept_rank'][layer]:4}  {record['probe_before'][layer]:12.3f}"
            f"  {record['probe_after'][layer]:6.3f}  {record['probe_chance'][layer]:6.3f}"
            for layer in record["layers"]
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
