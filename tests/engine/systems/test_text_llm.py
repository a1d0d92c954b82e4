"""The text LLM and its tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from engine.errors import ModelFilesError
from engine.generate import run_arms
from engine.lens import unembed
from engine.systems.base import end_ids
from engine.systems.catalogue import get_spec
from engine.systems.text_llm import TEMPLATES, TextLLM, end_of_turn, read_tokenizer
from engine.words import SpokenWord
from tests.engine.tiny_phi4 import TEMPLATE, phi4_tokenizer
from tests.engine.tiny_qwen2_audio import tiny_audio_tokenizer
from tests.engine.tiny_systems import tiny_tokenizer
from tests.engine.tiny_voxtral import N_SPECIALS, WORDS, tekken

QUESTION = "Is this positive or negative?"


def test_the_transcript_stands_where_a_clip_would(text_llm: TextLLM) -> None:
    heard = text_llm.hear_text("the queen scored", (SpokenWord("the", 0.0, 0.1),), seconds=2.0)
    prepared = text_llm.prepare(heard, QUESTION)
    whole = text_llm.tokenizer.apply_chat_template(
        [{"role": "user", "content": "the queen scored " + QUESTION}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=False,
    )
    assert torch.equal(prepared.embeddings[0], text_llm.embedding(torch.tensor(whole)))
    start, stop = prepared.span
    assert torch.equal(prepared.embeddings[0, start:stop], heard.embeddings) and stop - start == len(
        heard.embeddings
    )
    assert heard.seconds_per_position == 0.0 and heard.text == "the queen scored" and heard.seconds >= 2.0


def test_the_answer_is_what_generate_gives_for_the_same_ids(text_llm: TextLLM) -> None:
    prepared = text_llm.prepare(text_llm.hear_text("the market fell"), QUESTION)
    ids = torch.tensor(
        [
            text_llm.tokenizer.apply_chat_template(
                [{"role": "user", "content": "the market fell " + QUESTION}],
                tokenize=True,
                add_generation_prompt=True,
                return_dict=False,
            )
        ]
    )
    expected = text_llm.language_model.generate(  # type: ignore[operator]
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False
    )
    assert (
        list(run_arms(text_llm, prepared, max_new_tokens=6).decoded[0].token_ids)
        == expected[0, ids.shape[1] :].tolist()
    )


@pytest.mark.parametrize("text", ["", "  \n"])
def test_nothing_heard_leaves_the_place_empty(text_llm: TextLLM, text: str) -> None:
    prepared = text_llm.prepare(text_llm.hear_text(text), QUESTION)
    assert prepared.span == (2, 2) and prepared.heard.embeddings.shape == (0, 32)
    assert run_arms(text_llm, prepared, max_new_tokens=2).decoded[0].log_likelihood < 0


def test_the_transcript_changes_the_answers_scores(text_llm: TextLLM) -> None:
    scores = [
        run_arms(text_llm, text_llm.prepare(text_llm.hear_text(text), QUESTION), continuations=["positive"])
        for text in ("the screen was dull", "the new phone was great")
    ]
    assert scores[0].continuation_scores[0, 0] != scores[1].continuation_scores[0, 0]


def test_words_are_split_as_the_folders_own_tokenizer_splits_them(qwen_models: Path) -> None:
    """By the config's model type alone, transformers would load a tokenizer of another kind."""
    own = tiny_audio_tokenizer()
    for key, name in (("mini-qwen2", "mini-qwen2"), ("mini-qwen2-audio-llm", "mini-qwen2-audio")):
        model = TextLLM(get_spec(key), qwen_models / name)
        assert model.tokenizer.get_vocab() == own.get_vocab()
        for text in ("the queen scored", "World, Sports, Business or Sci/Tech"):
            ids = model.tokenizer.encode(text, add_special_tokens=False)
            assert ids == own.encode(text, add_special_tokens=False)
        assert model.tokenizer.chat_template == own.chat_template


def test_half_precision_answers_and_is_read_in_full(models: Path, text_llm: TextLLM) -> None:
    """The weights alone are halved: angles of rotation, recorded states and the lens stay in float32."""
    half = TextLLM(get_spec("mini-llama"), models / "mini-llama", dtype=torch.bfloat16)
    model: Any = half.language_model
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32
    prepared = half.prepare(half.hear_text("the queen scored"), QUESTION)
    found = run_arms(half, prepared, record_layers=[0, 3], max_new_tokens=2)
    assert found.states[3].dtype == torch.float32 and found.prompt_logits.isfinite().all()
    assert unembed(half, found.states[3][0]).dtype == torch.float32
    full = run_arms(
        text_llm, text_llm.prepare(text_llm.hear_text("the queen scored"), QUESTION), record_layers=[3]
    )
    relative = (found.states[3] - full.states[3]).norm() / full.states[3].norm()
    assert 0 < relative < 0.1


@pytest.mark.parametrize(("named", "ends"), [([7, 5, 9], (7, 5, 9)), (5, (5,)), (None, ())])
def test_the_folders_own_settings_name_the_end_tokens(
    folder: Path, named: Any, ends: tuple[int, ...]
) -> None:
    """A missing file is no reason to take what transformers makes up for the class."""
    file = folder / "generation_config.json"
    if named is None:
        file.unlink()
    else:
        file.write_text(json.dumps({"eos_token_id": named}), encoding="utf-8")
    model = TextLLM(get_spec("mini-llama"), folder)
    assert set(end_ids(model)) == {model.tokenizer.eos_token_id, *ends}
    assert end_ids(model)[0] == model.tokenizer.eos_token_id


def test_loading_takes_no_second_copy_and_no_wider_one(tmp_path: Path) -> None:
    """Weights of 64 MB in bfloat16 are mapped from their file: what the process owns grows by less than half."""
    config = LlamaConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=2, num_attention_heads=8, vocab_size=2_000
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    n_bytes = sum(weight.numel() * 2 for weight in model.parameters())
    model.save_pretrained(tmp_path)
    tiny_audio_tokenizer().save_pretrained(tmp_path)
    del model
    before = anonymous_bytes()
    loaded = TextLLM(get_spec("mini-llama"), tmp_path, dtype=torch.bfloat16)
    assert n_bytes > 60e6 and anonymous_bytes() - before < n_bytes / 2
    assert {weight.dtype for weight in loaded.language_model.parameters()} == {torch.bfloat16}


def anonymous_bytes() -> int:
    """What this process owns, mapped files left out."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("only Linux tells what a process owns")
    line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(models / "mini-llama", tmp_path / "mini-llama"))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelFilesError) as caught:
        TextLLM(get_spec("mini-llama"), folder)
    assert str(folder.parent) not in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "mini-llama lacks model.safetensors" in refusal(folder)


def test_weights_that_break_off_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    assert "could not be loaded" in refusal(folder)


def test_a_missing_tensor_is_refused_and_not_made_up(folder: Path) -> None:
    """transformers fills what is missing with random numbers and only warns."""
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lacks tensor model.norm.weight" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("model.extra.weight", torch.zeros(2), "has an unexpected tensor model.extra.weight"),
        ("model.norm.weight", torch.zeros(3), "does not fit its config: model.norm.weight has another shape"),
    ],
)
def test_an_unexpected_or_reshaped_tensor_is_refused(
    folder: Path, name: str, tensor: torch.Tensor, words: str
) -> None:
    """transformers drops the first without a word and fills the second with random numbers."""
    tensors = load_file(folder / "model.safetensors") | {name: tensor}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert words in refusal(folder)


def test_a_missing_config_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "could not be loaded" in refusal(folder)


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
