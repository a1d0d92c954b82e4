"""MUStARD: whether a line of a television series is sarcastic; the voice decides.

All 690 clips, from either of two layouts:

- `DynamicSuperb/SarcasmDetection_Mustard` at the revision below: `data/test-*.parquet` with the sound in them.
  The main branch was cut to 200 rows and is refused;
- `soujanyaporia/MUStARD`: `sarcasm_data.json`, and the films of `mmsd_raw_data.zip` (`MichiganNLP/MUStARD`)
  unpacked anywhere below the folder; only `utterances_final` is needed.

Licence: MIT for the labels; the footage is television companies'. Studio laughter after a line can give the
answer away; nothing here removes it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

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

TASK = "mustard"
PARQUET = Source(
    name="MUStARD",
    dataset="DynamicSuperb/SarcasmDetection_Mustard",
    revision="bb0119c10f93361b282cb58071697300d44398b0",
    split="the whole corpus",
    files="data/test-*.parquet",
    columns=("file", "audio", "utterance", "context", "show", "label"),
    n_rows=690,
    licence="MIT for the labels; the footage is not to be passed on",
    size="not stated; about 700 short clips",
    label_counts={"sarcastic": 345, "sincere": 345},
)
FILMS = replace(
    PARQUET,
    dataset="soujanyaporia/MUStARD",
    revision="",
    files="**/sarcasm_data.json",
    columns=("utterance", "context", "sarcasm"),
)
SHORTEST_SHARED_WORDS = 4  # "Oh, really?" in two scenes does not make them one


def read_mustard(folder: Path, parquet: Source = PARQUET, films: Source = FILMS) -> Sample:
    """Return all clips; `Item.file` is below the folder.

    Sound inside Parquet files is laid out as `clips/1_60.wav` below the folder, once. Clips of one scene are
    one group: those of which one's line, or a line before it, stands before the other too.

    Raises:
        CorpusError: files, clips or labels are not as published.
    """
    if is_there(films, folder):
        rows, clips = _from_films(films, folder)
    else:
        rows, clips = {}, {}
        for row in read_rows(parquet, folder):
            name = Path(str(row["file"])).stem
            clips[name] = unpack(parquet, folder, name, row.pop("audio"))
            rows[name] = row
        check_rows(parquet, len(rows))
    scenes = group_scenes(rows)
    items = [_item(parquet, name, row, scenes[name], clips[name]) for name, row in rows.items()]
    check_labels(parquet, [item.gold for item in items])
    return Sample(tuple(items), (NOTICE,))


def group_scenes(rows: dict[str, Row]) -> dict[str, str]:
    """Return for each clip the first clip of its scene: scenes are joined by lines of dialogue they share."""
    scene = {name: name for name in rows}

    def first(name: str) -> str:
        while scene[name] != name:
            name = scene[name]
        return name

    spoken: dict[str, str] = {}
    for name, row in rows.items():
        for line in (row["utterance"], *row["context"]):
            words = clean_line(line).lower()
            if len(words.split()) >= SHORTEST_SHARED_WORDS:
                scene[first(name)] = first(spoken.setdefault(words, name))
    return {name: first(name) for name in rows}


def _from_films(source: Source, folder: Path) -> tuple[dict[str, Row], dict[str, tuple[str, str]]]:
    (file, *others) = find_files(source, folder)
    if others:
        raise CorpusError(f"{source.name}: sarcasm_data.json lies below the folder twice; keep one.")
    try:
        rows: dict[str, Row] = json.loads(file.read_text(encoding="utf-8-sig"))
        columns = set.intersection(*(set(row) for row in rows.values()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CorpusError(
            f"{source.name}: sarcasm_data.json cannot be read; {source.remedy} anew."
        ) from error
    check_columns(source, sorted(columns))
    check_rows(source, len(rows))
    found = named_files(source, folder, rows)
    clips = {name: (path.relative_to(folder).as_posix(), hash_of(path)) for name, path in found.items()}
    return {name: {**row, "label": row["sarcasm"]} for name, row in rows.items()}, clips


def _item(source: Source, name: str, row: Row, scene: str, clip: tuple[str, str]) -> Item:
    if not isinstance(row["label"], bool):
        raise CorpusError(f"{source.name}: the label of {name} is not true or false; {source.remedy}.")
    file, sha256 = clip
    return Item(
        item_id=f"{TASK}-{name}",
        task=TASK,
        text=clean_line(row["utterance"]),
        prompt="",
        gold="sarcastic" if row["label"] else "sincere",
        aliases=(),
        group=f"scene of {scene}",
        question=question_of("sarcasm"),
        file=file,
        sha256=sha256,
    )
