"""Every sentence a request can be answered with instead of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.audio import AudioClip
from engine.errors import EngineError, ErasureError, NoiseError, PromptError, UnknownKeyError
from engine.request import (
    CONDITIONS,
    ERASURES,
    MAX_REFERENCE_CHARACTERS,
    METHODS,
    SCOPES,
    RunRequest,
    check_request,
    tuned_lens_file,
    tuned_lens_note,
)
from engine.systems.catalogue import MINI_PAIRS
from engine.tasks import TASKS

CLIP = AudioClip(np.full(8000, 0.1, np.float32), "clip.wav")
GOOD = RunRequest(CLIP, "topic")
LONG = "x" * 10_000

BAD: tuple[tuple[dict[str, Any], type[EngineError], str], ...] = (
    ({"task": "weather"}, UnknownKeyError, f'no task "weather". Choose one of: {", ".join(TASKS)}'),
    ({"task": LONG}, UnknownKeyError, "no task"),
    ({"pair": "whisper"}, UnknownKeyError, f'no pair "whisper". Choose one of: {", ".join(MINI_PAIRS)}'),
    ({"scope": "words"}, UnknownKeyError, 'no scope "words". Choose one of: audio, prompt, all'),
    ({"method": "cubic"}, UnknownKeyError, 'no method "cubic". Choose one of: linear, affine'),
    (
        {"erasures": ("text", "mood")},
        UnknownKeyError,
        'no erasure "mood". Choose one of: text, ctc, boc, acoustic',
    ),
    ({"erasures": (LONG,)}, UnknownKeyError, "no erasure"),
    ({"strength": 1.25}, ErasureError, "a number from 0 to 1"),
    ({"strength": -0.1}, ErasureError, "a number from 0 to 1"),
    ({"strength": float("nan")}, ErasureError, "a number from 0 to 1"),
    ({"layers": ()}, UnknownKeyError, "No layer is chosen"),
    ({"reference": LONG}, PromptError, "The reference has 10,000 characters; the limit is 500"),
    ({"transcript_override": LONG}, PromptError, "The transcript has 10,000 characters; the limit is 500"),
    ({"prompt": LONG}, PromptError, "The prompt has 10,000 characters; the limit is 500"),
    ({"task": "commonsense"}, PromptError, "needs 2 to 8 answers"),
    ({"task": "commonsense", "prompt": "a, A"}, PromptError, "the same"),
    ({"task": "free"}, PromptError, "Write a prompt first"),
    ({"noise": "own", "snr_db": 5.0}, NoiseError, "Own noise needs a noise file"),
)


@pytest.mark.parametrize(("change", "kind", "words"), BAD)
def test_each_fault_is_one_short_sentence_without_a_path(
    change: dict, kind: type[EngineError], words: str
) -> None:
    with pytest.raises(kind) as caught:
        check_request(replace(GOOD, **change))
    message = str(caught.value)
    assert words in message
    assert "/" not in message and "\n" not in message and "Error" not in message and len(message) < 250


def test_a_good_request_becomes_a_question() -> None:
    question = check_request(GOOD)
    assert question.instruction == TASKS["topic"].instruction and question.labels == TASKS["topic"].labels
    choices = check_request(replace(GOOD, task="commonsense", prompt="oven, shelf"))
    assert choices.labels == ("oven", "shelf") and "oven, shelf" in choices.instruction


def test_every_allowed_value_is_allowed() -> None:
    changes: tuple[dict[str, Any], ...] = (
        *({"scope": scope} for scope in SCOPES),
        *({"method": method} for method in METHODS),
        {"erasures": ERASURES},
        {"reference": "x" * MAX_REFERENCE_CHARACTERS},
        {"noise": "own", "snr_db": 5.0, "noise_clip": CLIP},
        {"noise": "own"},
        {"layers": (0,)},
        {"strength": 0.0},
    )
    for change in changes:
        assert check_request(replace(GOOD, **change)).labels


def test_the_erasures_are_those_that_can_be_loaded() -> None:
    assert set(ERASURES) == set(CONDITIONS)


def test_a_tuned_lens_says_how_near_it_comes_on_other_clips_and_where_it_says_nothing(tmp_path: Path) -> None:
    assert tuned_lens_note("mini-ultravox", tmp_path) == ""
    file = tuned_lens_file("mini-ultravox", tmp_path).with_suffix(".csv")
    file.parent.mkdir()
    rows = ["layer,kind,kl_before,kl_after,kl_control,n_positions"]
    rows += [
        "0,audio,12.0,4.0,3.4,379",
        "0,text,9.0,0.5,3.1,960",
        "1,audio,9.0,3.5,3.4,379",
        "2,audio,5.0,0.8,3.4,379",
    ]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert tuned_lens_note("mini-ultravox", tmp_path) == (
        "On 379 audio positions of held-out clips the tuned lens is 0.8 to 4.0 nats off the model's output, the logit "
        "lens 5.0 to 12.0, and what is said without any state 3.4. So layers 0 to 1 say nothing of the output here."
    )
