"""The nine tasks: what is asked, which answers are allowed, how an answer is read, and which answers are right.

`engine.run` and `precompute` ask with `instruction_for` and read with `parse_answer`; nothing here guesses:
an answer that does not name exactly one allowed label is a class of its own.

A free answer is right by a stated rule (`names_answer`). Language models answer "The answer is Paris." where a
benchmark expects "Paris". Published practice on TriviaQA (Joshi et al. 2017) is the exact match after normalising;
for models that talk, it is often that an alias stands in the text as whole words. The second alone is too generous:
"not Paris", "Paris or London", and "twenty four" for "four" would count. Here it counts only where nothing else in
the first sentence speaks against it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from engine.errors import PromptError, UnknownKeyError
from engine.reading import is_refusal, read_label, without_thoughts
from engine.results import LabelStatus
from engine.words import bare, normalise

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


MAX_SENTENCE_WORDS = 25  # ours: a longer sentence tells about its subject more than it answers
MAX_LISTED_WORDS = 3  # ours: parts between commas that are no longer than this are a list of candidates

# A stop after an initial or one of these ends no sentence.
_SHORTENED = {"st", "mt", "dr", "mr", "mrs", "ms", "jr", "sr", "prof", "gen", "vs"}
_NEGATIONS = {
    "not",
    "no",
    "never",
    "neither",
    "nor",
    "none",
    "cannot",
    "without",
    "unlike",
    "except",
    "instead",
}
_DOUBTS = {"or", "either", "maybe", "perhaps", "possibly", "probably", "unsure"}
_QUESTIONS = {"who", "whom", "whose", "what", "which", "where", "when", "why", "how"}
# An alias of these alone ("It", "The Who", "Her") stands in too many sentences to tell anything.
_EMPTY_WORDS = {
    *("a", "an", "the", "it", "is", "was", "be", "in", "on", "of", "to", "and", "this", "that", "there"),
    *("i", "you", "he", "she", "we", "they", "me", "him", "her", "us", "them", "his", "its", "one"),
    *("answer", "question", "yes"),
    *_QUESTIONS,
    *_NEGATIONS,
    *_DOUBTS,
}
_NUMBERS = {
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
    *("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred", "thousand", "million"),
}


def is_right(
    task: Task, label: str | None, gold: str, aliases: Sequence[str] = (), *, text: str = ""
) -> bool:
    """Say whether a parsed answer is right.

    Args:
        task: what was asked.
        label: as `engine.tasks.parse_answer` read it; None is wrong.
        gold: the right answer.
        aliases: other right answers.
        text: as it was generated; of an open answer it may name the right one in a sentence.
    """
    if label is None:
        return False
    return is_exactly(label, gold, aliases) or (task.kind == "open" and names_answer(text, (gold, *aliases)))


def is_exactly(label: str, gold: str, aliases: Sequence[str] = ()) -> bool:
    """Say whether an answer is, after `normalise`, the right one or an alias: the whole of it and nothing else."""
    return normalise(label) in {normalise(name) for name in (gold, *aliases)}


def names_answer(text: str, names: Sequence[str]) -> bool:
    """Say whether the first sentence of a text gives one of these names as its answer.

    A name counts as whole words in a first sentence of at most `MAX_SENTENCE_WORDS` that, the name taken out,
    holds no negation, no doubt and no alternative ("or"), is no question, and is no list of candidates. A number
    within a longer number does not count, nor does a name of empty words ("It") or one joined to another answer
    by "and" or a stroke.

    Args:
        text: as it was generated, with its punctuation.
        names: the right answer and its aliases.
    """
    sentence = _first_sentence(text)
    words = normalise(sentence).split()
    # The longest name first: "Mount Everest" is taken out whole before "Everest" is looked for.
    known = sorted({normalise(name) for name in names} - {""}, key=len, reverse=True)
    if " ".join(words) in known:
        return True
    if not words or len(words) > MAX_SENTENCE_WORDS or sentence.endswith("?") or words[0] in _QUESTIONS:
        return False
    found = [name for name in known if f" {name} " in f" {' '.join(words)} "]
    telling = [name for name in found if not set(name.split()) <= _EMPTY_WORDS]
    if not telling or _is_list(sentence, known):
        return False
    rest = f" {' '.join(words)} "
    for name in telling:
        rest = rest.replace(f" {name} ", " * ")
    return not _speaks_against(rest.split())


def _first_sentence(text: str) -> str:
    """Return the text up to its first end of a sentence or line; a question mark stays."""
    text = text.strip()
    for end in re.finditer(r"[.!?](?=[\s\"')]|$)|\n", text):
        before = re.split(r"[^A-Za-z]", text[: end.start()])[-1].lower()
        is_short = end[0] == "." and (len(before) == 1 or before in _SHORTENED)
        if not is_short:
            return text[: end.end()].strip(" .!\n")
    return text.strip(" .!\n")


def _is_list(sentence: str, known: Sequence[str]) -> bool:
    """Say whether the sentence is nothing but candidates between commas, of which not all are right."""
    parts = [normalise(part) for part in re.split(r"[,;]", sentence)]
    parts = [part.removeprefix("and ") for part in parts if not set(part.split()) <= _EMPTY_WORDS]
    is_short = all(len(part.split()) <= MAX_LISTED_WORDS for part in parts)
    return len(parts) > 1 and is_short and not set(parts) <= set(known)


def _speaks_against(rest: Sequence[str]) -> bool:
    """Say whether the words around the name ("*") take the answer back or add another to it."""
    if any(word in _NEGATIONS | _DOUBTS or word.endswith("n't") for word in rest):
        return True
    places = [place for place, word in enumerate(rest) if word == "*"]
    beside = {rest[near] for place in places for near in (place - 1, place + 1) if 0 <= near < len(rest)}
    return any(word in _NUMBERS | {"and", "/"} or word.isdigit() for word in beside)
