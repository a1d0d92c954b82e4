"""The unit of the mini world: one sentence that a voice will say, and what is asked about it.

The generators in `precompute/mini/corpora` make these; synthesis, training and evaluation read them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """One sentence of the mini world.

    Attributes:
        task: key of the task it belongs to, such as "topic".
        text: lower-case words over a-z and the apostrophe, one space between words, no punctuation.
        label: the right answer as the task spells it; for trivia the canonical answer.
        group: sentences that share a group never stand on both sides of the split.
        choices: the five answers offered (commonsense only), already shuffled.
        aliases: other spellings that count as right (trivia only), lower case.
        hard: why a lost word flips the label ("negation", "contrast", "border", ...), else "".
    """

    task: str
    text: str
    label: str
    group: str
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    hard: str = ""
