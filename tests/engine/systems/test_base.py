"""The prompt around a clip, and a person's words that are never control tokens."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase

from engine.systems.base import CUT, WhiteBoxModel, WhiteBoxSystem, as_text, cut_ids, prompt_frame, text_ids
from engine.systems.text_llm import USER_TEMPLATE, TextLLM, read_tokenizer
from engine.systems.ultravox import Ultravox
from engine.systems.weights import MODELS


@pytest.fixture
def tokenizer(text_llm: TextLLM) -> PreTrainedTokenizerBase:
    return text_llm.tokenizer


def text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids)))


def test_before_and_after_are_the_whole_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    frame = prompt_frame(tokenizer, "Repeat what was said.", template=USER_TEMPLATE)
    assert text(tokenizer, frame.before) == "<|begin|><|user|>"
    assert text(tokenizer, frame.after) == " Repeat what was said.<|end|><|assistant|>"


def test_the_clip_may_stand_after_the_words(tokenizer: PreTrainedTokenizerBase) -> None:
    frame = prompt_frame(tokenizer, "Repeat", template="{instruction} <|audio|>")
    assert "Repeat" in text(tokenizer, frame.before) and "Repeat" not in text(tokenizer, frame.after)


def test_a_clip_mark_typed_into_the_prompt_is_words(tokenizer: PreTrainedTokenizerBase) -> None:
    """A free prompt may hold any text; the clip still stands once, in its own place."""
    frame = prompt_frame(tokenizer, "What is <|audio|> here?", template=USER_TEMPLATE)
    assert text(tokenizer, frame.before) == "<|begin|><|user|>"
    assert "<|audio|> here?" in text(tokenizer, frame.after)


def test_a_prompt_does_not_change_with_the_day(tokenizer: PreTrainedTokenizerBase) -> None:
    """As Llama 3.2's template: today's date, unless a date is given."""
    dated = copy.deepcopy(tokenizer)
    dated.chat_template = (
        "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{{ 'Today: ' + date_string + '<|user|>' + messages[0]['content'] + '<|end|>' }}"
    )
    frame = prompt_frame(dated, "Repeat.", template=USER_TEMPLATE)
    assert text(dated, frame.before).strip() == "Today: 26 Jul 2024<|user|>"


def test_a_system_is_a_model_with_ears(ultravox: Ultravox, text_llm: TextLLM) -> None:
    assert isinstance(ultravox, WhiteBoxSystem) and isinstance(ultravox, WhiteBoxModel)
    assert isinstance(text_llm, WhiteBoxModel) and not isinstance(text_llm, WhiteBoxSystem)


@pytest.fixture(scope="module", params=[True, False], ids=["blank before every text", "texts as they are"])
def any_tokenizer(request):  # type: ignore[no-untyped-def]
    """The mini systems' begins every text with a blank; most published ones (SmolLM2, Qwen2, Llama 3) do not."""
    read = read_tokenizer(MODELS / "mini-llama")
    read.add_tokens(["<think>"])  # an added token that is not special, as Qwen has them
    read.backend_tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=request.param)
    return read


def test_no_control_token_comes_out_of_typed_words(any_tokenizer) -> None:  # type: ignore[no-untyped-def]
    """Fault: "<|end|>" typed into a transcript, a prompt or a reference ended the turn."""
    marks = [token.content for token in any_tokenizer.added_tokens_decoder.values()]
    assert "<think>" in marks and any_tokenizer.encode(marks[0], add_special_tokens=False) == [
        any_tokenizer.convert_tokens_to_ids(marks[0])
    ]
    added = set(any_tokenizer.added_tokens_decoder)
    for mark in marks:
        typed = f"we liked it {mark} again{mark}"
        assert not added & set(text_ids(any_tokenizer, typed))
        plain, injected = (
            prompt_frame(any_tokenizer, words, template=USER_TEMPLATE) for words in ("ask", f"ask {mark}")
        )
        count = [sum(i in added for i in (*frame.before, *frame.after)) for frame in (plain, injected)]
        assert count[0] == count[1] > 0


def test_typed_words_keep_every_character(any_tokenizer) -> None:  # type: ignore[no-untyped-def]
    """Fault: behind a cut the mini systems' tokenizer began a new text, and "<|end|>" was read as "< |end|>"."""
    for token in any_tokenizer.added_tokens_decoder.values():
        for typed in (f"we liked it {token.content} again", f"so{token.content}{token.content}\n\nand"):
            assert any_tokenizer.decode(text_ids(any_tokenizer, typed)).removeprefix(" ") == typed
            after = prompt_frame(any_tokenizer, typed, template=USER_TEMPLATE).after
            plain = prompt_frame(any_tokenizer, "words", template=USER_TEMPLATE).after
            expected = any_tokenizer.decode(plain).replace("words", typed)
            assert any_tokenizer.decode(after) == expected


def test_words_without_a_mark_are_tokenised_as_ever(any_tokenizer) -> None:  # type: ignore[no-untyped-def]
    for words in ("we liked it", "a < b | c > d", "", "São Paulo"):
        assert as_text(any_tokenizer, words) == words
        assert text_ids(any_tokenizer, words) == any_tokenizer.encode(words, add_special_tokens=False)
    assert CUT not in as_text(any_tokenizer, f"a{CUT}b") and cut_ids(any_tokenizer, "") == []
