"""Loading systems by key, each once; systems with one backbone or one transcriber share its weights.

Adapters and model libraries are imported only here and only when a system is first asked for.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ModelFilesError
from engine.systems.catalogue import MODELS, SYSTEMS, backbone_of, get_spec

if TYPE_CHECKING:
    from engine.systems.cascade import Cascade, Transcriber
    from engine.systems.qwen2_audio import Qwen2Audio
    from engine.systems.text_llm import TextLLM
    from engine.systems.ultravox import Ultravox

_LOADING = threading.RLock()
_TRANSCRIBER_TOKENS = 64


def load_speech_llm(key: str, models: Path = MODELS) -> Ultravox | Qwen2Audio:
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


def load_text_llm(key: str, models: Path = MODELS) -> TextLLM:
    """Return the text LLM with this key, loaded at first use; raises as `load_speech_llm`."""
    with _LOADING:
        return _text_llm(get_spec(key).backbone, models)


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

    # Cascades, the oracle and a speech LLM may share a folder's weights; the row is the oracle's.
    rows = [spec for spec in SYSTEMS.values() if spec.kind == "text_llm" and spec.folder == folder]
    if not rows:
        raise ModelFilesError(f"The catalogue has no text LLM in the folder {folder[:40]}.")
    return TextLLM(rows[0], models / folder)


@cache
def _speech_llm(key: str, models: Path) -> Ultravox | Qwen2Audio:
    spec = get_spec(key)
    assert spec.folder is not None
    backbone = _text_llm(backbone_of(spec, models), models)
    if spec.family == "qwen2_audio":
        from engine.systems.qwen2_audio import Qwen2Audio

        return Qwen2Audio(spec, models / spec.folder, backbone)
    from engine.systems.ultravox import Ultravox

    return Ultravox(spec, models / spec.folder, backbone)


@cache
def _cascade(key: str, models: Path) -> Cascade:
    from engine.systems.cascade import Cascade

    spec = get_spec(key)
    assert spec.transcriber is not None
    ears = _transcriber(spec.transcriber, models)
    return Cascade(spec, ears, _text_llm(backbone_of(spec, models), models))


@cache
def _transcriber(folder: str, models: Path) -> Transcriber:
    from engine.systems.cascade import Transcriber

    return Transcriber(models / folder, max_tokens=_TRANSCRIBER_TOKENS)
