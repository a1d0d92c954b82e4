"""Facts about the tokenizers: Whisper's layout, shared text ids, words with their space, the template."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from precompute.mini.tokens import CHAT_SPECIALS, WHISPER_SPECIALS

Pair = tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]


def n_text_ids(chat: PreTrainedTokenizerFast) -> int:
    return len(chat) - len(CHAT_SPECIALS)


def test_whispers_specials_follow_the_text_ids_in_its_order(tokenizers: Pair) -> None:
    """CTranslate2 and faster-whisper find them by their place: end of text first, no timestamps last."""
    chat, whisper = tokenizers
    first = n_text_ids(chat)
    assert whisper.convert_tokens_to_ids(list(WHISPER_SPECIALS)) == list(range(first, first + 8))
    assert whisper.convert_tokens_to_ids("<|endoftext|>") == first
    assert whisper.convert_tokens_to_ids("<|notimestamps|>") == len(whisper) - 1
    assert len(whisper) < 51_865


def test_both_tokenizers_share_their_text_ids(tokenizers: Pair) -> None:
    chat, whisper = tokenizers
    for token in range(n_text_ids(chat)):
        assert chat.convert_ids_to_tokens(token) == whisper.convert_ids_to_tokens(token)


def test_words_carry_their_space_even_at_the_start(tokenizers: Pair) -> None:
    """A word is one id wherever it stands, so that the lens and the answers speak of the same id."""
    for tokenizer in tokenizers:
        alone, first, inside = (
            tokenizer.encode(text, add_special_tokens=False) for text in ("the", "the dog", "dog the")
        )
        assert len(alone) == 1 and first[:1] == alone and inside[-1:] == alone
        assert tokenizer.decode(alone) == " the"


def test_every_text_survives(tokenizers: Pair) -> None:
    for tokenizer in tokenizers:
        for text in ("don't stop", "Sci/Tech", "unheard-of: zyzzyva 1999?", "naïve café"):
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert str(tokenizer.decode(ids)).strip() == text


def test_encoding_adds_nothing_of_its_own(tokenizers: Pair) -> None:
    for tokenizer in tokenizers:
        assert tokenizer.encode("the dog") == tokenizer.encode("the dog", add_special_tokens=False)


def test_the_chat_template_word_for_word(tokenizers: Pair) -> None:
    chat, _ = tokenizers
    turn = [{"role": "user", "content": "the dog barks Which topic?"}]
    assert chat.apply_chat_template(turn, tokenize=False, add_generation_prompt=True) == (
        "<|begin|><|user|>the dog barks Which topic?<|end|><|assistant|>"
    )
    answered = [*turn, {"role": "assistant", "content": "World"}]
    assert chat.apply_chat_template(answered, tokenize=False) == (
        "<|begin|><|user|>the dog barks Which topic?<|end|><|assistant|>World<|end|>"
    )


def test_the_specials_have_their_roles(tokenizers: Pair) -> None:
    chat, whisper = tokenizers
    assert (chat.bos_token, chat.eos_token, chat.pad_token) == ("<|begin|>", "<|end|>", "<|pad|>")
    assert whisper.bos_token == whisper.eos_token == whisper.pad_token == "<|endoftext|>"
    for tokenizer in tokenizers:
        ends = [*tokenizer.encode("the dog", add_special_tokens=False), tokenizer.eos_token_id]
        assert tokenizer.decode(ends, skip_special_tokens=True) == " the dog"
