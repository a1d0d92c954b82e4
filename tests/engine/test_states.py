"""States of one pass: those of a recorded answer, row by row, and edits take effect from their layer on."""

from __future__ import annotations

import torch

from engine.generate import all_layers, read_states, run_arms, run_blocks
from engine.hooks import RowEdits
from engine.interventions import Replacement
from engine.systems.base import Prepared
from engine.systems.ultravox import Ultravox


def test_states_are_those_of_an_answers_prompt(ultravox: Ultravox, prepared: Prepared) -> None:
    (found,) = read_states(ultravox, prepared)
    passed = run_arms(ultravox, prepared, record_layers=all_layers(ultravox), max_new_tokens=1)
    assert sorted(found) == list(all_layers(ultravox))
    for layer, states in found.items():
        torch.testing.assert_close(states, passed.states[layer][0])


def test_an_edit_changes_what_follows_it_and_nothing_before(ultravox: Ultravox, prepared: Prepared) -> None:
    start, _ = prepared.span
    new = Replacement(torch.ones(1, prepared.embeddings.shape[-1]))
    edits = RowEdits([None, {2: new}], (start, start + 1), prepared.embeddings.shape[1], "audio")
    plain, edited = read_states(ultravox, prepared, edits)
    for layer in (0, 1):
        torch.testing.assert_close(edited[layer], plain[layer])
    assert (edited[2][start] == 1).all()
    torch.testing.assert_close(edited[2][start + 1 :], plain[2][start + 1 :])
    assert not torch.allclose(edited[3][start + 1 :], plain[3][start + 1 :])
    torch.testing.assert_close(edited[3][:start], plain[3][:start])
    (alone,) = read_states(ultravox, prepared)
    # Nothing of the edit stays on the model.
    torch.testing.assert_close(alone[3], plain[3])


def test_blocks_above_what_is_wanted_do_not_run(ultravox: Ultravox, prepared: Prepared) -> None:
    """Erasers are fitted layer upon layer: each pass went on to the head, and all of it was thrown away."""
    ran: list[int] = []
    modules = [*ultravox.decoder_layers, ultravox.unembedding]
    handles = [
        module.register_forward_hook(lambda *_, n=n: ran.append(n)) for n, module in enumerate(modules)
    ]
    new = Replacement(torch.ones(1, prepared.embeddings.shape[-1]))
    start, n_prompt = prepared.span[0], prepared.embeddings.shape[1]
    edits = RowEdits([None, {1: new}], (start, start + 1), n_prompt, "audio")
    above = RowEdits([None, {3: new}], (start, start + 1), n_prompt, "audio")
    try:
        found = read_states(ultravox, prepared, edits, [2])
        assert ran == [0, 1]
        read_states(ultravox, prepared, above, [2])
        assert 2 in ran[2:]
    finally:
        for handle in handles:
            handle.remove()
    whole = read_states(ultravox, prepared, edits)
    for few, every in zip(found, whole, strict=True):
        assert set(few) == {2} and torch.equal(few[2], every[2])


def test_blocks_run_from_a_layer_as_they_do_from_the_bottom(ultravox: Ultravox, prepared: Prepared) -> None:
    """Erasers are fitted layer upon layer: each layer's pass ran all the blocks below it again."""
    new = Replacement(torch.ones(1, prepared.embeddings.shape[-1]))
    start, n_prompt = prepared.span[0], prepared.embeddings.shape[1]
    edits = RowEdits([None, {1: new}], (start, start + 1), n_prompt, "audio")
    whole = read_states(ultravox, prepared, edits)
    carried = run_blocks(ultravox, torch.stack([states[1] for states in whole]), 1, 3)
    torch.testing.assert_close(carried, torch.stack([states[3] for states in whole]))
    (alone,) = read_states(ultravox, prepared)
    torch.testing.assert_close(alone[3], whole[0][3])  # the model has all its blocks again
