"""What stands on screen is told for what it is: stale, stored, with its verdict, its readout and its error rate."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dashboard import beside as beside_module
from dashboard import session, stored
from dashboard.components.payload import clip_payload
from dashboard.result_json import result_to_json
from dashboard.tabs import clip_handlers as handlers
from dashboard.tabs import clip_runs as runs
from engine.audio import load_clip
from engine.errors import ModelFilesError
from engine.evaluation import HumanError
from engine.examples import EXAMPLES, MAX_BYTES, read_stored, stored_file, write_stored
from engine.request import RunRequest
from engine.results import HearingVerdict, RunResult
from tests.dashboard.test_clip_page import PAIR, last, values

EXAMPLE = EXAMPLES[0]


@pytest.fixture(autouse=True)
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))


def asked(**changes: Any) -> tuple[Any, ...]:
    own = {
        "audio": str(EXAMPLE.file),
        "task": EXAMPLE.task,
        "prompt": EXAMPLE.prompt,
        "noise": "none",
        "erasures": (),
    }
    return values(**{**own, "reference": EXAMPLE.reference, "pair": PAIR, **changes})


@pytest.mark.parametrize(
    ("changes", "is_stale"),
    [
        ({}, False),
        ({"task": "sentiment"}, True),
        ({"audio": str(EXAMPLES[1].file)}, True),
        ({"reference": "other words"}, True),
        ({"pair": "mini-qwen2-audio"}, True),
        ({"noise": "white"}, True),
        ({"erasures": ("text",)}, True),
        ({"readout": "tuned"}, True),
        # What the other choices leave unread changes no answer.
        ({"snr_db": 17}, False),
        ({"strength": 0.5, "scope": "all", "layers": "all", "method": "affine"}, False),
        ({"prompt": "no task here reads this"}, False),
    ],
)
def test_a_result_of_other_settings_is_marked(
    stand_in_models: RunResult, changes: dict[str, Any], is_stale: bool
) -> None:
    """After another clip or task was chosen the old result stood there as if it were theirs."""
    shown_id = last(runs.run_form(asked(), "", None)).shown_id
    line = runs.mark(asked(**changes), shown_id)
    assert ("settings changed - Run" in line) == is_stale
    assert runs.mark(asked(**changes), "") == ""  # nothing on screen, nothing to mark


def test_the_verdict_stands_in_view_and_json(result: RunResult) -> None:
    assert clip_payload(result, "")["verdict"] is None and result_to_json(result)["hearing_verdict"] is None
    verdict = HearingVerdict("heard otherwise", "The two heard other words.", {"word_error_rate": 0.5})
    judged = replace(result, hearing_verdict=verdict)
    told = {
        "kind": "heard otherwise", "sentence": "The two heard other words.", "numbers": {"word_error_rate": 0.5},
    }  # fmt: skip
    assert clip_payload(judged, "")["verdict"] == told and result_to_json(judged)["hearing_verdict"] == told
    spoken = replace(result, hearing_verdict=HearingVerdict("speech", "2.0 s of speech."))
    assert clip_payload(spoken, "")["verdict"] is None  # it stands among the facts
    assert clip_payload(spoken, "")["speech"] == "2.0 s of speech."
    warned = replace(result, hearing_verdict=verdict, warnings=("It is quiet.", verdict.sentence))
    shown = clip_payload(warned, "")
    assert (shown["speech"], shown["warnings"]) == ("", ["It is quiet."]), (
        "it stands above the answers already"
    )
    assert result_to_json(warned)["audio"]["warnings"] == ["It is quiet.", verdict.sentence]


def test_the_verdict_is_completed_under_answers_that_stand_already(
    result: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = replace(result, hearing_verdict=HearingVerdict("speech", "2.0 s of speech."))
    whole = replace(first, hearing_verdict=HearingVerdict("heard alike", "Alike."))

    def run(request: RunRequest, progress: Any, answered: Any) -> RunResult:
        answered(first)
        progress(0.9, "comparing")
        return whole

    monkeypatch.setattr("engine.run.run", run)
    views = [update.view for update in runs.run_form(asked(), "", None) if isinstance(update.view, dict)]
    shown = [view for view in views if view.get("status") in ("ready", "judged")]
    assert [view["verdict"]["kind"] for view in shown] == ["comparing", "heard alike"]
    assert shown[0]["run"] == shown[1]["run"] and "lanes" not in shown[1], "the view is not drawn anew"
    kept = session.RESULTS.get(shown[0]["run"])
    assert kept is not None and kept.result is whole
    assert views[-1] is shown[1], "no step hides the answers again"


def test_the_grid_shows_the_readout_and_the_json_has_both(result: RunResult) -> None:
    assert result.lens is not None
    other = replace(
        result.lens, name="tuned lens", beside=(0.1, 0.2, float("nan"), 0.4), beside_name="the logit lens",
        precision=(0.5, 0.6, 0.7, 0.8),
    )  # fmt: skip
    both = replace(result, readout=other)
    shown = clip_payload(both, "", readout="tuned", readouts=[["tuned", "tuned lens", ""]])
    assert shown["lens"]["name"] == "tuned lens" and shown["lens"]["precision"] == [0.5, 0.6, 0.7, 0.8]
    assert shown["lens"]["beside"] == [0.1, 0.2, None, 0.4] and shown["readout"] == "tuned"
    written = result_to_json(both)
    assert (written["lens"]["name"], written["readout"]["name"]) == ("logit lens", "tuned lens")
    assert result_to_json(result)["readout"] is None


def test_a_readout_that_is_off_says_why() -> None:
    clip = load_clip(EXAMPLE.file)
    named = {key: why for key, _, why in runs.readouts(RunRequest(clip, "topic", PAIR))}
    assert named["logit"] == "" and "No tuned lens" in named["tuned"] and "second one" in named["difference"]
    erased = runs.readouts(RunRequest(clip, "topic", PAIR, erasures=("text",)))
    assert {key: why for key, _, why in erased}["difference"] == ""


def test_another_readout_runs_again_and_the_same_does_not(stand_in_models: RunResult) -> None:
    shown_id = last(runs.run_form(asked(erasures=("text",)), "", None)).shown_id
    assert list(runs.rerun_readout(asked(erasures=("text",)), shown_id, None)) == [runs.RunUpdate()]
    again = last(runs.rerun_readout(asked(erasures=("text",), readout="difference"), shown_id, None))
    assert again.view["readout"] == "difference"


def test_a_benchmarks_accuracy_says_that_it_is_not_of_ones_own_clip(
    stand_in_models: RunResult, tmp_path: Path
) -> None:
    own = tmp_path / "own.wav"
    import soundfile

    soundfile.write(own, load_clip(EXAMPLE.file).samples * 0.5, 16_000)
    shipped = last(runs.run_form(asked(task="topic"), "", None)).view["benchmark"]
    mine = last(runs.run_form(asked(task="topic", audio=str(own)), "", None)).view["benchmark"]
    assert "clips of synthetic speech" in shipped and "Your clip" not in shipped
    assert mine == f"{shipped} {beside_module.NOT_OF_YOURS}"


def test_human_error_rates_are_by_corpus_and_absent_where_there_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert beside_module.human_rates(PAIR) is None
    rows = (
        HumanError(PAIR, "wer", "vctk", "corpus", "vctk", 0.25, 0.2, 0.3, 108, 20),
        HumanError(PAIR, "wer", "vctk", "sex", "female", 0.2, None, None, 50, 9),
        HumanError(
            PAIR, "wer", "", "all", "all clips", 0.35, 0.3, 0.4, 990, 104
        ),  # was a corpus without a name
        HumanError(PAIR, "wer", "all", "all", "mean of 6 corpora", 0.3, 0.25, 0.35, 600, 90),
        HumanError("mini-cascade", "wer", "vctk", "corpus", "vctk", 0.1, 0.1, 0.1, 108, 20),
    )
    monkeypatch.setattr(beside_module, "human_errors", lambda key: rows)
    found = beside_module.human_rates(PAIR)
    assert found == {
        "rows": [["vctk", 0.25, 0.2, 0.3, 108, 20]], "mean": ["all", 0.3, 0.25, 0.35, 600, 90], "problem": "",
    }  # fmt: skip

    def broken(key: str) -> tuple[HumanError, ...]:
        raise ModelFilesError("human.csv, row 1, does not hold a figure.")

    monkeypatch.setattr(beside_module, "human_errors", broken)
    assert "row 1" in str((beside_module.human_rates(PAIR) or {})["problem"])


def lasting(result: RunResult) -> RunResult:
    """The result with what a file keeps: probabilities of few digits."""
    here = handlers.form_of(asked())
    from engine.systems.catalogue import get_spec, revision_of

    revision = revision_of(get_spec(PAIR))
    return replace(
        result, pair=here.pair, lanes=tuple(replace(lane, revision=revision) for lane in result.lanes)
    )


def test_a_stored_result_comes_back_whole_and_small(result: RunResult, tmp_path: Path) -> None:
    sound = np.full(16_000, 0.1, np.float32)
    kept = replace(
        lasting(result), hearing_verdict=HearingVerdict("heard alike", "Alike.", {"word_error_rate": 0.0})
    )
    file = stored_file(tmp_path, EXAMPLE.key, PAIR)
    assert write_stored(file, kept, "2026-11-30") == file.stat().st_size < MAX_BYTES
    found = read_stored(file, sound)
    assert found.made_on == "2026-11-30" and found.result.waveform is sound
    assert found.result.lens is not None and kept.lens is not None
    np.testing.assert_array_equal(found.result.lens.top_ids, kept.lens.top_ids)
    np.testing.assert_allclose(found.result.lens.top_probabilities, kept.lens.top_probabilities, atol=1e-3)
    assert found.result.lens.token_text == {
        key: text for key, text in kept.lens.token_text.items() if key in kept.lens.top_ids
    }
    assert found.result.lens.spoken == kept.lens.spoken and found.result.lens.words == kept.lens.words
    bare = {"lens": None, "waveform": sound}
    assert replace(found.result, **bare) == replace(kept, **bare)


def test_a_stored_result_that_is_damaged_or_of_another_version_is_refused(
    result: RunResult, tmp_path: Path
) -> None:
    file = stored_file(tmp_path, EXAMPLE.key, PAIR)
    write_stored(file, result, "2026-11-30")
    whole = file.read_bytes()
    value = json.loads(gzip.decompress(whole))
    value["result"]["unknown"] = 1
    calls = {"is": "Popen", "args": ["true"]}
    for text in (
        whole[:50],
        b"no gzip",
        gzip.compress(json.dumps(value).encode()),
        gzip.compress(json.dumps({"format": value["format"], "made_on": "", "result": calls}).encode()),
    ):
        file.write_bytes(text)
        with pytest.raises(ModelFilesError, match="damaged or of another version"):
            read_stored(file, np.zeros(1, np.float32))


@pytest.fixture
def results(result: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stored result of the first example by the first pair, where the page looks."""
    folder = tmp_path / "results"
    write_stored(stored_file(folder, EXAMPLE.key, PAIR), lasting(result), "2026-11-30")
    for one in (stored.stored_for, stored.opening_example):
        monkeypatch.setattr(one, "__defaults__", (folder,))
    return folder


def test_an_example_shows_its_stored_result_marked_as_such(results: Path) -> None:
    update = runs.show_stored(asked(), "")
    assert update.view["status"] == "ready"
    assert update.view["source"].startswith("precomputed, 2026-11-30, revision ")
    assert "Stored result" in update.status and "Run measures it here" in update.status
    kept = session.RESULTS.get(update.shown_id)
    assert kept is not None and kept.stored
    assert runs.mark(asked(), update.shown_id) == "" and runs.mark(asked(task="sentiment"), update.shown_id)
    # It is on screen already: nothing is drawn anew.
    assert runs.show_stored(asked(), update.shown_id) == runs.RunUpdate()
    assert handlers.restore({}).audio == str(EXAMPLE.file)  # and the page opens on it


@pytest.mark.parametrize("changes", [{"task": "sentiment"}, {"noise": "white"}, {"pair": "mini-qwen2-audio"}])
def test_nothing_stored_is_shown_for_another_question(results: Path, changes: dict[str, Any]) -> None:
    assert runs.show_stored(asked(**changes), "") == runs.RunUpdate()


def test_a_stored_result_of_other_weights_is_not_shown(results: Path, result: RunResult) -> None:
    other = lasting(result)
    lanes = tuple(replace(lane, revision="other") for lane in other.lanes)
    write_stored(stored_file(results, EXAMPLE.key, PAIR), replace(other, lanes=lanes), "2026-11-30")
    assert runs.show_stored(asked(), "") == runs.RunUpdate()


def test_a_damaged_file_costs_the_example_nothing(results: Path) -> None:
    stored_file(results, EXAMPLE.key, PAIR).write_bytes(b"")
    assert runs.show_stored(asked(), "") == runs.RunUpdate()


def test_another_pair_of_a_stored_result_is_shown_and_not_run(results: Path, result: RunResult) -> None:
    other = "mini-ultravox-weak"
    write_stored(stored_file(results, EXAMPLE.key, other), replace(lasting(result), pair=other), "2026-11-29")
    shown = runs.show_stored(asked(), "")
    update = last(runs.change_pair(asked(pair=other), shown.shown_id, None))
    assert update.view["source"].startswith("precomputed, 2026-11-29")
