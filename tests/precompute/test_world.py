"""Facts about the mini world: nothing leaks over the split, the corpora keep their format and labels."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from engine.tasks import TASKS, instruction_for, is_right, parse_choices
from engine.words import normalise
from precompute.mini.held_out import TASKS as HELD_OUT_TASKS
from precompute.mini.held_out import gold_of, held_out_items
from precompute.mini.sentence import Sentence
from precompute.mini.voices import Voice
from precompute.mini.world import TEST_SHARE, World, build_world, write_split

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("train", "validation", "test")
WORDS_DECIDE = ("topic", "sentiment", "commonsense", "trivia")


@pytest.fixture(scope="module")
def world() -> World:
    return build_world()


@pytest.fixture(scope="module")
def everything(world: World) -> list[Sentence]:
    return [*world.train, *world.validation, *world.test]


def texts(sentences: Iterable[Sentence]) -> set[str]:
    return {sentence.text for sentence in sentences}


@pytest.mark.parametrize(("a", "b"), [("train", "test"), ("train", "validation"), ("validation", "test")])
def test_no_text_and_no_group_is_on_two_sides(world: World, a: str, b: str) -> None:
    left, right = getattr(world, a), getattr(world, b)
    assert not texts(left) & texts(right)
    assert not {(s.task, s.group) for s in left} & {(s.task, s.group) for s in right}


def test_every_word_of_the_held_out_sides_occurs_in_training(world: World) -> None:
    """A word that was never heard would measure the vocabulary and not the ears."""
    known = {word for text in texts(world.train) for word in text.split()}
    for side in (world.validation, world.test):
        assert not {word for text in texts(side) for word in text.split()} - known


def test_the_vocabulary_has_800_words_or_more(world: World) -> None:
    assert len({word for text in texts(world.train) for word in text.split()}) >= 800


def test_the_split_has_the_share_it_says_for_every_task(world: World, everything: list[Sentence]) -> None:
    """Groups are drawn one by one: four standard errors of the groups' share leave room for chance alone."""
    for task in Counter(s.task for s in everything):
        groups = {s.group for s in everything if s.task == task}
        held = {s.group for s in world.test if s.task == task}
        margin = 4 * (TEST_SHARE * (1 - TEST_SHARE) / len(groups)) ** 0.5
        assert len(held) / len(groups) == pytest.approx(TEST_SHARE, abs=margin), task


def test_another_process_builds_the_same_world(world: World) -> None:
    """Nothing hangs on the hash seed of a process."""
    code = (
        "import hashlib; from precompute.mini.world import build_world\n"
        "print(hashlib.sha256(repr(build_world()).encode()).hexdigest())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == hashlib.sha256(repr(world).encode()).hexdigest()


def test_another_seed_gives_another_split(world: World) -> None:
    assert texts(build_world(1).test) != texts(world.test)


def test_texts_are_lower_case_words_of_speakable_length(everything: list[Sentence]) -> None:
    for sentence in everything:
        assert re.fullmatch(r"[a-z']+( [a-z']+)*", sentence.text), sentence
        assert len(sentence.text) <= 72 and 3 <= len(sentence.text.split()) <= 13, sentence


def test_labels_are_those_that_the_tasks_allow(everything: list[Sentence]) -> None:
    for sentence in everything:
        if sentence.task == "everyday":
            assert not sentence.label
        elif TASKS[sentence.task].labels:
            assert sentence.label in TASKS[sentence.task].labels, sentence
        assert bool(sentence.choices) == (sentence.task == "commonsense")
        assert not sentence.aliases or sentence.task == "trivia"


def test_every_label_of_a_task_occurs_on_every_side(world: World) -> None:
    for task in ("topic", "sentiment", "emotion", "sarcasm"):
        for side in SIDES:
            assert {s.label for s in getattr(world, side) if s.task == task} == set(TASKS[task].labels)


def test_commonsense_offers_five_distinct_choices_that_the_engine_can_read(
    everything: list[Sentence],
) -> None:
    """`parse_choices` must give back the very words, or the forced choice could not find the right one."""
    for sentence in everything:
        if sentence.task == "commonsense":
            assert len(set(sentence.choices)) == 5 and sentence.label in sentence.choices, sentence
            assert parse_choices(", ".join(sentence.choices)) == sentence.choices


def test_the_place_of_the_right_choice_says_nothing(world: World) -> None:
    """Shuffled choices: each place holds the right one about a fifth of the time."""
    places = Counter(s.choices.index(s.label) for s in world.train if s.task == "commonsense")
    assert set(places) == set(range(5))
    assert all(share / places.total() == pytest.approx(0.2, abs=0.04) for share in places.values())


def test_trivia_answers_and_their_aliases_count_as_right(everything: list[Sentence]) -> None:
    trivia = [s for s in everything if s.task == "trivia"]
    assert any(s.aliases for s in trivia)
    for sentence in trivia:
        assert sentence.label == normalise(sentence.label)
        for answer in (sentence.label, *sentence.aliases):
            assert is_right(TASKS["trivia"], answer, sentence.label, sentence.aliases), sentence


def test_the_same_commonsense_words_have_more_than_one_right_answer(world: World) -> None:
    """The hard cases: over the same kind of question a lost "not" changes the answer."""
    assert {"negation", "contrast"} <= {s.hard for s in world.test if s.task == "commonsense"}
    assert {s.hard for s in world.test if s.task in ("topic", "sentiment")} - {""}


def test_sarcasm_cannot_be_told_from_the_words(world: World) -> None:
    labels: dict[str, set[str]] = {}
    for sentence in world.train:
        if sentence.task == "sarcasm":
            labels.setdefault(sentence.text, set()).add(sentence.label)
    assert all(found == {"sarcastic", "sincere"} for found in labels.values())


def test_every_emotion_line_occurs_with_two_emotions(world: World) -> None:
    labels: dict[str, list[str]] = {}
    for sentence in world.train:
        if sentence.task == "emotion":
            labels.setdefault(sentence.text, []).append(sentence.label)
    assert all(len(found) == len(set(found)) == 2 for found in labels.values())


def test_the_split_is_written_down(world: World, tmp_path: Path) -> None:
    write_split(tmp_path / "split.json")
    record = json.loads((tmp_path / "split.json").read_text(encoding="utf-8"))
    assert set(record["test_texts"]) == texts(world.test)
    assert sum(record["counts"]["train"].values()) == len(world.train)


def test_held_out_items_are_of_the_test_side_and_repeat(world: World) -> None:
    held = texts(world.test)
    for task in HELD_OUT_TASKS:
        items = held_out_items(task, 50)
        assert items == held_out_items(task, 50) and len(items) == 50
        assert all(item.sentence.text in held and item.sentence.task != "everyday" for item in items)
        assert len({(item.sentence.text, item.prompt) for item in items}) == 50
        assert items[:20] == held_out_items(task, 20)


@pytest.mark.parametrize("task", HELD_OUT_TASKS)
def test_held_out_items_can_be_asked(task: str) -> None:
    for item in held_out_items(task, 20):
        assert instruction_for(TASKS[task], item.prompt)


def test_who_speaks_is_asked_of_each_text_once_and_without_choices() -> None:
    """A commonsense question kept its choices here, came twice, and an example showed them as its prompt."""
    items = held_out_items("speaker", 300)
    assert any(item.sentence.task == "commonsense" for item in items)
    assert not any(item.prompt for item in items)
    assert len(texts(item.sentence for item in items)) == len(items)


def test_the_right_answer_is_the_voices_sex_only_when_the_speaker_is_asked_for() -> None:
    voice = Voice("espeak", "en-us+f3", "woman")
    assert gold_of(held_out_items("speaker", 1)[0], voice) == "woman"
    item = held_out_items("topic", 1)[0]
    assert gold_of(item, voice) == item.sentence.label


@pytest.mark.parametrize("task", WORDS_DECIDE)
def test_no_one_answer_wins_on_the_tasks_that_the_words_decide(task: str) -> None:
    items = held_out_items(task, 300)
    assert max(Counter(item.sentence.label for item in items).values()) / len(items) < 0.6
