"""What the rail offers follows the files that are there; missing ones give a sentence, not a failure."""

from __future__ import annotations

import pytest

from dashboard import choices
from engine.errors import ErasureError, ModelFilesError

PAIR = "mini-ultravox"


def test_only_fitted_conditions_are_offered_with_their_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "available_conditions", lambda pair: {"boc": 26})
    offered = choices.offer(PAIR)
    assert offered.conditions == (choices.Condition("boc", "Bag of characters", 26),)
    assert "Text, CTC, Acoustic" in offered.erase_note


def test_a_damaged_eraser_leaves_the_page_standing(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(pair: str) -> dict[str, int]:
        raise ErasureError("The eraser is damaged; fit it again.")

    monkeypatch.setattr(choices, "available_conditions", damaged)
    assert choices.offer(PAIR).erase_note == "The eraser is damaged; fit it again."


def test_missing_weights_leave_the_page_standing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(pair: str) -> tuple[int, ...]:
        raise ModelFilesError("The config is missing; restore it.")

    monkeypatch.setattr(choices, "editable_layers", missing)
    assert choices.offer(PAIR).match_note == "The config is missing; restore it."


def test_the_preset_is_nine_layers_from_first_to_last() -> None:
    preset, every = choices.layer_preset(PAIR), choices.editable_layers(PAIR)
    assert len(preset) == 9
    assert (preset[0], preset[-1]) == (every[0], every[-1])
