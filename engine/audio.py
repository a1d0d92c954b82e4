"""Clips: 16 kHz mono samples, with what had to be changed to get them and what a listener should know.

`load_clip` is the only door for files: it refuses playlists, links and whatever is no sound, and stops
decoding at the longest length allowed, whatever the header says. No model is known here.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.container
import numpy as np
import soxr
from jaxtyping import Float, Shaped

from engine.errors import ClipError

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
# A header that promises more than this share over what was found means a file that breaks off.
_BREAK_OFF_SHARE = 0.05
_BREAK_OFF_S = 0.25
# FFmpeg guesses these containers' durations from the bit rate, so a missing end cannot be told.
_GUESSED_DURATION = ("mp3", "aac")

# Playlists (hls, concat) would read other files of the server: only containers that hold sound are opened.
_FORMATS = "wav,w64,flac,mp3,ogg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,aiff,caf"
_OPEN_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
_LINK = re.compile(r"\s*([a-z][a-z0-9+.-]*://|www\.)", re.IGNORECASE)

_LAYOUTS = {1: "mono", 2: "stereo"}
_UNREADABLE = (
    "This is not a sound file that can be read here, or it is damaged; "
    "save it as WAV, FLAC, MP3, OGG, M4A or WebM and try again."
)


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
    """Mono sound at its own rate, before any judgement on it."""

    mono: Float[np.ndarray, " samples"]
    rate_hz: int
    n_channels: int
    n_not_finite: int
    warnings: tuple[str, ...] = ()


def load_clip(path: str | os.PathLike[str], name: str | None = None) -> AudioClip:
    """The clip in a sound file: wav, flac, mp3, ogg, opus, m4a, mp4, webm, aac, aiff or caf.

    A file that breaks off gives what could be decoded, with a warning. Memory is bounded by the longest
    length allowed, not by the file or its header.

    Args:
        path: a file on this machine.
        name: what to call the clip; the file's base name if None.

    Raises:
        ClipError: a link, not a file, empty, not sound, silent, shorter than 0.1 s or longer than 30 s.
    """
    location = os.fspath(path)
    if _LINK.match(location):
        raise ClipError("Links are not accepted; download the sound and upload the file.")
    if not os.path.isfile(location):
        raise ClipError("The sound file is not there; choose or record it again.")
    if os.path.getsize(location) == 0:
        raise ClipError("The file is empty; choose another file or record again.")
    try:
        # An open file, not its name: FFmpeg would read "concat:..." and the like as an instruction.
        with (
            open(location, "rb") as file,
            av.open(file, mode="r", options=_OPEN_OPTIONS, metadata_errors="ignore") as container,
        ):
            decoded = _decode(container, _riff_breaks_off(location))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise ClipError(_UNREADABLE) from error
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
    mono, n_not_finite = _mono(by_channel)
    return _clip(_Decoded(mono, int(rate_hz), by_channel.shape[0], n_not_finite), clean_name(name))


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


def _riff_breaks_off(location: str) -> bool:
    """Whether a WAV is shorter than it says; FFmpeg takes the file's size instead, so it cannot tell."""
    with open(location, "rb") as file:
        head = file.read(8)
    promised = int.from_bytes(head[4:8], "little") + 8
    # Programs that write to a pipe leave 0 or (nearly) 4 GiB there.
    return head[:4] == b"RIFF" and os.path.getsize(location) < promised < 2**31


def _decode(container: av.container.InputContainer, breaks_off: bool) -> _Decoded:
    """All of the first sound track, mixed to mono while it is read; stops past the longest length."""
    if not container.streams.audio:
        raise ClipError("There is no sound track in this file; choose another file.")
    track = container.streams.audio[0]
    promised_s = container.duration / av.time_base if container.duration else None
    if track.duration and track.time_base:  # a film's picture may last longer than its sound
        promised_s = float(track.duration * track.time_base)
    chunks: list[np.ndarray] = []
    rate_hz, n_channels, n_samples, n_not_finite = 0, 0, 0, 0
    damage: Counter[str] = Counter()
    for frame in _frames(container, damage):
        if not chunks:
            rate_hz, n_channels = frame.sample_rate, frame.layout.nb_channels
            _check_rate(rate_hz)
        elif frame.sample_rate != rate_hz:
            raise ClipError("The sample rate changes within the file; save it anew as WAV and try again.")
        mono, n_bad = _mono(_by_channel(frame))
        chunks.append(mono)
        n_samples += len(mono)
        n_not_finite += n_bad
        if n_samples > (MAX_DURATION_S + _CODEC_PADDING_S) * rate_hz:
            raise _too_long(promised_s if promised_s and promised_s > MAX_DURATION_S else None)
    if not n_samples:
        raise ClipError(_UNREADABLE if damage else "The file holds no sound; choose another file.")
    found_s = n_samples / rate_hz
    if promised_s and container.format.name not in _GUESSED_DURATION:
        breaks_off |= promised_s > found_s * (1 + _BREAK_OFF_SHARE) + _BREAK_OFF_S
    warnings: tuple[str, ...] = ()
    if damage or breaks_off:
        warnings = (f"The file is damaged or breaks off; the {found_s:.2f} s that could be read are used.",)
    return _Decoded(np.concatenate(chunks), rate_hz, n_channels, n_not_finite, warnings)


def _frames(container: av.container.InputContainer, damage: Counter[str]) -> Iterator[av.AudioFrame]:
    """Decoded frames; packets that do not decode are counted and left out, a broken end ends them."""
    packets = container.demux(container.streams.audio[0])
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


def _mono(
    by_channel: Shaped[np.ndarray, "channels samples"],
) -> tuple[Float[np.ndarray, " samples"], int]:
    """(mean over the channels, float32 with full scale 1; how many values were not finite and became 0)."""
    kind, bits = by_channel.dtype.kind, 8 * by_channel.dtype.itemsize
    half_range = 1.0 if kind == "f" else 2.0 ** (bits - 1)
    offset = half_range if kind == "u" else 0.0  # unsigned samples have their zero in the middle
    values = (by_channel.astype(np.float64) - offset) / half_range
    # Beyond float32's range counts as infinite: no microphone gives 1e38 of full scale.
    wrong = ~(np.abs(values) <= np.finfo(np.float32).max)
    values[wrong] = 0.0
    return values.mean(axis=0).astype(np.float32), int(wrong.sum())


def _clip(decoded: _Decoded, name: str) -> AudioClip:
    """The 16 kHz clip, after the checks that every clip passes whatever it came from."""
    mono, rate_hz = decoded.mono, decoded.rate_hz
    duration_s = len(mono) / rate_hz
    if duration_s < MIN_DURATION_S:
        raise ClipError(
            f"The clip is {duration_s:.3f} s long and the least is {MIN_DURATION_S:g} s; record more."
        )
    peak = float(np.max(np.abs(mono)))
    if np.ptp(mono.astype(np.float64)) / 2 < SILENT_PEAK:
        raise ClipError("The clip is silent; check the microphone or choose another file.")
    changes: list[str] = []
    if rate_hz != SAMPLE_RATE_HZ or decoded.n_channels > 1:
        layout = _LAYOUTS.get(decoded.n_channels, f"{decoded.n_channels} channels")
        changes.append(f"{rate_hz / 1000:g} kHz {layout} -> 16 kHz mono.")
    warnings = [*decoded.warnings, *_level_warnings(mono, peak, decoded.n_not_finite)]
    # Before resampling, so that sums of enormous float samples cannot overflow inside the filter.
    samples = soxr.resample(mono / max(peak, 1.0), rate_hz, SAMPLE_RATE_HZ).astype(np.float32)
    overshoot = max(float(np.max(np.abs(samples))), 1.0)
    if max(peak, 1.0) * overshoot > 1.0:
        changes.append(f"Lowered by {20 * np.log10(max(peak, 1.0) * overshoot):.1f} dB to fit full scale.")
    longest = round(MAX_DURATION_S * SAMPLE_RATE_HZ)
    if len(samples) > longest:
        changes.append(f"The last {len(samples) / SAMPLE_RATE_HZ - MAX_DURATION_S:.2f} s were cut off.")
    return AudioClip(samples[:longest] / np.float32(overshoot), name, tuple(changes), tuple(warnings))


def _level_warnings(mono: Float[np.ndarray, " samples"], peak: float, n_not_finite: int) -> list[str]:
    warnings = []
    if n_not_finite:
        warnings.append(f"{n_not_finite:,} samples were not numbers and were set to 0.")
    clipped = float(np.mean(np.abs(mono) >= CLIPPED_LEVEL))
    if clipped >= CLIPPED_SHARE:
        warnings.append(f"{clipped:.1%} of the samples are at full scale: the recording is probably clipped.")
    if peak < QUIET_PEAK:
        warnings.append(f"The clip is very quiet: its peak is {20 * np.log10(peak):.0f} dB of full scale.")
    return warnings
