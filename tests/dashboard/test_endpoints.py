"""`/analyze` called directly: what it returns, what it refuses, and that it is the page's own path."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import gradio as gr
import pytest

from dashboard.endpoints import analyze
from engine.errors import EngineError
from engine.examples import EXAMPLES
from engine.results import RunResult

NOBODY = cast(gr.Request, None)


@pytest.fixture
def upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    path = tmp_path / "clip.flac"
    shutil.copy(EXAMPLES[0].file, path)
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def test_the_answer_is_plain_json_with_the_promised_parts(upload: Any, stand_in_models: RunResult) -> None:
    answer = analyze(NOBODY, upload, "topic", snr_db=5.0, erasure="boc", seed=3, strength=0.5)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert {"systems", "agreement", "audio", "lens", "erasure"} <= set(answer)
    assert {"key", "role", "heard", "answer", "label", "label_status", "forced_choice", "seconds"} <= set(
        answer["systems"][0]
    )
    assert {"duration_s", "changes", "snr_db_achieved"} <= set(answer["audio"])
    assert {"layers", "seconds_per_position", "top_tokens", "precision", "control"} <= set(answer["lens"])
    arm = {"answer", "label", "forced_choice", "log_likelihood_change", "relative_change_of_state"}
    for name in ("plain", "erased", "random_control"):
        assert arm <= set(answer["erasure"][name])
    assert answer["erasure"]["strength"] == 0.5
    assert answer["audio"]["noise"] == "babble" and answer["seed"] == 3


def test_without_a_ratio_the_clip_stays_clean(upload: Any, stand_in_models: RunResult) -> None:
    answer = analyze(NOBODY, upload, "topic", noise="white")
    assert answer["audio"]["noise"] is None
    assert answer["erasure"] is None and answer["erasures"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise": "thunder"},
        {"noise": "own", "snr_db": 5},
        {"noise": "none", "snr_db": 5},
        {"seed": -1},
        {"seed": 1.5},
        {"seed": True},
        {"task": None},
        {"task": "poetry"},
        {"scope": ["audio"]},
        {"erasure": "everything"},
        {"prompt": {"a": 1}},
        {"strength": "half"},
        {"strength": True},
        {"strength": 2.0},
        {"reference": "x" * 10_000},
        {"task": "free", "prompt": "x" * 10_000},
    ],
    ids=str,
)
def test_wrong_values_are_refused_in_one_sentence(
    upload: Any, stand_in_models: RunResult, wrong: Any
) -> None:
    with pytest.raises(EngineError) as refusal:
        analyze(NOBODY, upload, **{"task": "topic", **wrong})
    assert "/" not in str(refusal.value).replace("Sci/Tech", "")
