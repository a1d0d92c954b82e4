"""Loading systems by key, each once; systems with one backbone share its weights.

Adapters and model libraries are imported only here and only when a system is first asked for.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ModelFilesError
from engine.systems.catalogue import MODELS, backbone_of, get_spec

if TYPE_CHECKING:
    from engine.systems.cascade import Cascade
    from engine.systems.text_llm import TextLLM
    from engine.systems.ultravox import Ultravox

_LOADING = threading.RLock()
_TRANSCRIBER_TOKENS = 64


def load_speech_llm(key: str, models: Path = MODELS) -> Ultravox:
    """Return the speech LLM with this key, loaded at first use.

    Raises:
        UnknownKeyError: there is no such system.
        ModelFilesError: its weights are missing or damaged.
    """
    with _LOADING:
        return _speech_llm(key, models)


def load_cascade(key: str, models: Path = MODELS) -> Cascade:
    """Return the cascade with this key, loaded at first use; raises as `load_speech_llm`."""
    with _LOADING:
        return _cascade(key, models)


def load_text_llm(folder: str, models: Path = MODELS) -> TextLLM:
    """Return the text LLM in this folder, loaded at first use; raises as `load_speech_llm`."""
    with _LOADING:
        return _text_llm(folder, models)


def batch_is_exact(key: str, models: Path = MODELS) -> bool:
    """Say whether this speech LLM's batches equal its singles here, as measured when it was loaded."""
    with _LOADING:
        return _checked(key, models)


@cache
def _checked(key: str, models: Path) -> bool:
    """Run check_adapter once; only batch parity may fail, and then arms run one after another."""
    from engine.check import BATCH_CHECK, check_adapter

    failed = [finding for finding in check_adapter(_speech_llm(key, models)) if not finding.passed]
    serious = [finding for finding in failed if finding.name != BATCH_CHECK]
    if serious:
        raise ModelFilesError(
            f"{get_spec(key).name} fails its adapter check: {serious[0].name} ({serious[0].measured}); "
            f'run "python -m engine.check {key}".'
        )
    return not failed


@cache
def _text_llm(folder: str, models: Path) -> TextLLM:
    from engine.systems.text_llm import TextLLM

    return TextLLM(get_spec(folder), models / folder)


@cache
def _speech_llm(key: str, models: Path) -> Ultravox:
    from engine.systems.ultravox import Ultravox

    spec = get_spec(key)
    assert spec.folder is not None
    return Ultravox(spec, models / spec.folder, _text_llm(backbone_of(spec, models), models))


@cache
def _cascade(key: str, models: Path) -> Cascade:
    from engine.systems.cascade import Cascade, Transcriber

    spec = get_spec(key)
    assert spec.transcriber is not None
    transcriber = Transcriber(models / spec.transcriber, max_tokens=_TRANSCRIBER_TOKENS)
    return Cascade(spec, transcriber, _text_llm(backbone_of(spec, models), models))
