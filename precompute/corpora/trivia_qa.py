"""TriviaQA: a spoken question of fact with a free answer; the words decide.

Three publications are read, whichever lies in the folder:

- `mandarjoshi/trivia_qa` (formerly `trivia_qa`) at the revision below: `rc.nocontext/validation-*.parquet`, columns
  `question`, `question_id`, `answer`;
- the authors' own JSON, whole or in part: `*-dev.json` or `triviaqa_sample.json` with `Data`;
- rows of FlashRAG, `test.jsonl` or a part of it, `triviaqa*.jsonl`: `id`, `question`, `golden_answers`, the answer
  first.

Licence: none stated. The answers of the test split are withheld ("<unk>") and it is refused.

The 17,944 rows are no 17,944 questions: each question stands there once for its web pages and once for its
Wikipedia pages where it has both, so rows of one `question_id` are one item.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.words import normalise
from precompute.corpora.cleaning import clean_line
from precompute.corpora.item import Item, question_of
from precompute.corpora.source import (
    PAPER_ITEMS,
    CorpusError,
    Row,
    Sample,
    Source,
    draw,
    is_there,
    read_rows,
)

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
OWN_JSON = replace(
    SOURCE,
    dataset="TriviaQA 1.0",
    revision="",
    split="the validation split",
    files="**/*-dev.json",  # web-dev, wikipedia-dev, unfiltered-web-dev
    columns=("Question", "QuestionId", "Answer"),
    n_rows=0,
)
SAMPLE = replace(OWN_JSON, split="the authors' sample", files="**/triviaqa_sample.json")
FLASHRAG = replace(
    SOURCE,
    dataset="FlashRAG's TriviaQA",
    revision="",
    split="FlashRAG's rows",
    files="**/test.jsonl",
    columns=("id", "question", "golden_answers"),
    n_rows=0,
)
FLASHRAG_PART = replace(FLASHRAG, files="**/triviaqa*.jsonl")


def read_trivia_qa(
    folder: Path,
    limit: int = PAPER_ITEMS,
    source: Source = SOURCE,
    others: tuple[Source, ...] = (OWN_JSON, SAMPLE, FLASHRAG, FLASHRAG_PART),
) -> Sample:
    """Return a seeded sample of the validation split; every published alias of an answer is right.

    Raises:
        CorpusError: the files are not those of the source, or the answers are withheld.
    """
    present = [one for one in (source, *others) if is_there(one, folder)]
    source = present[0] if present else source
    items = [_item(source, _as_on_the_hub(row)) for row in read_rows(source, folder)]
    return draw(source, TASK, items, limit)


def _as_on_the_hub(row: Row) -> Row:
    """Return a row of FlashRAG or of the authors' JSON as the hub has it; others come back as they are."""
    if "golden_answers" in row:
        gold, *aliases = row["golden_answers"] or [""]
        asked = str(row["question"])
        if len(asked) > 1 and asked[0] == asked[-1] == '"':  # a cell of a CSV that kept its quotes
            asked = asked[1:-1].replace('""', '"')
        return {"question_id": row["id"], "question": asked, "answer": {"value": gold, "aliases": aliases}}
    if "QuestionId" in row:
        answer = row.get("Answer") or {}
        named = {"value": answer.get("Value"), "aliases": answer.get("Aliases", ())}
        return {"question_id": row["QuestionId"], "question": row["Question"], "answer": named}
    return row


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
