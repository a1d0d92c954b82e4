"""Models of this process, each loaded once, and whether their batches may be trusted here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from transformers.utils import logging as transformers_logging

from engine.batching import BatchFinding, check_batches
from engine.systems.base import WhiteBoxSystem
from engine.systems.cascade import Transcriber
from engine.systems.catalogue import SYSTEMS, get_spec
from engine.systems.registry import load_cascade, load_speech_llm, load_text_llm
from engine.systems.text_llm import TextLLM

transformers_logging.disable_progress_bar()  # its bars would break ours


def speech_llm(key: str, models: Path) -> WhiteBoxSystem:
    """Return a speech LLM; raises ModelFilesError for missing or damaged weights."""
    return load_speech_llm(key, models)


def text_llm(key: str, models: Path) -> TextLLM:
    """Return the text LLM behind a cascade or an oracle."""
    spec = get_spec(key)
    return load_text_llm(key, models) if spec.kind == "text_llm" else load_cascade(key, models).backbone


def transcriber(folder: str, models: Path) -> Transcriber:
    """Return the transcriber that a cascade of the catalogue loads from this folder."""
    key = next(spec.key for spec in SYSTEMS.values() if spec.transcriber == folder)
    return load_cascade(key, models).transcriber


@cache
def batching_of(key: str, models: Path) -> BatchFinding:
    """Return whether a system's batches equal its singles in this process, checked at first use."""
    spec = get_spec(key)
    return check_batches(speech_llm(key, models) if spec.kind == "speech_llm" else text_llm(key, models))
