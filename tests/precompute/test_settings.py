"""Facts about settings: who asks the mini world, who the paper's corpora, and how much of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import UnknownKeyError
from engine.systems.profiles import PROFILES, profile_in_use, use_profile
from precompute.corpora.catalogue import CORPORA
from precompute.settings import (
    Settings,
    asks_corpora,
    checked_limit,
    chosen_tasks,
    corpora_keys,
    items_a_corpus,
    take_profile,
)


def test_the_mini_world_is_for_the_minis(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("systems: [mini-llama]\n")
    assert not asks_corpora(Settings()) and not asks_corpora(Settings(profile=str(own)))
    assert asks_corpora(Settings(profile="paper")) and asks_corpora(Settings(profile="small"))
    assert asks_corpora(Settings(corpora=tmp_path)), "minis may be asked what they were not made for"
    assert not asks_corpora(Settings(profile="paper", corpus=tmp_path / "manifest.csv"))


def test_a_profile_of_ones_own_is_taken_and_one_that_ships_needs_nothing(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("systems: [llama-3.2-1b-instruct]\n")
    try:
        take_profile("paper")
        assert profile_in_use() is PROFILES["mini"]
        take_profile(str(own))
        assert profile_in_use().key == "own"
    finally:
        use_profile(PROFILES["mini"])


def test_tasks_and_limits() -> None:
    assert corpora_keys(Settings()) == tuple(CORPORA)
    assert corpora_keys(Settings(tasks=("meld", "sst2"))) == ("sst2", "meld")
    assert corpora_keys(Settings(tasks=("meld", "sst2")), texts_only=True) == ("sst2",)
    assert [items_a_corpus(s) for s in (Settings(), Settings(quick=True), Settings(quick=True, limit=3))] == [
        None,
        20,
        3,
    ]
    for ask in (items_a_corpus, checked_limit):
        with pytest.raises(UnknownKeyError, match="The limit is 0; give 1 or more"):
            ask(Settings(limit=0))
    with pytest.raises(UnknownKeyError, match=r'no task "b" here\. Choose from: a\.'):
        chosen_tasks(("b",), ("a",))
