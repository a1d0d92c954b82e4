"""The texts that teach the laptop pair's LLM: train splits only, answers as read, the clip's place filled."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from engine.errors import ModelFilesError
from engine.tasks import TASKS, get_task, labels_for, parse_answer
from engine.words import normalise
from precompute.training.disturb import KINDS, Confusables, Disturber, misspell, plain_words, sound_of
from precompute.training.texts import REPEATS, Exchanges, free_form, read_corpora
from tests.engine.tiny_bridge import CHAT_MARKS, MERGES, byte_level

LEAKED = "Oil prices fell again on Monday as stocks rose"
TEXTS = [f"The {n} cats sat on the old red mat and sang" for n in range(60)]


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file in its published layout, a few rows each; one AG News text stands in train and test."""
    home = tmp_path_factory.mktemp("corpora")
    write(home / "ag_news/test.csv", f'"3","Title","{LEAKED}"\n')
    write(home / "ag_news/train_581.csv", '"2","Ajax win","Ajax won the cup final again."\n')
    rows = [f"{LEAKED}\tBusiness", *(f"{text}\tWorld" for text in TEXTS)]
    write(home / "ag_news/alps_dev_10k.tsv", "\n".join(rows) + "\n")
    write(home / "sst2/train.tsv", "sentence\tlabel\nthat 's a fine film \t1\nis n't it bad \t0\n")
    for name in ("dev", "test"):
        write(home / f"sst2/{name}.tsv", "sentence\tlabel\na dull film indeed \t0\n")
    choices = [
        {"label": letter, "text": text} for letter, text in zip("ABC", ("Oven", "shelf", "bed"), strict=True)
    ]
    stem = {"question": {"stem": "Where do you bake bread?", "choices": choices}, "answerKey": "A", "id": "1"}
    write(home / "commonsense_qa/train_rand_split.jsonl", json.dumps(stem) + "\n")
    write(home / "web_questions/trainmodel.json", json.dumps([{"qText": "who won?", "answers": ["Ajax"]}]))
    write(home / "meld/train_sent_emo.csv", "Utterance,Emotion\nOh no not again please,anger\n")
    lines = {str(n): {"utterance": f"Great, it is number {n}", "sarcasm": n % 2 == 0} for n in range(40)}
    write(home / "mustard/sarcasm_data.json", json.dumps(lines))
    asked = {"instruction": "Name a fruit", "instances": [{"input": "", "output": "apple"}]}
    write(home / "instructions/user_oriented_instructions.jsonl", json.dumps(asked) + "\n")
    return home


def test_a_text_of_a_test_split_is_not_taught(corpora: Path) -> None:
    found = read_corpora(corpora)
    topics = {e.text for split in ("train", "dev") for e in found.of("topic", split)}
    assert LEAKED not in topics and set(TEXTS) < topics
    assert set(found.hashes) >= {"ag_news/test.csv", "sst2/dev.tsv", "mustard/sarcasm_data.json"}
    assert all(len(digest) == 64 for digest in found.hashes.values())


def test_splits_share_no_text_and_mustard_keeps_a_test(corpora: Path) -> None:
    found = read_corpora(corpora)
    for task in found.exchanges:
        splits = [{normalise(e.text) for e in found.of(task, split)} for split in ("train", "dev", "test")]
        assert not splits[0] & splits[1] and not splits[0] & splits[2]
    assert 4 <= len(found.of("sarcasm", "test")) <= 20 and not found.of("sarcasm", "dev")
    assert found.of("topic", "dev")


def test_every_answer_is_read_as_the_label_it_is(corpora: Path) -> None:
    found = read_corpora(corpora)
    for task in ("topic", "sentiment", "commonsense", "emotion", "sarcasm"):
        for exchange in found.of(task, "train"):
            prompt = exchange.instruction.removeprefix("Choose one answer: ").removesuffix(".")
            labels = labels_for(get_task(task), prompt)
            assert parse_answer(get_task(task), exchange.answer, labels) == (exchange.answer, "parsed")


def test_half_of_what_is_drawn_is_repeated_most_often_in_the_products_own_words(corpora: Path) -> None:
    exchanges, rng = Exchanges(read_corpora(corpora)), random.Random(1)
    drawn = [exchanges.draw(rng) for _ in range(600)]
    repeated = [e for e in drawn if e.task == "transcribe"]
    assert 0.42 < len(repeated) / len(drawn) < 0.58
    assert all(e.answer == e.text and e.instruction in REPEATS for e in repeated)
    own = sum(e.instruction == TASKS["transcribe"].instruction for e in repeated)
    assert own / len(repeated) > 0.5
    again = random.Random(1)
    assert [exchanges.draw(again) for _ in range(5)] == drawn[:5]


def test_a_missing_corpus_is_one_sentence(corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"lacks ag_news/test\.csv"):
        read_corpora(tmp_path)


def test_free_questions_are_answered_from_the_text() -> None:
    rng = random.Random(3)
    found = {
        e.instruction: e
        for e in (free_form("one two three four five six seven eight nine", rng) for _ in range(80))
    }
    assert found["What is the first word?"].answer == "one"
    assert found["What is the last word?"].answer == "nine"
    assert found["How many words are there?"].answer == "9"
    going_on = found["Continue the sentence."]
    assert f"{going_on.text} {going_on.answer}" == "one two three four five six seven eight nine"


@pytest.fixture(scope="module")
def disturber() -> Disturber:
    tokenizer = byte_level(MERGES, CHAT_MARKS, "<|im_end|>")
    embedding = torch.randn(len(tokenizer), 8, generator=torch.Generator().manual_seed(4))
    used = sorted(
        {i for text in ("the cat", " the cat") for i in tokenizer.encode(text, add_special_tokens=False)}
    )
    return Disturber(tokenizer, embedding, Confusables(tokenizer, embedding, used))


def test_exact_text_is_its_own_embeddings_and_every_kind_says_its_text(disturber: Disturber) -> None:
    rng = random.Random(5)
    for kind in KINDS:
        for _ in range(8):
            given = disturber.draw("The cat", rng, kind)
            assert given.text in ("The cat", "the cat") and given.vectors.shape[1] == 8
            assert torch.isfinite(given.vectors).all() and len(given.vectors) >= 2


def test_a_sharp_posterior_stays_nearer_to_the_text_than_a_confused_one(disturber: Disturber) -> None:
    exact = disturber.draw("the cat", random.Random(0), "exact").vectors
    gaps = {}
    for kind in ("sharp", "confused"):
        drawn = [disturber.draw("the cat", random.Random(seed), kind).vectors for seed in range(60)]
        # The last token is the same whether or not a space leads; cut in pieces it is another.
        whole = [float((one[-1] - exact[-1]).norm()) for one in drawn if one.shape == exact.shape]
        gaps[kind] = sum(whole) / len(whole)
    assert 0 < gaps["sharp"] < gaps["confused"]


def test_words_are_misspelt_by_one_letter_and_numbers_are_left_alone() -> None:
    rng = random.Random(6)
    for _ in range(50):
        said = misspell("wonderful 1999 it", 1.0, rng).split()
        assert said[1:] == ["1999", "it"] and abs(len(said[0]) - len("wonderful")) <= 1
    assert misspell("wonderful day", 0.0, rng) == "wonderful day"


def test_what_sounds_alike_is_spelt_alike_and_an_encoder_writes_plainly() -> None:
    assert sound_of(" phone") == sound_of(" fone") and sound_of("night") != sound_of("day")
    assert plain_words('He said: "Well, U.S. stocks -- it\'s 5%!"') == "he said well u s stocks it's 5"
