"""Putting the words of a known transcript on the clock of the words that a transcriber heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from engine.result import SpokenWord
from engine.spelling import bare_words, normalise


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
