"""One path from a clip to a result, on tiny real systems; only the transcriber's weights are faked.

Erasures through `run`: each beside its control, whatever else is asked in the same run.

Runs with services in place of a speech LLM, of a cascade's text LLM, or of both; only the services are faked.

The implicit cascade is the cascade with another transcript, and nothing else.

Every class of agreement, from answers written by hand.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from engine import answers
from engine import run as run_module
from engine.answers import clearest_layer, control_transcripts
from engine.errors import EngineError, ErasureError, NoiseError, PromptError, ServiceError, UnknownKeyError
from engine.generate import run_arms
from engine.hearing import did_it_hear
from engine.interventions import sweep_layers
from engine.lens import lens_text
from engine.request import CONDITIONS, RunRequest, available_conditions
from engine.results import AgreementClass, Answer, BehaviourAnswer, HearingVerdict, LabelStatus, RunResult
from engine.run import ask_lens_text, compare, run, track_token, warm_up
from engine.stats.scores import word_errors
from engine.systems import loading
from engine.systems.catalogue import UNAVAILABLE
from engine.systems.ultravox import Ultravox
from engine.tasks import TASKS
from engine.words import SpokenWord
from tests.engine.fake_service import FakeService, Sent, serving
from tests.engine.served import ENDPOINT_SAYS, GEMINI_SAYS, KEYS, forget_services, point_to
from tests.engine.tiny_systems import WORDS, FixedWords, sound

REQUEST = RunRequest(sound(1.7), "topic", layers=(1, 3))
NUMBERS_MAY_DIFFER = 1e-3


pytestmark = pytest.mark.usefixtures("tiny_models")


def facts_of(result: RunResult) -> list[tuple[str, int, str]]:
    return [(o.condition, o.kept_rank, o.scope) for o in result.erasures]


def numbers_of(result: RunResult) -> list[Any]:
    arms = [arm for o in result.erasures for arm in (o.erased, o.random_control)]
    return [
        *(lane.answer.log_likelihood for lane in result.lanes),
        *(p for lane in result.lanes for p in (lane.answer.forced_choice or {}).values()),
        *(number for arm in arms for number in (arm.log_likelihood_change, arm.relative_change_of_state)),
    ]


@pytest.fixture
def speech(tiny_models: Path) -> Ultravox:
    system = loading.load_speech_llm("mini-ultravox", tiny_models)
    assert isinstance(system, Ultravox)
    return system


def by_role(result: RunResult) -> dict[str, object]:
    return {lane.role: lane for lane in result.lanes}


def test_without_a_reference_there_is_no_oracle() -> None:
    result = run(REQUEST)
    assert [lane.role for lane in result.lanes] == ["speech_llm", "cascade"]
    assert result.reference is None and result.gold is None and result.match == "exact"
    assert result.lens.words_from == "mini-Whisper" and result.lens.words == WORDS


def test_with_a_reference_the_oracle_answers_from_it() -> None:
    result = run(replace(REQUEST, reference="the market fell"))
    assert [lane.role for lane in result.lanes] == ["speech_llm", "cascade", "text_oracle"]
    oracle = result.lanes[2]
    assert oracle.heard == "the market fell" and oracle.heard_from == "the true transcript"
    assert result.lanes[1].heard == "the queen" and result.lanes[1].words == WORDS
    assert result.reference == "the market fell"
    assert [word.text for word in result.lens.words] == ["the", "market", "fell"]
    assert result.lens.words_from.startswith("reference")


@pytest.mark.parametrize("nothing", ["", "  \n"])
def test_a_blank_reference_or_right_answer_is_none(nothing: str) -> None:
    result = run(replace(REQUEST, reference=nothing, gold=nothing))
    assert len(result.lanes) == 2 and result.reference is result.gold is None
    assert "right" not in result.agreement.kind


def test_the_oracle_given_what_the_cascade_heard_answers_as_the_cascade() -> None:
    """Same backbone, same words: the two lanes can differ in nothing but their names."""
    result = run(replace(REQUEST, reference="the queen"))
    assert result.lanes[1].answer == result.lanes[2].answer
    assert result.lanes[1].answer.forced_choice != result.lanes[0].answer.forced_choice


def test_exact_times_of_the_reference_are_used_as_they_are() -> None:
    exact = (SpokenWord("market", 0.2, 0.7), SpokenWord("fell", 0.7, 1.1))
    result = run(replace(REQUEST, reference="market fell", reference_words=exact))
    assert result.lens.words == exact and result.lens.words_from == "reference, exact times"
    assert result.lens.spoken[1] == (0,) and result.lens.spoken[0] == ()


def test_an_edited_transcript_replaces_what_the_cascade_heard() -> None:
    edited = run(replace(REQUEST, transcript_override="the market fell", reference="the market fell"))
    assert edited.lanes[1].heard == "the market fell" and edited.lanes[1].heard_from == "edited by hand"
    assert edited.lanes[1].answer == edited.lanes[2].answer
    plain = run(REQUEST)
    assert plain.lanes[1].heard_from == "mini-Whisper"
    assert edited.lanes[0].answer == plain.lanes[0].answer


def test_forced_choices_are_shares_of_the_labels_from_their_scores(speech: Ultravox) -> None:
    answer = run(REQUEST).lanes[0].answer
    labels = TASKS["topic"].labels
    prepared = speech.prepare(speech.hear(REQUEST.clip), TASKS["topic"].instruction)
    scores = run_arms(speech, prepared, continuations=labels).continuation_scores[0].numpy()
    shares = np.exp(scores) / np.exp(scores).sum()
    assert list(answer.forced_choice) == list(labels)
    assert list(answer.forced_choice.values()) == pytest.approx(shares.tolist(), rel=1e-2)
    assert sum(answer.forced_choice.values()) == pytest.approx(1.0)
    assert answer.log_likelihood < 0


@pytest.mark.parametrize("task", ["trivia", "transcribe", "free"])
def test_open_tasks_have_no_forced_choice(task: str) -> None:
    result = run(replace(REQUEST, task=task, prompt="What is the last word?"))
    assert all(lane.answer.forced_choice == {} for lane in result.lanes)


def test_choices_of_a_commonsense_question_are_its_labels() -> None:
    result = run(replace(REQUEST, task="commonsense", prompt="oven, shelf or drawer"))
    assert set(result.lanes[1].answer.forced_choice) == {"oven", "shelf", "drawer"}
    assert result.instruction == "Choose one answer: oven, shelf, drawer."


def test_the_lens_covers_all_layers_and_the_clips_positions() -> None:
    lens = run(REQUEST).lens
    assert lens.layers == (0, 1, 2, 3) and lens.top_ids.shape == (4, 11, 10)
    assert lens.seconds_per_position == 0.16 and lens.n_control_clips == len(control_transcripts()) > 5


def test_noise_is_added_to_what_both_systems_hear_and_its_ratio_reported() -> None:
    clean, noisy = run(REQUEST), run(replace(REQUEST, noise="white", snr_db=5.0, seed=3))
    assert noisy.snr_db == 5.0 and noisy.snr_db_achieved == pytest.approx(5.0, abs=0.01)
    assert noisy.noise == "white" and noisy.seed == 3 and "seed 3" in noisy.audio_changes[-1]
    added = noisy.waveform - clean.waveform
    measured = 10 * np.log10(np.sum(clean.waveform**2) / np.sum(added**2))
    assert measured == pytest.approx(noisy.snr_db_achieved, abs=0.05)
    assert noisy.lanes[0].answer != clean.lanes[0].answer
    assert clean.noise is None and clean.snr_db is None and clean.snr_db_achieved is None


@pytest.mark.parametrize("change", [{"noise": "white"}, {"snr_db": 5.0}])
def test_noise_without_a_ratio_or_a_ratio_without_noise_leaves_the_clip_clean(change: dict) -> None:
    result = run(replace(REQUEST, **change))
    assert result.noise is None and np.array_equal(result.waveform, REQUEST.clip.samples)


def test_own_noise_is_used() -> None:
    result = run(replace(REQUEST, noise="own", snr_db=0.0, noise_clip=sound(3.0, seed=5)))
    assert result.noise == "own" and "sound 5" in result.audio_changes[-1]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"task": "weather"}, UnknownKeyError),
        ({"noise": "pink", "snr_db": 5.0}, NoiseError),
        ({"noise": "white", "snr_db": 500.0}, NoiseError),
        ({"task": "free"}, PromptError),
    ],
)
def test_a_bad_request_is_refused_before_anything_is_heard(
    change: dict, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ultravox, "hear", lambda *_: pytest.fail("heard"))
    with pytest.raises(kind):
        run(replace(REQUEST, **change))


def count_hearings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by one name whenever a clip is encoded or transcribed."""
    heard: list[str] = []
    for kind, method in ((Ultravox, "hear"), (FixedWords, "transcribe")):
        original = getattr(kind, method)

        def counted(self, clip, original=original, name=kind.__name__):
            heard.append(name)
            return original(self, clip)

        monkeypatch.setattr(kind, method, counted)
    return heard


def test_a_clip_is_encoded_once_whatever_is_asked_of_it_later(monkeypatch: pytest.MonkeyPatch) -> None:
    run(REQUEST)
    heard = count_hearings(monkeypatch)
    run(replace(REQUEST, task="sentiment", erasures=("text",), reference="the queen"))
    track_token(REQUEST, "queen")
    assert heard == []
    run(replace(REQUEST, noise="white", snr_db=10.0))
    assert sorted(heard) == ["FixedWords", "Ultravox"]
    run(replace(REQUEST, clip=sound(1.7, seed=1)))
    assert len(heard) == 4


def test_only_the_latest_clips_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "HEARD_CLIPS_KEPT", 2)
    heard = count_hearings(monkeypatch)
    for seed in (0, 1, 0):
        run(replace(REQUEST, clip=sound(1.0, seed)))
    assert heard.count("Ultravox") == 3 and len(answers._heard) == 2


def test_a_second_run_gives_the_same_result() -> None:
    request = replace(REQUEST, erasures=("ctc",), reference="the market fell")
    one, two = run(request), run(request)
    assert [lane.answer for lane in one.lanes] == [lane.answer for lane in two.lanes]
    assert one.erasures == two.erasures and one.agreement == two.agreement
    assert np.array_equal(one.lens.top_ids, two.lens.top_ids)


def test_two_people_running_at_once_get_their_own_results() -> None:
    requests = [
        replace(REQUEST, clip=sound(1.7, seed=1), erasures=("boc",), scope="all"),
        replace(REQUEST, clip=sound(1.1, seed=2), task="sentiment"),
        replace(REQUEST, clip=sound(0.7, seed=3), erasures=("text",), seed=4),
    ]
    alone = [run(request) for request in requests]
    answers._heard.clear()
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(run, requests * 3))
    for found, expected in zip(together, alone * 3, strict=True):
        assert found.task == expected.task and np.array_equal(found.waveform, expected.waveform)
        assert np.array_equal(found.lens.top_ids, expected.lens.top_ids)
        assert [lane.answer.text for lane in found.lanes] == [lane.answer.text for lane in expected.lanes]
        assert facts_of(found) == facts_of(expected)
        # A thread of its own may add in another order; another person's numbers are farther off than that.
        np.testing.assert_allclose(
            numbers_of(found), numbers_of(expected), rtol=NUMBERS_MAY_DIFFER, atol=1e-5
        )


def test_progress_rises_to_one_with_words() -> None:
    steps: list[tuple[float, str]] = []
    run(replace(REQUEST, reference="the queen"), lambda share, what: steps.append((share, what)))
    shares = [share for share, _ in steps]
    assert shares == sorted(shares) and shares[-1] == 1.0 and all(what for _, what in steps)


def test_a_tracked_word_is_found_in_the_lens() -> None:
    """Where the lens says a token is the top one, tracking it says rank 1 with the same probability."""
    lens = run(REQUEST).lens
    clear = [i for i in np.unique(lens.top_ids[:, :, 0]) if lens.token_text[int(i)].strip().isalpha()]
    text = lens.token_text[int(clear[0])]
    found = track_token(REQUEST, text)
    assert found.layers == lens.layers and found.ranks.shape == (4, 11)
    on_top = lens.top_ids[:, :, 0] == found.token_id
    assert ((found.ranks == 1) == on_top).all()
    np.testing.assert_allclose(
        found.probabilities[on_top], lens.top_probabilities[:, :, 0][on_top], rtol=1e-4
    )


@pytest.mark.parametrize("text", ["", "  \n"])
def test_nothing_cannot_be_tracked(text: str) -> None:
    with pytest.raises(PromptError, match="Type a word"):
        track_token(REQUEST, text)


def test_the_clearest_layer_is_the_most_precise_one_and_the_last_where_none_is() -> None:
    lens = run(REQUEST).lens
    assert lens is not None
    assert clearest_layer(replace(lens, precision=(0.0, 0.4, 0.5, 0.1))) == 2
    assert clearest_layer(replace(lens, precision=(math.nan, 0.2, math.nan, 0.0))) == 1
    for nothing in ((0.0,) * 4, (math.nan,) * 4):
        assert clearest_layer(replace(lens, precision=nothing)) == 3


def test_warming_up_is_a_run() -> None:
    warm_up("mini-ultravox")
    assert len(answers._heard) == 2


def test_a_clip_without_speech_carries_the_verdict_beside_its_answers() -> None:
    result = run(REQUEST)
    assert result.hearing_verdict is not None and result.hearing_verdict.kind == "no speech"
    assert result.hearing_verdict.sentence in result.warnings
    assert result.hearing_verdict.numbers["duration_s"] == pytest.approx(1.7, abs=0.01)


@pytest.mark.parametrize("task", ["topic", "transcribe"])
def test_the_verdict_compares_what_both_wrote_and_asks_the_speech_llm_once(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken = HearingVerdict("speech", "1.7 s.", {"speech_s": 1.7, "duration_s": 1.7})
    monkeypatch.setattr(run_module, "judge_speech", lambda clip: spoken)
    # What the cascade is given by hand is not what it heard.
    early: list[RunResult] = []
    request = replace(REQUEST, task=task, prompt="", gold=None, transcript_override="made by hand")
    result = run(request, answered=early.append)
    verdict = result.hearing_verdict
    assert verdict is not None and (verdict.numbers["own_transcript_s"] == 0) == (task == "transcribe")
    assert verdict.numbers["words"] == 2, "the cascade heard: the queen"
    if task == "transcribe":
        errors, _ = word_errors("the queen", result.lanes[0].answer.text)
        assert verdict.numbers["word_errors"] == errors and not early, "nothing had to be waited for"
    else:
        assert [one.hearing_verdict for one in early] == [spoken], "the answers wait for no comparison"
        assert early[0].lanes == result.lanes and early[0].seconds == result.seconds


def test_a_transcript_that_was_cut_off_early_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = HearingVerdict("speech", "1.7 s.", {"speech_s": 1.7, "duration_s": 1.7})
    monkeypatch.setattr(run_module, "judge_speech", lambda clip: spoken)
    short = replace(TASKS["transcribe"], max_new_tokens=1)
    monkeypatch.setitem(TASKS, "transcribe", short)
    assert run(replace(REQUEST, task="transcribe", prompt="", gold=None)).hearing_verdict == spoken


def test_erasures_stand_beside_a_control_of_equal_kept_rank(tiny_models: Path) -> None:
    result = run(replace(REQUEST, erasures=tuple(CONDITIONS), gold="World"))
    ranks = available_conditions("mini-ultravox", tiny_models)
    assert [outcome.condition for outcome in result.erasures] == list(CONDITIONS)
    for outcome in result.erasures:
        assert outcome.kept_rank == ranks[outcome.condition] and outcome.layers == (1, 3)
        assert outcome.plain.answer == result.lanes[0].answer
        assert outcome.plain.log_likelihood_change == outcome.plain.relative_change_of_state == 0.0
        for arm in (outcome.erased, outcome.random_control):
            assert arm.relative_change_of_state > 0 and arm.log_likelihood_change != 0
            assert arm.right_log_likelihood_change is not None and math.isfinite(
                arm.right_log_likelihood_change
            )
            assert sum(arm.answer.forced_choice.values()) == pytest.approx(1.0)
        # An orthogonal projection cannot take more away than there is.
        assert outcome.random_control.relative_change_of_state < 1.0


def test_the_random_control_follows_the_seed_and_the_erasure_does_not() -> None:
    one, again, other = (
        run(replace(REQUEST, erasures=("text",), seed=seed)).erasures[0] for seed in (1, 1, 2)
    )
    assert one == again
    assert one.erased == other.erased and one.random_control != other.random_control


def test_one_condition_alone_gives_what_it_gives_among_others() -> None:
    alone = run(replace(REQUEST, erasures=("acoustic",))).erasures[0]
    among = run(replace(REQUEST, erasures=("boc", "acoustic", "boc"))).erasures
    assert [outcome.condition for outcome in among] == ["boc", "acoustic"]
    for arm in ("plain", "erased", "random_control"):
        a, b = getattr(alone, arm), getattr(among[1], arm)
        assert a.answer.text == b.answer.text
        assert a.log_likelihood_change == pytest.approx(b.log_likelihood_change, abs=NUMBERS_MAY_DIFFER)
        assert a.relative_change_of_state == pytest.approx(b.relative_change_of_state, abs=NUMBERS_MAY_DIFFER)


def test_strength_0_is_the_plain_run_bit_for_bit() -> None:
    result = run(replace(REQUEST, erasures=("text",), gold="World", strength=0.0))
    outcome = result.erasures[0]
    assert outcome.strength == 0.0
    assert outcome.plain.answer == run(replace(REQUEST, gold="World")).lanes[0].answer
    for arm in (outcome.erased, outcome.random_control):
        assert arm == outcome.plain


def test_strength_1_is_what_a_request_that_names_none_gets_bit_for_bit() -> None:
    named, default = (
        run(replace(REQUEST, erasures=("acoustic",), **changes)).erasures
        for changes in ({"strength": 1.0}, {})
    )
    assert named == default and named[0].strength == 1.0


def test_half_the_strength_moves_erasure_and_control_by_half_at_one_layer() -> None:
    whole, half = (
        run(replace(REQUEST, erasures=("text",), layers=(1,), strength=strength)).erasures[0]
        for strength in (1.0, 0.5)
    )
    for arm in ("erased", "random_control"):
        moved = getattr(whole, arm).relative_change_of_state
        assert getattr(half, arm).relative_change_of_state == pytest.approx(moved / 2, rel=1e-4)


def test_without_layers_the_preset_is_edited() -> None:
    outcome = run(replace(REQUEST, layers=None, erasures=("text",))).erasures[0]
    assert outcome.layers == (0, 1, 2, 3)


def test_without_gold_the_right_answers_change_is_unknown() -> None:
    arm = run(replace(REQUEST, erasures=("text",))).erasures[0].erased
    assert arm.right_log_likelihood_change is None


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(ErasureError, match="has no layer 9; it has layers 0 to 3"):
        run(replace(REQUEST, erasures=("text",), layers=(9,)))


REQUEST_RUN_SERVICES = RunRequest(sound(1.7), "topic", reference="the market fell", gold="Sports")
BUSY = {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}


@dataclass
class Services:
    """Three fake services and where they are."""

    gemini: FakeService
    text: FakeService
    audio: FakeService

    @property
    def n_asked(self) -> tuple[int, int, int]:
        return len(self.gemini.asked), len(self.text.asked), len(self.audio.asked)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    with (
        serving(Sent(GEMINI_SAYS)) as gemini,
        serving(Sent(ENDPOINT_SAYS)) as text,
        serving(Sent(ENDPOINT_SAYS)) as audio,
    ):
        point_to(monkeypatch, gemini=gemini.url, text=text.url, audio=audio.url)
        yield Services(gemini, text, audio)
    forget_services()


def asked(pair: str, **changes: object) -> RunResult:
    return run(replace(REQUEST_RUN_SERVICES, pair=pair, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pair, remote, requests",
    [
        ("gemini-mini", (True, False, False), (1, 0, 0)),
        ("endpoint-mini", (True, False, False), (0, 0, 1)),
        ("gemini-endpoint-mini", (True, True, True), (1, 2, 0)),
        ("mini-ultravox-endpoint", (False, True, True), (0, 2, 0)),
    ],
)
def test_each_lane_is_answered_by_who_the_pair_says(
    services: Services, pair: str, remote: tuple[bool, ...], requests: tuple[int, ...]
) -> None:
    """Speech LLM, cascade, oracle; one request for each that is a service, and none for the others."""
    result = asked(pair)
    assert [lane.role for lane in result.lanes] == ["speech_llm", "cascade", "text_oracle"]
    assert tuple(isinstance(lane.answer, BehaviourAnswer) for lane in result.lanes) == remote
    assert services.n_asked == requests
    for lane, is_remote in zip(result.lanes, remote, strict=True):
        if is_remote:
            assert (lane.answer.label, lane.answer.forced_choice, lane.answer.log_likelihood) == (
                "Sports",
                None,
                None,
            )
            assert lane.revision in ("gemini-fake-001", "served-7b (vllm-0.9)")
        else:
            assert isinstance(lane.answer, Answer) and lane.answer.forced_choice
    assert (result.lens is None) == remote[0] and result.erasures == ()
    assert ("lens" in result.not_measured, "erasure" in result.not_measured) == (remote[0], remote[0])
    assert result.not_measured["match"] == UNAVAILABLE["match"] and result.match == "none"


def test_a_run_without_services_measures_everything() -> None:
    result = run(REQUEST_RUN_SERVICES)
    assert result.not_measured == {} and result.lens is not None


def test_the_clip_goes_to_the_speech_service_and_the_words_to_the_text_service(services: Services) -> None:
    asked("gemini-endpoint-mini")
    parts = services.gemini.asked[0].body["contents"][0]["parts"]
    assert "inlineData" in parts[0] and parts[1]["text"] == TASKS["topic"].instruction
    cascade, oracle = (one.body["messages"][0]["content"] for one in services.text.asked)
    assert cascade.startswith("the queen\n") and oracle.startswith("the market fell\n")


def test_a_service_says_nothing_of_what_it_heard_and_the_words_stay_on_the_clock(services: Services) -> None:
    result = asked("gemini-endpoint-mini")
    speech, cascade, _ = result.lanes
    assert (speech.heard, speech.words, speech.encoder_seconds) == ("", (), None)
    assert cascade.heard == "the queen" and cascade.words == WORDS and cascade.heard_from == "mini-Whisper"


def test_services_agree_as_systems_do(services: Services) -> None:
    assert asked("gemini-endpoint-mini").agreement.kind == "both right"
    assert asked("gemini-endpoint-mini", gold=None).agreement.kind == "same answer"


def test_an_edited_transcript_reaches_the_service(services: Services) -> None:
    result = asked("mini-ultravox-endpoint", transcript_override="a dull screen", reference=None)
    assert services.text.asked[0].body["messages"][0]["content"].startswith("a dull screen\n")
    assert result.lanes[1].heard_from == "edited by hand"


def test_the_same_lens_and_erasures_stand_beside_a_served_cascade(services: Services) -> None:
    here = asked("mini-ultravox", erasures=("boc",), layers=(1, 3))
    served = asked("mini-ultravox-endpoint", erasures=("boc",), layers=(1, 3))
    assert here.lens is not None and served.lens is not None
    assert (here.lens.top_ids == served.lens.top_ids).all()
    assert [one.kept_rank for one in served.erasures] == [one.kept_rank for one in here.erasures]
    assert services.n_asked == (0, 2, 0)


@pytest.mark.parametrize("what", ["erasure", "sweep", "token", "implicit", "hearing"])
def test_what_needs_states_is_refused_in_one_sentence_before_anything_is_sent(
    services: Services, what: str
) -> None:
    request = replace(REQUEST_RUN_SERVICES, pair="gemini-mini")
    asks = {
        "erasure": lambda: run(replace(request, erasures=("boc",))),
        "sweep": lambda: sweep_layers(request, "boc", "single layer"),
        "token": lambda: track_token(request, "market"),
        "implicit": lambda: ask_lens_text(request, None, 3),
        "hearing": lambda: did_it_hear(request),
    }
    with pytest.raises(
        ServiceError, match=r"^Not with Gemini: .*\. Choose a pair whose speech LLM runs here\.$"
    ):
        asks[what]()
    assert services.n_asked == (0, 0, 0)


def test_an_implicit_cascade_may_read_by_a_service(services: Services) -> None:
    result = asked("mini-ultravox-endpoint", reference=None)
    found = ask_lens_text(replace(REQUEST_RUN_SERVICES, pair="mini-ultravox-endpoint"), result.lens, 2)
    assert isinstance(found.answer, BehaviourAnswer) and found.answer.label == "Sports"
    said = services.text.asked[-1].body["messages"][0]["content"]
    assert said.startswith(found.text) and found.backbone == "mini-cascade-endpoint"


def test_a_refusal_is_a_refused_answer_and_cannot_be_compared(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.gemini.script = [Sent({"promptFeedback": {"blockReason": "SAFETY"}})]
    result = asked("gemini-mini")
    answer = result.lanes[0].answer
    assert isinstance(answer, BehaviourAnswer)
    assert (answer.label, answer.status, answer.note) == (None, "refused", "Refused by the service: SAFETY.")
    assert result.agreement.kind == "not comparable" and "refused" in result.agreement.sentence


def test_a_busy_service_is_asked_again_and_the_waiting_is_told(services: Services) -> None:
    services.gemini.script = [Sent(BUSY, 429), Sent(GEMINI_SAYS)]
    told: list[str] = []
    result = run(replace(REQUEST_RUN_SERVICES, pair="gemini-mini"), lambda share, what: told.append(what))
    assert result.lanes[0].answer.label == "Sports" and services.n_asked == (2, 0, 0)
    assert any("the clip is sent out; waiting for Gemini to answer" in what for what in told)
    assert any("Gemini limits requests (HTTP 429): asking again in" in what for what in told)


def test_who_waits_for_a_service_can_stop_at_once(services: Services) -> None:
    services.gemini.script = [Sent(GEMINI_SAYS, delay_s=20.0)]

    class StoppedError(Exception):
        pass

    def progress(share: float, what: str) -> None:
        if services.gemini.asked:
            raise StoppedError

    started = time.perf_counter()
    with pytest.raises(StoppedError):
        run(replace(REQUEST_RUN_SERVICES, pair="gemini-mini"), progress)
    assert time.perf_counter() - started < 15.0


def test_a_service_that_fails_ends_the_run_with_its_sentence(services: Services) -> None:
    services.gemini.script = [Sent({"error": {"code": 401, "message": f"bad key {KEYS[0]}"}}, 401)]
    with pytest.raises(ServiceError, match=r"^Gemini refuses the key \(HTTP 401\); check the key"):
        asked("gemini-mini")


def test_without_a_key_the_sentence_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    point_to(monkeypatch)
    with pytest.raises(EngineError, match=r"^Gemini cannot be asked: set GEMINI_MODEL and"):
        asked("gemini-mini")


def test_no_key_is_in_a_result_or_a_log(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    services.gemini.script = [Sent(BUSY | {"echo": KEYS[0]}, 429), Sent(GEMINI_SAYS)]
    result = asked("gemini-endpoint-mini")
    written = repr(result) + caplog.text
    assert len(caplog.records) > 3
    for key in KEYS:
        assert key not in written and key[8:20] not in written


REQUEST_IMPLICIT = RunRequest(sound(1.7), "topic")


def test_its_answer_is_the_cascades_when_it_is_given_the_same_text() -> None:
    plain = run(REQUEST_IMPLICIT)
    for layer in plain.lens.layers:
        asked = ask_lens_text(REQUEST_IMPLICIT, plain.lens, layer)
        assert asked.text == lens_text(plain.lens, layer) and asked.layer == layer
        overridden = run(replace(REQUEST_IMPLICIT, transcript_override=asked.text)).lanes[1]
        assert asked.answer == overridden.answer and asked.backbone == overridden.key


def test_layers_that_read_differently_are_answered_from_their_own_text() -> None:
    lens = run(REQUEST_IMPLICIT).lens
    first, last = (
        ask_lens_text(REQUEST_IMPLICIT, lens, layer) for layer in (lens.layers[0], lens.layers[-1])
    )
    assert first.text != last.text and first.answer != last.answer


def test_a_layer_that_was_not_read_is_refused() -> None:
    with pytest.raises(UnknownKeyError, match="no layer 9; choose 0 to 3"):
        ask_lens_text(REQUEST_IMPLICIT, run(REQUEST_IMPLICIT).lens, 9)


TOPIC, TRIVIA = TASKS["topic"], TASKS["trivia"]


def answer(label: str | None, status: LabelStatus = "parsed") -> Answer:
    return Answer(label or "", label, status, {}, -1.0)


CASES = (
    ("World", "World", "World", "both right"),
    ("World", "Sports", "World", "only the speech LLM right"),
    ("Sports", "World", "World", "only the cascade right"),
    ("Sports", "Sports", "World", "both wrong, same answer"),
    ("Sports", "Business", "World", "both wrong, different answers"),
    ("Sports", "Sports", None, "same answer"),
    ("Sports", "Business", None, "different answers"),
    (None, "Sports", "Sports", "not comparable"),
)


@pytest.mark.parametrize(("speech", "cascade", "gold", "kind"), CASES)
def test_each_class_by_hand(speech: str | None, cascade: str, gold: str | None, kind: str) -> None:
    found = compare(TOPIC, answer(speech, "parsed" if speech else "empty"), answer(cascade), gold)
    assert found.kind == kind
    assert found.sentence.endswith(".") and found.sentence[0].isupper()


def test_no_class_is_left_out_above() -> None:
    assert {case[-1] for case in CASES} == set(get_args(AgreementClass))


@pytest.mark.parametrize(
    ("status", "words"),
    [("unparsed", "none of the allowed words"), ("refused", "refused"), ("empty", "no answer")],
)
def test_unread_answers_are_never_alike_and_the_sentence_says_why(status: LabelStatus, words: str) -> None:
    unread = answer(None, status)
    both = compare(TOPIC, unread, unread, "World")
    assert both.kind == "not comparable" and both.sentence.count(words) == 2
    one = compare(TOPIC, answer("World"), unread, "World")
    assert one.kind == "not comparable" and "cascade" in one.sentence and "speech" not in one.sentence


def test_aliases_make_two_spellings_both_right_but_not_the_same_without_gold() -> None:
    speech, cascade = answer("everest"), answer("mount everest")
    assert compare(TRIVIA, speech, cascade, "Mount Everest", ("Everest",)).kind == "both right"
    assert compare(TRIVIA, speech, cascade, None).kind == "different answers"


def test_two_spellings_of_one_label_are_the_same_answer() -> None:
    assert compare(TRIVIA, answer("Mount Everest"), answer("mount everest"), None).kind == "same answer"


def test_swapping_the_systems_swaps_the_class() -> None:
    mirror = {"only the speech LLM right": "only the cascade right"}
    mirror |= {value: key for key, value in mirror.items()}
    for speech, cascade, gold, kind in CASES[:-1]:
        swapped = compare(TOPIC, answer(cascade), answer(speech), gold)
        assert swapped.kind == mirror.get(kind, kind)
