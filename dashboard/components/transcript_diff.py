"""Word-level difference between what a system heard and what was said, for the lanes.

`payload` calls this. Words are compared without case and punctuation and shown as they are.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Literal, TypedDict

from engine.words import normalise

PartKind = Literal["same", "missing", "extra"]


class Part(TypedDict):
    """A run of words of one kind: in both texts, only in the reference, or only in what was heard."""

    kind: PartKind
    text: str


def word_difference(heard: str, reference: str) -> list[Part]:
    """Return the heard text cut into runs, with the words it lacks put in where they belong.

    A replaced word gives two parts, the missing one first.

    Args:
        heard: text of the system.
        reference: text it is held against.
    """
    heard_words, reference_words = heard.split(), reference.split()
    matcher = SequenceMatcher(
        a=[_bare(word) for word in reference_words], b=[_bare(word) for word in heard_words], autojunk=False
    )
    parts: list[Part] = []
    for tag, ref_from, ref_to, heard_from, heard_to in matcher.get_opcodes():
        if tag == "equal":
            parts.append({"kind": "same", "text": " ".join(heard_words[heard_from:heard_to])})
            continue
        if ref_to > ref_from:
            parts.append({"kind": "missing", "text": " ".join(reference_words[ref_from:ref_to])})
        if heard_to > heard_from:
            parts.append({"kind": "extra", "text": " ".join(heard_words[heard_from:heard_to])})
    return parts


def _bare(word: str) -> str:
    """Return the word as it is compared; pure punctuation stays as it is."""
    return normalise(word) or word
