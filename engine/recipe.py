"""How to make a clip of the benchmark again: the words and the voice, or a file, and what was added.

`precompute` writes a recipe with each clip; the page makes the clip again from it and hears the same bytes.
Noise is described here and added by `engine.run`, as on the page.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.audio import AudioClip, clip_from_samples, load_clip
from engine.errors import ClipError
from engine.fresh_voice import speak_afresh
from engine.musan import add_drawn_babble
from engine.noise import MUSAN, ROOM, Noisy, add_noise
from engine.voice import Spoken

CLEAN = "clean"


@dataclass(frozen=True)
class Recipe:
    """One clip.

    Attributes:
        text, voice: what is said and the espeak-ng voice that says it; both "" for a file.
        rate_wpm, pitch, pitch_range, volume: as in `engine.voice.speak`.
        file: a recording below the folder of its manifest; "" for a voice.
        sha256: of the file's bytes; "" for a voice.
        noise: "clean", "babble", "white", "musan" or "room".
        snr_db: of babble and white noise, else None.
        seed: of the noise or the room.
        tracks: digest of the tracks that MUSAN's babble is drawn from; "" for other noise.
    """

    text: str = ""
    voice: str = ""
    rate_wpm: int = 0
    pitch: int = 0
    pitch_range: int = 0
    volume: int = 0
    file: str = ""
    sha256: str = ""
    noise: str = CLEAN
    snr_db: float | None = None
    seed: int = 0
    tracks: str = ""

    def to_json(self) -> str:
        """Return the recipe as one line, the same for equal recipes; what is not used is left out."""
        used = {key: value for key, value in asdict(self).items() if value not in ("", None)}
        spoken = ("rate_wpm", "pitch", "pitch_range", "volume")
        return json.dumps({k: v for k, v in used.items() if self.text or k not in spoken}, sort_keys=True)

    @property
    def sound(self) -> tuple[object, ...]:
        """What the clean clip depends on: recipes that share it differ by noise only."""
        return (
            self.text, self.voice, self.rate_wpm, self.pitch, self.pitch_range, self.volume,
            self.file, self.sha256,
        )  # fmt: skip


def recipe_of(line: str) -> Recipe:
    """Return the recipe that `to_json` wrote.

    Raises:
        ClipError: it is not one.
    """
    try:
        return Recipe(**json.loads(line))
    except (TypeError, ValueError) as error:
        raise ClipError("The clip's recipe cannot be read; run the benchmark again.") from error


def say_recipe(recipe: Recipe, folder: Path | None = None) -> Spoken:
    """Return the clip without its noise, and its words in time (none for a file).

    Args:
        recipe: of the clip.
        folder: of the manifest, for a recording.

    Raises:
        VoiceError: the sentence cannot be spoken here.
        ClipError: the recording is missing, has changed, or is no sound.
    """
    if recipe.file:
        return Spoken(_recording(recipe, folder), ())
    samples, rate_hz, words = speak_afresh(
        recipe.text,
        voice=recipe.voice,
        rate_wpm=recipe.rate_wpm,
        pitch=recipe.pitch,
        pitch_range=recipe.pitch_range,
        volume=recipe.volume,
    )
    return Spoken(clip_from_samples(samples, rate_hz, "benchmark clip"), words)


def _recording(recipe: Recipe, folder: Path | None) -> AudioClip:
    file = (folder or Path()) / recipe.file
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ClipError("The recording is not where its manifest says; put it back.") from error
    if found != recipe.sha256:
        raise ClipError("The recording has changed since the benchmark was planned; run it again.")
    return load_clip(file, whole=True)


def spoil(clip: AudioClip, recipe: Recipe, musan: Path | None = None) -> Noisy | None:
    """Return the clip with the recipe's noise in it; None for a clean one.

    Args:
        clip: the clean clip.
        recipe: of the noise.
        musan: folder of MUSAN for its babble; None for the one that the environment names.

    Raises:
        NoiseError: as `add_noise`, or MUSAN is not here.
    """
    if recipe.noise == CLEAN:
        return None
    if recipe.noise == MUSAN and recipe.snr_db is not None:
        return add_drawn_babble(clip, musan, recipe.tracks, recipe.snr_db, recipe.seed)
    snr_db = float("nan") if recipe.noise == ROOM or recipe.snr_db is None else recipe.snr_db
    return add_noise(clip, recipe.noise, snr_db, recipe.seed)
