"""Clips: 16 kHz mono samples, with what had to be changed to get them and what a listener should know.

`load_clip` is the only door for files: it refuses playlists, links and whatever is no sound, and stops
decoding at the longest length allowed, whatever the header says. No model is known here.

FFmpeg reads whatever there is up to the end of a file, so it cannot tell half a file from a whole one: what a
container says of its own end (`ending_of`) is read here. Sizes that a program left open while it wrote to a pipe are
no promise, and neither are durations and time stamps; only what the container closes when it is finished counts.
"""

from __future__ import annotations

import hashlib
import os
import re
import string
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

import av
import av.container
import numpy as np
import soxr
from av.stream import Disposition
from jaxtyping import Float, Shaped

from engine.errors import ClipError

# Programs that write to a pipe leave 0, 1 to 4 GiB, or a guess of theirs as the size of what is to come.
OPEN_BYTES = 2**28 - 4096
# Some programs count their own header into the size of the sound.
_SLACK_BYTES = 64
# More than this behind a WAV's sound, and no chunk, is sound.
_RUBBISH_BYTES = 4096
_TAG_LETTERS = frozenset((string.ascii_letters + string.digits + " -_.()\0\xa9").encode("latin-1"))

_W64_RIFF = b"riff\x2e\x91\xcf\x11"
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_OGG_FIRST, _OGG_LAST = 2, 4  # flags of a page: begins, ends its stream
_MP3_SEARCHED_BYTES = 4096
_ID3_HEADER_BYTES = 10


@dataclass(frozen=True)
class Ending:
    """What a container says of its end.

    Attributes:
        is_missing: the file ends before the container does.
        reads_on: a WAV's sound goes on behind the size that its header gives, as a recorder that crashed leaves it.
        n_samples: per channel, as the header counts them; None where it does not.
        slack_samples: how many fewer may come out of a whole file (an encoder's padding).
    """

    is_missing: bool = False
    n_samples: int | None = None
    slack_samples: int = 0
    reads_on: bool = False


def ending_of(location: str) -> Ending:
    """Return what the file's container says of its end; nothing is claimed of containers that do not say.

    Raises:
        OSError: the file cannot be read.
    """
    n_bytes = os.path.getsize(location)
    with open(location, "rb") as file:
        head = file.read(64)
        if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM"):
            return _chunks_ending(file, n_bytes, "big" if head[:4] in (b"RIFX", b"FORM") else "little")
        if head[:4] == b"caff":
            return Ending(_caf_missing(file, n_bytes))
        if head[:8] == _W64_RIFF:
            return Ending(_w64_missing(file, n_bytes))
        if head[:4] == b"OggS":
            return Ending(_ogg_missing(file, n_bytes))
        if int.from_bytes(head[:4], "big") == _EBML:
            return Ending(_matroska_missing(file, n_bytes))
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"):
            return Ending(_mp4_missing(file, n_bytes))
        if head[:4] == b"fLaC":
            # STREAMINFO: the last 36 bits before the checksum count the samples; 0 means unknown.
            return Ending(n_samples=(int.from_bytes(head[21:26], "big") & (2**36 - 1)) or None)
        return _mp3_ending(file)


def _chunks_ending(file: BinaryIO, n_bytes: int, order: str) -> Ending:
    """RIFF (WAV) and FORM (AIFF): only the chunk of the sound counts, the outer size is seldom kept right."""
    position, size_64 = 12, None
    while True:
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            return Ending()
        tag, size = head[:4], int.from_bytes(head[4:8], order)  # type: ignore[arg-type]
        body = position + 8
        if tag == b"ds64":  # of RF64: the sizes that need more than 32 bits, the sound's second
            file.seek(body + 8)
            size_64 = int.from_bytes(file.read(8), "little")
        if tag in (b"data", b"SSND"):
            promised = size_64 if size == 0xFFFFFFFF and size_64 is not None else size
            file.seek(min(body + promised + promised % 2, n_bytes))
            after = file.read(4)
            goes_on = tag == b"data" and promised and n_bytes - body - promised > _RUBBISH_BYTES
            return Ending(
                _is_missing(promised, n_bytes - body),
                reads_on=bool(goes_on and not _TAG_LETTERS.issuperset(after)),
            )
        if body + size > n_bytes or not _TAG_LETTERS.issuperset(tag):
            return (
                Ending()
            )  # no sound was begun: whether this is a sound file at all is for the decoder to say
        position = body + size + size % 2


def _is_missing(promised: int, found: int) -> bool:
    return found + _SLACK_BYTES < promised < OPEN_BYTES


def _caf_missing(file: BinaryIO, n_bytes: int) -> bool:
    position = 8
    while position < n_bytes:
        file.seek(position)
        head = file.read(12)
        size = int.from_bytes(head[4:], "big", signed=True)
        if head[:4] == b"data" or size < 0:
            return _is_missing(size, n_bytes - position - 12)  # -1: up to the end of the file
        position += 12 + size
    return False


def _w64_missing(file: BinaryIO, n_bytes: int) -> bool:
    position = 40
    while position < n_bytes:
        file.seek(position)
        head = file.read(24)
        size = int.from_bytes(head[16:], "little")  # with its own 24 bytes
        if size < 24:
            return False
        if head[:4] == b"data":
            return _is_missing(size, n_bytes - position)
        position += -(-size // 8) * 8
    return False


def _mp4_missing(file: BinaryIO, n_bytes: int) -> bool:
    position = 0
    while position < n_bytes:
        file.seek(position)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8 or not _TAG_LETTERS.issuperset(head[4:8]):
            return False  # 0: up to the end of the file; else no box, such as bytes that fill up a sector
        position += size
    return position > n_bytes


def _matroska_missing(file: BinaryIO, n_bytes: int) -> bool:
    """Walk the elements; a browser's recorder leaves the sizes of segment and clusters unknown."""
    position = 0
    while position < n_bytes:
        file.seek(position)
        head = file.read(12)
        id_bytes = _leading_zeros(head[0]) + 1
        if id_bytes > 4:
            return False
        if len(head) <= id_bytes:
            return True
        size_bytes = _leading_zeros(head[id_bytes]) + 1
        if size_bytes > 8 or len(head) < id_bytes + size_bytes:
            return size_bytes <= 8
        element = int.from_bytes(head[:id_bytes], "big")
        largest = 2 ** (7 * size_bytes) - 1
        size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & largest
        position += id_bytes + size_bytes
        if size != largest:
            position += size
        elif element not in (_SEGMENT, _CLUSTER):
            return False
    return position > n_bytes


def _leading_zeros(byte: int) -> int:
    return 8 - byte.bit_length()


def _ogg_missing(file: BinaryIO, n_bytes: int) -> bool:
    """Walk the pages: the last of a stream says so."""
    position, begun = 0, set()
    while position < n_bytes:
        file.seek(position)
        head = file.read(27)
        if head[:4] != b"OggS"[: len(head)]:
            return False
        lacing = file.read(head[26]) if len(head) == 27 else b""
        if len(head) < 27 or len(lacing) < head[26]:
            return True
        position += 27 + len(lacing) + sum(lacing)
        stream = head[14:18]
        if head[5] & _OGG_FIRST:
            begun.add(stream)
        if head[5] & _OGG_LAST:
            begun.discard(stream)
    return position > n_bytes or bool(begun)


def _mp3_ending(file: BinaryIO) -> Ending:
    """Read the count of frames in an MP3's first frame (Xing, Info or VBRI), where its encoder left one."""
    position = 0
    while True:
        file.seek(position)
        head = file.read(_ID3_HEADER_BYTES)
        if head[:3] != b"ID3" or len(head) < _ID3_HEADER_BYTES:
            break
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        position += _ID3_HEADER_BYTES + size + (_ID3_HEADER_BYTES if head[5] & 0x10 else 0)
    file.seek(position)
    data = file.read(_MP3_SEARCHED_BYTES)
    start = next((at for at in range(len(data) - 3) if _is_layer_3(data[at : at + 4])), None)
    if start is None:
        return Ending()
    is_mpeg_1, is_mono = data[start + 1] & 0x08 != 0, data[start + 3] >> 6 == 3
    side_bytes = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}[
        is_mpeg_1, is_mono
    ]
    tag = data[start + 4 + side_bytes :]
    n_frames = 0
    if tag[:4] in (b"Xing", b"Info") and tag[7:8] and tag[7] & 1:
        n_frames = int.from_bytes(tag[8:12], "big")
    elif data[start + 36 : start + 40] == b"VBRI":
        n_frames = int.from_bytes(data[start + 50 : start + 54], "big")
    frame = 1152 if is_mpeg_1 else 576
    return Ending(n_samples=n_frames * frame or None, slack_samples=4 * frame)


def _is_layer_3(head: bytes) -> bool:
    """Whether these four bytes can begin a frame of MPEG audio, layer III."""
    return (
        head[0] == 0xFF
        and head[1] & 0xE6 == 0xE2  # sync and layer
        and head[1] & 0x18 != 0x08  # reserved version
        and head[2] & 0xF0 not in (0x00, 0xF0)  # free or bad bit rate
        and head[2] & 0x0C != 0x0C  # reserved sample rate
    )


SAMPLE_RATE_HZ = 16_000
MIN_DURATION_S = 0.1
MAX_DURATION_S = 30.0
LOWEST_RATE_HZ = 4_000
HIGHEST_RATE_HZ = 768_000
MAX_NAME_CHARACTERS = 80

SILENT_PEAK = 1e-4  # of full scale, -80 dB: three steps of 16 bits, so dithered silence counts as silence
QUIET_PEAK = 1e-2  # of full scale, -40 dB
CLIPPED_LEVEL = 0.999  # of full scale
CLIPPED_SHARE = 1e-3  # of the samples; one loud click is not clipping

# Lossy coders pad their last frame; a clip of just the longest length is cut back rather than refused.
_CODEC_PADDING_S = 0.1
# Time stamps of a recorder jitter; a jump beyond this is a gap.
_GAP_S = 0.1
# Containers whose time stamps are written by a clock; elsewhere FFmpeg counts them up from the samples.
_STAMPED = ("matroska", "mov")

# The power of the summed channels over the sum of their powers: 1 when they have nothing in common, as many
# as there are channels when they are equal. Below this they take each other out.
CANCELLED_SHARE = 0.25
OFFSET_LEVEL = 1e-3  # of full scale; less than a 16-bit recorder's usual offset is not worth a word
OFFSET_SHARE = 0.1  # of the sound's own root mean square
NEWS_DB = 0.05  # a change that is written as 0.0 dB is none

# Playlists (hls, concat) would read other files of the server: only containers that hold sound are opened.
_FORMATS = "wav,w64,flac,mp3,ogg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,aiff,caf,amr,au,asf,avi"
_OPEN_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
_LINK = re.compile(r"\s*([a-z][a-z0-9+.-]*://|www\.)", re.IGNORECASE)

_LAYOUTS = {1: "mono", 2: "stereo"}
_UNREADABLE = (
    "This is not a sound file that can be read here, or it is damaged; "
    "save it as WAV, FLAC, MP3, OGG, M4A or WebM and try again."
)
_BROKEN = "The file breaks off and nothing of it can be read; get it anew, or save it as WAV and try again."


@dataclass(frozen=True, eq=False)
class AudioClip:
    """A clip as the models hear it.

    Attributes:
        samples: float32, mono, 16 kHz, within -1..1.
        name: base name of the file, at most 80 characters, not escaped for HTML.
        changes: what loading changed, one sentence each.
        warnings: what a listener should know (clipped, quiet, broken off), one sentence each.
    """

    samples: Float[np.ndarray, " samples"]
    name: str
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.samples.ndim == 1 and self.samples.dtype == np.float32, (
            f"AudioClip wants float32 mono, not {self.samples.dtype} of {self.samples.ndim} axes"
        )

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / SAMPLE_RATE_HZ

    @property
    def peak(self) -> float:
        """Largest magnitude, 0 to 1 of full scale."""
        return float(np.max(np.abs(self.samples), initial=0.0))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the samples and their rate, in hex; the name plays no part."""
        digest = hashlib.sha256(f"{SAMPLE_RATE_HZ}:float32:".encode())
        digest.update(np.ascontiguousarray(self.samples, dtype="<f4").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class _Decoded:
    """Mono sound at its own rate, before any judgement on it.

    Attributes:
        levels: of its channels.
        changes, warnings: what is known so far.
    """

    mono: Float[np.ndarray, " samples"]
    rate_hz: int
    levels: _Levels
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class _Levels:
    """What the channels hold, gathered block by block, so that they need not be kept.

    Attributes:
        n_channels: of the first block; a later block of other channels adds to `n_not_finite` only.
        n_not_finite: values that were no numbers.
    """

    def __init__(self) -> None:
        self.n_channels = 0
        self.n_not_finite = 0
        self._n_full = self._n_samples = 0

    def add(self, values: Float[np.ndarray, "channels samples"]) -> None:
        """Count in a block: float64, full scale 1."""
        if not self.n_channels:
            self.n_channels = len(values)
            self._sums = np.zeros(len(values))
            self._low, self._high = np.full(len(values), np.inf), np.full(len(values), -np.inf)
            self._products = np.zeros((len(values), len(values)))
        if len(values) != self.n_channels or not values.size:
            return
        self._n_samples += values.shape[1]
        self._n_full += int(np.sum(np.abs(values) >= CLIPPED_LEVEL))
        self._sums += values.sum(axis=1)
        self._products += values @ values.T
        self._low = np.minimum(self._low, values.min(axis=1))
        self._high = np.maximum(self._high, values.max(axis=1))

    @property
    def clipped_share(self) -> float:
        """Share of the values at full scale; 0 where some lie beyond it, which then clipped nothing."""
        beyond = max(float(self._high.max()), -float(self._low.min())) > 2 - CLIPPED_LEVEL
        return 0.0 if beyond else self._n_full / (self._n_samples * self.n_channels)

    def choice(self) -> tuple[Float[np.ndarray, " channels"] | None, str]:
        """Return the weights to mix the channels by, None for their mean, and why in one sentence."""
        mean = self._sums / self._n_samples
        power = self._products / self._n_samples - np.outer(mean, mean)
        with_sound = (self._high - self._low) / 2 >= SILENT_PEAK
        if self.n_channels < 2 or not with_sound.any():
            return None, ""
        both = power[np.ix_(with_sound, with_sound)]
        if both.sum() < CANCELLED_SHARE * both.trace():
            loudest = np.argmax(power.diagonal())
            why = f"The channels take each other out when they are mixed, so {self._name(loudest)} alone is used."
            return np.eye(self.n_channels)[loudest], why
        if with_sound.all():
            return None, ""
        live = np.flatnonzero(with_sound)
        if len(live) == 1:
            why = f"Only {self._name(live[0])} holds sound, so it alone is used."
        else:
            numbers = " and ".join(str(channel + 1) for channel in live)
            why = f"Only the channels {numbers} of {self.n_channels} hold sound, so these are mixed."
        return with_sound / len(live), why

    def _name(self, channel: np.intp) -> str:
        is_stereo = self.n_channels == 2
        return f"the {('left', 'right')[channel]} channel" if is_stereo else f"channel {channel + 1}"


def load_clip(path: str | os.PathLike[str], name: str | None = None, *, whole: bool = False) -> AudioClip:
    """The clip in a sound file: wav, flac, mp3, ogg, opus, m4a, mp4, webm, aac, aiff, caf and the like.

    A file that breaks off gives what could be decoded, with a warning. Of several tracks the default one is
    taken, or the first with sound. Memory is bounded by the longest length allowed, not by the file or its header.

    Args:
        path: a file on this machine.
        name: what to call the clip; the file's base name if None.
        whole: refuse a file longer than 30 s, as what is asked about must be; else its first 30 s are taken.

    Raises:
        ClipError: a link, not a file, empty, not sound, silent, shorter than 0.1 s, or longer than 30 s if `whole`.
    """
    location = os.fspath(path)
    if _LINK.match(location):
        raise ClipError("Links are not accepted; download the sound and upload the file.")
    if not os.path.isfile(location):
        raise ClipError("The sound file is not there; choose or record it again.")
    if os.path.getsize(location) == 0:
        raise ClipError("The file is empty; choose another file or record again.")
    ending = Ending()
    try:
        ending = ending_of(location)
        decoded = _first_with_sound(location, ending, whole=whole)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise ClipError(_BROKEN if ending.is_missing else _UNREADABLE) from error
    return _clip(decoded, clean_name(name or location))


def clip_from_samples(samples: np.ndarray, rate_hz: int, name: str) -> AudioClip:
    """The clip made of samples in memory, judged and changed as a file's would be.

    Args:
        samples: [samples] or [samples, channels]; floats with full scale 1, or integers of any width.
        rate_hz: 4,000 to 768,000.
        name: what to call the clip.

    Raises:
        ClipError: another shape or type, rate out of range, silent, shorter than 0.1 s, longer than 30 s.
    """
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "iuf":
        raise ClipError("Samples must be numbers, one row per moment and one column per channel.")
    _check_rate(rate_hz)
    if len(samples) > (MAX_DURATION_S + _CODEC_PADDING_S) * rate_hz:
        raise _too_long(len(samples) / rate_hz)
    by_channel = samples[None, :] if samples.ndim == 1 else samples.T
    if by_channel.shape[0] == 0:
        raise ClipError("The recording has no channel; record again or choose another file.")
    if by_channel.shape[1] == 0:
        raise _too_short(0.0)
    levels = _Levels()
    values = _full_scale(by_channel, levels)
    weights, why = levels.choice()
    return _clip(
        _Decoded(_mix(values, weights), int(rate_hz), levels, (why,) if why else ()), clean_name(name)
    )


def clean_name(name: str) -> str:
    """A name fit to show: base name, printable characters only, at most 80; "clip" where nothing is left."""
    base = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return "".join(letter for letter in base if letter.isprintable()).strip()[:MAX_NAME_CHARACTERS] or "clip"


def _check_rate(rate_hz: float) -> None:
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise ClipError(
            f"The sample rate is {rate_hz:g} Hz and {LOWEST_RATE_HZ:,} to {HIGHEST_RATE_HZ:,} Hz are "
            "accepted; save the sound at 16 kHz or 48 kHz and try again."
        )


def _too_long(duration_s: float | None) -> ClipError:
    found = f"is longer than {MAX_DURATION_S:g} s"
    if duration_s is not None:
        found = f"is {duration_s:.1f} s long" if duration_s < 120 else f"is {duration_s / 60:.1f} min long"
    return ClipError(f"The clip {found} and the limit is {MAX_DURATION_S:g} s; cut out the part you need.")


def _too_short(duration_s: float) -> ClipError:
    return ClipError(
        f"The clip is {duration_s:.3f} s long and the least is {MIN_DURATION_S:g} s; record more."
    )


def _first_with_sound(location: str, ending: Ending, *, whole: bool) -> _Decoded:
    """The default track, or the first after it that can be decoded and is not silent."""
    with _opened(location, ending) as container:
        tracks = list(enumerate(container.streams.audio, start=1))
        tracks.sort(key=lambda one: not one[1].disposition & Disposition.default)
        named = [(track.index, _track_name(number, track)) for number, track in tracks]
    if not named:
        raise ClipError("There is no sound track in this file; choose another file.")
    refused: Exception | None = None
    silent: _Decoded | None = None
    for index, name in named:
        try:
            found = _mixed(location, index, ending, whole=whole)
        except (av.error.FFmpegError, ClipError) as error:
            if len(named) == 1:
                raise
            refused = refused or error
            continue
        if len(named) > 1:
            told = f"The file has {len(named)} sound tracks; {name} is used."
            found = replace(found, changes=(told, *found.changes))
        if _swing(found.mono) >= SILENT_PEAK:
            return found
        silent = silent or found
    if silent is None and refused:
        raise refused
    assert silent is not None
    return silent


@contextmanager
def _opened(location: str, ending: Ending) -> Iterator[av.container.InputContainer]:
    options = _OPEN_OPTIONS | ({"ignore_length": "1"} if ending.reads_on else {})
    # An open file, not its name: FFmpeg would read "concat:..." and the like as an instruction.
    with (
        open(location, "rb") as file,
        av.open(file, mode="r", options=options, metadata_errors="ignore") as container,
    ):
        yield container


def _track_name(number: int, track: av.AudioStream) -> str:
    """What to call one of several tracks: its number, with language and title where the file gives them."""
    words = [track.metadata.get(key, "") for key in ("language", "title")]
    known = ", ".join(clean_name(word) for word in words if word and word != "und")
    return f"track {number}" + (f" ({known})" if known else "")


def _mixed(location: str, index: int, ending: Ending, *, whole: bool) -> _Decoded:
    """One track in mono; read a second time where its channels are not to be averaged."""
    decoded = _decode(location, index, ending, None, whole=whole)
    weights, why = decoded.levels.choice()
    if weights is None:
        return decoded
    again = _decode(location, index, ending, weights, whole=whole)
    return replace(again, changes=(why, *again.changes))


def _decode(
    location: str, index: int, ending: Ending, weights: Float[np.ndarray, " channels"] | None, *, whole: bool
) -> _Decoded:
    """All of a sound track, mixed to mono while it is read; stops past the longest length."""
    levels, damage = _Levels(), Counter[str]()
    chunks: list[np.ndarray] = []
    gaps = _Gaps()
    rate_hz, n_samples, is_cut = 0, 0, False
    with _opened(location, ending) as container:
        track = container.streams[index]
        assert isinstance(track, av.AudioStream)
        has_stamps = any(word in container.format.name for word in _STAMPED)
        promised_s = _promised_s(container, track)
        for frame in _frames(container, track, damage):
            if not chunks:
                rate_hz = frame.sample_rate
                _check_rate(rate_hz)
            elif frame.sample_rate != rate_hz:
                raise ClipError("The sample rate changes within the file; save it anew as WAV and try again.")
            n_longest = round((MAX_DURATION_S + _CODEC_PADDING_S) * rate_hz)
            if has_stamps and (silence := gaps.before(frame, n_samples, n_longest)):
                chunks.append(np.zeros(silence, np.float32))
                n_samples += silence
            chunks.append(_mix(_full_scale(_by_channel(frame), levels), weights))
            n_samples += len(chunks[-1])
            if n_samples > n_longest:
                is_cut = True
                break
    if not n_samples:
        raise ClipError(
            _BROKEN
            if ending.is_missing
            else _UNREADABLE
            if damage
            else "The file holds no sound; choose another file."
        )
    if is_cut and whole:
        raise _too_long(promised_s)
    changes = list(gaps.told(rate_hz))
    if ending.reads_on:
        changes.append("The header's size of the sound is wrong; all of the file is used.")
    mono = np.concatenate(chunks)
    warnings: tuple[str, ...] = ()
    if is_cut:
        of = f" of {promised_s:.1f} s" if promised_s else ""
        changes.append(f"Only the first {MAX_DURATION_S:g} s{of} are used.")
        mono = mono[: round(MAX_DURATION_S * rate_hz)]
    elif damage or ending.is_missing or n_samples + ending.slack_samples < (ending.n_samples or 0):
        warnings = (
            f"The file is damaged or breaks off; the {n_samples / rate_hz:.2f} s that could be read are used.",
        )
    return _Decoded(mono, rate_hz, levels, tuple(changes), warnings)


def _promised_s(container: av.container.InputContainer, track: av.AudioStream) -> float | None:
    """The track's length as the header has it, for a sentence only; None where that cannot be more than the limit."""
    promised_s = container.duration / av.time_base if container.duration else 0.0
    if track.duration and track.time_base:  # a film's picture may last longer than its sound
        promised_s = float(track.duration * track.time_base)
    return promised_s if promised_s > MAX_DURATION_S else None


class _Gaps:
    """Gaps between the time stamps of frames, as a recorder leaves them when a line was muted or broke down."""

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._filled: list[int] = []
        self._closed_s = 0.0

    def before(self, frame: av.AudioFrame, n_samples: int, n_longest: int) -> int:
        """Return how many samples of silence belong before a frame; a gap beyond the longest clip is closed instead."""
        if frame.time is None:
            return 0
        if self._first_s is None:
            self._first_s = frame.time
        missing_s = frame.time - self._first_s - self._closed_s - n_samples / frame.sample_rate
        n_missing = round(missing_s * frame.sample_rate)
        if missing_s <= _GAP_S:
            return 0
        if n_samples + n_missing + frame.samples > n_longest:
            self._closed_s += missing_s
            return 0
        self._filled.append(n_missing)
        return n_missing

    def told(self, rate_hz: int) -> Iterator[str]:
        """What was done, one sentence each."""
        if self._filled:
            where = "a gap" if len(self._filled) == 1 else f"{len(self._filled)} gaps"
            yield f"Silence fills {where} in the recording, {sum(self._filled) / rate_hz:.2f} s in all."
        if self._closed_s:
            yield f"The time stamps leave out {self._closed_s:,.2f} s; what comes after follows at once."


def _frames(
    container: av.container.InputContainer, track: av.AudioStream, damage: Counter[str]
) -> Iterator[av.AudioFrame]:
    """Decoded frames; packets that do not decode are counted and left out, a broken end ends them."""
    packets = container.demux(track)
    while True:
        try:
            packet = next(packets)
            frames = packet.decode()
        except StopIteration:
            return
        except av.error.InvalidDataError:
            damage["packets"] += 1
            continue
        except av.error.FFmpegError:
            damage["packets"] += 1
            return
        yield from (frame for frame in frames if frame.samples)


def _by_channel(frame: av.AudioFrame) -> Shaped[np.ndarray, "channels samples"]:
    values = frame.to_ndarray()
    return values if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels).T


def _full_scale(
    by_channel: Shaped[np.ndarray, "channels samples"], levels: _Levels
) -> Float[np.ndarray, "channels samples"]:
    """The values as float64 with full scale 1, counted into `levels`; what is no finite number becomes 0."""
    kind, bits = by_channel.dtype.kind, 8 * by_channel.dtype.itemsize
    half_range = 1.0 if kind == "f" else 2.0 ** (bits - 1)
    offset = half_range if kind == "u" else 0.0  # unsigned samples have their zero in the middle
    values = (by_channel.astype(np.float64) - offset) / half_range
    # Beyond float32's range counts as infinite: no microphone gives 1e38 of full scale.
    wrong = ~(np.abs(values) <= np.finfo(np.float32).max)
    values[wrong] = 0.0
    levels.n_not_finite += int(wrong.sum())
    levels.add(values)
    return values


def _mix(
    values: Float[np.ndarray, "channels samples"], weights: Float[np.ndarray, " channels"] | None
) -> Float[np.ndarray, " samples"]:
    """The weighted sum of the channels as float32; their mean without weights, or where these are of other channels."""
    if weights is None or len(weights) != len(values):
        return values.mean(axis=0).astype(np.float32)
    return (weights @ values).astype(np.float32)


def _swing(mono: Float[np.ndarray, " samples"]) -> float:
    """Half of the range of the samples: the peak, but for a constant offset."""
    return float(np.ptp(mono.astype(np.float64))) / 2


def _clip(decoded: _Decoded, name: str) -> AudioClip:
    """The 16 kHz clip, after the checks that every clip passes whatever it came from."""
    mono, rate_hz, n_channels = decoded.mono, decoded.rate_hz, decoded.levels.n_channels
    if len(mono) / rate_hz < MIN_DURATION_S:
        raise _too_short(len(mono) / rate_hz)
    if _swing(mono) < SILENT_PEAK:
        raise ClipError("The clip is silent; check the microphone or choose another file.")
    changes = list(decoded.changes)
    if rate_hz != SAMPLE_RATE_HZ or n_channels > 1:
        layout = _LAYOUTS.get(n_channels, f"{n_channels} channels")
        changes.insert(0, f"{rate_hz / 1000:g} kHz {layout} -> 16 kHz mono.")
    warnings = (*decoded.warnings, *_level_warnings(mono, decoded.levels))
    # Before resampling, so that sums of enormous float samples cannot overflow inside the filter.
    over = max(float(np.max(np.abs(mono))), 1.0)
    samples = soxr.resample(mono / over, rate_hz, SAMPLE_RATE_HZ).astype(np.float32)
    overshoot = max(float(np.max(np.abs(samples))), 1.0)
    lowered_db = 20 * np.log10(over * overshoot)
    if lowered_db >= NEWS_DB:
        changes.append(f"Lowered by {lowered_db:.1f} dB to fit full scale.")
    longest = round(MAX_DURATION_S * SAMPLE_RATE_HZ)
    cut_s = len(samples) / SAMPLE_RATE_HZ - MAX_DURATION_S
    if cut_s >= 0.005:
        changes.append(f"The last {cut_s:.2f} s were cut off.")
    return AudioClip(samples[:longest] / np.float32(overshoot), name, tuple(changes), warnings)


def _level_warnings(mono: Float[np.ndarray, " samples"], levels: _Levels) -> Iterator[str]:
    """What a listener should know of the levels; a constant offset is heard by nobody and counts in none of them."""
    if levels.n_not_finite:
        yield f"{levels.n_not_finite:,} samples were not numbers and were set to 0."
    if levels.clipped_share >= CLIPPED_SHARE:
        yield f"{levels.clipped_share:.1%} of the samples are at full scale: the recording is probably clipped."
    if _swing(mono) < QUIET_PEAK:
        yield f"The clip is very quiet: its peak is {20 * np.log10(_swing(mono)):.0f} dB of full scale."
    offset, rms = float(np.mean(mono, dtype=np.float64)), float(np.std(mono, dtype=np.float64))
    if abs(offset) >= max(OFFSET_LEVEL, OFFSET_SHARE * rms):
        yield f"The recording has a constant offset of {offset:.1%} of full scale; levels and ratios leave it out."
