"""Every published family loads under its real key, from its real folder's name; one set of weights where exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.audio import AudioClip
from engine.checks import batch_is_exact
from engine.errors import ModelFilesError
from engine.generate import run_arms
from engine.systems.base import SpeechLLM, WhiteBoxSystem
from engine.systems.cascade import PublishedTranscriber
from engine.systems.catalogue import PAIRS, PUBLISHED_SYSTEMS, SYSTEMS, get_spec, match_of
from engine.systems.loading import load_cascade, load_speech_llm, load_text_llm, load_transcriber
from engine.systems.profiles import PROFILES, use_profile
from tests.engine.tiny_systems import sound
from tests.engine.tiny_whisper import SAYS

HERE = {key: spec for key, spec in PUBLISHED_SYSTEMS.items() if not spec.is_remote}
SPEECH = [key for key, spec in HERE.items() if spec.kind == "speech_llm"]
CASCADES = [key for key, spec in HERE.items() if spec.kind == "cascade"]
ORACLES = [key for key, spec in HERE.items() if spec.kind == "text_llm"]
QUESTION = "Is this positive or negative?"


@pytest.mark.parametrize("key", SPEECH)
def test_a_speech_llm_loads_hears_and_answers(published_models: Path, key: str) -> None:
    system = load_speech_llm(key, published_models)
    assert isinstance(system, SpeechLLM) and system.spec is get_spec(key)
    assert system is load_speech_llm(key, published_models)
    prepared = system.prepare(system.hear(sound(1.7)), QUESTION)
    assert prepared.heard.embeddings.isfinite().all() and prepared.heard.text == ""
    assert run_arms(system, prepared, max_new_tokens=3).decoded[0].token_ids


@pytest.mark.parametrize("key", SPEECH)
def test_it_passes_the_check_that_the_page_makes_when_it_loads(published_models: Path, key: str) -> None:
    assert batch_is_exact(key, published_models) in (True, False)  # raises where a serious check fails


@pytest.mark.parametrize("key", CASCADES)
def test_a_cascade_reads_what_its_published_ears_wrote(published_models: Path, key: str) -> None:
    system = load_cascade(key, published_models)
    assert isinstance(system, WhiteBoxSystem)
    heard = system.hear(sound(1.7))
    assert heard.text == " ".join(SAYS) and len(heard.words) == len(SAYS)
    assert run_arms(system, system.prepare(heard, QUESTION), max_new_tokens=2).decoded
    assert system.transcriber is load_transcriber(str(SYSTEMS[key].transcriber), published_models)


def test_published_ears_hear_as_the_profile_says(published_models: Path) -> None:
    key = "whisper-small-llama-3.2-1b"
    usual = load_cascade(key, published_models)
    profile = replace(PROFILES["mini"], language="de", drop_silence=True)
    use_profile(profile)
    try:
        told = load_cascade(key, published_models)
        assert isinstance(told.transcriber, PublishedTranscriber)
        assert told.transcriber._settings.words == profile.hearing.words != PROFILES["mini"].hearing.words
        silence = AudioClip(np.zeros(32_000, np.float32), "silence")
        assert told.hear(silence).text == "" != usual.hear(silence).text
    finally:
        use_profile(PROFILES["mini"])
    assert load_cascade(key, published_models) is usual


@pytest.mark.parametrize("key", ORACLES)
def test_an_oracle_reads_the_true_transcript(published_models: Path, key: str) -> None:
    system = load_text_llm(key, published_models)
    prepared = system.prepare(system.hear_text("the queen scored"), QUESTION)
    assert prepared.span[1] > prepared.span[0]
    assert run_arms(system, prepared, max_new_tokens=2).decoded


@pytest.mark.parametrize("key", [key for key, pair in PAIRS.items() if pair.speech_llm in SPEECH])
def test_a_match_is_exact_or_self_if_and_only_if_the_weights_are_one(
    published_models: Path, key: str
) -> None:
    """What the catalogue tells from files is what the registry then runs."""
    pair = PAIRS[key]
    speech = load_speech_llm(pair.speech_llm, published_models)
    cascade = load_cascade(pair.cascade, published_models)
    oracle = load_text_llm(pair.text_oracle, published_models)
    assert cascade.language_model is oracle.language_model
    theirs = {id(weight) for weight in cascade.language_model.parameters()}
    shared = theirs & {id(weight) for weight in speech.language_model.parameters()}
    same = match_of(pair, published_models) in ("exact", "self")
    assert shared == (theirs if same else set())


def test_ultravox_and_its_cascade_run_the_same_modules(published_models: Path) -> None:
    speech = load_speech_llm("ultravox-v0.6-8b", published_models)
    llama = load_text_llm("llama-3.1-8b-instruct", published_models)
    assert speech.language_model is llama.language_model
    assert load_speech_llm("ultravox-v0.5-8b", published_models).language_model is llama.language_model
    assert load_speech_llm("ultravox-v0.5-1b", published_models).language_model is not llama.language_model


def test_phi_with_its_adapters_is_another_model_on_the_same_weights(published_models: Path) -> None:
    speech = load_speech_llm("phi-4-multimodal", published_models)
    plain = load_text_llm("phi-4-multimodal-llm", published_models)
    assert speech.language_model is not plain.language_model
    embeddings = plain.prepare(plain.hear_text("the queen"), QUESTION).embeddings
    with torch.inference_mode():
        apart = speech.language_model(inputs_embeds=embeddings).logits
        gap = (apart - plain.language_model(inputs_embeds=embeddings).logits).abs().max()
    assert float(gap) > 0.01


def test_the_whisper_that_an_ultravox_names_needs_no_weights(published_models: Path) -> None:
    assert not list((published_models / "whisper-large-v3-turbo").glob("*.safetensors"))


@pytest.mark.parametrize("key", ["ultravox-v0.6-8b", "qwen2-audio-7b", "voxtral-mini-3b-2507"])
def test_weights_that_are_not_here_are_one_sentence(tmp_path: Path, key: str) -> None:
    with pytest.raises(ModelFilesError) as caught:
        load_speech_llm(key, tmp_path)
    assert str(tmp_path) not in str(caught.value)
