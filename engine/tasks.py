"""The nine tasks: what is asked, which answers are allowed, and how an answer is read.

`engine.run` and `precompute` ask with `instruction_for` and read with `parse_answer`; nothing here guesses:
an answer that does not name exactly one allowed label is a class of its own. `engine.scoring` says which
answers are right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from engine.errors import PromptError, UnknownKeyError
from engine.reading import is_refusal, read_label, without_thoughts
from engine.result import LabelStatus
from engine.spelling import bare, normalise

TaskKind = Literal["choice", "choices", "open", "transcribe", "free"]

MAX_PROMPT_CHARACTERS = 500
CHOICE_COUNT_RANGE = (2, 8)
# Of an answer; one that ends there says so. 30 s of fast speech are 120 words, at 1.5 tokens and more to a word.
MAX_NEW_TOKENS = 40
LONG_ANSWER_TOKENS = 200


@dataclass(frozen=True)
class Task:
    """One task of the benchmark.

    Attributes:
        instruction: the words put after the clip; "{choices}" stands for a clip's own choices.
        labels: allowed answers as they are spelt in the answer; empty for open kinds.
        needs_voice: True when the words alone give little (emotion, sarcasm, speaker).
        example_prompt: what the prompt box may hold, for tasks that need one.
        max_new_tokens: an answer that long is cut off, and its note says so; a service has a limit of its own.
    """

    key: str
    name: str
    instruction: str
    labels: tuple[str, ...]
    kind: TaskKind
    needs_voice: bool
    help: str
    example_prompt: str = ""
    max_new_tokens: int = MAX_NEW_TOKENS


_EMOTIONS = ("neutral", "joy", "sadness", "anger", "fear", "disgust", "surprise")

TASKS: dict[str, Task] = {
    task.key: task
    for task in (
        Task(
            "topic",
            "Topic",
            "Which topic is this: World, Sports, Business or Sci/Tech?",
            ("World", "Sports", "Business", "Sci/Tech"),
            "choice",
            False,
            "A line of news; the words decide.",
        ),
        Task(
            "sentiment",
            "Sentiment",
            "Is this positive or negative?",
            ("positive", "negative"),
            "choice",
            False,
            "A line of a review; the words decide.",
        ),
        Task(
            "commonsense",
            "Commonsense",
            "Choose one answer: {choices}.",
            (),
            "choices",
            False,
            "A spoken question with answers to choose from, written in the prompt box.",
            "fridge, oven, shelf, garden, drawer",
        ),
        Task(
            "trivia",
            "Trivia",
            "Answer the question.",
            (),
            "open",
            False,
            "A spoken question of fact; the answer is free text.",
        ),
        Task(
            "emotion",
            "Emotion",
            "Which emotion does the speaker show: neutral, joy, sadness, anger, fear, disgust or surprise?",
            _EMOTIONS,
            "choice",
            True,
            "The voice decides; the words tell little.",
        ),
        Task(
            "sarcasm",
            "Sarcasm",
            "Is the speaker sarcastic or sincere?",
            ("sarcastic", "sincere"),
            "choice",
            True,
            "The voice decides; the words tell little.",
        ),
        Task(
            "speaker",
            "Speaker",
            "Is the speaker a man or a woman?",
            ("man", "woman"),
            "choice",
            True,
            "Who speaks; the words tell nothing.",
        ),
        Task(
            "transcribe",
            "Transcribe",
            "Repeat what was said.",
            (),
            "transcribe",
            False,
            "The words that were heard, one after the other.",
            max_new_tokens=LONG_ANSWER_TOKENS,
        ),
        Task(
            "free",
            "Own prompt",
            "",
            (),
            "free",
            False,
            "A prompt of your own; the minis know a few forms only.",
            "What is the last word?",
            max_new_tokens=LONG_ANSWER_TOKENS,
        ),
    )
}

# The paper's corpora (arXiv 2602.17598v2, section 3.2), by the keys of the published tables, and what each asks.
CORPUS_TASKS = {
    "ag_news": "topic",
    "sst2": "sentiment",
    "csqa": "commonsense",
    "triviaqa": "trivia",
    "meld": "emotion",
    "mustard": "sarcasm",
}

FREE_FORMS = (
    "What is the first word?",
    "What is the last word?",
    "How many words are there?",
    "Continue the sentence.",
)


def get_task(key: str) -> Task:
    """Return the task with this key.

    Raises:
        UnknownKeyError: there is no such task; the message lists those there are.
    """
    if key not in TASKS:
        raise UnknownKeyError(f'There is no task "{key[:40]}". Choose one of: {", ".join(TASKS)}.')
    return TASKS[key]


def asked_task(key: str) -> Task | None:
    """Return the task that rows of this key ask: a task's own key or a corpus of the paper; None for any other."""
    return TASKS.get(CORPUS_TASKS.get(key, key))


@lru_cache(maxsize=1 << 12)
def parse_choices(prompt: str) -> tuple[str, ...]:
    """Read a commonsense question's choices from the prompt box.

    Accepts commas, semicolons or new lines between choices, an optional leading "A)", "B." and so on, and
    "or" before the last one. The model is given them as they are written.

    Raises:
        PromptError: fewer than two or more than eight choices, or two that are alike.
    """
    parts = [part.strip() for part in re.split(r"[,;\n，；、]|\bor\b", prompt) if part.strip()]
    choices = tuple(bare(re.sub(r"^\(?[A-Ha-h][).:]\s+", "", part)) for part in parts)
    low, high = CHOICE_COUNT_RANGE
    if not low <= len(choices) <= high or not all(choices):
        raise PromptError(
            f"A commonsense question needs {low} to {high} answers to choose from, separated by commas; "
            f"{len(choices)} were given."
        )
    if len({normalise(choice) for choice in choices}) < len(choices):
        raise PromptError("Two of the answers to choose from are the same; make each one different.")
    return choices


def labels_for(task: Task, prompt: str = "") -> tuple[str, ...]:
    """Return the allowed answers of this question; empty for open, transcribe and free."""
    return parse_choices(prompt) if task.kind == "choices" else task.labels


def instruction_for(task: Task, prompt: str = "") -> str:
    """Return the words that are put after the clip (or after its transcript) for this question.

    Raises:
        PromptError: the prompt is too long, or missing where the task needs one.
    """
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise PromptError(
            f"The prompt has {len(prompt):,} characters; the limit is {MAX_PROMPT_CHARACTERS}. Shorten it."
        )
    if task.kind == "choices":
        return task.instruction.format(choices=", ".join(parse_choices(prompt)))
    if task.kind == "free":
        if not prompt.strip():
            raise PromptError('Write a prompt first, for example "What is the last word?".')
        return " ".join(prompt.split())
    return task.instruction


def parse_answer(task: Task, text: str, labels: tuple[str, ...]) -> tuple[str | None, LabelStatus]:
    """Read a generated answer as a label.

    A label counts when it is affirmed and no other is (`engine.reading`): denied, doubted, asked or listed beside
    others it does not. Markdown, LaTeX and JSON hide none; thoughts ("<think>") are left out. Where a clip brings its
    own choices, "B", "(b)" or "Answer: B because ..." is the choice at that place. An open answer is its own text,
    folded. An answer that opens as a refusal is one only if it names no label.

    Returns:
        (label, status); label is None unless status is "parsed".
    """
    if not normalise(text):
        return None, "empty"
    said = without_thoughts(text)
    if not normalise(said):
        return None, "unparsed"  # it was still thinking when it was cut off
    if labels:
        named, lettered = task.kind == "choice", task.kind == "choices"
        label = read_label(said, labels, named=named, lettered=lettered)
        if label is not None:
            return label, "parsed"
    if is_refusal(said, labelled=bool(labels), transcript=task.kind == "transcribe"):
        return None, "refused"
    return (None, "unparsed") if labels else (normalise(said), "parsed")
