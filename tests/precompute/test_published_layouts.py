"""Facts about the files of each corpus as its authors publish them, with what real copies of them hold.

The rows are ours. A line holds U+2028 or U+0085, a file begins with a byte-order mark and ends with blank lines, and a
Mac left a "._" file beside it: none of it is a fault of the corpus, and none of it makes or loses a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from precompute.corpora import ag_news, commonsense_qa, meld, mustard, sst2, trivia_qa
from precompute.corpora.source import CorpusError, Sample

BREAK, NEXT_LINE, MARK = (
    "\u2028",
    "\x85",
    "\ufeff",
)  # what str.splitlines and an editor split at; a byte-order mark
APPLE_DOUBLE = bytes.fromhex("0005160700020000") + b"Mac OS X"


def lay(folder: Path, name: str, text: str) -> None:
    """Write a published file with a byte-order mark, blank lines at its end, and a Mac's file beside it."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{MARK}{text}\r\n\n", encoding="utf-8", newline="")
    file.with_name(f"._{file.name}").write_bytes(APPLE_DOUBLE)


def json_lines(*rows: object) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def ag_news_csv(folder: Path) -> Sample:
    lay(
        folder,
        "ag_news_csv/test.csv",
        f'"3","Oil up (Reuters)","Reuters - ""Crude"" rose{BREAK}again."\n"1","Talks","A, b\\c{NEXT_LINE}d."',
    )
    published = replace(
        ag_news.CSV, n_rows=2, label_counts={"World": 1, "Sports": 0, "Business": 1, "Sci/Tech": 0}
    )
    return ag_news.read_ag_news(folder, published=published)


def commonsense_jsonl(folder: Path) -> Sample:
    choices = [{"label": key, "text": f"place{BREAK}{key}"} for key in commonsense_qa.KEYS]
    asked = {"question_concept": "door", "choices": choices, "stem": f"Where{NEXT_LINE}is it?"}
    rows = [{"answerKey": "B", "id": name, "question": asked} for name in ("1afa", "a7ab")]
    lay(folder, "dev_rand_split.jsonl", json_lines(*rows))
    return commonsense_qa.read_commonsense_qa(
        folder, published=(replace(commonsense_qa.PUBLISHED, n_rows=2), commonsense_qa.HIDDEN_TEST)
    )


def sst2_glue(folder: Path) -> Sample:
    lay(
        folder,
        "SST-2/dev.tsv",
        f"sentence\tlabel\nit 's \" a joy{BREAK}to see . \t1\nbleak{NEXT_LINE}and dull \t0",
    )
    tiny = tuple(replace(source, n_rows=2) for source in sst2.SOURCES)
    return sst2.read_sst2(folder, sources=tiny)


def sst2_setfit(folder: Path) -> Sample:
    rows = [
        {"text": f"a joy{BREAK}to see", "label": 1, "label_text": "positive"},
        {"text": f"bleak{NEXT_LINE}and dull", "label": 0, "label_text": "negative"},
    ]
    lay(folder, "test.jsonl", json_lines(*rows))
    tiny = tuple(replace(source, n_rows=2) for source in sst2.SOURCES)
    return sst2.read_sst2(folder, sources=tiny)


def trivia_own_json(folder: Path) -> Sample:
    data: list[Any] = [
        {
            "Answer": {
                "Aliases": ["Sunset Blvd"],
                "NormalizedAliases": ["sunset blvd"],
                "NormalizedValue": "sunset boulevard",
                "Type": "WikipediaEntity",
                "Value": "Sunset Boulevard",
            },
            "EntityPages": [],
            "Question": f"Which{BREAK}musical {name}?",
            "QuestionId": name,
            "QuestionSource": "",
            "SearchResults": [],
        }
        for name in ("tc_33", "tc_40")
    ]
    lay(folder, "qa/web-dev.json", json.dumps({"Data": data, "Domain": "Web"}, ensure_ascii=False, indent=2))
    return trivia_qa.read_trivia_qa(folder)


def trivia_flashrag(folder: Path) -> Sample:
    rows = [
        {
            "id": f"test_{i}",
            "question": f"Who{BREAK}wrote {i}?",
            "golden_answers": ["Mark Twain", f"Twain{BREAK}, M"],
        }
        for i in range(2)
    ]
    lay(folder, "triviaqa/test.jsonl", json_lines(*rows))
    lay(folder, "triviaqa/train.jsonl", json_lines({**rows[0], "id": "train_0"}))
    (folder / "._web-dev.json").write_bytes(APPLE_DOUBLE)
    return trivia_qa.read_trivia_qa(folder)


def meld_films(folder: Path) -> Sample:
    header = (
        "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    )
    times = '"00:14:38,127","00:14:40,378"'
    lay(
        folder,
        "MELD.Raw/test_sent_emo.csv",
        f'{header}\n1,"Why, you\x92re{BREAK}here?",Mark,neutral,neutral,0,0,3,19,{times}\n'
        f"2,Push{NEXT_LINE}now!,Rachel,joy,positive,0,12,3,19,{times}",
    )
    for name in ("dia0_utt0", "dia0_utt12"):
        for file in (f"{name}.mp4", f"._{name}.mp4"):
            (folder / "MELD.Raw" / file).write_bytes(file.encode())
    return meld.read_meld(
        folder, films=replace(meld.FILMS, n_rows=2), parquet=_counted(meld.PARQUET, "neutral", "joy")
    )


def mustard_films(folder: Path) -> Sample:
    lines = {
        name: {
            "utterance": f"What a{BREAK}privilege {name}.",
            "speaker": "A",
            "context": [f"Any{NEXT_LINE}plan?"],
            "context_speakers": ["B"],
            "show": "X",
            "sarcasm": sarcasm,
        }
        for name, sarcasm in (("1_60", True), ("2_7", False))
    }
    lay(folder, "data/sarcasm_data.json", json.dumps(lines, ensure_ascii=False, indent=4))
    films = folder / "utterances_final"
    films.mkdir()
    for name in lines:
        for file in (f"{name}.mp4", f"._{name}.mp4"):
            (films / file).write_bytes(file.encode())
    counted = _counted(mustard.PARQUET, "sarcastic", "sincere")
    return mustard.read_mustard(folder, parquet=counted, films=replace(mustard.FILMS, n_rows=2))


def _counted(source, *labels: str):  # type: ignore[no-untyped-def]
    return replace(source, n_rows=len(labels), label_counts=dict.fromkeys(labels, 1))


LAYOUTS = [
    ag_news_csv,
    commonsense_jsonl,
    sst2_glue,
    sst2_setfit,
    trivia_own_json,
    trivia_flashrag,
    meld_films,
    mustard_films,
]


@pytest.mark.parametrize("read", LAYOUTS, ids=lambda read: read.__name__)
def test_the_published_files_are_read_row_by_row(tmp_path: Path, read: Callable[[Path], Sample]) -> None:
    """Fault: rows were split at U+2028 and U+0085, a mark or a blank line was a row, a "._" file was the corpus."""
    items = read(tmp_path).items
    assert len(items) == 2, [item.item_id for item in items]
    assert len({item.item_id for item in items}) == 2
    for item in items:
        assert item.text and not set(item.text) & {BREAK, NEXT_LINE, MARK, "\n"}, repr(item.text)


def test_the_words_and_answers_are_the_files(tmp_path: Path) -> None:
    news = {item.text: item.gold for item in ag_news_csv(tmp_path / "a").items}
    assert news == {'Oil up "Crude" rose again.': "Business", "Talks A, b c d.": "World"}
    for read, name in ((sst2_glue, "b"), (sst2_setfit, "c")):
        golds = {item.gold: item.text for item in read(tmp_path / name).items}
        assert golds["negative"] == "bleak and dull" and golds["positive"].endswith(
            "a joy to see" if name == "c" else "."
        )
    asked = commonsense_jsonl(tmp_path / "d").items[0]
    assert (asked.text, asked.gold) == ("Where is it?", "place B")
    trivia = trivia_own_json(tmp_path / "e").items[0]
    assert trivia.gold == "Sunset Boulevard" and trivia.aliases == ("sunset blvd",)
    rows = trivia_flashrag(tmp_path / "f").items
    assert {item.item_id for item in rows} == {"triviaqa-test_0", "triviaqa-test_1"}, (
        "the train rows are not read"
    )
    assert rows[0].gold == "Mark Twain" and rows[0].aliases == ("twain m",)


def test_a_mac_s_file_alone_is_no_corpus(tmp_path: Path) -> None:
    (tmp_path / "._web-dev.json").write_bytes(APPLE_DOUBLE)
    with pytest.raises(CorpusError, match=r"the folder has no rc\.nocontext/validation"):
        trivia_qa.read_trivia_qa(tmp_path)


def test_a_labelled_table_saved_again_with_semicolons_is_named(tmp_path: Path) -> None:
    lay(tmp_path, "test_sent_emo.csv", "Sr No.;Utterance;Emotion;Dialogue_ID;Utterance_ID\n1;Push!;joy;0;0")
    with pytest.raises(CorpusError, match='no column "Utterance"; this is another layout'):
        meld.read_meld(tmp_path)
