"""SST-2: whether a line of a film review is positive or negative; the words decide.

Three publications are read, whichever lies in the folder:

- `SetFit/sst2`, `test.jsonl`: the 1,821 labelled test sentences. The paper's 1,000 items fit.
- `stanfordnlp/sst2` or `nyu-mll/glue` (config sst2), `validation-*.parquet`: 872 rows, so no 1,000;
- GLUE's own `SST-2` folder: `dev.tsv`, the same 872 rows.

The test split of the last two hides its labels and is refused; the train split holds phrases cut
out of sentences, not sentences, and is not read. Licence: none stated on any of the cards.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.words import normalise
from precompute.corpora.cleaning import clean_review
from precompute.corpora.item import Item, item_key, question_of
from precompute.corpora.source import (
    HIDDEN_LABEL,
    PAPER_ITEMS,
    CorpusError,
    Row,
    Sample,
    Source,
    draw,
    is_there,
    label_of,
    read_rows,
)

TASK = "sst2"
LABELS = ("negative", "positive")  # 0 and 1
SETFIT = Source(
    name="SST-2",
    dataset="SetFit/sst2",
    revision="00ea8ccb7a54b4e3780a3e51aa3f80361ff849c0",
    split="the labelled test split",
    files="test.jsonl",
    columns=("text", "label", "label_text"),
    n_rows=1_821,
    licence="none stated",
    size="under 1 MB",
    labels=LABELS,
)
VALIDATION = Source(
    name="SST-2",
    dataset="stanfordnlp/sst2 or nyu-mll/glue (sst2)",
    revision="",  # the same rows in both, at every revision with Parquet files
    split="the validation split",
    files="**/validation-*.parquet",
    columns=("sentence", "label"),
    n_rows=872,
    licence="none stated",
    size="under 1 MB",
    labels=LABELS,
)
GLUE = replace(
    VALIDATION, dataset="GLUE's SST-2 folder", files="**/dev.tsv", split="the validation split (dev.tsv)"
)
HIDDEN_TEST = Source(
    name="SST-2",
    dataset=VALIDATION.dataset,
    revision="",
    split="GLUE's test split",
    files="**/test-*.parquet",
    columns=("sentence", "label"),
    n_rows=1_821,
    licence="none stated",
    size="under 1 MB",
    labels=LABELS,
)
GLUE_TEST = replace(HIDDEN_TEST, dataset=GLUE.dataset, files="**/test.tsv", columns=("index", "sentence"))
SOURCES = (SETFIT, VALIDATION, GLUE, HIDDEN_TEST, GLUE_TEST)


def read_sst2(folder: Path, limit: int = PAPER_ITEMS, sources: tuple[Source, ...] = SOURCES) -> Sample:
    """Return a seeded sample of the first publication that lies in the folder.

    Raises:
        CorpusError: none does, its files are not as published, or its labels are hidden.
    """
    present = [source for source in sources if is_there(source, folder)]
    source = present[0] if present else sources[0]
    items = [_item(source, row) for row in read_rows(source, folder)]
    return draw(source, TASK, items, limit)


def _item(source: Source, row: Row) -> Item:
    number = row.get("label", HIDDEN_LABEL)
    gold = label_of(source, int(number) if isinstance(number, str) and number in "01" else number)
    named = row.get("label_text", gold)
    if named != gold:
        raise CorpusError(
            f'{source.name}: a row says "{str(named)[:20]}" and its number says "{gold}"; {source.remedy}.'
        )
    text = clean_review(row["text"] if "text" in row else row["sentence"])
    return Item(
        item_id=item_key(TASK, normalise(text)),
        task=TASK,
        text=text,
        prompt="",
        gold=gold,
        aliases=(),
        group=text,
        question=question_of("sentiment"),
    )
