"""The adapter of unit language models against the plain causal LM, on a random checkpoint in the published layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedModel

from engine.checks import check_adapter, probe_clip
from engine.errors import ModelFilesError
from engine.generate import run_arms
from engine.systems.base import WhiteBoxSystem
from engine.systems.catalogue import get_unit_model
from engine.systems.checkpoint import fingerprint, to_eight_bits
from engine.systems.unit_lm import Interleaved, UnitParts, merge_repeats
from tests.engine.tiny_interleaved import K, write_files, write_parts, write_units_model

SPEC = get_unit_model("sims-7b")
Published = tuple[Path, UnitParts, PreTrainedModel]


@pytest.fixture
def published(tmp_path: Path) -> Published:
    parts = write_parts(tmp_path)
    return tmp_path / "sims-7b", parts, write_units_model(tmp_path / "sims-7b", parts.tokenizer)


def test_the_published_layout_gives_the_plain_models_logits(published: Published) -> None:
    folder, parts, plain = published
    system = Interleaved(SPEC, folder, parts)
    ids = torch.arange(plain.config.vocab_size)[None, :300]
    with torch.inference_mode():
        assert torch.equal(system.language_model(input_ids=ids).logits, plain(input_ids=ids).logits)
    assert system.fingerprint == fingerprint([folder])


def test_a_model_with_one_matrix_for_both_ends_loads_without_the_other(tmp_path: Path) -> None:
    parts = write_parts(tmp_path)
    plain = write_units_model(tmp_path / "tied", parts.tokenizer, tied=True)
    system = Interleaved(SPEC, tmp_path / "tied", parts)
    ids = torch.arange(50)[None]
    with torch.inference_mode():
        assert torch.equal(system.language_model(input_ids=ids).logits, plain(input_ids=ids).logits)
    assert torch.equal(system.unembedding.get_parameter("weight"), system.embedding.get_parameter("weight"))


def test_it_passes_every_adapter_check(published: Published) -> None:
    folder, parts, _ = published
    system = Interleaved(SPEC, folder, parts)
    assert isinstance(system, WhiteBoxSystem)
    assert not [f"{f.name}: {f.measured}" for f in check_adapter(system) if not f.passed]


def test_units_and_tags_come_behind_the_text_models_own_ids(published: Published) -> None:
    folder, parts, plain = published
    system = Interleaved(SPEC, folder, parts)
    n_text = plain.config.vocab_size - K - 2
    assert (system.text_ids, system.unit_ids) == (range(n_text), range(n_text, n_text + K))
    assert (system.speech_tag, system.text_tag) == (n_text + K, n_text + K + 1)
    written = system.tokenizer.encode("<speech><Un0><Un11><text> the queen", add_special_tokens=False)
    assert written[:4] == [system.speech_tag, n_text, n_text + 11, system.text_tag]
    assert all(i in system.text_ids for i in written[4:]) and len(written) > 4


def test_a_tokenizer_that_knows_the_units_is_not_given_them_again(published: Published) -> None:
    folder, parts, _ = published
    first = Interleaved(SPEC, folder, parts)
    first.tokenizer.save_pretrained(parts.tokenizer)
    assert Interleaved(SPEC, folder, parts).unit_ids == first.unit_ids


def test_what_is_heard_are_the_units_embeddings_with_their_times(published: Published) -> None:
    folder, parts, _ = published
    system = Interleaved(SPEC, folder, parts)
    clip = probe_clip(2.0)
    units, heard = system.encode(clip), system.hear(clip)
    rows = system.embedding.get_parameter("weight")[torch.from_numpy(units.ids) + system.unit_ids.start]
    assert torch.equal(heard.embeddings, rows) and heard.seconds_per_position == 0.04
    assert heard.position_ends_s is not None
    np.testing.assert_allclose(heard.position_ends_s, np.cumsum(units.durations) * 0.04)


def test_prompts_are_what_the_model_was_trained_on(published: Published) -> None:
    folder, parts, _ = published
    system = Interleaved(SPEC, folder, parts)
    heard = system.hear_units(merge_repeats(np.array([3, 3, 5])))
    matrix = system.embedding.get_parameter("weight")
    base = system.unit_ids.start
    words = system.tokenizer.encode(" the queen", add_special_tokens=False)
    for prepared, ids in (
        (system.prepare_speech(heard), [system.speech_tag, base + 3, base + 5]),
        (system.prepare(heard, ""), [system.speech_tag, base + 3, base + 5, system.text_tag]),
        (
            system.prepare(heard, " the queen"),
            [system.speech_tag, base + 3, base + 5, system.text_tag, *words],
        ),
    ):
        assert prepared.span == (1, 3)
        assert torch.equal(prepared.embeddings[0], matrix[torch.tensor(ids)])
    states = run_arms(system, system.prepare_speech(heard), record_layers=[0], max_new_tokens=1).states[0]
    assert torch.equal(states[0, 1:3], heard.embeddings)


def test_the_text_models_own_first_token_stays_first(published: Published) -> None:
    """Llama's tokenizer begins every text with a token, and the published prompts have it."""
    folder, parts, _ = published
    system = Interleaved(SPEC, folder, parts)
    begin = system.tokenizer.bos_token_id
    assert begin is not None
    rust = system.tokenizer.backend_tokenizer
    rust.post_processor = TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", int(begin))]
    )
    prepared = system.prepare_speech(system.hear_units(merge_repeats(np.array([3]))))
    assert prepared.span == (2, 3)
    assert torch.equal(prepared.embeddings[0, 0], system.embedding.get_parameter("weight")[begin])


def test_a_tensor_that_is_missing_renamed_or_reshaped_is_refused_by_name(published: Published) -> None:
    folder, parts, _ = published
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "model.safetensors")
    name = "lm.model.layers.1.mlp.up_proj.weight"
    weight = tensors.pop(name)
    for changed, message in (
        ({}, "lacks tensor model.layers.1.mlp.up_proj.weight"),
        (
            {"model.layers.1.mlp.up_proj.weight": weight.clone(), name: weight},
            "unexpected tensor model.layers.1.mlp",
        ),
        ({name: weight, "lm.extra.weight": weight.clone()}, "has an unexpected tensor extra.weight"),
        ({name: weight[:-1].contiguous()}, "model.layers.1.mlp.up_proj.weight has another shape"),
    ):
        write_files(folder, config, tensors | changed)
        with pytest.raises(ModelFilesError, match=f"SIMS-7B .*{message}"):
            Interleaved(SPEC, folder, parts)


def test_units_of_another_model_and_a_config_of_another_kind_are_refused(tmp_path: Path) -> None:
    parts = write_parts(tmp_path, k=K + 1)
    write_units_model(tmp_path / "sims-7b", parts.tokenizer)
    with pytest.raises(ModelFilesError, match="its 13 units belong to another model"):
        Interleaved(SPEC, tmp_path / "sims-7b", parts)
    (tmp_path / "sims-7b" / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    with pytest.raises(ModelFilesError, match="is not that of a speech_language_model"):
        Interleaved(SPEC, tmp_path / "sims-7b", parts)


def test_a_model_in_8_bits_is_the_model_of_its_rounded_weights(published: Published) -> None:
    folder, parts, plain = published
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "model.safetensors")
    write_files(folder, config, to_eight_bits(tensors))
    system = Interleaved(SPEC, folder, parts)
    own = dict(system.language_model.named_parameters())
    for name, weight in plain.named_parameters():
        bound = 0.01 * weight.detach().abs().amax(-1, keepdim=True)
        assert ((own[name] - weight).abs() <= bound).all()
    assert own["lm_head.weight"].dtype == torch.float32
