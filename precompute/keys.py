"""What a result depends on, as one hash: change any of it and the result is made anew.

The code's share is a version kept by hand: raise a stage's number when a change to its code changes results.
No model is loaded here; weights are named by the hash of their files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine.request import Question
from engine.voice import Recipe

CODE_VERSION = {
    **{"render": 1, "transcribe": 1, "listen": 1, "read": 1, "memory": 1},
    **{"pitch": 1, "lens": 2, "erase": 2, "probe": 2, "damage": 2},
    **{"phases": 1, "knowledge": 1, "erase_word": 1, "patch_word": 1},
}
DECODING = "greedy, at most 40 tokens"  # engine.generate, which a test holds to these words
_NOT_WEIGHTS = {"revision.txt"}
_OWN_FILES = ("*", "*-lora/*")  # adapters that a published folder keeps below itself are its own
_BLOB_DIGITS = 64  # of the sha256 by which the hub's cache names a large file

Weights = Path | str  # a model folder, or the fingerprint of a service


def render_key(recipe: Recipe) -> str:
    """Return the key of a clip's sound."""
    return _key("render", _synthesiser() if recipe.text else "", recipe.to_json())


def transcribe_key(recipe: Recipe, transcriber: Path, *hearing: str) -> str:
    """Return the key of a transcript: once per transcriber, sound, and what a published one is told in words."""
    return _key("transcribe", render_key(recipe), folder_hash(transcriber), *hearing)


def listen_key(recipe: Recipe, question: Question, weights: Sequence[Weights]) -> str:
    """Return the key of a speech LLM's answer."""
    return _key("listen", render_key(recipe), *map(_identity, weights), *_asked(question))


def read_key(heard: str, question: Question, backbone: Weights) -> str:
    """Return the key of a text LLM's answer: once per model and exact prompt, whoever asks."""
    return _key("read", _identity(backbone), heard, *_asked(question))


def memory_key(system: str, folders: tuple[Path, ...]) -> str:
    """Return the key of a system's measured memory."""
    return _key("memory", system, *map(folder_hash, folders))


def measurement_key(stage: str, folders: Sequence[Path], *parts: str) -> str:
    """Return the key of a measurement of mechanism: of these weights (and erasers), on what `parts` name."""
    return _key(stage, *map(folder_hash, folders), *parts)


@cache
def folder_hash(folder: Path) -> str:
    """Return a sha256 over a model folder's own files, names and adapters included; other folders below are others'."""
    digest = hashlib.sha256()
    found = {path for pattern in _OWN_FILES for path in folder.glob(pattern)}
    for file in sorted(path for path in found if path.is_file() and path.name not in _NOT_WEIGHTS):
        digest.update(file.name.encode())
        digest.update(_file_hash(file))
    return digest.hexdigest()


def _file_hash(file: Path) -> bytes:
    """Return a file's sha256; the hub's cache has it in the name of what a large file's link leads to."""
    blob = file.resolve().name if file.is_symlink() else ""
    if len(blob) == _BLOB_DIGITS and not set(blob) - set("0123456789abcdef"):
        return bytes.fromhex(blob)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _identity(weights: Weights) -> str:
    return weights if isinstance(weights, str) else folder_hash(weights)


def _asked(question: Question) -> tuple[str, ...]:
    return (DECODING, question.task.kind, question.instruction, *question.labels)


@cache
def _synthesiser() -> str:
    try:
        return f"espeakng-loader {version('espeakng-loader')}"
    except PackageNotFoundError:
        return "no synthesiser"


def _key(stage: str, *parts: str) -> str:
    return hashlib.sha256(json.dumps([stage, CODE_VERSION[stage], *parts]).encode()).hexdigest()
