"""Facts about the facts: the wrong end is wrong and of the same kind, and the test form is in no training text."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from engine.voice import is_available
from precompute.mini.corpora.facts import Fact, all_facts
from precompute.mini.fact_clips import say_fact
from precompute.mini.voices import test_voices as held_out_voices
from precompute.mini.world import WORLD_SEED, build_world

FACTS = all_facts(WORLD_SEED)


def by_category() -> dict[str, list[Fact]]:
    grouped: dict[str, list[Fact]] = defaultdict(list)
    for fact in FACTS:
        grouped[fact.category].append(fact)
    return grouped


def test_there_are_facts_of_many_kinds_and_half_are_heard() -> None:
    assert len(FACTS) == 328 and len({fact.key for fact in FACTS}) == 328
    assert len(by_category()) == 24
    assert 0.4 < sum(fact.is_heard for fact in FACTS) / len(FACTS) < 0.6


def test_a_wrong_end_is_another_facts_right_one_of_the_same_category() -> None:
    for category, facts in by_category().items():
        answers = {fact.answer for fact in facts}
        for fact in facts:
            assert fact.wrong in answers and fact.wrong != fact.answer, (category, fact.key)


def test_what_the_lexicons_call_right_too_is_never_the_wrong_end() -> None:
    """Butter is made from milk or cream; a car is not kept in a barn, but it could be."""
    for seed in range(20):
        ends = {fact.key: fact.wrong for fact in all_facts(seed)}
        assert ends["commonsense kept butter"] != "freezer"
        assert ends["commonsense material a window"] != "wood"
        assert ends["trivia language england"] != "english"


def test_the_test_form_of_a_fact_is_in_no_training_text() -> None:
    trained = {statement for fact in FACTS for statement in fact.statements}
    trained |= {sentence.text for sentence in build_world().train}
    for fact in FACTS:
        assert len(fact.statements) == 2 and set(fact.statements) <= trained
        # Twenty prompts also begin a question ("the capital of finland is which city"), which has neither end.
        for end in (fact.answer, fact.wrong):
            assert not any(text.startswith(f"{fact.prompt} {end}") for text in trained), fact.prompt


def test_everything_can_be_said_and_the_same_seed_gives_the_same_facts() -> None:
    for fact in FACTS:
        for text in (*fact.statements, f"{fact.prompt} {fact.wrong}"):
            assert re.fullmatch(r"[a-z']+( [a-z']+)*", text) and "{" not in text
    assert all_facts(WORLD_SEED) == FACTS
    assert [f.wrong for f in all_facts(1)] != [f.wrong for f in FACTS]


@pytest.mark.skipif(not is_available(), reason="no espeak-ng wheel to say a fact")
def test_both_ends_are_said_by_one_unseen_voice_behind_the_same_prompt() -> None:
    fact = FACTS[0]
    said = say_fact(fact)
    assert said.voice in held_out_voices()
    prompt = fact.prompt.split()
    for words, end in ((said.right_words, fact.answer), (said.wrong_words, fact.wrong)):
        texts = [word.text for word in words]
        assert texts[: said.n_prompt_words] == prompt and texts[said.n_prompt_words :] == end.split()
    starts = [words[said.n_prompt_words].start_s for words in (said.right_words, said.wrong_words)]
    assert abs(starts[0] - starts[1]) < 0.1
