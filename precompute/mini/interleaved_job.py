"""Training the interleaved mini and its controls, from the units to the folder that ships: the stage "interleaved"."""

from __future__ import annotations

import json
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn
from transformers import Qwen2ForCausalLM

from engine.interleaved import VOICE_FILE, read_unit_voice
from engine.systems.text_llm import read_tokenizer
from engine.systems.unit_lm import (
    CENTRES,
    CENTRES_FILE,
    UNITS_FOLDER,
    UnitEncoder,
    WhisperFrames,
    nearest,
    read_centres,
)
from precompute.mini.corpora.facts import Fact, all_facts
from precompute.mini.export import export_interleaved
from precompute.mini.held_out import held_out_items, say_item
from precompute.mini.interleaved import ARMS, MAIN, Bench, held_out_losses, train_arm
from precompute.mini.interleaving import DocumentSource, Vocabulary
from precompute.mini.unit_fit import (
    CENTRES_CLIPS,
    LAYER_FIT_CLIPS,
    LAYER_JUDGE_CLIPS,
    draw_texts,
    fit_centres,
    information_by_layer,
    say_plain,
)
from precompute.mini.unit_speech import Saying, UnitClip, encode_clips, word_frames
from precompute.mini.unit_voice_job import intelligibility, record_voice
from precompute.mini.voices import test_voices
from precompute.mini.workshop import Recipe, Workshop
from precompute.mini.world import WORLD_SEED, build_world

logger = logging.getLogger(__name__)

FOLDER = "interleaved"
EARS, TEXT_MODEL = "mini-whisper", "mini-qwen2"
PROCESSES = 2
RENDERINGS, FACT_RENDERINGS = 2, 8
HELD_OUT_CLIPS_PER_TASK = 20
_HELD_OUT_TASKS = ("topic", "sentiment", "trivia", "emotion", "sarcasm")


@dataclass(frozen=True)
class UnitWorld:
    """What every arm is trained on.

    Attributes:
        layer: of the mini-Whisper's encoder that units are made from.
        centres: file of their centres.
    """

    layer: int
    centres: Path
    clips: tuple[UnitClip, ...]
    facts: tuple[Fact, ...]

    @property
    def description(self) -> dict[str, object]:
        """What an exported config says of its parts."""
        return {"text_model_id": TEXT_MODEL, "unit_encoder": {"model": EARS, "layer": self.layer}}


def training_texts(shop: Workshop) -> list[str]:
    """Return the sentences that are said in training, each once, in alphabetical order."""
    return sorted({sentence.text for sentence in shop.sentences})[: shop.recipe.unit_texts]


def make_unit_world(shop: Workshop) -> UnitWorld:
    """Choose the layer, fit the centres and say all training speech, each unless it is there."""
    build = shop.build / FOLDER
    build.mkdir(parents=True, exist_ok=True)
    ears = shop.models / EARS
    texts = training_texts(shop)
    chosen, centres = build / "layer.json", build / CENTRES_FILE
    if not chosen.exists():
        judged = sorted({s.text for s in build_world().validation})[: shop.recipe.unit_texts]
        scores = information_by_layer(
            WhisperFrames(ears, 0),
            draw_texts(texts, LAYER_FIT_CLIPS, "layer"),
            draw_texts(judged, LAYER_JUDGE_CLIPS, "judge"),
        )
        logger.info("what a layer's units tell about letters: %s", scores)
        record = {"layer": max(scores, key=lambda layer: scores[layer]), "information": scores}
        chosen.write_text(json.dumps(record) + "\n", encoding="utf-8")
    layer = int(json.loads(chosen.read_text(encoding="utf-8"))["layer"])
    if not centres.exists():
        encoder = WhisperFrames(ears, layer)
        said = [say_plain(text, "centres")[0] for text in draw_texts(texts, CENTRES_CLIPS, "centres")]
        fitted = fit_centres(np.concatenate([encoder.features(samples) for samples in said]))
        save_file({CENTRES: fitted}, centres)
    facts = all_facts(WORLD_SEED)[: shop.recipe.unit_texts]
    sayings = [Saying(text, number) for number in range(RENDERINGS) for text in texts]
    statements = [statement for fact in facts if fact.is_heard for statement in fact.statements]
    sayings += [Saying(text, number) for number in range(FACT_RENDERINGS) for text in statements]
    clips = encode_clips(build / "units", (ears, layer), centres, sayings)
    return UnitWorld(layer, centres, tuple(clips), facts)


def held_out_clips(shop: Workshop, layer: int, centres: Path) -> list[UnitClip]:
    """Return unseen sentences in unseen voices as units."""
    encoder, known = WhisperFrames(shop.models / EARS, layer), read_centres(centres)
    clips = []
    for task in _HELD_OUT_TASKS:
        for item in held_out_items(task, min(HELD_OUT_CLIPS_PER_TASK, shop.recipe.unit_texts)):
            clip, words, _voice = say_item(item, test_voices())
            frames = nearest(encoder.features(clip.samples), known)
            clips.append(UnitClip(item.sentence.text, frames, word_frames(words, len(frames))))
    return clips


def train_one(key: str, build: Path, models: Path, recipe: Recipe) -> dict[str, float]:
    """Train one arm in this process and measure it on unseen clips; needs the units to be there."""
    torch.set_num_threads(1)
    shop = Workshop(build, models, recipe)
    world = make_unit_world(shop)
    vocabulary, record, model = _arm(shop, key, world)
    return {**record, **held_out_losses(model, vocabulary, held_out_clips(shop, world.layer, world.centres))}


def _arm(shop: Workshop, key: str, world: UnitWorld) -> tuple[Vocabulary, dict[str, float], Qwen2ForCausalLM]:
    """Train one arm, or read it where it is done."""
    vocabulary = Vocabulary(read_tokenizer(shop.models / TEXT_MODEL), len(read_centres(world.centres)))
    source = DocumentSource(vocabulary, world.clips, world.facts, ARMS[key].mixture)
    bench = Bench(shop.build / FOLDER, shop.recipe.interleaved_steps, world.description, world.centres)
    record, model = train_arm(ARMS[key], bench, shop.qwen2(), vocabulary, source)
    return vocabulary, record, model


def train_grid(shop: Workshop, folder: Path) -> tuple[dict[str, float], nn.Module]:
    """Train all four arms, two processes at a time, and write the main one to `folder` in 8 bits a weight.

    Returns:
        The main arm's record with the controls' under their keys, and the main model.
    """
    world = make_unit_world(shop)
    context = multiprocessing.get_context("spawn")
    log = partial(
        logging.basicConfig, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    with ProcessPoolExecutor(PROCESSES, mp_context=context, initializer=log) as pool:
        jobs = {key: pool.submit(train_one, key, shop.build, shop.models, shop.recipe) for key in ARMS}
        records = {key: job.result() for key, job in jobs.items()}
    _, _, model = _arm(shop, MAIN, world)
    export_interleaved(model, world.description, world.centres, folder, eight_bits=True)
    encoder = UnitEncoder(WhisperFrames(shop.models / EARS, world.layer), read_centres(world.centres))
    voice_file = folder / UNITS_FOLDER / VOICE_FILE
    record_voice(encoder, training_texts(shop), voice_file)
    heard = intelligibility(
        encoder, read_unit_voice(voice_file), shop.models / EARS, shop.recipe.held_out_clips
    )
    controls = {f"{key} {name}": value for key in ARMS if key != MAIN for name, value in records[key].items()}
    errors = {f"word_error_rate of {sound}": rate for sound, rate in heard.items()}
    return {**records[MAIN], **errors, **controls}, model
