"""AG News: which of four topics a line of news has; the words decide.

Two publications are read, whichever lies in the folder:

- `fancyzhx/ag_news` (formerly `ag_news`) at the revision below: `data/test-*.parquet`, columns `text` and `label`;
- `ag_news_csv` of Zhang et al. 2015: `test.csv` without a header: class 1 to 4, title, description.

Licence: none stated on its card; the corpus was given out for research, not for
commercial use. Its texts carry broken entities, backslashes and agency names: `cleaning.clean_news`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.tasks import TASKS
from precompute.corpora.cleaning import clean_news
from precompute.corpora.item import Item, item_key, question_of
from precompute.corpora.source import (
    PAPER_ITEMS,
    Row,
    Sample,
    Source,
    check_labels,
    draw,
    is_there,
    label_of,
    read_rows,
)

TASK = "ag_news"
LABELS = TASKS["topic"].labels  # in the order of the numbers 0 to 3
SOURCE = Source(
    name="AG News",
    dataset="fancyzhx/ag_news",
    revision="90678249c4fd2c979ef3c747d3f11eedf269d05e",
    split="the test split",
    files="data/test-*.parquet",
    columns=("text", "label"),
    n_rows=7_600,
    licence="none stated; research use, not commercial",
    size="about 1 MB",
    labels=LABELS,
    label_counts=dict.fromkeys(LABELS, 1_900),
)
CSV = replace(
    SOURCE,
    dataset="ag_news_csv (Zhang et al. 2015)",
    revision="",
    files="**/test.csv",
    columns=("class", "title", "description"),
    size="about 2 MB",
    has_header=False,
)


def read_ag_news(
    folder: Path, limit: int = PAPER_ITEMS, source: Source = SOURCE, published: Source = CSV
) -> Sample:
    """Return a seeded sample of the test split; the same items from either publication.

    Raises:
        CorpusError: the files are not those of the source, or their labels are hidden.
    """
    if is_there(published, folder):
        source = published
        rows = [_as_on_the_hub(row) for row in read_rows(source, folder)]
    else:
        rows = list(read_rows(source, folder))
    golds = [label_of(source, row["label"]) for row in rows]
    check_labels(source, golds)
    texts = [clean_news(row["text"]) for row in rows]
    return draw(source, TASK, [_item(text, gold) for text, gold in zip(texts, golds, strict=True)], limit)


def _as_on_the_hub(row: Row) -> Row:
    """Return a row of the CSV as the hub has it: classes from 0, title and description as one text."""
    number = row["class"].strip()
    label = int(number) - 1 if number.isdecimal() else number
    return {"text": f"{row['title']} {row['description']}", "label": label}


def _item(text: str, gold: str) -> Item:
    return Item(
        item_id=item_key(TASK, text),
        task=TASK,
        text=text,
        prompt="",
        gold=gold,
        aliases=(),
        group=text,
        question=question_of("topic"),
    )
