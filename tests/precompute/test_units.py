"""Facts about the parts of a unit that each need one model: together they are the unit."""

from __future__ import annotations

from pathlib import Path

from engine.voice import Recipe
from precompute.corpora.item import question_of
from precompute.mechanism.units import LayerJob, MechanismUnit
from precompute.units import ClipWork, ListenUnit, Load, MemoryUnit, Need, Prompt, ReadUnit

QUESTION = question_of("topic")
HERE = Path()


def work(clip: str, *needs: Need) -> ClipWork:
    return ClipWork(Recipe(text=clip), QUESTION, needs)


def test_parts_of_sound_hold_every_key_once_and_each_names_one_model() -> None:
    unit = ListenUnit(
        (
            work("a", Need("ra", "render"), Need("la", "listen", "one"), Need("ta", "transcribe", "ears")),
            work("b", Need("rb", "render"), Need("lb", "listen", "two")),
        ),
        HERE,
        HERE,
    )
    parts = unit.by_load()
    assert {load: part.keys for load, part in parts.items()} == {
        Load("one"): ("ra", "la", "rb"),
        Load("ears", "transcribe"): ("ta",),
        Load("two"): ("lb",),
    }
    assert sorted(key for part in parts.values() for key in part.keys) == sorted(unit.keys)
    assert [work.recipe.text for work in parts[Load("two")].works] == ["b"], "no clip is rendered for nothing"


def test_sound_alone_needs_no_model() -> None:
    unit = ListenUnit((work("a", Need("ra", "render")),), HERE, HERE)
    assert unit.by_load() == {Load(""): unit}


def test_other_units_are_whole_and_their_loads_differ() -> None:
    """A text LLM in a speech LLM's folder, and a system measured beside itself, are loads of their own."""
    read = ReadUnit("cascade", "same", (Prompt("p", "words", QUESTION),), HERE)
    memory = MemoryUnit("m", "same", HERE)
    mechanism = MechanismUnit("probe", "same", (LayerJob("j", 1),), HERE)
    units = (read, memory, mechanism)
    assert all(list(unit.by_load().values()) == [unit] for unit in units)
    assert len({load for unit in units for load in unit.by_load()}) == 3
    assert list(ReadUnit("service", "", (), HERE).by_load()) == [Load("service", "read")]
