"""What a person typed is text: "<|im_start|>" in a transcript, a prompt or a reference must not open a turn.

A tokenizer makes one token of such a mark wherever it stands, special or not. Here a mark in a person's words is cut
behind its first character, and the pieces are tokenised apart: the same characters, and none of them a control.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from transformers import PreTrainedTokenizerBase

CUT = "\ufdd0"  # a code point that no text may hold (Unicode, "noncharacters")


def as_text(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Return a person's words with a `CUT` in every control token's name; others come back as they are."""
    text = text.replace(CUT, "")
    places: set[int] = set()
    for name in _control_tokens(tokenizer):
        start = text.find(name)
        while start >= 0:
            places.add(start + 1)
            start = text.find(name, start + 1)
    ends = [0, *sorted(places), len(text)]
    return CUT.join(text[a:b] for a, b in pairwise(ends)) if places else text


def cut_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a text that may hold cuts, no special token added; the pieces are tokenised apart."""
    first, *others = text.split(CUT)
    return [
        *tokenizer.encode(first, add_special_tokens=False),
        *(i for piece in others for i in _ids_within(tokenizer, piece)),
    ]


def _ids_within(tokenizer: PreTrainedTokenizerBase, piece: str) -> list[int]:
    """Return the ids of a piece that goes on in the middle of a word.

    Some tokenizers, the mini systems' among them, begin every text with a blank. Here that falls before a line break,
    which no pre-tokeniser joins to what follows, and both are left out again.
    """
    read = tokenizer("\n" + piece, add_special_tokens=False, return_offsets_mapping=True)
    return [i for i, (_, end) in zip(read["input_ids"], read["offset_mapping"], strict=True) if end > 1]


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a person's words: no special token is added, and none is read out of them."""
    return cut_ids(tokenizer, as_text(tokenizer, text))


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    return _named(tuple(token.content for token in tokenizer.added_tokens_decoder.values()))


@lru_cache(maxsize=64)
def _named(added: tuple[str, ...]) -> tuple[str, ...]:
    """Return the added tokens that are marks; runs of blanks, which some vocabularies add too, are plain text."""
    return tuple(name for name in added if len(name) > 1 and re.search(r"[^\W_]", name))
