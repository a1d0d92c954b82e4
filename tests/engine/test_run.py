"""One path from a clip to a result, on tiny real systems; only the transcriber's weights are faked."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import answers
from engine import run as run_module
from engine.answers import clearest_layer, control_transcripts
from engine.errors import NoiseError, PromptError, UnknownKeyError
from engine.generate import run_arms
from engine.request import RunRequest
from engine.results import HearingVerdict, RunResult
from engine.run import run, track_token, warm_up
from engine.stats.scores import word_errors
from engine.systems import loading
from engine.systems.ultravox import Ultravox
from engine.tasks import TASKS
from engine.words import SpokenWord
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
