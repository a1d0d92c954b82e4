"""TriviaQA: a spoken question of fact with a free answer; the words decide.

Wants the folder of `mandarjoshi/trivia_qa` (formerly `trivia_qa`) at the revision below:
`rc.nocontext/validation-*.parquet`, columns `question`, `question_id`, `answer`. Licence: none stated. The
answers of the test split are withheld ("<unk>") and it is refused.

The 17,944 rows are no 17,944 questions: each question stands there once for its web pages and once for its
Wikipedia pages where it has both, so rows of one `question_id` are one item.
"""

from __future__ import annotations

from pathlib import Path

from engine.spelling import normalise
from precompute.corpora.cleaning import clean_line
from precompute.corpora.item import Item, question_of
from precompute.corpora.source import PAPER_ITEMS, CorpusError, Row, Sample, Source, draw, read_rows

TASK = "triviaqa"
WITHHELD = ("", "<unk>")
SOURCE = Source(
    name="TriviaQA",
    dataset="mandarjoshi/trivia_qa",
    revision="279d93a6e999c93dc992e1a705389e350ba7f706",
    split="the validation split of rc.nocontext",
    files="rc.nocontext/validation-*.parquet",
    columns=("question", "question_id", "answer"),
    n_rows=17_944,
    licence="none stated",
    size="about 7 MB",
)


def read_trivia_qa(folder: Path, limit: int = PAPER_ITEMS, source: Source = SOURCE) -> Sample:
    """Return a seeded sample of the validation split; every published alias of an answer is right.

    Raises:
        CorpusError: the files are not those of the source, or the answers are withheld.
    """
    items = [_item(source, row) for row in read_rows(source, folder)]
    return draw(source, TASK, items, limit)


def _item(source: Source, row: Row) -> Item:
    answer = row["answer"] or {}
    gold = answer.get("value") or ""
    if gold in WITHHELD:
        raise CorpusError(
            f"{source.name}: the answers of this split are withheld, so it cannot be scored; {source.remedy}."
        )
    # Normalised, for the tables keep the aliases in one field with "|" between them.
    names = [*answer.get("aliases", ()), *answer.get("normalized_aliases", ())]
    aliases = {normalise(name): None for name in names}
    return Item(
        item_id=f"{TASK}-{row['question_id']}",
        task=TASK,
        text=clean_line(row["question"]),
        prompt="",
        gold=gold,
        aliases=tuple(alias for alias in aliases if alias and alias != normalise(gold)),
        group=str(row["question_id"]),
        question=question_of("trivia"),
    )
