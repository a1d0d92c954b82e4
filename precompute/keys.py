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

from engine.recipe import Recipe
from engine.request import Question

CODE_VERSION = {
    **{"render": 1, "transcribe": 1, "listen": 1, "read": 1, "memory": 1},
    **{"pitch": 1, "lens": 1, "erase": 1, "probe": 2, "damage": 2},
    **{"phases": 1, "knowledge": 1, "erase_word": 1, "patch_word": 1},
}
DECODING = "greedy, at most 40 tokens"  # engine.decode, which a test holds to these words
_NOT_WEIGHTS = {"revision.txt"}


def render_key(recipe: Recipe) -> str:
    """Return the key of a clip's sound."""
    return _key("render", _synthesiser() if recipe.text else "", recipe.to_json())


def transcribe_key(recipe: Recipe, transcriber: Path) -> str:
    """Return the key of a transcript: once per transcriber and sound."""
    return _key("transcribe", render_key(recipe), folder_hash(transcriber))


def listen_key(recipe: Recipe, question: Question, folders: tuple[Path, ...]) -> str:
    """Return the key of a speech LLM's answer."""
    return _key("listen", render_key(recipe), *map(folder_hash, folders), *_asked(question))


def read_key(heard: str, question: Question, backbone: Path) -> str:
    """Return the key of a text LLM's answer: once per model and exact prompt, whoever asks."""
    return _key("read", folder_hash(backbone), heard, *_asked(question))


def memory_key(system: str, folders: tuple[Path, ...]) -> str:
    """Return the key of a system's measured memory."""
    return _key("memory", system, *map(folder_hash, folders))


def measurement_key(stage: str, folders: Sequence[Path], *parts: str) -> str:
    """Return the key of a measurement of mechanism: of these weights (and erasers), on what `parts` name."""
    return _key(stage, *map(folder_hash, folders), *parts)


@cache
def folder_hash(folder: Path) -> str:
    """Return a sha256 over a model folder's own files, names included; folders below it are others' business."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.glob("*") if path.is_file() and path.name not in _NOT_WEIGHTS):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


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
