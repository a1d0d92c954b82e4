"""MELD: which of seven emotions a line of a television series has; the voice decides.

All 2,610 clips of the test split, from either of two layouts:

- `TwinkStart/MELD` at the revision below: `data/test-*.parquet`, 17 files with the sound in them (1.5 GB);
- `declare-lab/MELD`: `test_sent_emo.csv` and the films of `MELD.Raw.tar.gz`, unpacked anywhere below the folder.

A clip is `dia{Dialogue_ID}_utt{Utterance_ID}`; the numbers start anew in each split, so only the test split
may lie there. Films such as `final_videos_testdia101_utt0` have no label and are not read. Two clips are
cut wrongly and last minutes (dia38_utt4, dia220_utt0): they stay items, and fail, visibly. Licence: GPL-3.0
for the labels; the footage is a television company's. 48 % of the clips are neutral.
"""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

from engine.tasks import TASKS
from precompute.corpora.cleaning import clean_line
from precompute.corpora.footage import NOTICE, hash_of, named_files, unpack
from precompute.corpora.item import Item, question_of
from precompute.corpora.source import (
    CorpusError,
    Row,
    Sample,
    Source,
    check_columns,
    check_labels,
    check_rows,
    find_files,
    is_there,
    read_rows,
)

TASK = "meld"
_LABELLED = ("Utterance", "Emotion", "Dialogue_ID", "Utterance_ID")
PARQUET = Source(
    name="MELD",
    dataset="TwinkStart/MELD",
    revision="9124a1a10ddc194e8c28d13748cdf8a0b844093e",
    split="the test split",
    files="data/test-*.parquet",
    columns=(*_LABELLED, "audio"),
    n_rows=2_610,
    licence="GPL-3.0 for the labels; the footage is not to be passed on",
    size="about 1.5 GB (the films: 11 GB)",
    label_counts={
        **{"neutral": 1_256, "joy": 402, "anger": 345, "surprise": 281},
        **{"sadness": 208, "disgust": 68, "fear": 50},
    },
)
FILMS = replace(
    PARQUET,
    dataset="declare-lab/MELD",
    revision="",
    files="**/test_sent_emo.csv",
    columns=_LABELLED,
)
_CLIP = re.compile(r"dia(\d+)_utt(\d+)$")


def read_meld(folder: Path, parquet: Source = PARQUET, films: Source = FILMS) -> Sample:
    """Return all clips of the test split; `Item.file` is below the folder.

    Sound inside Parquet files is laid out as `clips/dia0_utt0.wav` below the folder, once.

    Raises:
        CorpusError: files, clips or labels are not as published.
    """
    if is_there(films, folder):
        items = _from_films(films, folder)
    else:
        items = [_from_row(parquet, folder, row) for row in read_rows(parquet, folder)]
    check_labels(parquet, [item.gold for item in items])
    return Sample(tuple(items), (NOTICE,))


def _from_films(source: Source, folder: Path) -> list[Item]:
    (file, *others) = find_files(source, folder)
    if others:
        raise CorpusError(f"{source.name}: test_sent_emo.csv lies below the folder twice; keep one.")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            check_columns(source, reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(
            f"{source.name}: test_sent_emo.csv cannot be read; {source.remedy} anew."
        ) from error
    check_rows(source, len(rows))
    names = [_name(source, row) for row in rows]
    found = named_files(source, folder, names)
    return [
        _item(source, row, found[name].relative_to(folder).as_posix(), hash_of(found[name]))
        for name, row in zip(names, rows, strict=True)
    ]


def _from_row(source: Source, folder: Path, row: Row) -> Item:
    name = _name(source, row)
    stem = Path(str(row["audio"].get("path") or "")).stem
    if _CLIP.search(stem) and not stem.endswith(name):
        raise CorpusError(
            f"{source.name}: the row of {name} holds the sound of another clip; {source.remedy}."
        )
    return _item(source, row, *unpack(source, folder, name, row["audio"]))


def _name(source: Source, row: Row) -> str:
    try:
        return f"dia{int(row['Dialogue_ID'])}_utt{int(row['Utterance_ID'])}"
    except (TypeError, ValueError) as error:
        raise CorpusError(
            f"{source.name}: a Dialogue_ID or Utterance_ID is no number; {source.remedy} anew."
        ) from error


def _item(source: Source, row: Row, file: str, sha256: str) -> Item:
    emotion = str(row["Emotion"]).strip().lower()
    if emotion not in TASKS["emotion"].labels:
        raise CorpusError(f'{source.name}: "{emotion[:20]}" is none of the seven emotions; {source.remedy}.')
    return Item(
        item_id=f"{TASK}-{_name(source, row)}",
        task=TASK,
        text=clean_line(row["Utterance"] or ""),
        prompt="",
        gold=emotion,
        aliases=(),
        group=f"dialogue {int(row['Dialogue_ID'])}",
        question=question_of("emotion"),
        file=file,
        sha256=sha256,
    )
