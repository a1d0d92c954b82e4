"""Facts about the questions: every answer is right by the sentence, the backbone's rows are whole."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from engine.tasks import FREE_FORMS, TASKS
from precompute.mini import backbone
from precompute.mini.backbone import (
    IGNORED,
    _answers_right,
    draw_out,
    encode_exchange,
    group_by_task,
    pad,
)
from precompute.mini.dialogue import (
    TASK_WEIGHTS,
    Exchange,
    any_exchange,
    draw_exchange,
    echo_exchange,
    own_exchange,
    speaker_exchange,
)
from precompute.mini.sentence import Sentence
from precompute.mini.world import build_world

TEXT = "the cat sat on the mat"
SENTENCE = Sentence("topic", TEXT, "World", "g")
# The instruction and the one right answer about TEXT; a continuation is checked by joining.
RIGHT = {
    "What is the first word?": "the",
    "What is the last word?": "mat",
    "How many words are there?": "six",
    "Repeat what was said.": TEXT,
}


def test_answers_about_any_sentence_are_right() -> None:
    seen = set()
    for seed in range(300):
        exchange = any_exchange(SENTENCE, random.Random(seed))
        seen.add(exchange.instruction)
        if exchange.instruction == "Continue the sentence.":
            assert f"{exchange.heard} {exchange.answer}" == TEXT
            assert len(exchange.heard.split()) >= 2 and len(exchange.answer.split()) >= 2
        else:
            assert exchange.heard == TEXT and exchange.answer == RIGHT[exchange.instruction]
    assert seen == {*FREE_FORMS, TASKS["transcribe"].instruction}


@pytest.mark.parametrize(("n_words", "number"), [(3, "three"), (11, "eleven"), (13, "thirteen")])
def test_words_are_counted(n_words: int, number: str) -> None:
    sentence = Sentence("topic", " ".join(["word"] * n_words), "World", "g")
    answers = {
        exchange.answer
        for exchange in (any_exchange(sentence, random.Random(seed)) for seed in range(100))
        if exchange.instruction == "How many words are there?"
    }
    assert answers == {number}


def test_a_continuation_of_the_shortest_sentence_has_an_answer() -> None:
    sentence = Sentence("topic", "one two three", "World", "g")
    for seed in range(100):
        exchange = any_exchange(sentence, random.Random(seed))
        assert exchange.answer.strip()


def test_every_count_of_the_corpora_has_a_word() -> None:
    for sentence in build_world().train:
        for seed in range(2):
            assert any_exchange(sentence, random.Random(seed)).answer


def test_a_sentences_own_task_is_asked_with_its_own_words() -> None:
    assert own_exchange(SENTENCE, random.Random(0)) == Exchange(
        "topic", TEXT, TASKS["topic"].instruction, "World"
    )


def test_choices_are_offered_in_a_new_order_and_often_only_some() -> None:
    choices = ("fridge", "oven", "shelf", "garden", "drawer")
    sentence = Sentence("commonsense", "where does cold milk go", "fridge", "g", choices)
    asked = {own_exchange(sentence, random.Random(seed)).instruction for seed in range(80)}
    offers = [
        instruction.removeprefix("Choose one answer: ").removesuffix(".").split(", ") for instruction in asked
    ]
    assert {len(offered) for offered in offers} == {2, 3, 4, 5} and len(asked) > 20
    for offered in offers:
        assert "fridge" in offered and len(set(offered)) == len(offered) and set(offered) <= set(choices)


def test_who_speaks_is_answered_by_the_sex() -> None:
    assert speaker_exchange(SENTENCE, "woman").answer == "woman"


def test_an_echo_repeats_known_words() -> None:
    exchange = echo_exchange(["a", "b"], random.Random(0))
    assert exchange.answer == exchange.heard and set(exchange.heard.split()) <= {"a", "b"}
    assert 3 <= len(exchange.heard.split()) <= 11


def test_examples_are_drawn_by_the_stated_weights() -> None:
    """Two thousand draws without echoes: an everyday sentence has no task of its own to be asked."""
    by_task = group_by_task(build_world().train)
    rng = random.Random(0)
    drawn = Counter(draw_exchange(by_task, ["a"], 0.0, rng).task for _ in range(2000))
    own_share = 0.62
    for task, weight in TASK_WEIGHTS.items():
        expected = 0 if task == "everyday" else weight * own_share
        assert drawn[task] / 2000 == pytest.approx(expected, abs=0.03), task
    assert drawn["transcribe"] / 2000 == pytest.approx(0.18, abs=0.05) and drawn["echo"] == 0
    assert draw_exchange(by_task, ["a"], 1.0, rng).task == "echo"


def test_weights_are_shares_of_all_tasks() -> None:
    assert sum(TASK_WEIGHTS.values()) == pytest.approx(1)
    assert set(TASK_WEIGHTS) == set(group_by_task(build_world().train))


def test_a_turn_is_encoded_as_the_template_and_only_sentence_and_answer_count(
    tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast],
) -> None:
    chat, _ = tokenizers
    ids, labels = encode_exchange(chat, Exchange("topic", TEXT, "Which topic?", "World"))
    assert chat.decode(ids) == f"<|begin|><|user|> {TEXT} Which topic?<|end|><|assistant|> World<|end|>"
    counted = [token for token, label in zip(ids, labels, strict=True) if label != IGNORED]
    assert chat.decode(counted) == f" {TEXT} World<|end|>"
    assert all(label in (IGNORED, token) for token, label in zip(ids, labels, strict=True))


def test_random_words_are_not_predicted_only_repeated(
    tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast],
) -> None:
    chat, _ = tokenizers
    ids, labels = encode_exchange(chat, Exchange("echo", "mat cat", "Repeat what was said.", "mat cat"))
    counted = [token for token, label in zip(ids, labels, strict=True) if label != IGNORED]
    assert chat.decode(counted) == " mat cat<|end|>"


def test_rows_are_padded_on_the_right() -> None:
    assert pad([[1, 2, 3], [4]], 9).tolist() == [[1, 2, 3], [4, 9, 9]]


def test_an_answer_counts_as_right_by_its_own_tokens_alone() -> None:
    """Row 0 misses a word of the sentence, row 1 one of the answer, row 2 none; all end in padding."""
    labels = torch.tensor([[IGNORED, 1, 2, IGNORED, IGNORED, 3, 4, IGNORED]] * 3)
    predicted = torch.tensor([[1, 0, 9, 9, 3, 4, 9, 9], [1, 2, 9, 9, 3, 0, 9, 9], [1, 2, 9, 9, 3, 4, 9, 9]])
    logits = torch.nn.functional.one_hot(predicted, 10).float()
    assert _answers_right(logits, labels) == pytest.approx(2 / 3)


def test_a_drawn_out_sentence_holds_its_words_in_order_and_lasts_as_long_as_their_letters(
    tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, _ = tokenizers
    ids = chat.encode("the market fell and the bank raised its rates", add_special_tokens=False)
    monkeypatch.setattr(backbone, "_MISHEARD_SHARE", 0.0)
    drawn = draw_out(chat, ids, random.Random(4))
    heard = [token for token in drawn if token != chat.pad_token_id]
    assert len(drawn) > len(heard) > len(ids)
    assert [token for i, token in enumerate(heard) if i == 0 or token != heard[i - 1]] == ids
    monkeypatch.setattr(backbone, "_MISHEARD_SHARE", 1.0)
    assert len(set(draw_out(chat, ids, random.Random(4))) & set(ids)) < len(ids) / 2


def test_only_the_answer_of_a_drawn_out_exchange_counts(
    tokenizers: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast],
) -> None:
    chat, _ = tokenizers
    exchange = Exchange("topic", TEXT, "Which topic?", "World")
    plain, _ = encode_exchange(chat, exchange)
    ids, labels = encode_exchange(chat, exchange, random.Random(1))
    answer = [*chat.encode("World", add_special_tokens=False), chat.eos_token_id]
    assert len(ids) > len(plain) and ids[:2] == plain[:2]
    assert [label for label in labels if label != IGNORED] == answer and ids[-len(answer) :] == answer
