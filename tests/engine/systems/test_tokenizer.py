"""A folder's tokenizer: Mistral's own file, the chat template wherever it lies, and the end of a turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.systems.text_llm import TEMPLATES, end_of_turn, read_tokenizer
from tests.engine.tiny_phi4 import TEMPLATE, phi4_tokenizer
from tests.engine.tiny_systems import tiny_tokenizer
from tests.engine.tiny_voxtral import N_SPECIALS, WORDS, tekken

TURN = [{"role": "user", "content": "ask"}]


@pytest.fixture
def mistral(tmp_path: Path) -> Path:
    (tmp_path / "tekken.json").write_text(json.dumps(tekken()), encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "voxtral"}), encoding="utf-8")
    return tmp_path


def test_mistrals_file_gives_the_ranks_behind_the_marks(mistral: Path) -> None:
    tokenizer = read_tokenizer(mistral)
    long = {word: 256 + index + N_SPECIALS for index, word in enumerate(WORDS)}
    a_byte = {char: ord(char) + N_SPECIALS for char in " squen"}
    assert tokenizer.encode("the", add_special_tokens=False) == [long[b"the"]]
    assert tokenizer.encode(" the", add_special_tokens=False) == [long[b" the"]]
    assert tokenizer.encode("queens", add_special_tokens=False) == [
        *tokenizer.encode("queen", add_special_tokens=False),
        a_byte["s"],
    ]
    assert tokenizer.encode("[AUDIO]é", add_special_tokens=False) == [24, 0xC3 + 30, 0xA9 + 30]
    assert tokenizer.decode(tokenizer.encode("the queen é", add_special_tokens=False)) == "the queen é"
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 11)
    assert len(tokenizer) == N_SPECIALS + 256 + len(WORDS)


def test_a_mark_that_the_file_lacks_is_not_made_up(mistral: Path) -> None:
    """It would get an id past the model's last row."""
    text = (mistral / "tekken.json").read_text(encoding="utf-8").replace("<pad>", "<SPECIAL_11>")
    (mistral / "tekken.json").write_text(text, encoding="utf-8")
    tokenizer = read_tokenizer(mistral)
    assert tokenizer.pad_token is None and len(tokenizer) == N_SPECIALS + 256 + len(WORDS)


def test_voxtrals_built_in_template(mistral: Path) -> None:
    text = str(read_tokenizer(mistral).apply_chat_template(TURN, tokenize=False, add_generation_prompt=True))
    assert text == "<s>[INST]ask[/INST]"


def test_the_processors_template_is_found(tmp_path: Path) -> None:
    tokenizer = phi4_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    assert read_tokenizer(tmp_path).chat_template is None
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}), encoding="utf-8")
    assert read_tokenizer(tmp_path).chat_template == TEMPLATE


def test_qwen2_audios_built_in_template_is_the_published_one(tmp_path: Path) -> None:
    from transformers import Qwen2AudioProcessor

    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATES["qwen2_audio"]
    found = tokenizer.apply_chat_template(TURN, tokenize=False, add_generation_prompt=True)
    tokenizer.chat_template = Qwen2AudioProcessor.default_chat_template.fget(None)  # type: ignore[attr-defined]
    assert found == tokenizer.apply_chat_template(TURN, tokenize=False, add_generation_prompt=True)
    assert "You are a helpful assistant." in str(found)


def test_generation_ends_with_the_turn_not_with_the_document(tmp_path: Path) -> None:
    written = phi4_tokenizer()
    assert written.eos_token == "<|endoftext|>"
    written.save_pretrained(tmp_path)
    assert read_tokenizer(tmp_path).eos_token == "<|end|>"


def test_a_tokenizer_whose_end_is_the_turns_stays_as_it_is(models: Path) -> None:
    tokenizer = read_tokenizer(models / "mini-llama")
    assert tokenizer.eos_token == end_of_turn(tokenizer) == tiny_tokenizer().eos_token


def test_a_template_without_an_end_names_none() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    assert end_of_turn(tokenizer) is None
