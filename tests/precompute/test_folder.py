"""Facts about a folder of corpora: what is there is read, what is not is said, what is wrong is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from precompute.corpora.catalogue import CORPORA
from precompute.corpora.folder import open_corpora, open_speech, require, text_items
from precompute.corpora.source import CorpusError
from precompute.corpora.speech import file_stem
from tests.precompute.tiny_corpora import N_TEXTS, tone, wav_bytes, write_corpora


def test_everything_that_is_there_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_corpora(write_corpora(tmp_path, monkeypatch), tuple(CORPORA), None)
    sizes = {key: len(sample.items) for key, sample in opened.samples.items()}
    assert sizes == {**dict.fromkeys(("ag_news", "sst2", "csqa", "triviaqa", "meld"), N_TEXTS), "mustard": 2}
    assert not opened.missing and opened.musan is not None and len(opened.musan.tracks) == 8
    assert len(text_items(opened)) == 4 * N_TEXTS, "the recorded corpora need no voice"
    assert {len(s.items) for s in open_corpora(tmp_path, tuple(CORPORA), 1).samples.values()} == {1}


def test_what_is_missing_is_one_sentence_each_with_licence_and_size(tmp_path: Path) -> None:
    (tmp_path / "sst2").mkdir()  # an empty folder is as good as none
    for folder in (tmp_path, None):
        opened = open_corpora(folder, tuple(CORPORA), None)
        assert not opened.samples and set(opened.missing) == {*CORPORA, "musan"} and opened.musan is None
        for key, sentence in opened.missing.items():
            assert sentence.startswith(f"{key}/ is missing") and "//" not in sentence
            assert "Licence: " in sentence and "Size: " in sentence and "\n" not in sentence
    with pytest.raises(CorpusError, match=r"(?s)--corpora.*meld/ is missing"):
        require(opened, ("meld",))
    require(opened, ())


def test_files_that_are_not_as_published_are_refused_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "ag_news").mkdir()
    (tmp_path / "ag_news" / "notes.txt").write_text("?")
    with pytest.raises(CorpusError, match="AG News: the folder has no data/test"):
        open_corpora(tmp_path, tuple(CORPORA), None)


def test_recordings_of_any_provider_say_the_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_corpora(write_corpora(tmp_path, monkeypatch), ("ag_news",), 2)
    voices = tmp_path / "mine"
    with pytest.raises(CorpusError, match="no folder of recordings"):
        open_speech(opened, str(voices), 6)
    for voice in ("ann", "bob"):
        (voices / voice).mkdir(parents=True)
        for item in text_items(opened):
            (voices / voice / f"{file_stem(item)}.wav").write_bytes(wav_bytes(tone(200)))
    speech, folder = open_speech(opened, str(voices), 6)
    assert speech.voices == ("ann", "bob") and folder == voices
    assert open_speech(opened, str(voices), 1)[0].voices == ("ann",)
    with pytest.raises(CorpusError, match="recordings"):
        open_speech(opened, "edge", 6)
