"""Facts about matching: it is read from configs, records and weights, and never from a name alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import matching
from engine.errors import ModelFilesError
from engine.matching import language_model_folder, match_of_folders, weights_name
from engine.systems.checkpoint import fingerprint
from tests.engine.checkpoints import write_checkpoint

TEXT = {"num_hidden_layers": 28, "hidden_size": 3584}


def text_llm(models: Path, name: str, value: float = 1.0, config: dict[str, Any] | None = None) -> Path:
    return write_checkpoint(models / name, config or TEXT, {"model.norm.weight": [value, 2.0]})


def with_own_llm(models: Path, name: str, origin: Any = None) -> Path:
    config: dict[str, Any] = {"text_config": {"intermediate_size": 11008}}
    config |= {"initialised_from": origin} if origin is not None else {}
    return write_checkpoint(models / name, config, {"language_model.model.norm.weight": [7.0, 2.0]})


def on_shared_llm(models: Path, name: str, text_model: str) -> Path:
    return write_checkpoint(models / name, {"text_model_id": text_model}, {"audio_tower.x": [1.0]})


def test_equal_weights_are_exact_whatever_the_folder_is_called(tmp_path: Path) -> None:
    text_llm(tmp_path, "a")
    speech = on_shared_llm(tmp_path, "speech", "a")
    assert match_of_folders(speech, tmp_path / "a") == "exact"
    assert match_of_folders(speech, text_llm(tmp_path, "copy")) == "exact"
    assert match_of_folders(speech, text_llm(tmp_path, "other", value=1.5)) == "none"


def test_weights_of_another_shape_are_told_apart_by_their_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashing gigabytes is not needed to see that two models differ."""
    text_llm(tmp_path, "a")
    speech = on_shared_llm(tmp_path, "speech", "a")
    other = write_checkpoint(tmp_path / "b", TEXT, {"model.norm.weight": [1.0]})

    def hashed(_folder: Path) -> str:
        raise AssertionError("the weights were read")

    monkeypatch.setattr(matching, "weights_name", hashed)
    assert match_of_folders(speech, other) == "none"


def test_its_own_tensors_are_self_and_what_it_began_with_is_its_ancestor(tmp_path: Path) -> None:
    began = text_llm(tmp_path, "began")
    speech = with_own_llm(tmp_path, "speech", {"language_model": fingerprint([began])})
    assert match_of_folders(speech, speech) == "self"
    assert match_of_folders(speech, began) == "ancestor"
    assert match_of_folders(speech, text_llm(tmp_path, "other", value=3.0)) == "none"


@pytest.mark.parametrize("origin", [None, {}, [], "text", {"language_model": None}, {"language_model": ""}])
def test_a_record_that_names_nothing_is_no_ancestor(tmp_path: Path, origin: Any) -> None:
    speech = with_own_llm(tmp_path, "speech", origin)
    assert match_of_folders(speech, text_llm(tmp_path, "text")) == "none"


def test_the_papers_word_counts_for_the_pairs_that_it_names(tmp_path: Path) -> None:
    """Qwen2-Audio-7B is paired with Qwen2-7B there, which is another model in shape and origin."""
    speech = with_own_llm(tmp_path, "Qwen2-Audio-7B-Instruct")
    assert match_of_folders(speech, text_llm(tmp_path, "Qwen2-7B-Instruct")) == "paper"
    assert match_of_folders(speech, text_llm(tmp_path, "Qwen2.5-7B-Instruct")) == "none"
    renamed = text_llm(tmp_path, "elsewhere")
    assert match_of_folders(speech, renamed) == "none"
    assert match_of_folders(speech, renamed, names=(speech.name, "qwen2-7b-instruct")) == "paper"
    ours = with_own_llm(tmp_path, "mini-qwen2-audio")
    assert match_of_folders(ours, tmp_path / "Qwen2-7B-Instruct") == "none"


def test_what_is_known_goes_before_the_papers_word(tmp_path: Path) -> None:
    text_llm(tmp_path, "Llama-3.1-8B-Instruct")
    speech = on_shared_llm(tmp_path, "ultravox-v0_5-llama-3_1-8b", "Llama-3.1-8B-Instruct")
    assert match_of_folders(speech, tmp_path / "Llama-3.1-8B-Instruct") == "exact"


def test_a_text_model_named_by_its_id_is_found_where_it_lies(tmp_path: Path) -> None:
    """A published Ultravox names its Llama by the id on the hub, and not by a folder beside it."""
    llama = text_llm(tmp_path, "fetched")
    speech = on_shared_llm(tmp_path, "ultravox", "meta-llama/Llama-3.1-8B-Instruct")
    assert match_of_folders(speech, llama) == "none"
    found = {"meta-llama/Llama-3.1-8B-Instruct": llama}
    assert match_of_folders(speech, llama, found.get) == "exact"


def test_a_language_model_that_hears_by_adapters_is_the_same_without_them(tmp_path: Path) -> None:
    speech = write_checkpoint(tmp_path / "phi", {"model_type": "phi4_multimodal"}, {"x": [1.0]})
    assert match_of_folders(speech, speech) == "exact"


def test_a_text_model_that_is_not_here_cannot_be_compared(tmp_path: Path) -> None:
    speech = on_shared_llm(tmp_path, "speech", "elsewhere")
    assert match_of_folders(speech, text_llm(tmp_path, "a")) == "none"
    own = with_own_llm(tmp_path, "own", {"language_model": fingerprint([tmp_path / "a"])})
    (tmp_path / "a" / "model.safetensors").unlink()
    assert match_of_folders(own, tmp_path / "a") == "none"


def test_a_named_text_model_wins_over_an_inline_config(tmp_path: Path) -> None:
    config = {"text_model_id": "a", "text_config": {}}
    speech = write_checkpoint(tmp_path / "speech", config, {"x": [1.0]})
    assert language_model_folder(speech) == tmp_path / "a"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"text_config": 3}'])
def test_a_config_that_says_nothing_is_an_error(tmp_path: Path, text: str) -> None:
    speech = with_own_llm(tmp_path, "speech")
    (speech / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelFilesError, match=r"^speech"):
        match_of_folders(speech, text_llm(tmp_path, "text"))


@pytest.mark.parametrize("content", [b"", b"1234567", b"\xff" * 9, b"\x02" + b"\x00" * 7 + b"[]"])
def test_damaged_weights_are_named(tmp_path: Path, content: bytes) -> None:
    text_llm(tmp_path, "a")
    speech = on_shared_llm(tmp_path, "speech", "a")
    other = text_llm(tmp_path, "b")
    (other / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFilesError, match=r"^b/model.safetensors is damaged"):
        match_of_folders(speech, other)


def test_weights_are_named_by_their_revision_or_their_content(tmp_path: Path) -> None:
    folder = text_llm(tmp_path, "a")
    content = fingerprint([folder])[:12]
    assert weights_name(folder) == content
    (folder / "revision.txt").write_text("unversioned\n", encoding="utf-8")
    assert weights_name(folder) == content
    (folder / "revision.txt").write_text("0123456789ab\n", encoding="utf-8")
    assert weights_name(folder) == "0123456789ab"
    (folder / "revision.txt").unlink()
    write_checkpoint(folder, TEXT, {"model.norm.weight": [5.0, 5.0]})
    assert weights_name(folder) == fingerprint([folder])[:12] != content
