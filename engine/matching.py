"""How a speech LLM and a system that reads transcripts are related, told by their checkpoints alone.

Configs, headers and revisions are read, no model library is imported and nothing is typed in: a checkpoint that
does not say where its language model comes from is not called matched.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from engine.errors import ModelFilesError
from engine.systems.weights import REVISION_DIGITS, REVISION_FILE, open_stored, pieces_file, stored_files

MatchKind = Literal["exact", "ancestor", "self", "paper", "none"]

# Config key of a speech LLM that was trained further: part -> sha256 of the weights that it began with.
ORIGIN = "initialised_from"
LANGUAGE_MODEL = "language_model"

# Pairs that arXiv 2602.17598, section 3.1, calls matched, by the names of their checkpoints.
_CALLED_MATCHED = (
    ("ultravox", "llama-3.1-8b"),
    ("qwen2-audio-7b", "qwen2-7b"),
    ("phi-4-multimodal", "phi-4-mini"),
)
# A text LLM's id on the hub -> its folder, None where it is not known.
FindFolder = Callable[[str], Path | None]


def read_config(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's config.

    Raises:
        ModelFilesError: it is missing or damaged.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFilesError(f"{folder.name} has no readable config.json; restore the folder.") from error
    if not isinstance(config, dict):
        raise ModelFilesError(f"{folder.name}/config.json is not a model's config; restore the folder.")
    return config


def language_model_folder(speech_llm: Path, find: FindFolder = lambda name: None) -> Path:
    """Return the folder that holds a speech LLM's language model: one of that name, or its own.

    Args:
        speech_llm: folder of the speech LLM.
        find: where a model lies that a published config names by its id on the hub; one that it does not know is
            looked for beside the speech LLM.

    Raises:
        ModelFilesError: the config does not say.
    """
    config = read_config(speech_llm)
    # As in the published configs: a named text model wins over an inline config.
    if config.get("text_model_id"):
        name = str(config["text_model_id"])
        return find(name) or speech_llm.parent / name
    if isinstance(config.get("text_config"), dict) or _hears_by_adapters(config):
        return speech_llm
    raise ModelFilesError(f"{speech_llm.name}/config.json names no text model; restore the folder.")


def language_model_shape(folder: Path) -> dict[str, Any]:
    """Return the config of the language model in a folder, its own or a speech LLM's inline one."""
    config = read_config(folder)
    inline = config.get("text_config")
    return inline if isinstance(inline, dict) else config


def match_of_folders(
    speech_llm: Path, reader: Path, find: FindFolder = lambda name: None, names: tuple[str, str] | None = None
) -> MatchKind:
    """Return how a speech LLM is matched with a text LLM that reads transcripts.

    Args:
        speech_llm: folder of the speech LLM.
        reader: folder of the text LLM of a cascade or an oracle.
        find: as for `language_model_folder`.
        names: what the two checkpoints are called, where their folders may be called otherwise.

    Returns:
        "exact" when both run the same language-model weights, which audio did not train; "self" when the reader
        runs the speech LLM's own tensors; "ancestor" when the speech LLM's record names the reader's weights as
        those it began with; "paper" when only the paper calls the two matched; else "none", also where a text
        LLM's weights are missing and cannot be compared.

    Raises:
        ModelFilesError: a config is missing, or a config or a file of weights is damaged.
    """
    own = language_model_folder(speech_llm, find)
    if own.resolve() != speech_llm.resolve():
        if _same_weights(own, reader):
            return "exact"
    elif _same_weights(speech_llm, reader):
        return "exact" if _hears_by_adapters(read_config(speech_llm)) else "self"
    elif _began_with(speech_llm, reader):
        return "ancestor"
    return "paper" if _called_matched(*(names or (speech_llm.name, reader.name))) else "none"


def _hears_by_adapters(config: Mapping[str, Any]) -> bool:
    """Say whether what audio trained lies beside a language model that stayed as it was."""
    return config.get("model_type") == "phi4_multimodal"


def _same_weights(a: Path, b: Path) -> bool:
    if a.resolve() == b.resolve():
        return True
    if not (stored_files(a) and stored_files(b)):
        return False
    # Headers are read in no time and differ nearly always; only then are weights named by content.
    return _headers(a) == _headers(b) and weights_name(a) == weights_name(b)


def _began_with(speech_llm: Path, reader: Path) -> bool:
    origin = read_config(speech_llm).get(ORIGIN)
    recorded = origin.get(LANGUAGE_MODEL) if isinstance(origin, Mapping) else None
    if not isinstance(recorded, str) or not stored_files(reader):
        return False
    return recorded[:REVISION_DIGITS] == weights_name(reader)


def _called_matched(speech_llm: str, reader: str) -> bool:
    names = speech_llm.lower(), reader.lower()
    return any(names[0].startswith(a) and names[1].startswith(b) for a, b in _CALLED_MATCHED)


def weights_name(folder: Path) -> str:
    """Return the first 12 digits of the sha256 of a folder's weights.

    The revision written beside them at export is taken where it is such a digest; else the files are hashed,
    once for as long as they do not change.
    """
    revision = folder / REVISION_FILE
    if revision.exists():
        text = revision.read_text(encoding="utf-8").strip()
        if re.fullmatch(rf"[0-9a-f]{{{REVISION_DIGITS}}}", text):
            return text
    files = [file if file.exists() else pieces_file(file) for file in stored_files(folder)]
    return _digest(folder, tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=32)
def _digest(folder: Path, _as_they_are: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for file in stored_files(folder):
        with open_stored(file) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:REVISION_DIGITS]


def _headers(folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return every tensor's name with its type and shape, from the safetensors' headers."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for file in stored_files(folder):
        try:
            with open_stored(file) as stream:
                size = int.from_bytes(stream.read(8), "little")
                if size > stream.seek(0, os.SEEK_END):
                    raise ValueError("the header is longer than the file")
                stream.seek(8)
                header = json.loads(stream.read(size))
            found |= {
                name: (str(entry["dtype"]), tuple(entry["shape"]))
                for name, entry in header.items()
                if name != "__metadata__"
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelFilesError(f"{folder.name}/{file.name} is damaged; restore it.") from error
    return found
