"""Facts about loading clips: every format, every bad file, and what the messages may hold.

What a container says of its own end: sizes left open are no promise, half a file is told by every container.
"""

from __future__ import annotations

import io
import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from av.stream import Disposition

from engine.audio import (
    MAX_DURATION_S,
    SAMPLE_RATE_HZ,
    AudioClip,
    clean_name,
    clip_from_samples,
    ending_of,
    load_clip,
)
from engine.errors import ClipError


def tone(duration_s: float, rate_hz: int, amplitude: float = 0.4, frequency_hz: float = 300.0) -> np.ndarray:
    angles = 2 * np.pi * frequency_hz * np.arange(round(duration_s * rate_hz)) / rate_hz
    return (amplitude * np.sin(angles)).astype(np.float32)


def encode(file: Path, codec: str, rate_hz: int, container: str, samples: np.ndarray) -> None:
    """One mono track by FFmpeg, for the formats that libsndfile does not write."""
    with av.open(str(file), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate_hz)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="fltp", layout="mono")
        frame.sample_rate = rate_hz
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)


def write_tracks(
    file: Path, tracks: list[np.ndarray], *, chosen: int | None = None, gap: tuple[float, float] | None = None
) -> None:
    """Opus tracks of 20 ms packets in one file; from `gap[0]` seconds on, stamps are `gap[1]` seconds late."""
    with av.open(str(file), "w", format="matroska") as output:
        streams = [output.add_stream("libopus", rate=48_000) for _ in tracks]
        for number, stream in enumerate(streams):
            stream.layout = "mono"
            stream.metadata["title"] = f"Take {number + 1}"
            stream.disposition = Disposition.default if number == chosen else Disposition(0)
        for stream, samples in zip(streams, tracks, strict=True):
            frame = av.AudioFrame.from_ndarray(samples[None, :], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                if gap and packet.pts * packet.time_base >= gap[0]:
                    packet.pts += round(gap[1] / packet.time_base)
                    packet.dts = packet.pts
                output.mux(packet)


def refusal(file: Path) -> str:
    """The message, after checking that it is one short line without a path."""
    with pytest.raises(ClipError) as caught:
        load_clip(file, whole=True)
    message = str(caught.value)
    assert "/" not in message and "\n" not in message and "Error" not in message and len(message) < 200
    return message


LIBSNDFILE = (
    "wav PCM_16 16000, wav PCM_U8 8000, wav PCM_24 96000, wav FLOAT 44100, wav DOUBLE 22050, wav ULAW 8000, "
    "flac PCM_16 48000, ogg VORBIS 44100, aiff PCM_16 44100, caf PCM_16 44100, mp3 MPEG_LAYER_III 44100"
)


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("kind", LIBSNDFILE.split(","))
def test_libsndfile_formats_come_out_the_same(tmp_path: Path, kind: str, n_channels: int) -> None:
    suffix, subtype, rate_text = kind.split()
    rate_hz = int(rate_text)
    file = tmp_path / f"tone.{suffix}"
    soundfile.write(file, np.stack([tone(1.0, rate_hz)] * n_channels, axis=1), rate_hz, subtype=subtype)
    clip = load_clip(file)
    assert clip.samples.dtype == np.float32 and clip.samples.ndim == 1
    assert abs(clip.duration_s - 1.0) < 0.06 and clip.warnings == () and clip.name == f"tone.{suffix}"
    inner = clip.samples[4000:12_000]
    assert np.corrcoef(inner, tone(1.0, SAMPLE_RATE_HZ)[4000:12_000])[0, 1] > 0.95
    assert abs(np.sqrt(np.mean(inner**2)) - 0.4 / np.sqrt(2)) < 0.02
    layout = {1: "mono", 2: "stereo"}[n_channels]
    unchanged = rate_hz == SAMPLE_RATE_HZ and n_channels == 1
    assert clip.changes == (() if unchanged else (f"{rate_hz / 1000:g} kHz {layout} -> 16 kHz mono.",))


FFMPEG = {
    "webm": ("libopus", 48_000, "webm"),
    "mkv": ("libopus", 48_000, "matroska"),
    "opus": ("libopus", 48_000, "ogg"),
    "m4a": ("aac", 44_100, "ipod"),
    "mp4": ("aac", 44_100, "mp4"),
    "aac": ("aac", 44_100, "adts"),
}


@pytest.mark.parametrize("suffix", FFMPEG)
def test_browser_and_phone_formats_decode(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"tone.{suffix}"
    encode(file, *FFMPEG[suffix], tone(1.0, FFMPEG[suffix][1]))
    clip = load_clip(file)
    assert abs(clip.duration_s - 1.0) < 0.1 and clip.warnings == ()
    assert abs(np.sqrt(np.mean(clip.samples[4000:12_000] ** 2)) - 0.4 / np.sqrt(2)) < 0.03


def test_the_name_of_the_file_decides_nothing(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.flac", tone(0.5, 16_000), 16_000)
    assert load_clip((tmp_path / "tone.flac").rename(tmp_path / "concat:tone.mp3")).duration_s == 0.5


def test_sixteen_bits_at_sixteen_khz_pass_unchanged(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).integers(-20_000, 20_000, 4000, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", steps, 16_000, subtype="PCM_16")
    np.testing.assert_array_equal(load_clip(tmp_path / "a.wav").samples, steps / np.float32(32768))


def test_mono_is_the_mean_of_the_channels() -> None:
    left, right = tone(0.5, 16_000), tone(0.5, 16_000, frequency_hz=500)
    clip = clip_from_samples(np.stack([left, right, right], axis=1), 16_000, "a")
    np.testing.assert_allclose(clip.samples, (left + 2 * right) / 3, atol=1e-7)
    assert clip.changes == ("16 kHz 3 channels -> 16 kHz mono.",)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_every_sample_type_has_the_same_full_scale(dtype: type) -> None:
    source = tone(0.2, 16_000, amplitude=0.5)
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        half_range = (int(info.max) - int(info.min) + 1) / 2
        source = source * half_range + (half_range if info.min == 0 else 0)
    clip = clip_from_samples(source.astype(dtype), 16_000, "a")
    assert abs(clip.peak - 0.5) < 0.01 and abs(float(np.mean(clip.samples))) < 0.01


def test_not_a_number_becomes_zero_with_a_warning(tmp_path: Path) -> None:
    source = tone(0.5, 16_000)
    source[[10, 20, 30]] = [np.nan, np.inf, -np.inf]
    soundfile.write(tmp_path / "nan.wav", source, 16_000, subtype="FLOAT")
    clip = load_clip(tmp_path / "nan.wav")
    assert np.isfinite(clip.samples).all() and clip.samples[10] == clip.samples[20] == clip.samples[30] == 0
    assert clip.warnings == ("3 samples were not numbers and were set to 0.",)


def test_clipping_is_told_with_its_share() -> None:
    flat = np.clip(tone(1.0, 16_000, amplitude=1.3), -1, 1)
    share = float(np.mean(np.abs(flat) >= 0.999))
    (warning,) = clip_from_samples(flat, 16_000, "a").warnings
    assert f"{share:.1%}" in warning and "clipped" in warning
    assert clip_from_samples(tone(1.0, 16_000, amplitude=0.98), 16_000, "a").warnings == ()


def test_samples_over_full_scale_are_lowered_and_told() -> None:
    clip = clip_from_samples(tone(0.5, 16_000, amplitude=4.0), 16_000, "a")
    assert clip.peak == pytest.approx(1.0, abs=1e-6) and clip.changes == (
        "Lowered by 12.0 dB to fit full scale.",
    )
    enormous = clip_from_samples(tone(0.5, 22_050).astype(np.float64) * 1e38, 22_050, "a")
    assert np.isfinite(enormous.samples).all() and enormous.peak <= 1.0


def test_float_beyond_full_scale_is_not_called_clipped() -> None:
    """A quarter of the values lies beyond 1: a float file may hold that, and nothing was cut."""
    assert clip_from_samples(tone(1.0, 16_000, amplitude=1.1), 16_000, "a").warnings == ()
    left_clipped = np.stack([np.clip(tone(1.0, 16_000, 2.0), -1, 1), tone(1.0, 16_000, 0.2)], axis=1)
    (warning,) = clip_from_samples(left_clipped, 16_000, "a").warnings
    assert "clipped" in warning  # though the mean of both channels is far below full scale


def test_a_change_that_rounds_to_nothing_is_no_news() -> None:
    assert clip_from_samples(tone(0.5, 16_000, amplitude=1.004), 16_000, "a").changes == ()
    assert clip_from_samples(tone(30.0, 16_000)[:-1], 16_000, "a").changes == ()
    assert clip_from_samples(np.append(tone(30.0, 16_000), 0), 16_000, "a").changes == ()


def test_a_constant_offset_is_told_and_hides_nothing() -> None:
    quiet = tone(0.5, 16_000, amplitude=0.001) + np.float32(0.05)
    offset, level = sorted(clip_from_samples(quiet, 16_000, "a").warnings)[::-1]
    assert "offset of 5.0%" in offset and "-60 dB" in level
    assert clip_from_samples(tone(0.5, 16_000), 16_000, "a").warnings == ()


def stereo(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.stack([left, right], axis=1).astype(np.float32)


@pytest.mark.parametrize("kind", ["opposite", "opposite with hiss", "opposite and weaker", "with offsets"])
def test_channels_that_take_each_other_out_are_not_mixed(tmp_path: Path, kind: str) -> None:
    """The mean of opposite channels is silence: a clip as loud as one channel, and a sentence."""
    rng, left = np.random.default_rng(0), tone(1.0, 16_000)
    hiss = 0.01 * rng.standard_normal((2, 16_000))
    right = {"opposite and weaker": -0.6 * left, "with offsets": -left + 0.2}.get(kind, -left)
    both = stereo(left, right) + (hiss.T if "hiss" in kind else 0)
    soundfile.write(tmp_path / "a.wav", both, 16_000, subtype="FLOAT")
    for clip in (load_clip(tmp_path / "a.wav"), clip_from_samples(both, 16_000, "a")):
        assert abs(np.std(clip.samples) - 0.4 / np.sqrt(2)) < 0.02
        assert any("take each other out" in change and "channel alone" in change for change in clip.changes)


def test_a_channel_without_sound_takes_no_part(tmp_path: Path) -> None:
    left, nothing = tone(1.0, 16_000), np.full(16_000, 0.1)
    clip = clip_from_samples(stereo(nothing, left), 16_000, "a")
    np.testing.assert_allclose(clip.samples, left, atol=1e-6)
    assert clip.changes[1] == "Only the right channel holds sound, so it alone is used."
    six = np.zeros((16_000, 6), np.float32)
    six[:, 2] = six[:, 4] = left
    soundfile.write(tmp_path / "six.wav", six, 16_000)
    assert "Only the channels 3 and 5 of 6 hold sound" in load_clip(tmp_path / "six.wav").changes[1]
    for other in (left, tone(1.0, 16_000, frequency_hz=500), np.roll(left, 7)):
        assert len(clip_from_samples(stereo(left, other), 16_000, "a").changes) == 1


@pytest.mark.parametrize(("chosen", "used"), [(None, 2), (0, 2), (1, 2), (2, 3)])
def test_of_several_tracks_the_default_or_the_first_with_sound_is_named(
    tmp_path: Path, chosen: int | None, used: int
) -> None:
    file = tmp_path / "tracks.mkv"
    tracks = [np.zeros(48_000, np.float32), tone(1.0, 48_000), tone(1.0, 48_000, frequency_hz=700)]
    write_tracks(file, tracks, chosen=chosen)
    clip = load_clip(file, whole=True)
    assert f"The file has 3 sound tracks; track {used} (Take {used}) is used." in clip.changes
    spectrum = np.abs(np.fft.rfft(clip.samples[:16_000]))
    assert int(np.argmax(spectrum)) == {2: 300, 3: 700}[used]


def test_tracks_that_are_all_silent_are_refused(tmp_path: Path) -> None:
    write_tracks(tmp_path / "tracks.mkv", [np.zeros(48_000, np.float32)] * 2)
    assert "silent" in refusal(tmp_path / "tracks.mkv")


def test_a_gap_in_a_recording_is_filled_with_silence_and_told(tmp_path: Path) -> None:
    write_tracks(tmp_path / "gap.webm", [tone(2.0, 48_000)], gap=(1.0, 0.5))
    clip = load_clip(tmp_path / "gap.webm", whole=True)
    assert abs(clip.duration_s - 2.5) < 0.05 and clip.warnings == ()
    assert "Silence fills a gap in the recording, 0.5" in clip.changes[1]
    assert np.max(np.abs(clip.samples[17_000:23_000])) < 1e-3 < 0.3 < np.max(np.abs(clip.samples[26_000:]))


def test_a_gap_longer_than_a_clip_is_closed_and_told(tmp_path: Path) -> None:
    """Time stamps are no promise: one that jumps by an hour makes no clip of an hour."""
    write_tracks(tmp_path / "gap.webm", [tone(2.0, 48_000)], gap=(1.0, 3600.0))
    clip = load_clip(tmp_path / "gap.webm", whole=True)
    assert abs(clip.duration_s - 2.0) < 0.05 and clip.warnings == ()
    assert "The time stamps leave out 3,600" in clip.changes[1]


def test_a_long_file_is_taken_in_part_unless_it_must_be_whole(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", tone(61.0, 16_000), 16_000)
    clip = load_clip(tmp_path / "long.flac")
    assert clip.duration_s == MAX_DURATION_S
    assert clip.changes == ("Only the first 30 s of 61.0 s are used.",)
    assert "61.0 s long and the limit is 30 s" in refusal(tmp_path / "long.flac")


def test_a_very_quiet_clip_is_told() -> None:
    (warning,) = clip_from_samples(tone(0.5, 16_000, amplitude=0.001), 16_000, "a").warnings
    assert "very quiet" in warning and "-60 dB" in warning


def test_playlists_dressed_as_sound_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "secret.wav", tone(1.0, 16_000), 16_000)
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path / 'secret.wav'}\n#EXT-X-ENDLIST\n"
    for text in (hls, "ffconcat version 1.0\nfile secret.wav\n"):
        for name in ("list.wav", "list.mp3", "list.m3u8", "list.ffconcat", "list.ogg"):
            (tmp_path / name).write_text(text)
            assert "not a sound file" in refusal(tmp_path / name)


BAD_BYTES = {
    "random.wav": bytes(np.random.default_rng(1).integers(0, 256, 50_000, dtype=np.uint8)),
    "text.wav": b"hello there " * 500,
    "picture.wav": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(500),
    "page.mp3": b"<html><script>alert(1)</script></html>",
    "half_a_header.wav": b"RIFF\x24\0\0\0WAV",
}


@pytest.mark.parametrize("name", BAD_BYTES)
def test_what_is_no_sound_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BAD_BYTES[name])
    refusal(tmp_path / name)


def test_empty_header_only_folder_and_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    assert "empty" in refusal(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "header.wav", np.zeros(0), 16_000)
    assert "no sound" in refusal(tmp_path / "header.wav")
    assert "not there" in refusal(tmp_path)
    assert "not there" in refusal(tmp_path / "missing.wav")
    assert "not there" in refusal(tmp_path / ("n" * 5000))


@pytest.mark.parametrize(
    "link", ["http://host/a.wav", "https://h/a", "FILE:///a.wav", " ftp://h/a", "www.h.org/a.wav"]
)
def test_links_are_refused(link: str) -> None:
    with pytest.raises(ClipError, match="Links are not accepted"):
        load_clip(link)


def test_video_without_sound_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "film.mp4"), "w") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    assert "no sound track" in refusal(tmp_path / "film.mp4")


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff"])
def test_a_file_that_breaks_off_gives_what_is_there(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 64_000)
    soundfile.write(file, noise, 16_000)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    clip = load_clip(file)
    assert 1.5 < clip.duration_s < 2.1
    assert clip.warnings == (
        f"The file is damaged or breaks off; the {clip.duration_s:.2f} s that could be read are used.",
    )


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac", "webm", "m4a"])
def test_a_hole_in_the_file_raises_nothing_but_clip_errors(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"hole.{suffix}"
    source = np.random.default_rng(3).uniform(-0.4, 0.4, 96_000).astype(np.float32)
    if suffix in ("webm", "m4a"):
        encode(file, *FFMPEG[suffix], source)
    else:
        soundfile.write(file, source, 48_000)
    whole = bytearray(file.read_bytes())
    rng = np.random.default_rng(4)
    for _ in range(20):
        broken = whole.copy()
        start = int(rng.integers(0, len(whole) - 200))
        broken[start : start + 200] = rng.bytes(200)
        file.write_bytes(broken)
        try:
            assert np.isfinite(load_clip(file).samples).all()
        except ClipError as error:
            assert "/" not in str(error)


def test_too_short_and_silent_are_refused_with_what_was_found() -> None:
    with pytest.raises(ClipError, match=r"0\.050 s long and the least is 0\.1 s"):
        clip_from_samples(tone(0.05, 16_000), 16_000, "a")
    assert clip_from_samples(tone(0.1, 22_050), 22_050, "a").duration_s == pytest.approx(0.1, abs=1e-4)
    for silence in (np.zeros(8000), np.full(8000, 0.3), np.tile([1, -1], 4000) / 32768):
        with pytest.raises(ClipError, match="silent"):
            clip_from_samples(silence, 16_000, "a")


def test_the_longest_length_is_thirty_seconds() -> None:
    assert clip_from_samples(tone(30.0, 8000), 8000, "a").duration_s == 30.0
    padded = clip_from_samples(tone(30.05, 16_000), 16_000, "a")
    assert padded.duration_s == MAX_DURATION_S and padded.changes == ("The last 0.05 s were cut off.",)
    with pytest.raises(ClipError, match=r"31\.0 s long and the limit is 30 s"):
        clip_from_samples(tone(31.0, 8000), 8000, "a")


@pytest.mark.parametrize("length_known", [True, False])
def test_a_bomb_is_refused_early_and_in_little_memory(tmp_path: Path, length_known: bool) -> None:
    """Forty minutes of silence, 154 MB as float32, in a small FLAC; its header may hide the length."""
    with soundfile.SoundFile(tmp_path / "bomb.flac", "w", 16_000, 1) as file:
        for _ in range(40):
            file.write(np.zeros(16_000 * 60, np.int16))
    if not length_known:
        data = bytearray((tmp_path / "bomb.flac").read_bytes())
        # STREAMINFO: the last 36 bits before the checksum count the samples; 0 means unknown.
        data[21] &= 0xF0
        data[22:26] = bytes(4)
        (tmp_path / "bomb.flac").write_bytes(data)
    tracemalloc.start()
    message = refusal(tmp_path / "bomb.flac")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ("40.0 min long" if length_known else "limit is 30 s") in message
    assert peak_bytes < 8e6


@pytest.mark.parametrize("rate_hz", [0, -16_000, 1000, 10**9, float("nan")])
def test_impossible_rates_are_refused(rate_hz: float, without_type_checks: None) -> None:
    with pytest.raises(ClipError, match="sample rate"):
        clip_from_samples(tone(0.5, 16_000), rate_hz, "a")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(2, 2, 2), (9000, 0), (0,), ()])
def test_arrays_that_are_no_sound_are_refused(shape: tuple[int, ...]) -> None:
    for dtype in (float, complex, str):
        with pytest.raises(ClipError):
            clip_from_samples(np.zeros(shape, dtype), 16_000, "a")


def test_names_are_cleaned() -> None:
    assert clean_name("/tmp/x/voice.wav") == clean_name("C:\\Users\\me\\voice.wav") == "voice.wav"
    assert clean_name("a" * 200 + ".wav") == "a" * 80
    assert clean_name("new\nline\u202e.wav") == "newline.wav"
    assert clean_name("") == clean_name("///") == "clip"


def test_fingerprint_follows_the_samples_only() -> None:
    first = clip_from_samples(tone(0.5, 16_000), 16_000, "a")
    again, other = AudioClip(first.samples, "b"), AudioClip(first.samples + np.float32(1e-6), "a")
    assert first.fingerprint == again.fingerprint != other.fingerprint and len(first.fingerprint) == 64


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
