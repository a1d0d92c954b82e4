"""Facts about questions and answers: what is read as a label, what is not, and what is refused.

Facts about right answers: what a free answer must say, what speaks against it, and what the minis' stay at.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import PromptError, UnknownKeyError
from engine.tasks import (
    CORPUS_TASKS,
    FREE_FORMS,
    MAX_NEW_TOKENS,
    MAX_PROMPT_CHARACTERS,
    MAX_SENTENCE_WORDS,
    TASKS,
    asked_task,
    get_task,
    instruction_for,
    is_exactly,
    is_right,
    labels_for,
    names_answer,
    parse_answer,
    parse_choices,
)
from engine.words import bare_words, normalise

TOPIC, SPEAKER, TRIVIA, CHOICES = (TASKS[key] for key in ("topic", "speaker", "trivia", "commonsense"))


def test_the_nine_tasks_are_named_as_the_endpoint_lists_them() -> None:
    keys = "topic sentiment commonsense trivia emotion sarcasm speaker transcribe free"
    assert list(TASKS) == keys.split() and all(task.key == key for key, task in TASKS.items())


def test_every_label_is_named_in_its_own_instruction_and_reads_back_as_itself() -> None:
    for task in TASKS.values():
        for label in task.labels:
            assert label in task.instruction
            assert parse_answer(task, label, task.labels) == (label, "parsed")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Sports", "Sports"),
        ("  sports.\n", "Sports"),
        ("The topic is SCI/TECH!", "Sci/Tech"),
        ("It is business, clearly", "Business"),
    ],
)
def test_a_single_named_label_is_parsed(text: str, label: str) -> None:
    assert parse_answer(TOPIC, text, TOPIC.labels) == (label, "parsed")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Sports or Business", "unparsed"),
        ("weather", "unparsed"),
        ("worldly sportsmen", "unparsed"),
        ("", "empty"),
        (" .,!?\n", "empty"),
        ("((", "empty"),
        ("I cannot hear the Sports news", "refused"),
        ("I'm sorry.", "refused"),
        ("<think>World? No,", "unparsed"),
        ("体育", "unparsed"),
        ("((noise))", "refused"),
        ("((NOISE))", "refused"),
    ],
)
def test_whatever_is_no_single_label_has_a_class_of_its_own(text: str, status: str) -> None:
    assert parse_answer(TOPIC, text, TOPIC.labels) == (None, status)


def test_a_word_inside_another_word_is_no_label() -> None:
    assert parse_answer(SPEAKER, "A woman.", SPEAKER.labels) == ("woman", "parsed")
    assert parse_answer(SPEAKER, "a man, not a woman", SPEAKER.labels) == ("man", "parsed")


def test_a_label_inside_a_longer_named_label_does_not_count_twice() -> None:
    labels = ("ice", "ice cream", "cold ice cream")
    assert parse_answer(CHOICES, "ice cream", labels) == ("ice cream", "parsed")
    assert parse_answer(CHOICES, "cold ice cream!", labels) == ("cold ice cream", "parsed")
    assert parse_answer(CHOICES, "ice", labels) == ("ice", "parsed")
    assert parse_answer(CHOICES, "ice cream or snow", (*labels, "snow")) == (None, "unparsed")


def test_open_answers_are_their_normalised_text() -> None:
    assert parse_answer(TRIVIA, " Mount  Everest. ", ()) == ("mount everest", "parsed")
    for nothing in ("", "((", "?!"):
        assert parse_answer(TRIVIA, nothing, ()) == (None, "empty")


@given(st.text(max_size=40))
def test_a_label_is_given_exactly_when_the_status_is_parsed(text: str) -> None:
    for task in (TOPIC, TRIVIA):
        label, status = parse_answer(task, text, task.labels)
        assert (status == "parsed") == bool(label)
        assert label is None or not task.labels or label in task.labels


@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        ("  Don't; Sci/Tech -  2nd!\n", "don't sci/tech 2nd"),
        ("Sci / Tech", "sci/tech"),
        ("don\u2019t", "don't"),
        ("São Paulo", "sao paulo"),
        ("Beyoncé", "beyonce"),
        ("-5", "-5"),
        ("\u22125", "-5"),
        ("2-3", "2 3"),
        ("C++, C#", "c++ c#"),
        ("1,000.5", "1000.5"),
        ("R&B", "r and b"),
        ("東京", "東京"),
        ("Привет, мир!", "привет мир"),
        ("мой", "мой"),
        ("हिन्दी", "हिन्दी"),
        ("\uff26\uff35\uff2c\uff2c", "full"),
        ("?! ((", ""),
    ],
)
def test_texts_are_compared_folded_in_any_script(text: str, compared: str) -> None:
    """Fault: one ASCII filter made "s o paulo", "5" of "-5", and nothing of another script."""
    assert normalise(text) == compared


def test_words_are_given_on_as_they_are_written() -> None:
    """Fault: models were asked about "beyonc"."""
    assert parse_choices("Beyoncé, St. Louis or -5") == ("Beyoncé", "St. Louis", "-5")
    assert parse_choices("北京、上海") == ("北京", "上海") and parse_choices("C, C++, C#") == (
        "C",
        "C++",
        "C#",
    )
    assert bare_words("“Don’t,” said São Paulo – at -5!") == ["Don’t", "said", "São", "Paulo", "at", "-5"]


@pytest.mark.parametrize(
    ("key", "text", "status"),
    [
        ("transcribe", "i cannot find my phone", "parsed"),
        ("transcribe", "they were unable to land", "parsed"),
        ("transcribe", "i'm sorry i am late", "parsed"),
        ("transcribe", "i cannot answer that", "parsed"),
        ("transcribe", "I'm sorry, but I can't transcribe audio.", "refused"),
        ("trivia", "I’m sorry, but I can’t answer that.", "refused"),
        ("trivia", "I am sorry, I cannot help.", "refused"),
        ("trivia", "As an AI model, I am not able to listen to audio.", "refused"),
        ("trivia", "I don't know.", "refused"),
        ("trivia", "I Can't Help Myself", "parsed"),
        ("trivia", "I Don't Know How to Love Him", "parsed"),
        ("topic", "It was unable to land", "unparsed"),
        ("topic", "Unfortunately, I cannot listen to audio files.", "refused"),
    ],
)
def test_a_refusal_is_a_form_at_the_opening(key: str, text: str, status: str) -> None:
    """Fault: a transcription with "I cannot" in it was a refusal."""
    assert parse_answer(TASKS[key], text, TASKS[key].labels)[1] == status


@pytest.mark.parametrize(
    ("prompt", "text", "label"),
    [
        ("-5, 5", "5", "5"),
        ("-5, 5", "−5", "-5"),
        ("-5, 5", "minus 5", None),
        ("10, 5", "10.5", None),
        ("C, C++, C#", "**C#**", "C#"),
        ("Beyoncé, Adele", "Beyonce", "Beyoncé"),
        ("北京, 上海", "北京", "北京"),
        ("北京, 上海", "不是北京", None),
        ("yes, no", "No.", "no"),
        ("yes, no", "not yes", None),
        ("happy, not happy", "not happy", "not happy"),
        ("St. Louis, New York", "It is St. Louis.", "St. Louis"),
    ],
)
def test_choices_with_signs_accents_and_other_scripts_are_read(
    prompt: str, text: str, label: str | None
) -> None:
    assert parse_answer(CHOICES, text, parse_choices(prompt))[0] == label


def test_the_limit_of_an_answer_depends_on_the_task() -> None:
    """Fault: 30 s of speech, 120 words, were cut at 40 tokens."""
    assert TASKS["transcribe"].max_new_tokens >= 180 and TASKS["topic"].max_new_tokens == MAX_NEW_TOKENS


@pytest.mark.parametrize(
    "prompt",
    [
        "fridge, oven, shelf",
        "fridge; oven; shelf",
        "fridge\noven\nshelf",
        "A) fridge, B) oven, C) shelf",
        "(a) Fridge, (b) Oven or (c) Shelf.",
        "fridge, oven or shelf",
        " fridge ,, oven , or shelf,",
    ],
)
def test_choices_are_read_however_they_are_written(prompt: str) -> None:
    assert tuple(map(str.lower, parse_choices(prompt))) == ("fridge", "oven", "shelf")
    assert labels_for(CHOICES, prompt) == parse_choices(prompt)
    assert instruction_for(CHOICES, prompt) == f"Choose one answer: {', '.join(parse_choices(prompt))}."


def test_or_inside_a_word_does_not_split() -> None:
    assert parse_choices("orchard, door") == ("orchard", "door")


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("", "needs 2 to 8 answers .* 0 were given"),
        ("fridge", "needs 2 to 8 answers .* 1 were given"),
        (", ".join("abcdefghi"), "needs 2 to 8 answers .* 9 were given"),
        ("fridge, ?!", "needs 2 to 8 answers"),
        ("Oven, oven!", "the same"),
    ],
)
def test_choices_that_cannot_be_used_are_refused(prompt: str, sentence: str) -> None:
    for ask in (parse_choices, lambda text: instruction_for(CHOICES, text)):
        with pytest.raises(PromptError, match=sentence):
            ask(prompt)


def test_eight_choices_are_still_allowed() -> None:
    assert len(parse_choices(", ".join("abcdefgh"))) == 8


def test_free_prompts_are_asked_as_written_with_single_spaces() -> None:
    for form in FREE_FORMS:
        assert instruction_for(TASKS["free"], f"  {form}\n") == form
    with pytest.raises(PromptError, match="Write a prompt first"):
        instruction_for(TASKS["free"], " \n")


@pytest.mark.parametrize("key", TASKS)
def test_prompts_may_be_as_long_as_the_limit_and_no_longer(key: str) -> None:
    fits = "oven, fridge".ljust(MAX_PROMPT_CHARACTERS)
    assert instruction_for(TASKS[key], fits)
    with pytest.raises(PromptError, match="501 characters; the limit is 500"):
        instruction_for(TASKS[key], fits + " ")


def test_unknown_tasks_are_named_shortly_beside_those_there_are() -> None:
    with pytest.raises(UnknownKeyError) as caught:
        get_task("x" * 10_000)
    assert len(str(caught.value)) < 250 and all(key in str(caught.value) for key in TASKS)


@pytest.mark.parametrize(
    ("text", "place"),
    [("B", 1), ("(B)", 1), ("B.", 1), ("E)", 4), ("Answer: C", 2), ("The correct answer is (A).", 0)],
)
def test_a_letter_alone_is_the_choice_at_its_place(text: str, place: int) -> None:
    labels = ("fridge", "oven", "shelf", "garden", "drawer")
    assert parse_answer(CHOICES, text, labels) == (labels[place], "parsed")


@pytest.mark.parametrize(
    "text", ["b", "F", "A or B", "A B", "A dog", "I", "B, I think", "B (fridge) or C (oven)"]
)
def test_a_letter_is_never_guessed(text: str) -> None:
    """No place, no capital, or anything beside it: what names no one choice in words stays unread."""
    assert parse_answer(CHOICES, text, ("fridge", "oven", "shelf")) == (None, "unparsed")


def test_words_go_before_letters_and_fixed_labels_have_none() -> None:
    assert parse_answer(CHOICES, "(A) oven", ("fridge", "oven")) == ("oven", "parsed")
    assert parse_answer(TOPIC, "B", TOPIC.labels) == (None, "unparsed")


def test_the_papers_corpora_ask_the_products_tasks() -> None:
    for corpus, key in CORPUS_TASKS.items():
        assert asked_task(corpus) is asked_task(key) is TASKS[key]
    assert asked_task("my-calls") is None and not set(CORPUS_TASKS) & set(TASKS)


TRIVIA_SCORING, TOPIC_SCORING = TASKS["trivia"], TASKS["topic"]
ROOT = Path(__file__).resolve().parents[2]
PARIS = ("Paris", "City of Light", "Paris, France")
FOUR = ("four", "4")


def test_right_answers_match_gold_or_any_alias() -> None:
    assert is_right(TRIVIA_SCORING, "mount everest", "Mount Everest")
    assert is_right(TRIVIA_SCORING, "everest", "Mount Everest", ("Everest",))
    assert not is_right(TRIVIA_SCORING, "everest base", "Mount Everest", ("Everest",))
    assert not is_right(TRIVIA_SCORING, None, "Mount Everest")
    assert is_exactly("Mount Everest!", "mount everest") and not is_exactly("the everest", "everest")


@pytest.mark.parametrize(
    "text",
    [
        "Paris",
        "Paris.",
        "The answer is Paris.",
        "The answer is Paris, France.",
        "Paris, France",
        "**Paris**",
        "Yes, Paris!",
        "It's Paris, which lies on the Seine.",
        "The capital is the City of Light. It is not London.",
        "Paris\nLondon is the capital of another country.",
        "The capital of the country of J. Chirac is Paris.",
    ],
)
def test_an_answer_in_a_sentence_is_right(text: str) -> None:
    assert names_answer(text, PARIS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        "London",
        "Parisian",
        "not Paris",
        "It is not Paris.",
        "It isn't Paris.",
        "Paris, not London",
        "No, Paris is in France.",
        "Paris or London",
        "Either Paris, or London.",
        "Maybe Paris",
        "Paris and London",
        "London and Paris",
        "Paris, London, Berlin",
        "London, Paris, and Berlin.",
        "London; Paris",
        "Paris / London",
        "Paris/London",
        "Is it Paris?",
        "What is Paris",
        "London. I first thought of Paris.",
        f"Paris {'very ' * MAX_SENTENCE_WORDS}large",
    ],
)
def test_what_speaks_against_it_counts(text: str) -> None:
    assert not names_answer(text, PARIS)


def test_a_number_within_a_longer_one_is_another_number() -> None:
    assert names_answer("There are four.", FOUR) and names_answer("The answer is 4.", FOUR)
    assert not names_answer("twenty four", FOUR) and not names_answer("4 000", FOUR)
    assert not names_answer("four hundred", FOUR) and not names_answer("how four", FOUR)


def test_a_name_of_empty_words_must_be_the_whole_answer() -> None:
    """TriviaQA has answers such as Stephen King's "It"; "It is Carrie." does not give one."""
    assert not names_answer("It is Carrie.", ("It",)) and is_right(TRIVIA_SCORING, "it", "It", text="It")
    assert not names_answer("The man who did it is unknown.", ("The Who", "Who"))


def test_a_long_name_is_taken_out_whole_before_what_is_around_it_counts() -> None:
    assert names_answer("It was Simon and Garfunkel.", ("Simon and Garfunkel", "Garfunkel"))
    assert names_answer("The film is No Time to Die.", ("No Time to Die",))
    assert not names_answer("It was Simon and Garfunkel.", ("Garfunkel",))


def test_sentences_count_for_open_tasks_only() -> None:
    assert is_right(TRIVIA_SCORING, "the answer is paris", "Paris", text="The answer is Paris.")
    assert not is_right(TRIVIA_SCORING, "the answer is paris", "Paris"), (
        "without the text the whole answer counts"
    )
    assert not is_right(TOPIC_SCORING, "World", "Sports", text="Sports")


def test_no_figure_of_the_minis_changes() -> None:
    """Recomputed on the shipped answers: the stricter and the wider rule agree on every one of them."""
    answers = pd.read_parquet(ROOT / "assets" / "benchmark" / "answers.parquet")
    answers = answers[answers["task"] == "trivia"]
    assert len(answers) > 20_000
    for row in answers.drop_duplicates(["text", "label", "gold", "aliases"]).itertuples():
        task = asked_task(row.task)
        assert task is not None
        label = row.label if isinstance(row.label, str) else None
        aliases = tuple(filter(None, row.aliases.split("|")))
        assert is_right(task, label, row.gold, aliases, text=row.text) == row.correct, row.text
