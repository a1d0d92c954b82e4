"""Text-only exchanges that teach the laptop pair's LLM: what stands in the clip's place, the question, the answer.

Train splits only, read from a folder laid out as the corpora's README says and hashed. What a test split holds is
taken out (8 of AG News' texts stand in both). Of each corpus one text in twenty is kept for the development set; of
MUStARD, which has no splits, three items in ten are kept as a test. The prompts that human recordings read
(CMU ARCTIC, LibriSpeech, Harvard) are not among them. Questions are those of `engine.tasks`, answers in the form that
it reads.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import PromptError
from engine.tasks import FREE_FORMS, get_task, instruction_for
from engine.words import normalise
from precompute.corpora.cleaning import clean_line, clean_news, clean_review
from precompute.training.corpus_files import CorpusFiles

DEV_SHARE, MUSTARD_TEST_SHARE = 20, (3, 10)
LONGEST_WORDS, LONGEST_ANSWER_WORDS = 60, 30
# The product's own words, and other ways to ask for the same.
REPEATS = (
    "Repeat what was said.",
    "Transcribe this.",
    "Transcribe the speech.",
    "Write down what you heard.",
    "What was said, word for word?",
    "Repeat the sentence.",
    "Write what the speaker says.",
)
OWN_REPEAT_SHARE = 0.6
# Half of the examples are repeated; the rest is split among the questions.
SHARES = {
    "transcribe": 0.50,
    "topic": 0.14,
    "sentiment": 0.11,
    "commonsense": 0.07,
    "trivia": 0.05,
    "emotion": 0.05,
    "sarcasm": 0.03,
    "free": 0.05,
}
# Where a text to be repeated comes from: SST-2's phrases are many and alike.
REPEATED = {"topic": 0.35, "emotion": 0.2, "commonsense": 0.2, "sentiment": 0.15, "trivia": 0.1}
# Words in no order can only be copied: nothing is to be guessed from what usually follows.
UNORDERED_SHARE = 0.12
_AG_NEWS = ("World", "Sports", "Business", "Sci/Tech")


@dataclass(frozen=True)
class Exchange:
    """One text-only example.

    Attributes:
        text: in the clip's place, as written.
        answer: what the LLM is to say; for "transcribe" the text itself.
        balance: the gold label where labels are drawn evenly, else "".
    """

    task: str
    text: str
    instruction: str
    answer: str
    balance: str = ""


@dataclass
class Corpora:
    """Exchanges by task and split ("train", "dev", "test"), and the sha256 of every file that was read."""

    exchanges: dict[str, dict[str, list[Exchange]]] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def of(self, task: str, split: str) -> list[Exchange]:
        """Return a task's exchanges of one split."""
        return self.exchanges.get(task, {}).get(split, [])


def read_corpora(folder: Path) -> Corpora:
    """Return all exchanges of the corpora in a folder.

    Raises:
        ModelFilesError: a file is missing.
    """
    files = CorpusFiles(folder)
    found = Corpora(hashes=files.hashes)
    readers: tuple[Callable[[CorpusFiles], Iterator[tuple[str, Exchange]]], ...] = (
        _topics,
        _sentiments,
        _choices,
        _trivia,
        _emotions,
        _sarcasm,
        _instructions,
    )
    for read in readers:
        for split, exchange in read(files):
            if 0 < len(exchange.text.split()) <= LONGEST_WORDS:
                found.exchanges.setdefault(exchange.task, {}).setdefault(split, []).append(exchange)
    return found


class Exchanges:
    """Draws training exchanges; what is drawn depends on the generator alone."""

    def __init__(self, corpora: Corpora, shares: Mapping[str, float] = SHARES) -> None:
        self._tasks = {task: corpora.of(task, "train") for task in shares if corpora.of(task, "train")}
        self._texts = sorted({e.text for task in self._tasks.values() for e in task})
        self._words = sorted({word for text in self._texts for word in text.split()})
        self._by_label: dict[str, dict[str, list[Exchange]]] = {}
        for task, rows in self._tasks.items():
            for row in rows:
                if row.balance:
                    self._by_label.setdefault(task, {}).setdefault(row.balance, []).append(row)
        self._shares = {"transcribe": shares.get("transcribe", 0.0)} | {t: shares[t] for t in self._tasks}

    @property
    def texts(self) -> list[str]:
        """Every training text, once."""
        return self._texts

    def draw(self, rng: random.Random) -> Exchange:
        """Return one exchange."""
        task = rng.choices(list(self._shares), list(self._shares.values()))[0]
        if task == "transcribe":
            return self._repeat(rng)
        if task == "free" and rng.random() < 0.6:
            return free_form(self._text(rng), rng)
        labels = self._by_label.get(task)
        if labels and rng.random() < 0.5:
            return rng.choice(labels[rng.choice(sorted(labels))])
        return rng.choice(self._tasks[task])

    def _text(self, rng: random.Random) -> str:
        tasks = [task for task in REPEATED if task in self._tasks]
        return rng.choice(self._tasks[rng.choices(tasks, [REPEATED[task] for task in tasks])[0]]).text

    def _repeat(self, rng: random.Random) -> Exchange:
        if rng.random() < UNORDERED_SHARE:
            text = " ".join(rng.choice(self._words) for _ in range(rng.randint(1, 16)))
        else:
            # A person says long things too: two texts in a row.
            text = " ".join(self._text(rng) for _ in range(2 if rng.random() < 0.15 else 1))
        own = rng.random() < OWN_REPEAT_SHARE
        return Exchange("transcribe", text, REPEATS[0] if own else rng.choice(REPEATS), text)


def free_form(text: str, rng: random.Random) -> Exchange:
    """Return one of the forms of a free question that a text answers by itself."""
    words = text.split()
    form = rng.choice(FREE_FORMS[:3] if len(words) < 8 else FREE_FORMS)
    if form == FREE_FORMS[3]:
        cut = rng.randint(4, len(words) - 3)
        return Exchange(
            "free", " ".join(words[:cut]), form, " ".join(words[cut : cut + LONGEST_ANSWER_WORDS])
        )
    plain = normalise(text).split() or words
    answers = dict(zip(FREE_FORMS, (plain[0], plain[-1], str(len(words))), strict=False))
    return Exchange("free", text, form, answers[form])


def share_of(text: str, parts: int) -> int:
    """Return a number below `parts` that depends on the words of a text alone: which split it falls into."""
    return int(hashlib.sha256(normalise(text).encode()).hexdigest(), 16) % parts


def _split(text: str) -> str:
    return "train" if share_of(text, DEV_SHARE) else "dev"


def _asked(task: str, text: str, answer: str, prompt: str = "", *, balance: str = "") -> Exchange:
    return Exchange(task, text, instruction_for(get_task(task), prompt), answer, balance)


def _topics(files: CorpusFiles) -> Iterator[tuple[str, Exchange]]:
    unwanted = set()
    for _, title, body in files.rows("ag_news/test.csv"):
        unwanted |= {normalise(clean_news(body)), normalise(clean_news(f"{title} {body}"))}
    pairs = [
        (clean_news(part), _AG_NEWS[int(number) - 1])
        for number, title, body in files.rows("ag_news/train_581.csv")
        for part in (body, f"{title}. {body}", title)
    ]
    pairs += [(clean_news(row[0]), row[1]) for row in files.rows("ag_news/alps_dev_10k.tsv")]
    for text, label in pairs:
        if normalise(text) not in unwanted:
            yield _split(text), _asked("topic", text, label, balance=label)


def _sentiments(files: CorpusFiles) -> Iterator[tuple[str, Exchange]]:
    unwanted = {
        normalise(clean_review(row["sentence"]))
        for name in ("dev", "test")
        for row in files.table(f"sst2/{name}.tsv")
    }
    for row in files.table("sst2/train.tsv"):
        text = clean_review(row["sentence"])
        # The train split holds phrases cut out of sentences; those of two words say little.
        if len(text.split()) > 2 and normalise(text) not in unwanted:
            label = ("negative", "positive")[int(row["label"])]
            yield _split(text), _asked("sentiment", text, label, balance=label)


def _choices(files: CorpusFiles) -> Iterator[tuple[str, Exchange]]:
    for row in files.objects("commonsense_qa/train_rand_split.jsonl"):
        question = row["question"]
        choices = [(choice["label"], normalise(choice["text"])) for choice in question["choices"]]
        random.Random(str(row["id"])).shuffle(choices)
        text, gold = clean_line(question["stem"]), dict(choices)[row["answerKey"]]
        try:
            yield _split(text), _asked("commonsense", text, gold, ", ".join(choice for _, choice in choices))
        except PromptError:  # a choice with a comma or an "or" in it, or two alike
            continue


def _trivia(files: CorpusFiles) -> Iterator[tuple[str, Exchange]]:
    for row in json.loads(files.text("web_questions/trainmodel.json")):
        text = clean_line(row["qText"])
        yield _split(text), _asked("trivia", text, clean_line(row["answers"][0]))


def _emotions(files: CorpusFiles) -> Iterator[tuple[str, Exchange]]:
    for row in files.table("meld/train_sent_emo.csv"):
        text = clean_line(row["Utterance"])
        if text:
            yield _split(text), _asked("emotion", text, row["Emotion"], balance=row["Emotion"])


def _sarcasm(files: CorpusFiles) -> Iterator[tuple[str, Exchange]]:
    held, parts = MUSTARD_TEST_SHARE
    for row in json.loads(files.text("mustard/sarcasm_data.json")).values():
        text, label = clean_line(row["utterance"]), "sarcastic" if row["sarcasm"] else "sincere"
        split = "test" if share_of(text, parts) < held else "train"
        yield split, _asked("sarcasm", text, label, balance=label)


def _instructions(files: CorpusFiles) -> Iterator[tuple[str, Exchange]]:
    """People's instructions with short answers (self-instruct's own evaluation, Apache-2.0)."""
    for row in files.objects("instructions/user_oriented_instructions.jsonl"):
        asked = clean_line(row["instruction"])
        for instance in row["instances"]:
            given, answer = clean_line(instance["input"]), clean_line(instance["output"])
            if not 0 < len(answer.split()) <= LONGEST_ANSWER_WORDS:
                continue
            text, instruction = (given, asked) if given else (asked, "Do what is asked.")
            yield _split(text), Exchange("free", text, instruction, answer)
