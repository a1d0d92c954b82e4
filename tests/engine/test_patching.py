"""Patching on a planted network: the prediction follows the word that was put in, if it is made from it."""

from __future__ import annotations

import pytest
import torch

from engine.interventions import Replacement, lead_of, run_patched, stretch
from engine.lens import candidate_ids
from tests.engine.planted_phases import (
    KINDS,
    LOGIT,
    WRITES_CURRENT,
    WRITES_NEXT,
    PlantedPhases,
    draw_planted_clips,
)
from tests.engine.test_phases import states_of


def changes(*, from_text: bool) -> list[float]:
    """Return by how much the lead of the donor's next word grows, with the donor, the same word, another word."""
    system = PlantedPhases(from_text=from_text)
    clips = draw_planted_clips(8, 21, chain=from_text)
    recipient, donor = clips[0], clips[1]
    others = [clip for clip in clips[2:] if clip.words[1] not in (recipient.words[1], donor.words[1])]
    own, theirs = (candidate_ids(system.tokenizer, clip.texts[2]) for clip in (recipient, donor))
    given = [
        states_of(system, clip)[WRITES_CURRENT][slice(*clip.spans[1])]
        for clip in (donor, recipient, others[0])
    ]
    start, stop = recipient.spans[1]
    prompt = system.prompt(recipient)
    rows = run_patched(system, prompt, (start + 1, stop + 1), WRITES_CURRENT, given)
    leads = [lead_of(system, row[WRITES_NEXT][start + 1 : stop + 1], KINDS.text, theirs, own) for row in rows]
    return [lead - leads[0] for lead in leads[1:]]


def test_the_prediction_follows_the_word_that_is_put_in() -> None:
    donor, same, unrelated = changes(from_text=True)
    assert donor == pytest.approx(2 * LOGIT, rel=0.1), "the one goes up by a logit, the other down"
    assert same == pytest.approx(0.0, abs=1e-4)
    assert unrelated == pytest.approx(LOGIT, rel=0.2), "its own next word is lost, the donor's is not gained"


def test_where_the_next_word_is_part_of_the_state_it_comes_along() -> None:
    """A state holds all that it holds: patching does not say by which part of it the prediction goes."""
    donor, same, _ = changes(from_text=False)
    assert donor == pytest.approx(2 * LOGIT, rel=0.1) and same == pytest.approx(0.0, abs=1e-4)


def test_stretched_states_are_the_nearest_in_time() -> None:
    states = torch.arange(4.0)[:, None]
    assert stretch(states, 4).tolist() == states.tolist()
    assert stretch(states, 2)[:, 0].tolist() == [1.0, 3.0]
    assert stretch(states, 8)[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert stretch(states[:1], 3)[:, 0].tolist() == [0.0] * 3


def test_a_replacement_takes_the_place_of_every_row() -> None:
    new = Replacement(torch.ones(2, 3))
    assert (new(torch.zeros(4, 2, 3)) == 1).all() and new(torch.zeros(1, 2, 3).half()).dtype == torch.float16


def test_a_lead_is_the_likeliest_tokens_in_the_pool() -> None:
    system = PlantedPhases()
    states = torch.zeros(2, system.unembedding.weight.size(-1))
    states[0, 40 + 3], states[1, 40 + 5] = 1.0, 0.5
    assert lead_of(system, states, KINDS.text, (3,), (5, 6)) == pytest.approx(LOGIT / 2)
