"""The real files, fetched from wherever they are to be had: what is made of them says the same as their own libraries.

`python -m pytest -m download tests/test_laptop_weights.py`, with the network and 1.2 GB of room for the first time.
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
from engine.systems.fetching import fetch
from engine.systems.pinned_files import PINNED
from engine.systems.tokenizer import read_tokenizer
from engine.systems.weights import HOME_VARIABLE, folder_of, missing_weights

pytestmark = [pytest.mark.download, pytest.mark.slow]
JFK = Path(__file__).resolve().parents[1] / "assets" / "examples" / "jfk.flac"
SENTENCE = "ask not what your country can do for you"
LLM = "smollm2-135m-instruct"


@pytest.fixture(scope="module", autouse=True)
def fetched() -> None:
    """All of it, into the user's own cache or where the environment says."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        for name in PINNED:
            fetch(name)
    assert missing_weights(PINNED) == (), os.environ.get(HOME_VARIABLE)


@pytest.fixture(scope="module")
def jfk() -> np.ndarray:
    if not JFK.exists():
        pytest.skip("the example of a real person is not in this copy")
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
