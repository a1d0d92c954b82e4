"""Facts about noise: the ratio by hand, the seed, the limit of full scale, and what is refused.

Facts about MUSAN's babble: seeded, of three to seven tracks, at the ratio asked for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine import noise
from engine.audio import AudioClip, clip_from_samples
from engine.errors import NoiseError
from engine.noise import (
    FOLDER_VARIABLE,
    NOISES,
    OWN,
    ROOM,
    SNR_RANGE_DB,
    add_babble,
    add_drawn_babble,
    add_noise,
    draw_babble,
    open_musan,
)
from engine.voice import Recipe, recipe_of, spoil


def burst(amplitude: float = 0.2, duration_s: float = 2.0) -> AudioClip:
    """A tone with a pause, so that energy over the clip and energy of the loud part differ."""
    samples = amplitude * np.sin(np.arange(round(duration_s * 16_000)) * 0.1)
    samples[: len(samples) // 2] = 0
    return AudioClip(samples.astype(np.float32), "burst.wav", ("48 kHz mono -> 16 kHz mono.",), ("Quiet.",))


HISS = AudioClip(np.random.default_rng(5).normal(0, 0.1, 8000).astype(np.float32), "hiss.wav")


@pytest.mark.parametrize("kind", [*NOISES, OWN])
@pytest.mark.parametrize("snr_db", [*SNR_RANGE_DB, 0.0, 5.0])
@pytest.mark.parametrize("amplitude", [1e-3, 0.2, 1.0])
def test_the_ratio_is_achieved_at_every_level(kind: str, snr_db: float, amplitude: float) -> None:
    noisy = add_noise(burst(amplitude), kind, snr_db, seed=3, own=HISS)
    assert abs(noisy.snr_db_achieved - snr_db) < 0.05 and noisy.snr_db == snr_db


def test_hand_computed_ratio() -> None:
    """Clip energy 16000 * 0.5**2 / 2 = 2000; at 10 dB the noise must hold a tenth, 200."""
    clip = clip_from_samples(0.5 * np.sin(2 * np.pi * 100 * np.arange(16_000) / 16_000), 16_000, "a")
    noisy = add_noise(clip, "white", 10.0, seed=0)
    assert np.sum((noisy.clip.samples - clip.samples.astype(float)) ** 2) == pytest.approx(200, rel=1e-3)


def test_sum_over_full_scale_lowers_both_and_keeps_the_ratio() -> None:
    clip = burst(0.9)
    noisy = add_noise(clip, "white", -10.0, seed=1)
    assert noisy.clip.peak == pytest.approx(1.0, abs=1e-6) and abs(noisy.snr_db_achieved + 10) < 0.05
    assert noisy.clip.changes[:-1] == clip.changes and "lowered by" in noisy.clip.changes[-1]
    assert noisy.clip.warnings == clip.warnings and noisy.clip.name == clip.name
    quiet = add_noise(burst(0.01), "white", 10.0, seed=1)
    assert quiet.clip.changes == clip.changes


@pytest.mark.parametrize("kind", [*NOISES, OWN])
def test_the_seed_decides_every_byte(kind: str) -> None:
    clip, long_hiss = (
        burst(),
        AudioClip(np.tile(HISS.samples, 9) * np.linspace(1, 2, 72_000, dtype=np.float32), "h"),
    )
    first, again, other = (add_noise(clip, kind, 5.0, seed, long_hiss) for seed in (7, 7, 8))
    assert first.clip.fingerprint == again.clip.fingerprint != other.clip.fingerprint
    assert first.detail == again.detail and first.detail.endswith("seed 7")


def test_input_clip_is_left_alone() -> None:
    clip = burst()
    before = clip.fingerprint
    add_noise(clip, "babble", 0.0, 0)
    assert clip.fingerprint == before


def test_babble_has_three_to_seven_different_talkers() -> None:
    counts = set()
    for seed in range(40):
        detail = add_noise(burst(duration_s=0.5), "babble", 5.0, seed).detail
        talkers = [word for word in detail.replace(",", " ").split() if word.startswith("talker_")]
        assert len(talkers) == len(set(talkers)) and f"babble of {len(talkers)} talkers" in detail
        counts.add(len(talkers))
    assert counts == {3, 4, 5, 6, 7}


def test_eight_talkers_ship_and_have_no_holes() -> None:
    talkers = noise._talkers()
    assert len(talkers) == 8 and len({talker.fingerprint for talker in talkers}) == 8
    for talker in talkers:
        assert talker.duration_s == 8.0 and talker.changes == talker.warnings == ()
        tenths = talker.samples[: 16_000 * 8].reshape(-1, 3200)
        assert np.all(np.max(np.abs(tenths), axis=1) > 0.01)


def test_own_noise_is_cut_when_longer_and_repeated_when_shorter() -> None:
    ramp = AudioClip(np.linspace(0.1, 0.9, 48_000, dtype=np.float32), "ramp.wav")
    clip = burst(0.001)
    noisy = add_noise(clip, OWN, 20.0, seed=2, own=ramp)
    assert "repeated" not in noisy.detail and noisy.detail.startswith("ramp.wav, from ")
    added = noisy.clip.samples[: len(clip.samples) // 2]
    assert np.all(np.diff(added) > 0)
    short = add_noise(clip, OWN, 20.0, seed=2, own=HISS)
    assert "repeated" in short.detail
    np.testing.assert_allclose(short.clip.samples[:8000], short.clip.samples[8000:16_000], atol=1e-9)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("snr_db", [-10.1, 40.1, float("nan"), float("inf"), "loud", None])
def test_ratios_out_of_range_are_refused(snr_db: float) -> None:
    with pytest.raises(NoiseError, match="from -10 to 40 dB"):
        add_noise(burst(), "white", snr_db, 0)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("seed", [-1, 1.5, "x", 2**63])
def test_bad_seeds_are_refused(seed: int) -> None:
    with pytest.raises(NoiseError, match="seed"):
        add_noise(burst(), "white", 5.0, seed)


def test_unknown_kind_silence_and_missing_file_are_refused() -> None:
    silent = AudioClip(np.zeros(16_000, np.float32), "nothing")
    for message, call in (
        ("no such noise", lambda: add_noise(burst(), "pink", 5.0, 0)),
        ("no noise file", lambda: add_noise(burst(), OWN, 5.0, 0)),
        ("noise is silent", lambda: add_noise(burst(), OWN, 5.0, 0, silent)),
        ("clip is silent", lambda: add_noise(silent, "white", 5.0, 0)),
    ):
        with pytest.raises(NoiseError, match=message) as caught:
            call()
        assert "/" not in str(caught.value)


def test_missing_recordings_say_so_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "_BABBLE_FOLDER", tmp_path)
    noise._talkers.cache_clear()
    try:
        with pytest.raises(NoiseError, match="recordings are missing") as caught:
            add_noise(burst(), "babble", 5.0, 0)
        assert str(tmp_path) not in str(caught.value)
    finally:
        noise._talkers.cache_clear()


def test_a_room_is_seeded_adds_echo_and_has_no_ratio() -> None:
    clip = burst()
    first, again, other = (add_noise(clip, ROOM, float("nan"), seed) for seed in (7, 7, 8))
    assert first.clip.fingerprint == again.clip.fingerprint != other.clip.fingerprint
    assert np.isnan(first.snr_db) and np.isnan(first.snr_db_achieved)
    assert len(first.clip.samples) == len(clip.samples) and first.clip.peak <= 1.0
    assert first.kind == ROOM and first.detail == "a room with 0.5 s of reverberation, seed 7"


def test_the_echo_of_a_click_is_as_loud_as_the_click_and_dies_away() -> None:
    click = np.zeros(16_000, np.float32)
    click[100] = 0.2
    wet = add_noise(AudioClip(click, "click"), ROOM, float("nan"), 3).clip.samples / 0.2
    assert wet[100] == pytest.approx(1.0, abs=1e-3) and np.allclose(wet[:100], 0.0, atol=1e-6)
    echo = wet[101:]
    assert np.sum(echo**2) == pytest.approx(1.0, abs=0.02)
    early, late = np.sum(echo[:1600] ** 2), np.sum(echo[4000:5600] ** 2)
    # 60 dB in half a second: a quarter of a second later the energy is 30 dB down.
    assert 10 * np.log10(early / late) == pytest.approx(30.0, abs=2.0)
    assert np.allclose(wet[100 + 8000 :], 0.0, atol=1e-6)


def test_a_constant_offset_counts_neither_for_speech_nor_for_noise() -> None:
    """Asked for 10 dB, a clip with an offset got -9 dB while the page said 10: the offset counted as speech."""
    speech = burst(0.02)
    for clip, own in (
        (AudioClip(speech.samples + np.float32(0.1), "a"), HISS),
        (speech, AudioClip(HISS.samples * np.float32(0.01) + np.float32(0.5), "a")),
    ):
        noisy = add_noise(clip, OWN, 10.0, seed=0, own=own)
        added = noisy.clip.samples.astype(float) - clip.samples
        assert 10 * np.log10(np.var(speech.samples) / np.var(added)) == pytest.approx(10, abs=0.05)
        assert noisy.snr_db_achieved == pytest.approx(10, abs=0.05) and noisy.clip.changes == clip.changes


def test_what_was_done_to_the_noise_file_is_told() -> None:
    own = AudioClip(HISS.samples, "cafe.flac", ("Only the first 30 s of 60.0 s are used.",), ("Clipped.",))
    noisy = add_noise(burst(), OWN, 10.0, seed=0, own=own).clip
    assert noisy.changes[-1] == "Noise file: Only the first 30 s of 60.0 s are used."
    assert noisy.warnings == ("Quiet.", "Noise file: Clipped.")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight tracks: each is a tone of its own pitch, so that the mixture tells which are in it."""
    for index in range(8):
        part = tmp_path / "speech" / ("librivox", "us-gov")[index % 2]
        part.mkdir(parents=True, exist_ok=True)
        level = 0.02 * (index + 1)  # unequally loud, as real tracks are
        samples = level * np.sin(2 * np.pi * 200 * (index + 1) * np.arange(48_000) / 16_000)
        soundfile.write(part / f"speech-{index}.wav", samples, 16_000)
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "noise-0.wav", samples, 16_000)
    return tmp_path


def tones_in(samples: np.ndarray) -> np.ndarray:
    """Energy at each track's own pitch, relative to the strongest."""
    spectrum = np.abs(np.fft.rfft(samples[:16_000]))
    energies = spectrum[200 * np.arange(1, 9)] ** 2
    return energies / energies.max()


def test_three_to_seven_tracks_are_equally_loud(folder: Path) -> None:
    musan = open_musan(folder)
    counts = set()
    for seed in range(40):
        heard = tones_in(draw_babble(musan, 16_000, seed).samples)
        assert np.all((heard > 0.9) | (heard < 1e-6)), "a track is in it as loud as the others, or not at all"
        counts.add(int((heard > 0.9).sum()))
    assert counts == {3, 4, 5, 6, 7}


def test_the_ratio_is_the_one_asked_for_and_the_babble_the_same_at_every_ratio(folder: Path) -> None:
    musan = open_musan(folder)
    speech = np.random.default_rng(1).standard_normal(24_000).astype(np.float32) * np.float32(0.02)
    clip = AudioClip(speech, "speech")
    noises = []
    for snr_db in (15.0, 0.0):
        noisy = add_babble(clip, musan, snr_db, seed=5)
        assert noisy.snr_db_achieved == pytest.approx(snr_db, abs=0.01)
        noise = noisy.clip.samples.astype(np.float64) - speech
        noises.append(noise / np.linalg.norm(noise))
    np.testing.assert_allclose(noises[0], noises[1], atol=1e-5)


def test_a_seed_draws_the_same_tracks_and_places_and_names_them(folder: Path) -> None:
    musan = open_musan(folder)
    once, again, other = (draw_babble(musan, 8_000, seed) for seed in (3, 3, 4))
    assert once.fingerprint == again.fingerprint != other.fingerprint and once.name == again.name
    assert once.name.startswith("MUSAN babble of ") and "speech-" in once.name and "noise-0" not in once.name


def test_a_track_shorter_than_the_clip_is_repeated(folder: Path) -> None:
    babble = draw_babble(open_musan(folder), 16_000 * 5, 0)
    assert len(babble.samples) == 80_000
    np.testing.assert_allclose(babble.samples[:32_000], babble.samples[48_000:], atol=1e-6)


def test_missing_and_foreign_tracks_are_one_sentence(folder: Path) -> None:
    with pytest.raises(
        NoiseError, match=r"no WAV files in speech/librivox; unpack musan\.tar\.gz of OpenSLR"
    ):
        open_musan(folder / "noise")
    for file in (folder / "speech").rglob("*.wav"):
        soundfile.write(file, np.zeros(800), 8_000)
    with pytest.raises(NoiseError, match=r"is not 16 kHz mono as published"):
        draw_babble(open_musan(folder), 8_000, 0)
    for file in (folder / "speech").rglob("*.wav"):
        file.write_bytes(b"no sound")
    with pytest.raises(NoiseError, match="cannot be read") as caught:
        draw_babble(open_musan(folder), 8_000, 0)
    assert str(folder) not in str(caught.value)
    for file in (folder / "speech" / "librivox").glob("speech-[024].wav"):
        file.unlink()
    with pytest.raises(NoiseError, match="only 5 speech tracks are here"):
        open_musan(folder)


def test_a_recipe_names_its_tracks_and_makes_the_same_noise_again(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = AudioClip(np.random.default_rng(1).standard_normal(8_000).astype(np.float32) * 0.02, "speech")
    musan = open_musan(folder)
    recipe = Recipe(file="a.wav", sha256="0" * 64, noise="musan", snr_db=5.0, seed=9, tracks=musan.digest)
    assert recipe_of(recipe.to_json()) == recipe and "tracks" not in Recipe(file="a.wav").to_json()
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(NoiseError, match="cannot be made here: it is MUSAN's, which does not ship"):
        spoil(clip, recipe)
    made = spoil(clip, recipe, folder)
    assert made is not None and made.kind == "musan" and made.snr_db_achieved == pytest.approx(5, abs=0.01)
    assert made.clip.fingerprint == add_babble(clip, musan, 5.0, 9).clip.fingerprint
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    again = spoil(clip, recipe)
    assert again is not None and again.clip.fingerprint == made.clip.fingerprint
    other = tmp_path_factory.mktemp("other")
    for file in (folder / "speech").rglob("*.wav"):
        target = other / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(target, np.ones(800), 16_000)
    with pytest.raises(NoiseError, match="not those of the run"):
        spoil(clip, recipe, other)
    assert add_drawn_babble(clip, folder, "", 5.0, 9).clip.fingerprint == made.clip.fingerprint
