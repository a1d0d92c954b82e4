"""Makes the talkers of the babble noise: `python -m precompute.mini.babble`.

Eight espeak-ng voices read everyday sentences of our own, which stand in no corpus of the mini world.
The FLAC files ship in assets/babble; `engine.noise` reads them.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float

from engine.audio import SAMPLE_RATE_HZ, clip_from_samples
from engine.voice import speak

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent.parent.parent / "assets" / "babble"
DURATION_S = 8.0
LOUDNESS_RMS = 0.07  # -23 dB of full scale
PAUSE_LEVEL = 0.005  # of full scale; below it a sample belongs to a pause
LONGEST_PAUSE_S = 0.12  # babble has no holes
FADE_S = 0.01  # at both ends, for the recordings are repeated

# file name: voice, words per minute, pitch
TALKERS: dict[str, tuple[str, int, int]] = {
    "talker_1": ("en-us+f2", 170, 55),
    "talker_2": ("en-us+m3", 155, 42),
    "talker_3": ("en-gb+f4", 180, 60),
    "talker_4": ("en-gb-scotland+m2", 165, 38),
    "talker_5": ("en-gb-x-rp+f5", 160, 52),
    "talker_6": ("en-us+m8", 185, 35),
    "talker_7": ("en-029+f1", 150, 58),
    "talker_8": ("en-gb-x-gbcwmd+m6", 175, 45),
}

SENTENCES = (
    "somebody left an umbrella beside the ticket machine again",
    "we could repaint the hallway before your cousins arrive",
    "my left shoe squeaks whenever the pavement is wet",
    "the kettle has been humming for almost ten minutes",
    "put the spare keys under the blue flower pot please",
    "her neighbour grows pumpkins as wide as a bicycle wheel",
    "nobody remembered to buy stamps for the postcards",
    "the lift stops between floors if you lean on the door",
    "a heron was standing perfectly still near the boathouse",
    "grandfather folds his newspaper into very small squares",
    "they moved the piano across the street on a cart",
    "there is honey on the handle of every spoon",
    "the ferry whistle wakes the whole harbour at six",
    "try the narrow staircase behind the bakery instead",
    "our curtains faded because the window faces south",
    "he keeps a jar of buttons that match nothing",
    "the dentist hums old sailor songs while she works",
    "pack two sweaters since the cabin has no stove",
    "that lamp flickers each time the fridge switches on",
    "the twins argued about who should carry the tent",
    "bring the ladder round when you finish the gutters",
    "a fox crossed the car park with somebody's sandwich",
    "the librarian whispered that we had an hour left",
    "write your locker number on the inside of the lid",
)


def recite(index: int, voice: str, rate_wpm: int, pitch: int) -> Float[np.ndarray, " samples"]:
    """Eight seconds of one talker at 16 kHz, no pause over 0.12 s, starting at a sentence of its own."""
    step = len(SENTENCES) // len(TALKERS)
    order = np.roll(np.arange(len(SENTENCES)), -step * index)
    pieces = []
    n_wanted, n_found = round(DURATION_S * SAMPLE_RATE_HZ), 0
    for sentence in order:
        spoken, rate_hz, _ = speak(SENTENCES[sentence], voice=voice, rate_wpm=rate_wpm, pitch=pitch)
        pieces.append(without_pauses(clip_from_samples(spoken, rate_hz, "talker").samples))
        n_found += len(pieces[-1])
        if n_found >= n_wanted:
            break
    samples = np.concatenate(pieces)[:n_wanted]
    samples = samples * (LOUDNESS_RMS / np.sqrt(np.mean(samples**2)))
    ramp = np.linspace(0, 1, round(FADE_S * SAMPLE_RATE_HZ))
    samples[: len(ramp)] *= ramp
    samples[-len(ramp) :] *= ramp[::-1]
    return samples


def without_pauses(samples: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    """The samples with every pause cut to its first 0.12 s."""
    places = np.arange(len(samples))
    last_loud = np.maximum.accumulate(np.where(np.abs(samples) >= PAUSE_LEVEL, places, 0))
    return samples[places - last_loud < round(LONGEST_PAUSE_S * SAMPLE_RATE_HZ)]


def main() -> None:
    """Write one FLAC per talker, 16 bits, 16 kHz, mono."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for index, (name, (voice, rate_wpm, pitch)) in enumerate(TALKERS.items()):
        samples = recite(index, voice, rate_wpm, pitch)
        soundfile.write(FOLDER / f"{name}.flac", samples, SAMPLE_RATE_HZ, subtype="PCM_16")
        logger.info("%s: %s, peak %.2f", name, voice, np.max(np.abs(samples)))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
