"""AG News: which of four topics a line of news has; the words decide.

Wants the folder of `fancyzhx/ag_news` (formerly `ag_news`) at the revision below: `data/test-*.parquet`,
columns `text` and `label`. Licence: none stated on its card; the corpus was given out for research, not for
commercial use. Its texts carry broken entities, backslashes and agency names: `cleaning.clean_news`.
"""

from __future__ import annotations

from pathlib import Path

from engine.tasks import TASKS
from precompute.corpora.cleaning import clean_news
from precompute.corpora.item import Item, item_key, question_of
from precompute.corpora.source import (
    PAPER_ITEMS,
    Sample,
    Source,
    check_labels,
    draw,
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


def read_ag_news(folder: Path, limit: int = PAPER_ITEMS, source: Source = SOURCE) -> Sample:
    """Return a seeded sample of the test split.

    Raises:
        CorpusError: the files are not those of the source, or their labels are hidden.
    """
    rows = list(read_rows(source, folder))
    golds = [label_of(source, row["label"]) for row in rows]
    check_labels(source, golds)
    texts = [clean_news(row["text"]) for row in rows]
    return draw(source, TASK, [_item(text, gold) for text, gold in zip(texts, golds, strict=True)], limit)


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
