"""Scores of spoken ends: against the model's own probabilities, and by hand."""

from __future__ import annotations

import pytest
import torch

from engine.generate import read_states
from engine.lens import EndScore, log_probabilities, score_end
from tests.engine.planted_phases import N_LAYERS, PlantedPhases, draw_planted_clips


def test_log_probabilities_are_those_of_the_models_own_logits() -> None:
    system, clip = PlantedPhases(), draw_planted_clips(1, 31, chain=True)[0]
    prompt = system.prompt(clip)
    logits = system.language_model(inputs_embeds=prompt.embeddings)[0, 1:]
    ids = torch.randint(logits.shape[-1], (len(logits),), generator=torch.Generator().manual_seed(0))
    (states,) = read_states(system, prompt)
    found = log_probabilities(system, states[N_LAYERS][1:], ids)
    slow = [float(logits[n].log_softmax(-1)[ids[n + 1]]) for n in range(len(ids) - 1)]
    assert found.tolist() == pytest.approx(slow, abs=1e-4)


def test_the_end_is_what_stands_behind_the_beginning() -> None:
    """Of five units two are the beginning: of the four scores the last three are the end's."""
    it = score_end(torch.tensor([-9.0, -1.0, -2.0, -3.0]), 2)
    assert it == EndScore(-6.0, 3) and it.per_unit == pytest.approx(-2.0)
