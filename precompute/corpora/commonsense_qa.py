"""CommonsenseQA: a spoken question with five answers to choose from; the words decide.

Two publications are read, whichever lies in the folder:

- `tau/commonsense_qa` at the revision below: `data/validation-*.parquet`, columns `id`, `question`, `choices`
  (lists `label` and `text`), `answerKey`;
- the authors' own `dev_rand_split.jsonl`, where `question` holds `stem` and `choices`.

Licence: MIT. The test split has empty answer
keys and is refused. The paper does not say whether the choices were spoken; here they stand in the prompt.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.errors import PromptError
from engine.tasks import parse_choices
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

TASK = "csqa"
KEYS = ["A", "B", "C", "D", "E"]
SOURCE = Source(
    name="CommonsenseQA",
    dataset="tau/commonsense_qa",
    revision="94630fe30dad47192a8546eb75f094926d47e155",
    split="the validation split",
    files="data/validation-*.parquet",
    columns=("id", "question", "choices", "answerKey"),
    n_rows=1_221,
    licence="MIT",
    size="under 1 MB",
)
PUBLISHED = replace(
    SOURCE,
    dataset="CommonsenseQA 1.11 (random split)",
    revision="",
    files="**/dev_rand_split.jsonl",
    columns=("id", "question", "answerKey"),
)
HIDDEN_TEST = replace(PUBLISHED, split="the test split", files="**/test_rand_split_no_answers.jsonl")


def read_commonsense_qa(
    folder: Path,
    limit: int = PAPER_ITEMS,
    source: Source = SOURCE,
    published: tuple[Source, ...] = (PUBLISHED, HIDDEN_TEST),
) -> Sample:
    """Return a seeded sample of the validation split; the same items from either publication.

    A question is left out, and counted in the notes, where its choices cannot be told apart on one line: two
    are alike but for case and signs, or one holds a comma or an "or".

    Raises:
        CorpusError: the files are not those of the source, or the answer keys are empty.
    """
    present = [one for one in published if is_there(one, folder)]
    source = present[0] if present else source
    if source in published[1:]:
        raise CorpusError(
            f"{source.name}: {source.split} has no answer keys, so it cannot be scored; {published[0].remedy}."
        )
    rows = [_as_on_the_hub(row) for row in read_rows(source, folder)]
    items = [item for row in rows if (item := _item(source, row))]
    sample = draw(source, TASK, items, limit)
    if len(items) == len(rows):
        return sample
    n_left = len(rows) - len(items)
    left_out = f"{source.name}: {n_left} questions are left out, for their choices cannot be told apart."
    return Sample(sample.items, (*sample.notes, left_out))


def _as_on_the_hub(row: Row) -> Row:
    """Return a row of the authors' file as the hub has it; others come back as they are."""
    asked = row["question"]
    if not isinstance(asked, dict):
        return row
    choices = {part: [choice.get(part) for choice in asked.get("choices", ())] for part in ("label", "text")}
    return {**row, "question": asked.get("stem", ""), "choices": choices}


def _item(source: Source, row: Row) -> Item | None:
    choices, key = row["choices"], row["answerKey"]
    if not key:
        raise CorpusError(
            f"{source.name}: the answer keys of this split are empty, so it cannot be scored; {source.remedy}."
        )
    if list(choices["label"]) != KEYS or len(choices["text"]) != len(KEYS) or key not in KEYS:
        raise CorpusError(
            f'{source.name}: question "{str(row["id"])[:40]}" has no choices A to E with one of them right; '
            f"{source.remedy}."
        )
    prompt = ", ".join(clean_line(text) for text in choices["text"])
    try:
        labels = parse_choices(prompt)
    except PromptError:
        return None
    if len(labels) != len(KEYS):
        return None
    return Item(
        item_id=f"{TASK}-{row['id']}",
        task=TASK,
        text=clean_line(row["question"]),
        prompt=", ".join(labels),
        gold=labels[KEYS.index(key)],
        aliases=(),
        group=str(row["id"]),
        question=question_of("commonsense", prompt),
    )
