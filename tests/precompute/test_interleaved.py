"""Facts about the four arms: what they begin with, what they are taught, and what the command leaves."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from engine.checks import check_adapter
from engine.interleaved import read_unit_voice
from engine.systems.loading import load_unit_checkpoint as load_checkpoint
from engine.systems.loading import load_unit_model
from precompute.mini.interleaved import ARMS, MAIN, document_loss, held_out_losses, new_model
from precompute.mini.interleaving import SPEECH_ONLY, Vocabulary
from precompute.mini.unit_speech import UnitClip
from tests.precompute.test_interleaving import copy_of


def backbone() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=30,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=False,
        )
    )


def test_an_arm_begins_with_the_text_models_weights_or_with_none_of_them() -> None:
    text = backbone()
    grown, drawn = (new_model(text, 40, begins_with_text=begins) for begins in (True, False))
    for name, tensor in text.state_dict().items():
        own = grown.state_dict()[name]
        assert torch.equal(own[: len(tensor)], tensor) and own.shape[1:] == tensor.shape[1:]
        if tensor.ndim > 1:
            assert not torch.equal(drawn.state_dict()[name][: len(tensor)], tensor)
    rows = grown.state_dict()["model.embed_tokens.weight"]
    assert rows.shape == (40, 16) and 0.5 < float(rows[30:].std() / rows[:30].std()) < 2
    again = new_model(text, 40, begins_with_text=True)
    assert torch.equal(again.state_dict()["model.embed_tokens.weight"], rows)


def test_the_grid_crosses_beginnings_with_mixtures() -> None:
    cells = {(arm.begins_with_text, arm.mixture == SPEECH_ONLY) for arm in ARMS.values()}
    assert len(cells) == len(ARMS) == 4
    assert ARMS[MAIN].begins_with_text and ARMS[MAIN].mixture.interleaved > 0


def test_units_and_text_are_told_apart_in_the_loss() -> None:
    model = new_model(backbone(), 40, begins_with_text=True)
    ids = torch.tensor([[38, 30, 35, 39, 4, 5]])  # speech tag, two units, text tag, two tokens
    loss, parts = document_loss(model, ids, 30)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids).logits[0, :-1].float()
    each = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").detach()
    assert parts["unit"] == pytest.approx(float(each[:2].mean()))
    assert parts["text"] == pytest.approx(float(each[2:].mean()))
    assert float(loss.detach()) == pytest.approx(float(each.mean()))
    assert document_loss(model, torch.tensor([[38, 30, 35]]), 30)[1].keys() == {"unit"}


def test_held_out_losses_of_a_model_that_knows_nothing_are_the_logarithm_of_its_size(
    tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast],
) -> None:
    vocabulary = Vocabulary(copy_of(tokenizers[0]), 7)
    model = new_model(backbone(), vocabulary.size, begins_with_text=False)
    torch.nn.init.zeros_(model.lm_head.weight)
    clip = UnitClip("the sea", torch.arange(6).numpy(), (0, 3))
    found = held_out_losses(model, vocabulary, [clip])
    wanted = math.log(vocabulary.size)
    assert found == pytest.approx({"held_out_unit_nats": wanted, "held_out_text_nats": wanted})


def test_the_command_leaves_four_arms_and_a_model_in_8_bits_that_tells_the_truth(
    trained: tuple[Path, Path],
) -> None:
    build, models = trained
    for key in ARMS:
        steps = sorted(folder.name for folder in (build / "interleaved" / key).iterdir())
        assert steps[0] == "step-00000" and steps[-1] == "step-00002"
    system = load_unit_model("mini-interleaved", models)
    assert not [f"{f.name}: {f.measured}" for f in check_adapter(system) if not f.passed]
    folder = models / "mini-interleaved"
    assert load_file(folder / "model.safetensors")["lm.lm_head.weight"].dtype == torch.int8
    end = load_checkpoint(build / "interleaved" / MAIN / "step-00002", models)
    gap = system.unembedding.get_parameter("weight") - end.unembedding.get_parameter("weight")
    assert 0 < float(gap.abs().max()) < 0.02 * float(end.unembedding.get_parameter("weight").abs().max())
    assert len(read_unit_voice(folder / "units" / "voice.json").recordings) == 12
    record = json.loads((models / "training.json").read_text(encoding="utf-8"))["models"]["mini-interleaved"]
    for name in ("held_out_unit_nats", "random-speech held_out_text_nats", "word_error_rate of units"):
        assert record[name] > 0
