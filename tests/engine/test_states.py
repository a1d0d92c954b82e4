"""States of one pass: those of a recorded answer, row by row, and edits take effect from their layer on."""

from __future__ import annotations

import torch

from engine.answering import all_layers
from engine.decode import run_arms
from engine.hooks import RowEdits
from engine.patching import Replacement
from engine.states import read_states
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
