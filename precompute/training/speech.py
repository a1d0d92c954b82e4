"""Training speech: sentences said by synthetic voices, changed, and heard by the frozen lower layers of Whisper.

What is kept of a clip is what the trained layers receive, in float16, with the letters that were said. A shard is a
pure function of (seed, its number): a run that was stopped makes the missing ones. No recording of a person is used.
"""

from __future__ import annotations

import json
import logging
import random
import time
import unicodedata
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save_file
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from engine.audio import SAMPLE_RATE_HZ
from engine.systems.ultravox import LETTERS
from engine.systems.whisper import layer_states
from engine.voice import phonemes, speak
from precompute.mini.augment import MelFront, Strength, change_waveform
from precompute.mini.synth import say_with_flite
from precompute.training.sentences import spoken_form

logger = logging.getLogger(__name__)

SHARD_CLIPS = 256
FROZEN_LAYERS = 3
HOP_SAMPLES = 160
LONGEST_S = 10.0
STRENGTH = Strength(0.8)
# flite's rms and Kokoro are never trained on: they are the held-out voices.
PIPER, KOKORO = "voice-piper-joe", "voice-kokoro"
FLITE_VOICES = ("slt", "awb", "kal16", "kal")
HELD_OUT_FLITE = "rms"
KOKORO_VOICES = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")
# espeak-ng's English phonemes in Kokoro's alphabet, longer ones first.
_KOKORO_ALPHABET = (
    ("a\u026a\u0259", "I\u0259"),
    ("e\u026a", "A"),
    ("a\u026a", "I"),
    ("o\u028a", "O"),
    ("\u0259\u028a", "O"),
    ("a\u028a", "W"),
    ("\u0254\u026a", "Y"),
    ("t\u0283", "\u02a7"),
    ("d\u0292", "\u02a4"),
    ("\u025a", "\u0259\u0279"),
    ("\u025c\u02d0", "\u025c\u0279"),
    ("\u027e", "T"),
    ("\u0250", "\u0259"),
    ("r", "\u0279"),
    ("g", "\u0261"),
    ("\u02d0", ""),
)
SHARES = {"piper": 0.45, "flite": 0.40, "espeak": 0.15}
_ESPEAK_LANGUAGES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-us-nyc", "en-029")
_ESPEAK_VARIANTS = (
    "f1",
    "f2",
    "f4",
    "f5",
    "Annie",
    "linda",
    "anika",
    "m1",
    "m2",
    "m3",
    "m5",
    "m6",
    "Andy",
    "Gene",
)


class PiperVoice:
    """A Piper voice (VITS in ONNX), fed with espeak-ng's phonemes; float32 at `rate_hz`."""

    def __init__(self, folder: Path) -> None:
        model = next(folder.glob("*.onnx"))
        config = json.loads(model.with_suffix(".onnx.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._ids: dict[str, list[int]] = config["phoneme_id_map"]
        self._voice = config["espeak"]["voice"]
        self._scales = [config["inference"][name] for name in ("noise_scale", "length_scale", "noise_w")]
        self.rate_hz = int(config["audio"]["sample_rate"])

    def say(self, text: str, rng: random.Random | None = None) -> np.ndarray:
        """Return the samples of a text; its pace, liveliness and end are drawn, or the voice's own for None."""
        end = rng.choice((".", ".", "?", "!", "")) if rng else "."
        said = unicodedata.normalize("NFD", ", ".join(phonemes(text, self._voice))) + end
        ids = [*self._ids["^"], *self._ids["_"]]
        for phoneme in said:
            if phoneme in self._ids:
                ids += [*self._ids[phoneme], *self._ids["_"]]
        ids += self._ids["$"]
        drawn = [rng.uniform(0.4, 0.9), rng.uniform(0.8, 1.2), rng.uniform(0.5, 1.0)] if rng else self._scales
        inputs = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(drawn, np.float32),
        }
        return np.asarray(self._session.run(None, inputs)[0], np.float32).reshape(-1)


class KokoroVoice:
    """Kokoro-82M (int8 ONNX) speaking English from espeak-ng's phonemes; float32 at 24 kHz.

    Too slow for training (half a clip a second): it says test items and examples.
    """

    rate_hz = 24_000

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._ids: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        self._styles = np.load(folder / "voices_ja.npz")  # plain arrays: numpy refuses pickles here

    def say(self, text: str, voice: str, speed: float = 1.0) -> np.ndarray:
        """Return the samples of a text; `voice` is one of KOKORO_VOICES."""
        said = ", ".join(phonemes(text))
        for espeak, kokoro in _KOKORO_ALPHABET:
            said = said.replace(espeak, kokoro)
        ids = [self._ids[one] for one in said + "." if one in self._ids]
        inputs = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": self._styles[voice][len(ids) - 1].reshape(1, -1).astype(np.float32),
            "speed": np.array([speed], np.float32),
        }
        return np.asarray(self._session.run(None, inputs)[0], np.float32).reshape(-1)


class ShardMaker:
    """Says sentences and keeps what Whisper's lower layers make of them.

    Attributes:
        sentences: as written, said in this order, over and over.
    """

    def __init__(
        self,
        sentences: Sequence[str],
        encoder: WhisperEncoder,
        piper: PiperVoice | None,
        folder: Path,
        seed: int,
    ) -> None:
        self.sentences = sentences
        self._encoder = encoder
        self._piper = piper
        self._folder = folder
        self._seed = seed
        self._mel = MelFront(30)

    def make(self, n_clips: int) -> None:
        """Make the shards that are missing for this many clips, saying how long it will take."""
        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = [n for n in range(-(-n_clips // SHARD_CLIPS)) if not shard_file(self._folder, n).exists()]
        began = time.monotonic()
        for done, number in enumerate(numbers, 1):
            self._make(number)
            seconds = (time.monotonic() - began) / done
            logger.info(
                "speech %d/%d  %.1f clips/s  about %.0f min left",
                done,
                len(numbers),
                SHARD_CLIPS / seconds,
                (len(numbers) - done) * seconds / 60,
            )

    @torch.inference_mode()
    def _make(self, number: int) -> None:
        states, letters, kinds = [], [], []
        others: deque[np.ndarray] = deque(maxlen=8)
        for place in range(SHARD_CLIPS):
            index = number * SHARD_CLIPS + place
            rng = random.Random(f"{self._seed}|{index}")
            text = self.sentences[index % len(self.sentences)]
            engine, samples, rate_hz = self._say(text, rng)
            changed = change_waveform(samples, rate_hz, list(others), STRENGTH, rng).wave
            others.append(changed)
            if not len(changed) / SAMPLE_RATE_HZ <= LONGEST_S:
                continue
            frames = -(-len(changed) // HOP_SAMPLES)
            wave = np.pad(changed, (0, (frames + frames % 2) * HOP_SAMPLES - len(changed)))
            mel = self._mel(torch.from_numpy(wave)[None], STRENGTH, rng)
            for layer, found in enumerate(layer_states(self._encoder, mel, None)):
                if layer == FROZEN_LAYERS:
                    states.append(found[0].half())
                    break
            letters.append(torch.tensor([LETTERS.index(c) for c in spoken_form(text)], dtype=torch.uint8))
            kinds.append(engine)
        tensors = {
            "states": torch.cat(states),
            "letters": torch.cat(letters),
            "n_states": torch.tensor([len(s) for s in states]),
            "n_letters": torch.tensor([len(s) for s in letters]),
        }
        target = shard_file(self._folder, number)
        part = target.with_suffix(".part")
        save_file(tensors, part, metadata={"engines": json.dumps(kinds)})
        part.replace(target)

    def _say(self, text: str, rng: random.Random) -> tuple[str, np.ndarray, int]:
        engine = rng.choices(list(SHARES), list(SHARES.values()))[0]
        if engine == "piper" and self._piper is not None:
            return engine, self._piper.say(text, rng), self._piper.rate_hz
        if engine == "flite":
            flite = rng.choice(FLITE_VOICES)
            stretch = rng.uniform(0.75, 1.2)
            pitch_hz = rng.uniform(85, 145) * (1.6 if flite == "slt" else 1.0)
            return engine, *say_with_flite(spoken_form(text), flite, stretch, pitch_hz, rng.uniform(8, 30))
        voice = f"{rng.choice(_ESPEAK_LANGUAGES)}+{rng.choice(_ESPEAK_VARIANTS)}"
        samples, rate_hz, _ = speak(
            text,
            voice=voice,
            rate_wpm=rng.randint(120, 200),
            pitch=rng.randint(30, 70),
            pitch_range=rng.randint(25, 75),
        )
        return "espeak", samples, rate_hz


def shard_file(folder: Path, number: int) -> Path:
    """Return where a shard lies."""
    return folder / f"{number:04d}.safetensors"
