"""What a container says of its own end: sizes left open are no promise, half a file is told by every container."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from engine.audio import ending_of, load_clip

RATE_HZ = 16_000
SOUND = (0.3 * np.random.default_rng(0).standard_normal(2 * RATE_HZ)).clip(-0.9, 0.9).astype(np.float32)
PCM = (SOUND * 32767).astype("<i2").tobytes()


def wav(
    data: bytes, size: int | None = None, *, before: bytes = b"", after: bytes = b"", riff: int | None = None
) -> bytes:
    """A 16-bit mono WAV; `size` and `riff` stand in its header whatever follows."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    size = len(data) if size is None else size
    body = b"WAVE" + fmt + before + struct.pack("<4sI", b"data", size) + data + after
    return struct.pack("<4sI", b"RIFF", len(body) if riff is None else riff) + body


def warned(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    return any("breaks off" in warning for warning in load_clip(path, whole=True).warnings)


OPEN_SIZES = (
    0,
    0xFFFFFFFF,
    0xFFFFFFFF - 36,
    0x7FFFFFFF,
    0x7FFFF000,
    0x80000000,
    2_000_000_000,
    1_000_000_000,
    2**30,
)


@pytest.mark.parametrize("size", OPEN_SIZES)
def test_a_size_left_open_by_a_pipe_is_no_promise(tmp_path: Path, size: int) -> None:
    for riff in (size, min(size + 36, 0xFFFFFFFF), 0, None):
        assert not warned(tmp_path / "a.wav", wav(PCM, size, riff=riff))


def test_half_a_wav_is_told_whatever_stands_before_its_sound(tmp_path: Path) -> None:
    odd = struct.pack("<4sI", b"LIST", 5) + b"INFO\0" + b"\0"
    for before in (b"", odd):
        whole = wav(PCM, before=before)
        assert not warned(tmp_path / "a.wav", whole)
        assert warned(tmp_path / "a.wav", whole[: len(whole) // 2])
        assert warned(tmp_path / "a.wav", whole[:-400])


def test_odd_chunks_and_wrong_outer_sizes_are_not_damage(tmp_path: Path) -> None:
    """A chunk of odd size has a byte after it that its size does not count, and some programs leave it out."""
    for after in (b"", b"\0", struct.pack("<4sI", b"LIST", 5) + b"INFO\0", b"trailing rubbish"):
        for riff in (None, 10, len(PCM) + 37, len(PCM) + 5000):
            assert not warned(tmp_path / "a.wav", wav(PCM, after=after, riff=riff))
    eight_bits = wav(PCM[:16_001], 16_001).replace(struct.pack("<HH", 2, 16), struct.pack("<HH", 1, 8), 1)
    assert not warned(tmp_path / "a.wav", eight_bits)


def test_a_size_that_the_sound_goes_beyond_cuts_nothing_off(tmp_path: Path) -> None:
    """A recorder that crashed left the size of its first second in the header."""
    (tmp_path / "a.wav").write_bytes(wav(PCM, 1000))
    clip = load_clip(tmp_path / "a.wav", whole=True)
    assert clip.duration_s == 2.0 and clip.warnings == () and "size of the sound is wrong" in clip.changes[0]
    (tmp_path / "a.wav").write_bytes(
        wav(PCM[:32_000], after=struct.pack("<4sI", b"LIST", 9000) + bytes(9000))
    )
    assert load_clip(tmp_path / "a.wav", whole=True).duration_s == 1.0


def encoded(codec: str, container: str, *, piped: bool = False, **options: str) -> bytes:
    """The sound as this codec in this container; `piped` where the program cannot go back to fill in sizes."""
    file = io.BytesIO()
    if piped:
        file.seek = None  # type: ignore[assignment, method-assign]
    with av.open(file, "w", format=container, options=options) as output:
        rate_hz = 48_000 if codec == "libopus" else RATE_HZ
        stream = output.add_stream(codec, rate=rate_hz)
        stream.layout = "mono"
        samples = np.repeat(SOUND, rate_hz // RATE_HZ)
        whole = av.AudioFrame.from_ndarray(samples[None, :], format="fltp", layout="mono")
        whole.sample_rate = rate_hz
        frames = av.AudioResampler(format=stream.codec_context.format, rate=rate_hz).resample(whole)
        for frame in [*frames, None]:
            output.mux(stream.encode(frame))
    return file.getvalue()


CONTAINERS = {
    "flac": ("flac", "flac"),
    "ogg": ("libopus", "ogg"),
    "webm": ("libopus", "webm"),
    "mkv": ("aac", "matroska"),
    "mp4": ("aac", "mp4"),
    "caf": ("pcm_s16be", "caf"),
    "aiff": ("pcm_s16be", "aiff"),
    "w64": ("pcm_s16le", "w64"),
    "mp3": ("libmp3lame", "mp3"),
}


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_half_of_every_kind_of_file_is_told_and_the_whole_is_not(tmp_path: Path, suffix: str) -> None:
    options = {"movflags": "empty_moov+frag_every_frame"} if suffix == "mp4" else {}
    whole = encoded(*CONTAINERS[suffix], **options)
    assert not warned(tmp_path / f"a.{suffix}", whole)
    assert warned(tmp_path / f"a.{suffix}", whole[: len(whole) * 6 // 10])


@pytest.mark.parametrize("suffix", ["flac", "ogg", "webm", "mkv", "caf", "mp3"])
def test_what_was_written_to_a_pipe_is_whole(tmp_path: Path, suffix: str) -> None:
    """Sizes, durations and counts that can only be filled in at the end stay open in a pipe."""
    assert not warned(tmp_path / f"a.{suffix}", encoded(*CONTAINERS[suffix], piped=True))


@pytest.mark.parametrize("suffix", ["ogg", "webm"])
def test_half_of_what_was_written_to_a_pipe_is_told_where_it_can_be_known(
    tmp_path: Path, suffix: str
) -> None:
    whole = encoded(*CONTAINERS[suffix], piped=True)
    assert warned(tmp_path / f"a.{suffix}", whole[: len(whole) * 6 // 10])


def test_an_rf64_keeps_its_size_in_a_chunk_of_its_own(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.rf64", SOUND, RATE_HZ, format="RF64")
    whole = (tmp_path / "a.rf64").read_bytes()
    assert not ending_of(str(tmp_path / "a.rf64")).is_missing
    assert whole[:4] in (b"RF64", b"RIFF") and warned(tmp_path / "a.rf64", whole[: len(whole) // 2])


@pytest.mark.parametrize("tag_bytes", [0, 30_000])
def test_a_tag_with_a_picture_before_an_mp3_hides_nothing(tmp_path: Path, tag_bytes: int) -> None:
    bare = encoded("libmp3lame", "mp3", id3v2_version="0")
    size = bytes(tag_bytes >> shift & 0x7F for shift in (21, 14, 7, 0))
    tagged = b"ID3\x03\0\0" + size + bytes(tag_bytes) + bare
    assert not warned(tmp_path / "a.mp3", tagged)
    assert warned(tmp_path / "a.mp3", tagged[: -len(bare) // 2])


def test_an_mp3_that_counts_nothing_claims_nothing(tmp_path: Path) -> None:
    whole = encoded("libmp3lame", "mp3", write_xing="0", id3v2_version="0")
    (tmp_path / "a.mp3").write_bytes(whole)
    assert ending_of(str(tmp_path / "a.mp3")).n_samples is None
    assert abs(load_clip(tmp_path / "a.mp3", whole=True).duration_s - 2.0) < 0.2


def test_a_film_that_breaks_off_before_its_index_says_so(tmp_path: Path) -> None:
    whole = encoded("aac", "mp4")
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Exception, match="breaks off and nothing of it can be read"):
        load_clip(tmp_path / "a.mp4")


def test_no_bytes_make_the_walk_fail_or_run_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for start in (
        b"RIFF",
        b"FORM",
        b"caff",
        b"OggS",
        b"\x1a\x45\xdf\xa3",
        b"\0\0\0\x08ftyp",
        b"fLaC",
        b"ID3",
        b"\xff\xfb",
        b"",
    ):
        for length in (0, 1, 30, 4000):
            (tmp_path / "a").write_bytes(start + rng.bytes(length))
            ending_of(str(tmp_path / "a"))
            (tmp_path / "a").write_bytes(start + bytes(length))
            ending_of(str(tmp_path / "a"))
