"""A synthetic voice that speaks typed sentences, with the time of every word; and how to make a clip again.

It wraps espeak-ng from the wheel `espeakng-loader` (optional: nothing else in the product needs it) and never takes
SSML or phoneme input. espeak-ng keeps the phase of its pitch flutter from call to call, so what `speak` gives depends
on what was said before. A benchmark must make a clip again from its recipe alone, in any order: `speak_afresh` has a
small helper process (`python -m engine.voice`) that forks a child for each sentence, and a child always speaks its
first; about 5 ms a sentence. `precompute` writes a `Recipe` with each clip; the page makes the clip again from it and
hears the same bytes.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import unicodedata
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from itertools import count, pairwise, takewhile
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float

from engine.audio import MAX_DURATION_S, AudioClip, clip_from_samples, load_clip
from engine.errors import ClipError, VoiceError
from engine.noise import MUSAN, ROOM, Noisy, add_drawn_babble, add_noise
from engine.words import SpokenWord

logger = logging.getLogger(__name__)

MAX_TEXT_CHARACTERS = 200
RATE_RANGE_WPM = (80, 450)  # espeakRATE, speak_lib.h
PERCENT_RANGE = (0, 99)  # espeakPITCH and espeakRANGE
VOLUME_RANGE = (0, 200)  # espeakVOLUME, 100 is normal
NATIVE_RATE_HZ = 22_050

# Numbers below are those of espeak-ng 1.52's public header speak_lib.h.
_SYNCHRONOUS = 2  # no sound card: samples go to the callback, within the call
_DO_NOT_EXIT = 0x8000
_UTF8 = 1
_END_OF_EVENTS, _WORD_EVENT = 0, 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_IPA = 2
_LONGEST_DATA_PATH = 150  # the library keeps its data path in 160 bytes and cuts longer ones
_LIBRARY_NAMES = {"en-gb": "en"}  # 1.52 lists British English as en-gb but finds it only under its file name
_PLAIN_PUNCTUATION = " .,;:!?'\"-()%&$£€/\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"


@dataclass(frozen=True)
class VoiceChoice:
    """A voice on offer: its espeak-ng key and the name a person reads."""

    key: str
    name: str


@dataclass(frozen=True)
class Spoken:
    """A spoken sentence: the 16 kHz clip and when each word is heard in it."""

    clip: AudioClip
    words: tuple[SpokenWord, ...]


VOICES: tuple[VoiceChoice, ...] = (
    VoiceChoice("en-us", "American man"),
    VoiceChoice("en-us+f3", "American woman"),
    VoiceChoice("en-us+f2", "American woman, second voice"),
    VoiceChoice("en-us+m7", "American man, second voice"),
    VoiceChoice("en-gb", "British man"),
    VoiceChoice("en-gb+f4", "British woman"),
    VoiceChoice("en-gb-x-rp+m3", "British man, Received Pronunciation"),
    VoiceChoice("en-gb-scotland+m1", "Scottish man"),
    VoiceChoice("en-gb-scotland+f1", "Scottish woman"),
    VoiceChoice("en-029+m5", "Caribbean man"),
)


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h; the list a callback gets ends with type 0."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)

# Text, its size in bytes, position, position type, end position, flags, identifier, user data.
_UINT, _POINTER = ctypes.c_uint, ctypes.c_void_p
_SYNTH_ARGUMENTS = (ctypes.c_char_p, ctypes.c_size_t, _UINT, ctypes.c_int, _UINT, _UINT, _POINTER, _POINTER)

# espeak-ng is one global state machine: one thread at a time may set a voice and speak.
_lock = threading.Lock()


@cache
def _data_folder() -> Path | None:
    """The folder of espeak-ng's voices, None where the wheel is missing or lies too deep for the library."""
    try:
        import espeakng_loader
    except ImportError:
        return None
    folder = Path(espeakng_loader.get_data_path())
    if len(str(folder).encode()) > _LONGEST_DATA_PATH:
        logger.warning("espeak-ng is off: its data folder has a path over %d bytes", _LONGEST_DATA_PATH)
        return None
    return folder if folder.is_dir() else None


@cache
def _library() -> ctypes.CDLL | None:
    """The library, initialised once per process; None where it cannot be used. Call under `_lock`."""
    folder = _data_folder()
    if folder is None:
        return None
    import espeakng_loader

    try:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
    except OSError as error:
        logger.warning("espeak-ng is off: %s", error)
        return None
    rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, str(folder).encode(), _DO_NOT_EXIT)
    if rate_hz != NATIVE_RATE_HZ:
        logger.warning("espeak-ng is off: it started with %s", rate_hz)
        return None
    library.espeak_Synth.argtypes = _SYNTH_ARGUMENTS
    library.espeak_TextToPhonemes.argtypes = (ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int)
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.espeak_ng_SetRandSeed(0)
    return library


def is_available() -> bool:
    """Whether a synthesiser is installed and starts."""
    with _lock:
        return _library() is not None


@cache
def espeak_variants() -> tuple[str, ...]:
    """Names of all voice variants in the data folder, sorted, such as "f3" or "klatt2"; empty without one."""
    folder = _data_folder()
    return tuple(sorted(path.name for path in (folder / "voices" / "!v").iterdir())) if folder else ()


def speak(
    text: str,
    *,
    voice: str = "en-us",
    rate_wpm: int = 165,
    pitch: int = 50,
    pitch_range: int = 50,
    volume: int = 100,
) -> tuple[Float[np.ndarray, " samples"], int, tuple[SpokenWord, ...]]:
    """Speech at espeak-ng's own rate: (float32 samples in -1..1, 22,050 Hz, one word per `text.split()`).

    A word lasts until the next one starts, the last until the end of the audio. espeak-ng gives no event
    of its own to the later words of pairs that it says as one ("of the", "it's one", "have been"); they
    get the shares of the pair's time that their numbers of letters give. A number is one word.

    The library's pitch flutter runs on from call to call, so the same call twice differs by a few
    samples; a fresh process that makes the same calls in the same order gets the same bytes.

    Args:
        text: what to say; control characters are dropped, for they would steer the synthesiser.
        voice: language and optional variant: "en-us", "en-us+f3", "en-gb+m7".
        rate_wpm: words per minute, 80 to 450.
        pitch: 0 to 99.
        pitch_range: liveliness of the melody, 0 (monotone) to 99.
        volume: 0 to 200.

    Raises:
        VoiceError: no synthesiser, unknown voice, setting out of range, or nothing was said.
    """
    _check_settings(rate_wpm, pitch, pitch_range, volume)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    if not text.strip():
        raise VoiceError("There is no text to speak; type a sentence.")
    with _lock:
        library = _library()
        if library is None:
            raise VoiceError("No synthesiser is installed here; record or upload a clip instead.")
        _set_voice(library, voice)
        settings = ((_RATE, rate_wpm), (_PITCH, pitch), (_RANGE, pitch_range), (_VOLUME, volume))
        for parameter, value in settings:
            library.espeak_SetParameter(parameter, value, 0)
        samples, events = _synthesise(library, text)
    if not len(samples):
        raise VoiceError("The voice made no sound from this text; type a sentence.")
    return samples, NATIVE_RATE_HZ, _word_times(text, events, len(samples))


def phonemes(text: str, voice: str = "en-us") -> tuple[str, ...]:
    """Return how a voice says a text, in the International Phonetic Alphabet, one string a clause.

    Raises:
        VoiceError: no synthesiser or no such voice.
    """
    with _lock:
        library = _library()
        if library is None:
            raise VoiceError("No synthesiser is installed here; record or upload a clip instead.")
        _set_voice(library, voice)
        rest = ctypes.c_char_p(text.encode())
        clauses = []
        # Each call reads one clause and moves the pointer behind it, to null at the end.
        while rest.value:
            clauses.append(library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA).decode())
        return tuple(filter(None, clauses))


def _check_settings(rate_wpm: int, pitch: int, pitch_range: int, volume: int) -> None:
    for name, value, (low, high) in (
        ("speaking rate", rate_wpm, RATE_RANGE_WPM),
        ("pitch", pitch, PERCENT_RANGE),
        ("pitch range", pitch_range, PERCENT_RANGE),
        ("volume", volume, VOLUME_RANGE),
    ):
        if not (isinstance(value, int | np.integer) and low <= value <= high):
            raise VoiceError(f"The {name} must be a whole number from {low} to {high}.")


def _set_voice(library: ctypes.CDLL, voice: str) -> None:
    # The library answers "fine" to an unknown variant and speaks without it, so the variant is checked here.
    language, plus, variant = voice.partition("+")
    known = "\0" not in voice and (not plus or variant in espeak_variants())
    key = _LIBRARY_NAMES.get(language, language) + plus + variant
    if not known or library.espeak_SetVoiceByName(key.encode()) != 0:
        raise VoiceError("There is no such voice here; choose one from the list.")


def _synthesise(
    library: ctypes.CDLL, text: str
) -> tuple[Float[np.ndarray, " samples"], list[tuple[int, int]]]:
    """The samples and, for every word event, (index of its letter in the text, sample)."""
    chunks: list[bytes] = []
    events: list[tuple[int, int]] = []

    def collect(wave: ctypes._Pointer[ctypes.c_short], n_samples: int, found: ctypes._Pointer[_Event]) -> int:
        if wave and n_samples > 0:
            chunks.append(ctypes.string_at(wave, 2 * n_samples))
        for event in takewhile(lambda event: event.type != _END_OF_EVENTS, map(found.__getitem__, count())):
            if event.type == _WORD_EVENT:
                events.append((event.text_position - 1, event.sample))
        return 0

    callback = _SynthCallback(collect)
    library.espeak_SetSynthCallback(callback)
    encoded = text.encode()
    library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    samples = np.frombuffer(b"".join(chunks), dtype=np.int16).astype(np.float32) / 32768
    return samples, events


def _word_times(text: str, events: list[tuple[int, int]], n_samples: int) -> tuple[SpokenWord, ...]:
    """One timed word per `text.split()`; those without an event share the time to the next that has one."""
    words = text.split()
    letters = [index for index, word in enumerate(words) for _ in word]
    # Position in the text without its blanks -> word; a number's inner events fall on its own word.
    dense = np.cumsum([not letter.isspace() for letter in text]) - 1
    starts: dict[int, int] = {0: 0}
    for position, sample in events:
        if 0 <= position < len(text) and not text[position].isspace():
            word = letters[dense[position]]
            if word > max(starts) and sample >= starts[max(starts)]:
                starts[word] = sample
    anchors = [*sorted(starts), len(words)]
    bounds = np.zeros(len(words) + 1)
    for first, after in pairwise(anchors):
        begin, end = starts[first], starts.get(after, n_samples)
        shares = np.cumsum([0, *(len(word) for word in words[first:after])])
        bounds[first : after + 1] = begin + (end - begin) * shares / shares[-1]
    bounds_s = [round(bound / NATIVE_RATE_HZ, 4) for bound in bounds.tolist()]
    return tuple(map(SpokenWord, words, bounds_s, bounds_s[1:]))


def say(text: str, voice: str = "en-us", rate_wpm: int = 165, pitch: int = 50) -> Spoken:
    """A typed sentence as a 16 kHz clip with its words in time.

    Args:
        text: 1 to 200 characters: Latin letters, digits, plain punctuation.
        voice: an espeak-ng voice, such as a key of `VOICES`.
        rate_wpm: words per minute, 80 to 450.
        pitch: 0 to 99.

    Raises:
        VoiceError: empty or too long text, text that cannot be spoken, unknown voice, no synthesiser.
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())
    _check_speakable(text)
    samples, rate_hz, words = speak(text, voice=voice, rate_wpm=rate_wpm, pitch=pitch)
    if len(samples) > MAX_DURATION_S * rate_hz:
        raise VoiceError(
            f"Spoken, this takes {len(samples) / rate_hz:.0f} s and the limit is {MAX_DURATION_S:g} s; "
            "shorten the text or raise the rate."
        )
    return Spoken(clip_from_samples(samples, rate_hz, "Spoken text"), words)


def _check_speakable(text: str) -> None:
    if len(text) > MAX_TEXT_CHARACTERS:
        raise VoiceError(f"The text has {len(text)} characters and the limit is {MAX_TEXT_CHARACTERS}.")
    for letter in text:
        latin = letter.isalpha() and unicodedata.name(letter, "").startswith("LATIN")
        if not (latin or letter in "0123456789" or letter in _PLAIN_PUNCTUATION):
            raise VoiceError("The voice speaks Latin letters, digits and plain punctuation only.")
    if not any(letter.isalnum() for letter in text):
        raise VoiceError("There is nothing to say here; type a sentence.")


ROOT = Path(__file__).resolve().parents[1]
BYTES_PER_SAMPLE = 4  # float32

_helper_lock = threading.Lock()
_helper: subprocess.Popen[bytes] | None = None


def speak_afresh(
    text: str, *, voice: str, rate_wpm: int, pitch: int, pitch_range: int, volume: int
) -> tuple[Float[np.ndarray, " samples"], int, tuple[SpokenWord, ...]]:
    """Return what `engine.voice.speak` gives as the first call of a process: (samples, rate in Hz, words).

    Raises:
        VoiceError: as `speak`, or the helper process cannot be started.
    """
    settings = {"voice": voice, "rate_wpm": rate_wpm, "pitch": pitch, "pitch_range": pitch_range}
    line = json.dumps({"text": text, **settings, "volume": volume}).encode() + b"\n"
    with _helper_lock:
        # A helper that was stopped, by whatever, is started again once.
        reply = _ask(line) or _ask(line)
    if reply is None:
        raise VoiceError("The synthesiser's helper process stopped; try again.")
    header, sound = reply
    if "error" in header:
        raise VoiceError(header["error"])
    words = tuple(SpokenWord(word, start_s, end_s) for word, start_s, end_s in header["words"])
    return np.frombuffer(sound, dtype="<f4").astype(np.float32), header["rate_hz"], words


def _ask(line: bytes) -> tuple[dict[str, Any], bytes] | None:
    """Return the helper's reply; None when it is gone, and it is then forgotten."""
    helper = _start()
    assert helper.stdin is not None and helper.stdout is not None
    with suppress(OSError, ValueError):
        helper.stdin.write(line)
        helper.stdin.flush()
        header: dict[str, Any] = json.loads(helper.stdout.readline())
        n_bytes = BYTES_PER_SAMPLE * header.get("n_samples", 0)
        sound = helper.stdout.read(n_bytes)
        if len(sound) == n_bytes:
            return header, sound
    _stop()
    return None


def _start() -> subprocess.Popen[bytes]:
    global _helper
    if _helper is None:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        _helper = subprocess.Popen(
            [sys.executable, "-m", "engine.voice"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C is for us: who asks decides when the helper ends
        )
    return _helper


def _stop() -> None:
    global _helper
    if _helper is not None:
        for pipe in (_helper.stdin, _helper.stdout):
            if pipe is not None:
                with suppress(OSError):  # unsent bytes for a helper that is gone
                    pipe.close()
        _helper.kill()
        _helper.wait()
        _helper = None


atexit.register(_stop)


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answer requests, each from a forked child; where there is no fork, one request and then the end."""
    is_available()  # starts the library, so that a child need not
    for line in requests:
        if not hasattr(os, "fork"):
            _answer(line, replies)
            return
        child = os.fork()
        if child == 0:
            try:
                _answer(line, replies)
            finally:
                os._exit(0)
        os.waitpid(child, 0)


def _answer(line: bytes, replies: IO[bytes]) -> None:
    sound = b""
    try:
        samples, rate_hz, words = speak(**json.loads(line))
        sound = samples.astype("<f4").tobytes()
        header = {
            "n_samples": len(samples),
            "rate_hz": rate_hz,
            "words": [(word.text, word.start_s, word.end_s) for word in words],
        }
    except VoiceError as error:
        header = {"error": str(error)}
    replies.write(json.dumps(header).encode() + b"\n" + sound)
    replies.flush()


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


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
