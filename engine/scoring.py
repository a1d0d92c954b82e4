"""Which answers are right; for a free answer, when it names the right one: a stated rule that never guesses.

Language models answer "The answer is Paris." where a benchmark expects "Paris". Published practice on TriviaQA
(Joshi et al. 2017) is the exact match after normalising; for models that talk, it is often that an alias stands
in the text as whole words. The second alone is too generous: "not Paris", "Paris or London", and "twenty four"
for "four" would count. Here it counts only where nothing else in the first sentence speaks against it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.spelling import normalise
from engine.tasks import Task

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
