"""Reading the corpora's files: lines end at "\\n" alone, tables are whole, every file that is read is hashed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from engine.errors import ModelFilesError
from precompute.training.corpus_files import CorpusFiles
from precompute.training.sentences import AG_NEWS_TEST, SOURCES, read_sentences
from precompute.training.texts import read_corpora


def put(folder: Path, path: str, text: str) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\x0b", "\r"])
def test_a_line_ends_at_a_line_feed_alone(tmp_path: Path, mark: str) -> None:
    """AG News' test split was cut at every mark that Unicode calls a line's end, and what it hid was taught."""
    put(tmp_path, "a.csv", f'"1","x","one{mark}two"\n"2","y","three"\n')
    put(tmp_path, "a.tsv", 'text\tlabel\none "two\t1\r\n')
    put(tmp_path, "a.jsonl", f"{json.dumps({'text': f'one{mark}two'}, ensure_ascii=mark == chr(11))}\n\n")
    files = CorpusFiles(tmp_path)
    assert files.rows("a.csv") == [["1", "x", f"one{mark}two"], ["2", "y", "three"]]
    assert files.table("a.tsv") == [{"text": 'one "two', "label": "1"}]
    assert list(files.objects("a.jsonl")) == [{"text": f"one{mark}two"}]
    assert files.hashes["a.csv"] == hashlib.sha256((tmp_path / "a.csv").read_bytes()).hexdigest()


@pytest.mark.parametrize("text", ["", '"1","x","one"\n"2","y"\n'])
def test_a_table_that_is_cut_short_is_refused(tmp_path: Path, text: str) -> None:
    put(tmp_path, "a.csv", text)
    with pytest.raises(ModelFilesError, match=r"a\.csv is empty or cut short"):
        CorpusFiles(tmp_path).rows("a.csv")


@pytest.mark.parametrize("read", [read_sentences, read_corpora])
def test_a_missing_corpus_is_one_sentence(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(ModelFilesError, match=r"lacks ag_news/test\.csv"):
        read(tmp_path)


def test_a_sentence_of_a_test_split_is_not_said(tmp_path: Path) -> None:
    """The test text holds a line separator, at which its row was cut, so that it was taken for another."""
    leaked = "oil prices fell again\u2028on monday evening"
    put(tmp_path, AG_NEWS_TEST, f'"3","t","{leaked}"\n')
    for source in SOURCES:
        put(tmp_path, source.path, _empty_of(source.path))
    put(tmp_path, "ag_news/alps_dev_10k.tsv", f"{leaked}\t1\na cat sat on the mat\t2\n")
    said, hashes = read_sentences(tmp_path)
    assert "a cat sat on the mat" in said and not any("monday" in sentence for sentence in said)
    assert set(hashes) == {AG_NEWS_TEST, *(source.path for source in SOURCES)}


def _empty_of(path: str) -> str:
    """Return a file of its layout that holds no sentence."""
    tables = {"sst2": "sentence\tlabel\n", "ag_news": '"1","t",""\n', "meld": "Utterance,Emotion\n"}
    if path.endswith(".json"):
        return "[]"
    return tables.get(path.split("/")[0], "Utterance,Emotion\n" if path.endswith(".csv") else "")
