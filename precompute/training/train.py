"""`python -m precompute train --profile laptop --corpora DIR`: the laptop pair, from texts to what ships.

Stages in order, each with its progress, estimate and checkpoints; a stage whose result is there is not repeated unless
it is named. No recording of a person is trained on, and texts come from train splits alone, listed with their hashes.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from engine.audio import clip_from_samples
from engine.errors import UnknownKeyError
from engine.request import tuned_lens_file
from engine.systems.base import Prepared, SpeechLLM
from engine.systems.fetching import fetch
from engine.systems.loading import load_speech_llm
from engine.systems.weights import MODELS, folder_of
from engine.tasks import TASKS
from engine.voice import speak
from precompute.mini.loop import LoopSettings, count_parameters
from precompute.training.backbone import teach_backbone
from precompute.training.ears import Shards, TrainedEars, train_ears
from precompute.training.export import READOUT, export_ears
from precompute.training.sentences import choose_sentences, read_sentences, spoken_form
from precompute.training.speech import PIPER, SHARD_CLIPS, PiperVoice, ShardMaker
from precompute.training.tuned_lens import LensSettings, make_tuned_lens

logger = logging.getLogger(__name__)

BUILD = Path("build") / "laptop"
WHISPER, LLM, TUNED, EARS = (
    "whisper-base-transformers",
    "smollm2-135m-instruct",
    "smollm2-135m-tuned",
    "ultravox-smollm2",
)
SEED = 0
SENTENCES = 16_128
# What the weights that ship had: 30 shards for 1,150 steps, and 18 others for 850 (docs/training.md).
SPEECH_SHARDS, EARS_STEPS, EARS_BATCH, EARS_RATE = 48, 2_000, 24, 6e-4
LENS_PROMPTS, LENS_HELD_OUT = 120, 40
LENS_TASKS = ("transcribe", "topic", "sentiment")
LENS_SYSTEMS = (EARS, "bridge-smollm2")


@dataclass(frozen=True)
class Laptop:
    """What the stages share.

    Attributes:
        corpora: folder of the texts.
        build: of speech, features and checkpoints.
        out: folder of the models that ship.
    """

    corpora: Path
    build: Path
    out: Path


def train_laptop(
    corpora: Path, build: Path = BUILD, out: Path = MODELS, stages: Sequence[str] = ()
) -> list[str]:
    """Run the named stages, or all whose result is missing, and return what was done.

    Raises:
        UnknownKeyError: there is no such stage.
        ModelFilesError: a corpus or a model is missing and cannot be had.
    """
    if unknown := [stage for stage in stages if stage not in STAGES]:
        raise UnknownKeyError(f'There is no stage "{unknown[0][:40]}". Choose from: {", ".join(STAGES)}.')
    laptop = Laptop(corpora, build, out)
    wanted = [name for name in STAGES if name in stages] or [
        name for name, stage in STAGES.items() if not stage.result(laptop).exists()
    ]
    for needed in dict.fromkeys(folder for name in wanted for folder in STAGES[name].needs):
        fetch(needed, logger.info)
    for name in wanted:
        began = time.monotonic()
        STAGES[name].work(laptop)
        logger.info("%s took %.0f min", name, (time.monotonic() - began) / 60)
    return wanted


def bfloat16_is_fast() -> bool:
    """Say whether this CPU multiplies in bfloat16 faster than in float32; some do so four times slower."""
    a, b = torch.randn(512, 512), torch.randn(512, 2048)

    def seconds(dtype: torch.dtype) -> float:
        left, right = a.to(dtype), b.to(dtype)
        left @ right
        began = time.perf_counter()
        for _ in range(5):
            left @ right
        return time.perf_counter() - began

    return seconds(torch.bfloat16) < seconds(torch.float32)


def _encoder() -> WhisperEncoder:
    """Return Whisper base's encoder, in float32."""
    whisper = WhisperModel.from_pretrained(folder_of(WHISPER), dtype=torch.float32)
    encoder: WhisperEncoder = whisper.encoder.eval().requires_grad_(False)
    return encoder


def _speech(laptop: Laptop) -> None:
    sentences, hashes = read_sentences(laptop.corpora)
    chosen = choose_sentences(sentences, SENTENCES, SEED)
    laptop.build.mkdir(parents=True, exist_ok=True)
    record = {
        "sentences": len(chosen),
        "words": len({w for s in chosen for w in spoken_form(s).split()}),
        "files": hashes,
    }
    (laptop.build / "texts.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    maker = ShardMaker(chosen, _encoder(), PiperVoice(folder_of(PIPER)), _shards(laptop), SEED)
    maker.make(SPEECH_SHARDS * SHARD_CLIPS)
    _shards(laptop).joinpath("done").touch()


def _ears(laptop: Laptop) -> None:
    encoder = _encoder()
    settings = LoopSettings(
        "ears", EARS_STEPS, EARS_RATE, laptop.build / "ears", save_every=50, slower=("layers", 0.3)
    )
    ears = train_ears(
        encoder, Shards(_shards(laptop), SEED + 1), settings, size=EARS_BATCH, bfloat16=bfloat16_is_fast()
    )
    save_file({name: t.contiguous() for name, t in ears.state_dict().items()}, _trained(laptop))


def _export(laptop: Laptop) -> None:
    encoder = _encoder()
    ears = TrainedEars(encoder)
    ears.load_state_dict(load_file(_trained(laptop)))
    export_ears(ears, encoder, TUNED, laptop.out / EARS, READOUT)
    record = json.loads((laptop.build / "ears" / "ears.checkpoint.json").read_text(encoding="utf-8"))
    texts = laptop.build / "texts.json"
    told: dict[str, Any] = {
        "parameters": count_parameters(ears.parameters()),
        "clips": SPEECH_SHARDS * SHARD_CLIPS,
        "batch": EARS_BATCH,
        "peak_rate": EARS_RATE,
        "torch": torch.__version__,
        **record,
        **(json.loads(texts.read_text(encoding="utf-8")) if texts.exists() else {}),
    }
    (laptop.out / EARS / "training.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _backbone(laptop: Laptop) -> None:
    teach_backbone(
        laptop.corpora,
        folder_of(LLM),
        laptop.build / "backbone",
        laptop.out / TUNED,
        bfloat16=bfloat16_is_fast(),
    )


def _tuned_lens(laptop: Laptop) -> None:
    sentences = _untaught(laptop.corpora, LENS_PROMPTS + LENS_HELD_OUT)
    for key in LENS_SYSTEMS:
        system = load_speech_llm(key, laptop.out)
        scores = make_tuned_lens(
            system,
            _prompts(system, sentences[:LENS_PROMPTS]),
            _prompts(system, sentences[LENS_PROMPTS:]),
            laptop.build / "tuned-lens" / key,
            tuned_lens_file(key, laptop.out),
            LensSettings(bfloat16=bfloat16_is_fast()),
        )
        worst = max(scores, key=lambda one: one.kl_after / one.kl_before)
        logger.info(
            "%s: KL falls to %.2f of the logit lens's at the worst layer",
            key,
            worst.kl_after / worst.kl_before,
        )


def _untaught(corpora: Path, n: int) -> list[str]:
    """Return sentences that were not chosen to teach the audio encoder, drawn by the seed."""
    sentences, _ = read_sentences(corpora)
    taught = {spoken_form(one) for one in choose_sentences(sentences, SENTENCES, SEED)}
    others = [one for one in sentences if spoken_form(one) not in taught]
    return random.Random(SEED + 2).sample(others, n)


def _prompts(system: SpeechLLM, sentences: Sequence[str]) -> Iterator[Prepared]:
    """Yield prompts about sentences that espeak-ng says, the tasks in turn; the same ones at every call."""
    for index, text in enumerate(sentences):
        samples, rate_hz, _ = speak(spoken_form(text), voice="en-us+m4" if index % 2 else "en-us+f3")
        heard = system.hear(clip_from_samples(samples, rate_hz, "lens"))
        yield system.prepare(heard, TASKS[LENS_TASKS[index % len(LENS_TASKS)]].instruction)


def _shards(laptop: Laptop) -> Path:
    return laptop.build / "speech"


def _trained(laptop: Laptop) -> Path:
    return laptop.build / "ears" / "final.safetensors"


@dataclass(frozen=True)
class Stage:
    """One stage of the training.

    Attributes:
        result: what it leaves behind, last of all.
        work: what it does.
        needs: model folders that are fetched for it.
    """

    result: Callable[[Laptop], Path]
    work: Callable[[Laptop], None]
    needs: tuple[str, ...]


# `erasers`, `evaluate` and `examples` are commands of their own.
STAGES: dict[str, Stage] = {
    "speech": Stage(lambda laptop: _shards(laptop) / "done", _speech, (WHISPER, PIPER)),
    "ears": Stage(_trained, _ears, (WHISPER,)),
    "backbone": Stage(lambda laptop: laptop.out / TUNED / "config.json", _backbone, (LLM,)),
    "export": Stage(lambda laptop: laptop.out / EARS / "config.json", _export, (WHISPER,)),
    "tuned-lens": Stage(
        lambda laptop: tuned_lens_file(LENS_SYSTEMS[-1], laptop.out), _tuned_lens, (WHISPER, LLM)
    ),
}
