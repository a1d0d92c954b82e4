"""The real files, fetched from wherever they are to be had: what is made of them says the same as their own libraries.

`python -m pytest -m slow tests/test_laptop.py`, with the network and 1.2 GB of room for the first time. Both pairs of
the laptop profile hear a real person here, end to end.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch

from engine.audio import SAMPLE_RATE_HZ, load_clip
from engine.checks import check_adapter
from engine.errors import ModelFilesError
from engine.examples import EXAMPLES
from engine.request import RunRequest
from engine.results import RunResult
from engine.run import run
from engine.stats.scores import word_error_rate
from engine.systems.fetching import fetch
from engine.systems.loading import load_cascade, load_speech_llm
from engine.systems.text_llm import read_tokenizer
from engine.systems.weights import HOME_VARIABLE, PINNED, folder_of, missing_weights
from engine.words import normalise

pytestmark = pytest.mark.slow
JFK = Path(__file__).resolve().parents[1] / "assets" / "examples" / "jfk.flac"
SENTENCE = "ask not what your country can do for you"
LLM = "smollm2-135m-instruct"


@pytest.fixture(scope="module", autouse=True)
def fetched() -> None:
    """All of it, into the user's own cache or where the environment says."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        for name in PINNED:
            try:
                fetch(name)
            except ModelFilesError as error:
                if "pinned" in str(
                    error
                ):  # files that are not what they should be are no matter of the network
                    raise
                pytest.skip(str(error))
    assert missing_weights(PINNED) == (), os.environ.get(HOME_VARIABLE)


@pytest.fixture(scope="module")
def jfk() -> np.ndarray:
    return load_clip(JFK).samples


def test_whisper_in_transformers_writes_the_tokens_of_faster_whisper(jfk: np.ndarray) -> None:
    from faster_whisper import WhisperModel
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    folder = folder_of("whisper-base-transformers")
    ours = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    features = WhisperFeatureExtractor.from_pretrained(folder)(
        jfk, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt"
    )
    written = ours.generate(features.input_features, language="en", task="transcribe")[0].tolist()
    theirs = WhisperModel(str(folder_of("faster-whisper-base")), device="cpu", compute_type="float32")
    segments, _ = theirs.transcribe(jfk, language="en", beam_size=1, temperature=0.0, without_timestamps=True)
    segment = next(segments)
    assert written == segment.tokens and SENTENCE in segment.text


def test_whisper_tiny_hears_a_person(jfk: np.ndarray) -> None:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder_of("faster-whisper-tiny.en")), device="cpu", compute_type="float32")
    segments, _ = model.transcribe(jfk, beam_size=1, temperature=0.0)
    assert SENTENCE in " ".join(segment.text.strip() for segment in segments)


def test_the_llms_logits_are_those_of_transformers_own_reading_of_the_file() -> None:
    from transformers import AutoModelForCausalLM

    folder = folder_of(LLM)
    tokenizer = read_tokenizer(folder)
    turns = [{"role": "user", "content": "Name three colours."}]
    encoded: Any = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = encoded["input_ids"]
    file = PINNED[LLM].files[0].name
    ours, theirs = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **named)
        for named in ({}, {"gguf_file": file})
    )
    with torch.inference_mode():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)


def test_the_llms_tokenizer_ends_a_turn_and_keeps_digits_apart() -> None:
    tokenizer = read_tokenizer(folder_of(LLM))
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.tokenize("a  1961") == ["a", "ĠĠ", "1", "9", "6", "1"]
    text = "It's 1961, naïve café — 你好!\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def heard_end_to_end(pair: str) -> RunResult:
    """A pair's run on the clip; speech LLM and cascade share their weights, and the adapter passes every check."""
    result = run(RunRequest(load_clip(JFK, "JFK"), "transcribe", pair))
    system = load_speech_llm(pair)
    assert system.language_model is load_cascade("cascade-whisper-base").language_model
    assert not [finding for finding in check_adapter(system) if not finding.passed]
    cascade = result.lanes[1]
    assert SENTENCE in normalise(cascade.heard) and SENTENCE in normalise(cascade.answer.text)
    lens = result.lens
    assert lens is not None and lens.position_ends_s is not None and lens.position_ends_s[-1] <= 11.0
    assert lens.precision[0] > 2 * lens.control[0]
    return result


def test_the_bridge_hears_a_person_as_well_as_its_cascade() -> None:
    result = heard_end_to_end("bridge-smollm2")
    assert SENTENCE in normalise(result.lanes[0].answer.text)
    assert result.lens is not None and result.lens.precision[0] > 0.9


def test_the_speech_llm_hears_most_of_a_person() -> None:
    """Its error rate on people is about four words in ten; a clip that it hears well is held to a half."""
    result = heard_end_to_end("ultravox-smollm2")
    said = next(one.reference for one in EXAMPLES if one.file == JFK)
    assert word_error_rate(said, result.lanes[0].answer.text) < 0.5
