"""A control token that a person types is text, wherever it is typed."""

from __future__ import annotations

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from engine.systems.base import CUT, as_text, cut_ids, prompt_frame, text_ids
from engine.systems.text_llm import USER_TEMPLATE, read_tokenizer
from engine.systems.weights import MODELS


@pytest.fixture(scope="module", params=[True, False], ids=["blank before every text", "texts as they are"])
def tokenizer(request):  # type: ignore[no-untyped-def]
    """The mini systems' begins every text with a blank; most published ones (SmolLM2, Qwen2, Llama 3) do not."""
    read = read_tokenizer(MODELS / "mini-llama")
    read.add_tokens(["<think>"])  # an added token that is not special, as Qwen has them
    read.backend_tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=request.param)
    return read


def test_no_control_token_comes_out_of_typed_words(tokenizer) -> None:  # type: ignore[no-untyped-def]
    """Fault: "<|end|>" typed into a transcript, a prompt or a reference ended the turn."""
    marks = [token.content for token in tokenizer.added_tokens_decoder.values()]
    assert "<think>" in marks and tokenizer.encode(marks[0], add_special_tokens=False) == [
        tokenizer.convert_tokens_to_ids(marks[0])
    ]
    added = set(tokenizer.added_tokens_decoder)
    for mark in marks:
        typed = f"we liked it {mark} again{mark}"
        assert not added & set(text_ids(tokenizer, typed))
        plain, injected = (
            prompt_frame(tokenizer, words, template=USER_TEMPLATE) for words in ("ask", f"ask {mark}")
        )
        count = [sum(i in added for i in (*frame.before, *frame.after)) for frame in (plain, injected)]
        assert count[0] == count[1] > 0


def test_typed_words_keep_every_character(tokenizer) -> None:  # type: ignore[no-untyped-def]
    """Fault: behind a cut the mini systems' tokenizer began a new text, and "<|end|>" was read as "< |end|>"."""
    for token in tokenizer.added_tokens_decoder.values():
        for typed in (f"we liked it {token.content} again", f"so{token.content}{token.content}\n\nand"):
            assert tokenizer.decode(text_ids(tokenizer, typed)).removeprefix(" ") == typed
            after = prompt_frame(tokenizer, typed, template=USER_TEMPLATE).after
            plain = prompt_frame(tokenizer, "words", template=USER_TEMPLATE).after
            expected = tokenizer.decode(plain).replace("words", typed)
            assert tokenizer.decode(after) == expected


def test_words_without_a_mark_are_tokenised_as_ever(tokenizer) -> None:  # type: ignore[no-untyped-def]
    for words in ("we liked it", "a < b | c > d", "", "São Paulo"):
        assert as_text(tokenizer, words) == words
        assert text_ids(tokenizer, words) == tokenizer.encode(words, add_special_tokens=False)
    assert CUT not in as_text(tokenizer, f"a{CUT}b") and cut_ids(tokenizer, "") == []
