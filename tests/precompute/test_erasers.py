"""Facts about what erasers are fitted to: first words, and the characters of a CTC head."""

from __future__ import annotations

import pytest
import torch

from engine.probes import OTHER_WORD
from engine.words import even_ends
from precompute.mini.ctc_head import fit_ctc_head, position_characters
from precompute.mini.fit_erasers import choose_first_words
from precompute.mini.sentence import Sentence
from precompute.mini.transcriber import CHARACTERS


def test_first_words_are_the_commonest_and_one_for_all_others() -> None:
    texts = ["the dog runs"] * 3 + ["a cat sits"] * 2 + ["one bird sings"]
    words = choose_first_words([Sentence("topic", text, "", "g") for text in texts])
    assert words == ("the", "a", "one", OTHER_WORD)


def test_a_positions_character_is_its_likeliest_one_that_is_not_blank() -> None:
    """Three positions of two frames: blank and a; b then the surer c; blank twice. The last has no frame."""
    logits = torch.zeros(6, 4)
    for frame, (character, sure) in enumerate([(0, 9), (1, 5), (2, 2), (3, 6), (0, 9), (0, 9)]):
        logits[frame, character] = sure
    assert position_characters(logits, even_ends(4, 0.04)).tolist() == [
        [0, 1, 0, 0],
        [0, 0, 0, 1],
        [1, 0, 0, 0],
        [1, 0, 0, 0],
    ]


def test_a_ctc_head_learns_what_is_plain_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each character has its own direction and three frames: the head reads it back, the same each time."""
    monkeypatch.setattr("precompute.mini.ctc_head.STEPS", 150)
    generator = torch.Generator().manual_seed(0)
    texts = ["ab", "ba", "abc", "cab", "bca", "acb"] * 4
    directions = torch.randn(len(CHARACTERS) + 1, 16, generator=generator)

    def sound(text: str) -> torch.Tensor:
        classes = [c for letter in text for c in (1 + CHARACTERS.index(letter),) * 3 + (0,) * 2]
        return directions[classes] + 0.05 * torch.randn(len(classes), 16, generator=generator)

    heard = [sound(text) for text in texts]
    head, again = fit_ctc_head(heard, texts), fit_ctc_head(heard, texts)
    assert torch.equal(head.weight, again.weight)
    best = head(sound("bac")).argmax(-1).tolist()
    said = [c for c, before in zip(best, [0, *best[:-1]], strict=True) if c and c != before]
    assert "".join(CHARACTERS[c - 1] for c in said) == "bac"
