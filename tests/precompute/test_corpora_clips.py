"""Facts about the clips of the paper's corpora: six voices, two of them in noise, recordings as they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from precompute.corpora.catalogue import CORPORA
from precompute.corpora.folder import OpenedCorpora, open_corpora
from precompute.corpora_clips import OTHER_SPEECH, clips_of_corpora, musan_place
from tests.precompute.tiny_corpora import N_TEXTS, write_corpora

pytest.importorskip("espeakng_loader", reason="pip install espeakng-loader: it says the texts here")
TEXTS = ("ag_news", "sst2", "csqa", "triviaqa")


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenedCorpora:
    return open_corpora(write_corpora(tmp_path, monkeypatch), tuple(CORPORA), None)


def test_conditions_are_the_papers(opened: OpenedCorpora) -> None:
    made = clips_of_corpora(opened, "espeak", quick=False)
    for task in TEXTS:
        mine = [clip for clip in made.clips if clip.item.task == task]
        counts = Counter(clip.condition.name for clip in mine)
        noisy = {f"musan {snr_db} dB": 2 * N_TEXTS for snr_db in (15, 10, 5, 0)}
        assert counts == {"clean": 6 * N_TEXTS, **noisy}
        assert len({clip.voice for clip in mine if clip.condition.noise == "musan"}) == 2
    for task in ("meld", "mustard"):
        mine = [clip for clip in made.clips if clip.item.task == task]
        assert {clip.condition.name for clip in mine} == {"clean"} and all(clip.recipe.file for clip in mine)
        assert (
            made.folders[task] == opened.folder / task
            and (made.folders[task] / mine[0].recipe.file).is_file()
        )
    assert OTHER_SPEECH in made.notes and any("Ultravox" in note for note in made.notes)


def test_noise_names_its_tracks_and_clean_clips_do_not(opened: OpenedCorpora) -> None:
    made = clips_of_corpora(opened, "espeak", quick=False)
    assert opened.musan is not None
    for clip in made.clips:
        assert clip.recipe.tracks == (opened.musan.digest if clip.condition.noise == "musan" else "")
    assert len({clip.clip_id for clip in made.clips}) == len(made.clips)


def test_without_musan_there_is_no_noise_and_quick_is_one_voice(opened: OpenedCorpora) -> None:
    quiet = clips_of_corpora(replace(opened, musan=None), "espeak", quick=False)
    assert {clip.condition.name for clip in quiet.clips} == {"clean"} and musan_place(opened)
    assert musan_place(replace(opened, musan=None)) is None
    quick = clips_of_corpora(opened, "espeak", quick=True)
    spoken = [clip for clip in quick.clips if clip.item.task in TEXTS]
    assert len({clip.voice for clip in spoken}) == 1
    assert {clip.condition.name for clip in spoken} == {"clean", "musan 5 dB"}
