"""Words: how two texts are compared, in any script, and when each word of a clip is heard.

Labels, right answers, agreement and alignment compare by `normalise`; word errors follow the field's custom and have
a normaliser of their own (`engine.stats.scores.word_errors`). What models are given keeps its own spelling.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class SpokenWord:
    """One word and when it is heard, in seconds from the start of the clip."""

    text: str
    start_s: float
    end_s: float


def even_ends(n_positions: int, width_s: float) -> Float[np.ndarray, "positions"]:  # noqa: F821
    """Return when each of so many positions of one width ends, in seconds."""
    return np.arange(1, n_positions + 1) * width_s


# The typographic forms of one mark, as keyboards, subtitles and language models write them.
_MARKS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u02bc\u00b4\u0060\u2032\u02b9\uff07", "'"),
        **dict.fromkeys("\u2212\ufe63\uff0d", "-"),
        "\u2044": "/",
        "&": " and ",
    }
)
# Letters that no decomposition takes apart (openai/whisper's basic normaliser has the same).
_LETTERS = str.maketrans(
    {"œ": "oe", "ø": "o", "æ": "ae", "ß": "ss", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i"}
)
_ACCENTED = re.compile(r"(?<=[A-Za-zͰ-Ͽ])[\u0300-\u036f]+")
_THOUSANDS = re.compile(r"(?<=\d)[,\u00a0\u202f](?=\d{3}(?!\d))")

# A word: letters and digits of any script, apostrophes and strokes within; a number keeps its sign, point and per cent,
# and "C++" and "C#" are not "C". Other symbols (an emoji) are words of their own.
_ALNUM = r"[^\W_](?:[^\W_]|[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u064b-\u065f\u0900-\u0dff\u0e31-\u0e4e\u3099\u309a])*"  # noqa: E501
_TOKEN = re.compile(
    rf"""
    (?P<word>
        (?:(?<![^\W_])[-+]?[$€£¥₹]?[-+]?(?=\.?\d))?(?:(?<![^\W_.])\.(?=\d))?
        {_ALNUM}(?:(?:'|[ \t]*/[ \t]*|(?<=\d)\.(?=\d)){_ALNUM})*(?:\+\+|\#|%)?
    )
    |(?P<mark>[^\w\s]|_|\n)
    """,
    re.VERBOSE,
)


class Token(NamedTuple):
    """A word or a mark of a text.

    Attributes:
        spelt: folded; of a mark the mark itself.
        written: as it stands in the text, in NFKC.
        is_word: False for punctuation and the end of a line.
    """

    spelt: str
    written: str
    is_word: bool


def tokens_of(text: str) -> list[Token]:
    """Return the words and marks of a text in order; blanks are left out, ends of lines stay."""
    text = unicodedata.normalize("NFKC", text.translate(_MARKS)).translate(_MARKS)
    text = _THOUSANDS.sub("", text)
    found = []
    for match in _TOKEN.finditer(text):
        written = match.group()
        if match["word"]:
            found.append(Token(_fold(written), written, True))
        else:
            found.append(Token(written, written, unicodedata.category(written) == "So"))
    return found


def _fold(word: str) -> str:
    """Return a word in lower case without the accents of Latin and Greek letters; other scripts' marks are letters."""
    plain = _ACCENTED.sub("", unicodedata.normalize("NFD", word.casefold()))
    return re.sub(r"\s", "", unicodedata.normalize("NFC", plain).translate(_LETTERS))


@lru_cache(maxsize=1 << 16)  # a table of answers says the same few words many thousand times
def normalise(text: str) -> str:
    """Return a text as it is compared: its words folded, with single spaces; "" where it has none.

    NFKC, lower case, no accents on Latin and Greek letters, straight apostrophes, no punctuation. What tells words
    apart stays: "-5" is not "5", "C++" not "C", "Sci/Tech" one word, and every script keeps its letters.
    """
    return " ".join(token.spelt for token in tokens_of(text) if token.is_word)


def bare(text: str) -> str:
    """Return a text as it is written, on one line and without the punctuation around it; "" where it has no word."""
    spelt = [token.written for token in tokens_of(text) if token.is_word]
    if not spelt:
        return ""
    respelt = text.translate(
        {sign: form for sign, form in _MARKS.items() if len(str(form)) == 1}
    )  # as long as the text
    first, last = respelt.find(spelt[0]), respelt.rfind(spelt[-1])
    # A word that NFKC makes longer or shorter ("½") cannot be found: the text stays whole.
    inner = text[first : last + len(spelt[-1])] if min(first, last) >= 0 else text.strip(" \t\n.,;:!?")
    return " ".join(inner.split())


def bare_words(text: str) -> list[str]:
    """Return the words of a text as they are written, without the punctuation around each."""
    return [word for word in map(bare, text.split()) if word]


def words_on_clock(
    exact: Sequence[SpokenWord],
    reference: str | None,
    heard: Callable[[], Sequence[SpokenWord]],
    duration_s: float,
    transcriber: str,
) -> tuple[tuple[SpokenWord, ...], str]:
    """Return a clip's words with their times, and where these come from.

    Args:
        exact: the reference's words with exact times; empty where they are not known.
        reference: what was said, where it is known.
        heard: gives the words that the transcriber heard; not called where times are exact.
        duration_s: of the clip.
        transcriber: its name.
    """
    if exact:
        return tuple(exact), "reference, exact times"
    if reference:
        return align_reference(reference, heard(), duration_s), "reference, cascade's times"
    return tuple(heard()), transcriber


def align_reference(reference: str, heard: Sequence[SpokenWord], duration_s: float) -> tuple[SpokenWord, ...]:
    """Return the reference's words, as they are written, with times borrowed from the heard words.

    A word heard as it was said (`normalise` compares) takes its times; words between two anchors share the time
    between them by their length in letters. With nothing heard the words share the whole clip.
    """
    words = bare_words(reference)
    spelt, heard_texts = [normalise(word) for word in words], [normalise(word.text) for word in heard]
    starts: list[float | None] = [None] * len(words)
    ends: list[float | None] = [None] * len(words)
    for block in SequenceMatcher(None, spelt, heard_texts, autojunk=False).get_matching_blocks():
        for offset in range(block.size):
            starts[block.a + offset] = heard[block.b + offset].start_s
            ends[block.a + offset] = heard[block.b + offset].end_s
    index = 0
    while index < len(words):
        if starts[index] is not None:
            index += 1
            continue
        stop = next((j for j in range(index, len(words)) if starts[j] is not None), len(words))
        left = ends[index - 1] if index else 0.0
        right = starts[stop] if stop < len(words) else duration_s
        assert left is not None and right is not None
        _share(words, starts, ends, range(index, stop), left, max(left, right))
        index = stop
    return tuple(
        SpokenWord(word, float(start or 0.0), float(end or 0.0))
        for word, start, end in zip(words, starts, ends, strict=True)
    )


def _share(
    words: Sequence[str],
    starts: list[float | None],
    ends: list[float | None],
    gap: range,
    left: float,
    right: float,
) -> None:
    letters = sum(len(words[i]) for i in gap)
    time_s = left
    for i in gap:
        starts[i] = time_s
        time_s += (right - left) * len(words[i]) / letters
        ends[i] = time_s


Ends = Float[np.ndarray, "positions"]


def overlapping(words: Sequence[SpokenWord], ends_s: Ends) -> tuple[tuple[int, ...], ...]:
    """Return for each position the indices of the words that are heard in it.

    Args:
        words: on the clock.
        ends_s: when each position ends; it begins where the one before it ends, the first at 0.
    """
    return tuple(
        tuple(i for i, word in enumerate(words) if word.start_s < end and word.end_s > start)
        for start, end in zip((0.0, *ends_s[:-1]), ends_s, strict=True)
    )
