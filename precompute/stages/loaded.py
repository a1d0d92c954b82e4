"""Models of this process, each loaded once, and whether their batches may be trusted here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from transformers.utils import logging as transformers_logging

from engine.checks import BatchFinding, check_batches
from engine.systems.base import BehaviourModel, Transcribes, WhiteBoxSystem
from engine.systems.catalogue import get_spec
from engine.systems.loading import (
    load_behaviour,
    load_cascade,
    load_speech_llm,
    load_text_llm,
    load_transcriber,
)
from engine.systems.profiles import WhisperSettings
from engine.systems.text_llm import TextLLM

transformers_logging.disable_progress_bar()  # its bars would break ours


def speech_llm(key: str, models: Path) -> WhiteBoxSystem:
    """Return a speech LLM; raises ModelFilesError for missing or damaged weights."""
    return load_speech_llm(key, models)


def service(key: str) -> BehaviourModel:
    """Return a service, made in this process: its key is read from the environment here and goes nowhere else."""
    return load_behaviour(key)


def text_llm(key: str, models: Path) -> TextLLM:
    """Return the text LLM behind a cascade or an oracle."""
    spec = get_spec(key)
    return load_text_llm(key, models) if spec.kind == "text_llm" else load_cascade(key, models).backbone


def transcriber(folder: str, models: Path, hearing: WhisperSettings) -> Transcribes:
    """Return the transcriber in this folder; a published one is run as `hearing` says."""
    return load_transcriber(folder, models, hearing)


@cache
def batching_of(key: str, models: Path) -> BatchFinding:
    """Return whether a system's batches equal its singles in this process, checked at first use."""
    spec = get_spec(key)
    return check_batches(speech_llm(key, models) if spec.kind == "speech_llm" else text_llm(key, models))
