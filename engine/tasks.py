"""The nine tasks: what is asked, which answers are allowed, and how an answer is read.

`engine.run` and `precompute` ask with `instruction_for` and read with `parse_answer`; nothing here guesses:
an answer that does not name exactly one allowed label is a class of its own. `engine.scoring` says which
answers are right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from engine.errors import PromptError, UnknownKeyError
from engine.result import LabelStatus

TaskKind = Literal["choice", "choices", "open", "transcribe", "free"]

MAX_PROMPT_CHARACTERS = 500
CHOICE_COUNT_RANGE = (2, 8)

# "B", "(B)", "B.", "Answer: B", "The answer is (B)."
_LETTER = re.compile(
    r"(?:(?i:the\s+)?(?i:correct\s+)?(?i:answer|option|choice)(?i:\s+is)?\s*:?\s*)?\(?([A-H])[).]{0,2}"
)
_REFUSALS = (
    "i can't",
    "i cannot",
    "i am unable",
    "i'm unable",
    "i'm sorry",
    "i don't know",
    "unable to",
    "((noise))",
)


@dataclass(frozen=True)
class Task:
    """One task of the benchmark.

    Attributes:
        instruction: the words put after the clip; "{choices}" stands for a clip's own choices.
        labels: allowed answers as they are spelt in the answer; empty for open kinds.
        needs_voice: True when the words alone give little (emotion, sarcasm, speaker).
        example_prompt: what the prompt box may hold, for tasks that need one.
    """

    key: str
    name: str
    instruction: str
    labels: tuple[str, ...]
    kind: TaskKind
    needs_voice: bool
    help: str
    example_prompt: str = ""


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


def parse_choices(prompt: str) -> tuple[str, ...]:
    """Read a commonsense question's choices from the prompt box.

    Accepts commas, semicolons or new lines between choices, an optional leading "A)", "B." and so on, and
    "or" before the last one.

    Raises:
        PromptError: fewer than two or more than eight choices, or two that are alike.
    """
    parts = [part.strip() for part in re.split(r"[,;\n]|\bor\b", prompt) if part.strip()]
    choices = tuple(normalise(re.sub(r"^\(?[A-Ha-h][).:]\s+", "", part)) for part in parts)
    low, high = CHOICE_COUNT_RANGE
    if not low <= len(choices) <= high or not all(choices):
        raise PromptError(
            f"A commonsense question needs {low} to {high} answers to choose from, separated by commas; "
            f"{len(choices)} were given."
        )
    if len(set(choices)) < len(choices):
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


def normalise(text: str) -> str:
    """Return the text lower-case, with punctuation (but / and ') as spaces and single spaces."""
    return " ".join(re.sub(r"[^a-z0-9'/ ]+", " ", text.lower()).split())


def parse_answer(task: Task, text: str, labels: tuple[str, ...]) -> tuple[str | None, LabelStatus]:
    """Read a generated answer as a label.

    A label counts when it is named as whole words and no other label is; a label inside a longer label
    that is also named does not count as a second one. Where a clip brings its own choices, a capital letter
    alone ("B", "(B)", "Answer: B") is the choice at that place. Open answers are the normalised text itself.

    Returns:
        (label, status); label is None unless status is "parsed".
    """
    answer = normalise(text)
    if not answer:
        return None, "empty"
    if any(refusal in text.lower() for refusal in _REFUSALS):
        return None, "refused"
    if not labels:
        return answer, "parsed"
    named = [label for label in labels if _names(answer, normalise(label))]
    named = [a for a in named if not any(a != b and _names(normalise(b), normalise(a)) for b in named)]
    if not named and task.kind == "choices":
        named = _lettered(text, labels)
    return (named[0], "parsed") if len(named) == 1 else (None, "unparsed")


def _lettered(text: str, labels: tuple[str, ...]) -> list[str]:
    """Return the choice whose letter is the whole answer; none where the text says anything else."""
    found = _LETTER.fullmatch(text.strip())
    place = ord(found[1]) - ord("A") if found else len(labels)
    return list(labels[place : place + 1])


def _names(answer: str, label: str) -> bool:
    return f" {label} " in f" {answer} "
