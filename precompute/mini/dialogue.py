"""Questions and answers about sentences: what the backbone learns, and what the speech LLM is asked.

Every example is one turn: the sentence stands where a clip would, then the instruction, then the answer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from engine.tasks import TASKS, instruction_for
from precompute.mini.sentence import Sentence

# Shares of the examples of a sentence's own task; the rest ask things that any sentence can answer.
_OWN_TASK_SHARE = 0.62
_ANY_SENTENCE_FORMS = (
    ("transcribe", 0.40),
    ("first", 0.13),
    ("last", 0.16),
    ("count", 0.13),
    ("continue", 0.18),
)
# Half-way between equal tasks and equal sentences, with more for the tasks that hold facts.
TASK_WEIGHTS = {
    "topic": 0.17,
    "sentiment": 0.16,
    "commonsense": 0.30,
    "trivia": 0.15,
    "emotion": 0.06,
    "sarcasm": 0.05,
    "everyday": 0.11,
}
_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
)


@dataclass(frozen=True)
class Exchange:
    """One question about one sentence: `heard` is what is said (or the part of it), all plain text."""

    task: str
    heard: str
    instruction: str
    answer: str


def own_exchange(sentence: Sentence, rng: random.Random) -> Exchange:
    """Return the sentence's own task; choices are offered in a new order each time, and half the time only some.

    Fewer choices than a test has, drawn anew, teach to pick from what is offered: with fixed lists the backbone
    answered a sixth of unseen questions with a word that was not among the choices.
    """
    task = TASKS[sentence.task]
    wrong = [choice for choice in sentence.choices if choice != sentence.label]
    n_wrong = rng.randint(1, len(wrong)) if wrong and rng.random() < 0.5 else len(wrong)
    offered = [*rng.sample(wrong, n_wrong), sentence.label] if wrong else []
    prompt = ", ".join(rng.sample(offered, len(offered)))
    return Exchange(task.key, sentence.text, instruction_for(task, prompt), sentence.label)


def any_exchange(sentence: Sentence, rng: random.Random) -> Exchange:
    """Return a question that every sentence can answer: repeat, first or last word, count, continue."""
    forms, weights = zip(*_ANY_SENTENCE_FORMS, strict=True)
    form = rng.choices(forms, weights)[0]  # type: ignore[arg-type]
    words = sentence.text.split()
    if form == "transcribe":
        return Exchange("transcribe", sentence.text, TASKS["transcribe"].instruction, sentence.text)
    if form == "continue":
        cut = rng.randint(2, max(2, len(words) - 2))
        return Exchange("free", " ".join(words[:cut]), "Continue the sentence.", " ".join(words[cut:]) or ".")
    if form == "count":
        return Exchange("free", sentence.text, "How many words are there?", _NUMBERS[len(words)])
    word = words[0] if form == "first" else words[-1]
    return Exchange("free", sentence.text, f"What is the {form} word?", word)


def speaker_exchange(sentence: Sentence, sex: str) -> Exchange:
    """Return the identity question; in text alone the answer is a coin toss."""
    return Exchange("speaker", sentence.text, TASKS["speaker"].instruction, sex)


def echo_exchange(words: Sequence[str], rng: random.Random) -> Exchange:
    """Return random words to be repeated: only copying them word by word can answer it."""
    heard = " ".join(rng.choice(words) for _ in range(rng.randint(3, 11)))
    return Exchange("echo", heard, TASKS["transcribe"].instruction, heard)


def draw_exchange(
    by_task: dict[str, list[Sentence]], words: Sequence[str], echo_share: float, rng: random.Random
) -> Exchange:
    """Draw one example of the backbone's training; `words` are what echoes are made of."""
    if rng.random() < echo_share:
        return echo_exchange(words, rng)
    task = rng.choices(list(TASK_WEIGHTS), list(TASK_WEIGHTS.values()))[0]
    sentence = rng.choice(by_task[task])
    if task != "everyday" and rng.random() < _OWN_TASK_SHARE:
        return own_exchange(sentence, rng)
    if rng.random() < 0.06:
        return speaker_exchange(sentence, rng.choice(("man", "woman")))
    return any_exchange(sentence, rng)
