"""A synthetic voice that speaks typed sentences, with the time of every word.

The clip page, the noise babble and `precompute` call it. It wraps espeak-ng from the wheel
`espeakng-loader` (optional: nothing else in the product needs it) and never takes SSML or phoneme input.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import unicodedata
from dataclasses import dataclass
from functools import cache
from itertools import count, pairwise, takewhile
from pathlib import Path

import numpy as np
from jaxtyping import Float

from engine.audio import MAX_DURATION_S, AudioClip, clip_from_samples
from engine.errors import VoiceError
from engine.result import SpokenWord

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
