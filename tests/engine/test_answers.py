"""Facts about answers: many clips in a batch get what each gets alone, and what the page shows for it.

The bench: which rows there are, and outcomes that equal each arm computed on its own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import checks
from engine.answers import Bench, answer_batch, answer_behaviour, answer_one, outcomes
from engine.audio import AudioClip
from engine.checks import check_batches
from engine.erasure import Eraser, load_eraser
from engine.errors import ServiceError
from engine.generate import Pass, run_arms, run_prompts
from engine.hooks import Projection, RowEdits
from engine.noise import ROOM
from engine.request import Question, RunRequest, clip_as_heard
from engine.results import CUT_OFF, Answer, ErasureOutcome
from engine.run import run
from engine.systems.base import BehaviourModel, Prepared
from engine.systems.catalogue import UNAVAILABLE, get_spec
from engine.systems.loading import load_cascade, load_speech_llm, load_text_llm
from engine.systems.remote import Reply, Tell
from engine.systems.text_llm import TextLLM
from engine.systems.ultravox import Ultravox
from engine.tasks import TASKS, instruction_for, labels_for
from tests.engine.tiny_systems import sound

PROMPTS = {"topic": "", "commonsense": "fridge, oven, shelf", "trivia": "", "emotion": "", "sentiment": ""}


def question(task: str) -> Question:
    return Question(
        TASKS[task], instruction_for(TASKS[task], PROMPTS[task]), labels_for(TASKS[task], PROMPTS[task])
    )


def assert_same(one: Answer, other: Answer) -> None:
    assert (one.text, one.label, one.status) == (other.text, other.label, other.status)
    assert one.forced_choice == pytest.approx(other.forced_choice, abs=1e-5)
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-4)


def test_an_answer_that_ends_at_the_token_limit_says_so(
    ultravox: Ultravox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault: half a sentence, cut at the task's limit, looked like a whole answer. Alone and in a batch."""
    heard = ultravox.hear(sound(0.9, 0))
    topic = question("topic")
    asked = [replace(topic, task=replace(topic.task, max_new_tokens=limit)) for limit in (2, 6)]
    alone = [answer_one(ultravox, heard, one) for one in asked]
    for answers in (alone, answer_batch(ultravox, [heard, heard], asked, 2)):
        assert [a.note for a in answers] == [f"{CUT_OFF} 2 tokens.", f"{CUT_OFF} 6 tokens."]
    prepared = ultravox.prepare(heard, topic.instruction)
    tokens = run_arms(ultravox, prepared, max_new_tokens=6).decoded[0].token_ids
    settings: Any = ultravox.language_model.generation_config
    monkeypatch.setattr(settings, "eos_token_id", [tokens[1]])
    assert answer_one(ultravox, heard, asked[1]).note == ""
    assert [a.note for a in answer_batch(ultravox, [heard, heard], asked, 2)] == ["", ""]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_a_batch_of_clips_gives_what_each_gives_alone(ultravox: Ultravox, batch_size: int) -> None:
    """Clips of different lengths, questions with different numbers of labels, an open one among them."""
    heard = [
        ultravox.hear(sound(duration_s, seed)) for seed, duration_s in enumerate((0.4, 2.6, 1.1, 1.7, 0.9))
    ]
    questions = [question(task) for task in PROMPTS]
    together = answer_batch(ultravox, heard, questions, batch_size)
    for one, asked, answer in zip(heard, questions, together, strict=True):
        assert_same(answer_one(ultravox, one, asked), answer)
    assert answer_batch(ultravox, [], [], batch_size) == []


def test_a_batch_of_texts_gives_what_each_gives_alone(text_llm: TextLLM) -> None:
    """The empty transcript is a prompt too."""
    texts = (
        "the queen scored three goals",
        "",
        "bank",
        "the new phone was great but the screen was dull",
        "rates",
    )
    heard = [text_llm.hear_text(text) for text in texts]
    questions = [question(task) for task in PROMPTS]
    for one, asked, answer in zip(heard, questions, answer_batch(text_llm, heard, questions, 5), strict=True):
        assert_same(answer_one(text_llm, one, asked), answer)


def test_the_page_and_the_benchmark_give_equal_answers(tiny_models: Path) -> None:
    """One path: a live run of a noisy clip and a batch that holds the same clip among others."""
    reference, task = "the queen scored three goals in the match today", "topic"
    requests = [
        RunRequest(sound(duration_s, 3), task, noise=noise, snr_db=snr_db, seed=5, reference=reference)
        for duration_s, noise, snr_db in (
            (1.7, None, None),
            (0.8, "babble", 5.0),
            (1.2, "white", 10.0),
            (2.4, ROOM, None),
        )
    ]
    speech = load_speech_llm("mini-ultravox", tiny_models)
    cascade = load_cascade("mini-cascade", tiny_models)
    oracle = load_text_llm("mini-llama", tiny_models)
    clips = [clip_as_heard(request) for request in requests]
    asked = [question(task)] * len(clips)
    batches = (
        answer_batch(speech, [speech.hear(clip) for clip in clips], asked, 16),
        answer_batch(
            oracle, [oracle.hear_text(cascade.transcriber.transcribe(c)[0]) for c in clips], asked, 16
        ),
        answer_batch(oracle, [oracle.hear_text(reference) for _ in clips], asked, 16),
    )
    for index, request in enumerate(requests):
        lanes = run(request).lanes
        for lane, answers in zip(lanes, batches, strict=True):
            assert_same(lane.answer, answers[index])


class Says:
    """A behaviour-only system that always sends this reply."""

    spec = get_spec("mini-llama")
    fingerprint = "0"

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.asked: list[tuple[AudioClip | str, str]] = []

    def ask(self, given: AudioClip | str, instruction: str, tell: Tell | None = None) -> Reply:
        self.asked.append((given, instruction))
        return self.reply


@pytest.mark.parametrize(
    ("text", "refusal", "label", "status"),
    [
        ("The topic is Sports.", "", "Sports", "parsed"),
        ("Sports or Business", "", None, "unparsed"),
        ("", "", None, "empty"),
        ("I'm sorry, I can't help with Sports.", "", None, "refused"),
        ("", "SAFETY", None, "refused"),
        ("Sports", "SAFETY", None, "refused"),
    ],
)
def test_a_services_answer_is_read_as_a_local_one_is(
    text: str, refusal: str, label: str | None, status: str
) -> None:
    system = Says(Reply(text, refusal, "fake-001", "Cut off.", 0.5, 2, 40, 3))
    answer = answer_behaviour(system, "the queen", question("topic"))
    assert isinstance(system, BehaviourModel)
    assert system.asked == [("the queen", question("topic").instruction)]
    assert (answer.text, answer.label, answer.status) == (text, label, status)
    assert (answer.model_version, answer.seconds) == ("fake-001", 0.5)
    assert answer.note == ("Refused by the service: SAFETY." if refusal else "Cut off.")


def test_what_a_service_does_not_send_is_none_with_the_reason() -> None:
    answer = answer_behaviour(Says(Reply("Sports", "", "", "", 0.5, 1, None, None)), "", question("topic"))
    assert answer.forced_choice is None and answer.log_likelihood is None
    assert UNAVAILABLE["forced_choice"] in answer.not_measured
    assert UNAVAILABLE["log_likelihood"] in answer.not_measured


def test_a_service_that_gives_nothing_is_no_answer() -> None:
    system = Says(Reply("", "", "", "", 0.0, 1, None, None))

    def fails(given: AudioClip | str, instruction: str, tell: Tell | None = None) -> Reply:
        raise ServiceError("Fake is too busy; try again later.")

    system.ask = fails  # type: ignore[method-assign]
    with pytest.raises(ServiceError, match="too busy"):
        answer_behaviour(system, "the queen", question("topic"))


def test_a_sound_adapter_passes_the_parity_check(ultravox: Ultravox, text_llm: TextLLM) -> None:
    for system in (ultravox, text_llm):
        finding = check_batches(system)
        assert finding.exact and finding.batch_size == 16 and finding.largest_gap < 1e-4
        assert finding.n_prompts >= 6 and "equal singles" in finding.sentence


@pytest.mark.parametrize("fault", ["a shifted prompt", "not a number"])
def test_a_batch_that_differs_is_found_and_goes_one_by_one(
    ultravox: Ultravox, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    true = run_prompts

    def faulty(*given, **named):  # type: ignore[no-untyped-def]
        off = 0.01 if fault == "a shifted prompt" else float("nan")
        replies = true(*given, **named)
        return [*replies[:-1], replace(replies[-1], prompt_logits=replies[-1].prompt_logits + off)]

    monkeypatch.setattr(checks, "run_prompts", faulty)
    finding = check_batches(ultravox)
    assert not finding.exact and finding.batch_size == 1
    assert finding.sentence.startswith("batches differ, so one by one (6 prompts compared")


LAYERS = (1, 3)
RIGHT_SCORES = [-5.0, -6.5, -5.25, -7.0, -4.0]


@pytest.fixture(scope="module")
def erasers(models_with_erasers: Path, ultravox: Ultravox) -> dict[str, Eraser]:
    return {
        key: load_eraser("mini-ultravox", key, ultravox.fingerprint, models_with_erasers)
        for key in ("boc", "acoustic")
    }


@pytest.fixture(scope="module")
def bench(erasers: dict[str, Eraser]) -> Bench:
    return Bench(erasers, LAYERS, "audio", "affine", seed=7)


@pytest.fixture(scope="module")
def arms(ultravox: Ultravox, prepared: Prepared, bench: Bench) -> tuple[Pass, RowEdits]:
    edits = bench.edits(prepared.span, prepared.embeddings.shape[1])
    assert edits is not None
    return run_arms(ultravox, prepared, edits=edits, record_layers=range(4), max_new_tokens=3), edits


@pytest.fixture(scope="module")
def found(bench: Bench, arms: tuple[Pass, RowEdits]) -> tuple[ErasureOutcome, ...]:
    answers = [Answer(f"row {row}", None, "unparsed", {}, -1.0) for row in range(5)]
    return outcomes(bench, arms[0], arms[1], answers, RIGHT_SCORES)


def test_nothing_to_erase_needs_no_edits() -> None:
    nothing = Bench({}, LAYERS, "audio", "linear", 0)
    assert nothing.edits((2, 13), 20) is None


def test_rows_are_plain_then_erased_and_control_of_each_condition(bench: Bench) -> None:
    edits = bench.edits((2, 13), 20)
    assert edits is not None and edits.rows[0] is None and len(edits.rows) == 5
    assert edits.scope == "audio" and edits.span == (2, 13) and edits.n_prompt == 20
    for index, eraser in enumerate(bench.erasers.values()):
        erased, control = edits.rows[1 + 2 * index], edits.rows[2 + 2 * index]
        assert erased is not None and control is not None and set(erased) == set(control) == set(LAYERS)
        for layer in LAYERS:
            taken, random = erased[layer], control[layer]
            assert isinstance(taken, Projection) and isinstance(random, Projection)
            assert taken.rank == random.rank == eraser.kept_rank[layer]
            assert (taken.right == eraser.right[layer]).all()


def test_outcomes_name_their_condition_and_its_arms_answers(found: tuple[ErasureOutcome, ...]) -> None:
    assert [outcome.condition for outcome in found] == ["boc", "acoustic"]
    for index, outcome in enumerate(found):
        texts = [arm.answer.text for arm in (outcome.plain, outcome.erased, outcome.random_control)]
        assert texts == ["row 0", f"row {1 + 2 * index}", f"row {2 + 2 * index}"]
        assert (outcome.layers, outcome.scope, outcome.method) == (LAYERS, "audio", "affine")


def test_changes_are_against_the_plain_row(
    found: tuple[ErasureOutcome, ...], arms: tuple[Pass, RowEdits]
) -> None:
    scores = arms[0].first_answer_scores
    for index, outcome in enumerate(found):
        for row, arm in ((1 + 2 * index, outcome.erased), (2 + 2 * index, outcome.random_control)):
            assert arm.log_likelihood_change == scores[row] - scores[0] != 0.0
            assert arm.right_log_likelihood_change == RIGHT_SCORES[row] + 5.0
            assert arm.relative_change_of_state == arms[1].relative_change(row) > 0
        assert outcome.plain.log_likelihood_change == outcome.plain.relative_change_of_state == 0.0
        assert outcome.plain.right_log_likelihood_change == 0.0


def test_without_a_right_answer_its_change_is_unknown_and_not_zero(
    bench: Bench, arms: tuple[Pass, RowEdits]
) -> None:
    answers = [Answer("", None, "empty", {}, -1.0)] * 5
    for outcome in outcomes(bench, arms[0], arms[1], answers, [None] * 5):
        assert outcome.plain.right_log_likelihood_change is None
        assert outcome.erased.right_log_likelihood_change is None


def test_the_proof_is_that_of_the_run_and_its_absence_has_a_reason(
    erasers: dict[str, Eraser], arms: tuple[Pass, RowEdits]
) -> None:
    """Layers 1 and 3 were never erased together where probes looked; each alone and the lowest of all were."""
    answers = [Answer("", None, "empty", {}, -1.0)] * 5

    def first(layers: tuple[int, ...], of: dict[str, Eraser] = erasers) -> ErasureOutcome:
        return outcomes(Bench(of, layers, "prompt", "linear", seed=7), arms[0], None, answers, [None] * 5)[0]

    apart = first((1, 3))
    assert apart.proof is None and "not measured for these layers" in apart.proof_missing
    assert apart.fitted_on == "plain states"
    alone, lowest = first((3,)), first((0, 1, 2))
    assert alone.proof is not None and set(alone.proof.layers) == {3} and alone.proof_missing == ""
    assert lowest.proof is not None and lowest.fitted_on == "states edited below"
    proof = erasers["boc"].proof
    assert proof is not None
    assert lowest.proof.layers == {layer: proof.settings["linear, all"][layer] for layer in (0, 1, 2)}
    bare = first((3,), {"boc": replace(erasers["boc"], proof=None)})
    assert bare.proof is None and "carry no proof" in bare.proof_missing


def test_without_erasers_there_are_no_outcomes(arms: tuple[Pass, RowEdits]) -> None:
    assert outcomes(Bench({}, LAYERS, "audio", "linear", 0), arms[0], None, [], []) == ()


def test_at_strength_0_nothing_is_edited(erasers: dict[str, Eraser]) -> None:
    assert Bench(erasers, LAYERS, "audio", "linear", 0, strength=0.0).edits((2, 13), 20) is None
