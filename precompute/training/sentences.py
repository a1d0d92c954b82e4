"""What the laptop pair's audio encoder is taught to hear: sentences of train splits, chosen for many distinct words.

Texts of tests stay out: the test splits of every corpus, and the prompts that the human recordings read (LibriSpeech's
test sets, CMU ARCTIC). `precompute.training.speech` says them.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from precompute.training.corpus_files import CorpusFiles

LENGTH_WORDS = (3, 18)
ENOUGH_OF_A_WORD = 6  # passes over the sentences, each of which may bring every word once more
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "`": "'"})


@dataclass(frozen=True)
class Source:
    """A file of one corpus: its path below the corpora's folder, and a table's column of texts, by name or number."""

    path: str
    column: str | int = ""


SOURCES = (
    Source("sst2/train.tsv", "sentence"),
    Source("ag_news/train_581.csv", 2),
    Source("ag_news/alps_dev_10k.tsv", 0),
    Source("meld/train_sent_emo.csv", "Utterance"),
    Source("emorynlp/emorynlp_train_final.csv", "Utterance"),
    Source("commonsense_qa/train_rand_split.jsonl"),
    Source("web_questions/trainmodel.json"),
    Source("harvard_sentences/harvard_sentences.txt"),
    Source("instructions/alpaca_seed_tasks.jsonl"),
    Source("instructions/user_oriented_instructions.jsonl"),
)
AG_NEWS_TEST = "ag_news/test.csv"  # some of the 10,000 dev texts stand in it


def spoken_form(text: str) -> str:
    """Return what a voice says of a text as letters: lower case, words and apostrophes; "" where it has digits.

    A digit or a symbol is read in more than one way, so its spelling would be a guess.
    """
    plain = text.translate(_APOSTROPHES).lower()
    if re.search(r"[^a-z' .,;:!?\"()\-\u2013\u2014/\n\t]", plain):
        return ""
    words = re.findall(r"[a-z']+", plain)
    return " ".join(word.strip("'") for word in words if word.strip("'"))


def read_sentences(corpora: Path) -> tuple[list[str], dict[str, str]]:
    """Return every sentence of the train files, and the sha256 of each file read.

    Raises:
        ModelFilesError: a file is not in the folder.
    """
    files = CorpusFiles(corpora)
    found: dict[str, None] = {}
    unwanted = {spoken_form(row[2]) for row in files.rows(AG_NEWS_TEST)}
    for source in SOURCES:
        for text in _texts(source, files):
            if spoken_form(text) in unwanted:
                continue
            found |= dict.fromkeys(_pieces(text))
    return list(found), files.hashes


def choose_sentences(sentences: Iterable[str], limit: int, seed: int) -> list[str]:
    """Return at most `limit` sentences that hold as many distinct words as can be, in a seeded order.

    Args:
        sentences: as written.
        limit: how many.
        seed: of the order.
    """
    order = {sentence: set(spoken_form(sentence).split()) for sentence in sentences}
    names = list(order)
    random.Random(seed).shuffle(names)
    heard: Counter[str] = Counter()
    chosen: dict[str, None] = {}
    for enough in range(1, ENOUGH_OF_A_WORD + 1):
        for sentence in names:
            if sentence not in chosen and min(heard[word] for word in order[sentence]) < enough:
                heard.update(order[sentence])
                chosen[sentence] = None
                if len(chosen) == limit:
                    return random.Random(seed + 1).sample(list(chosen), limit)
    return random.Random(seed + 1).sample(list(chosen), len(chosen))


def _texts(source: Source, files: CorpusFiles) -> Iterator[str]:
    if source.path.endswith(".txt"):
        yield from files.text(source.path).split("\n")
    elif source.path.endswith(".jsonl"):
        for row in files.objects(source.path):
            yield row["question"]["stem"] if "question" in row else row["instruction"]
    elif source.path.endswith(".json"):
        yield from (row["qText"] for row in json.loads(files.text(source.path)))
    elif isinstance(source.column, int):
        yield from (row[source.column] for row in files.rows(source.path))
    else:
        yield from (row[source.column] for row in files.table(source.path))


def _pieces(text: str) -> Iterator[str]:
    """Cut a text at the ends of its sentences and clauses into pieces of a length that can be said."""
    shortest, longest = LENGTH_WORDS
    text = re.sub(r"<[^>]+>|&\w+;|\\+", " ", text.translate(_APOSTROPHES))
    text = re.sub(r"\s+(?=(?:n't|'(?:s|re|ve|ll|d|m))\b)", "", text)  # SST-2 writes "does n't"
    for sentence in re.split(r"(?<=[.!?;])\s+|\s+-+\s+", text):
        words = sentence.split()
        # A long one is cut evenly, so that its end is heard too.
        n_parts = -(-len(words) // longest)
        for part in range(n_parts):
            piece = " ".join(words[part * len(words) // n_parts : (part + 1) * len(words) // n_parts])
            if shortest <= len(spoken_form(piece).split()) <= longest:
                yield piece.strip()
