"""Facts about MUSAN's babble: seeded, of three to seven tracks, at the ratio asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.audio import AudioClip
from engine.errors import NoiseError
from engine.noise import FOLDER_VARIABLE, add_babble, add_drawn_babble, draw_babble, open_musan
from engine.voice import Recipe, recipe_of, spoil


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
