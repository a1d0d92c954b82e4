"""The interleaved speech-text language models by key: rows that are cheap to read, and loading at first use.

They stand apart from the catalogue's systems: they answer no task, so that they are in no pair and have no cascade.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UnknownKeyError
from engine.systems.catalogue import MODELS, SystemSpec, revision_in

if TYPE_CHECKING:
    from engine.systems.interleaved import Interleaved

_LOADING = threading.RLock()
_CAN = ("lens", "erasure", "continue")
HUBERT = "mhubert-base-25hz"
HUBERT_CENTRES = "centres.safetensors"


def _row(key: str, name: str, text_model: str, parameters_m: float, licence: str = "MIT") -> SystemSpec:
    return SystemSpec(key, name, "unit_lm", "interleaved", key, text_model, None, _CAN, parameters_m, licence)


# Millions of parameters of the language model; `backbone` is the folder of its text model, for the vocabulary.
UNIT_MODELS: dict[str, SystemSpec] = {
    spec.key: spec
    for spec in (
        _row("mini-interleaved", "mini-interleaved", "mini-qwen2", 4.6),
        _row("sims-7b", "SIMS-7B", "qwen2.5-7b", 7_618.0),
        _row("sims-llama3.2-3b", "SIMS-Llama3.2-3B", "llama-3.2-3b", 3_214.0, "Llama 3.2"),
    )
}


def get_unit_model(key: str) -> SystemSpec:
    """Return the row of this key.

    Raises:
        UnknownKeyError: there is none; the message lists those there are.
    """
    if key not in UNIT_MODELS:
        raise UnknownKeyError(
            f'There is no speech-text model "{key[:40]}". Choose one of: {", ".join(UNIT_MODELS)}.'
        )
    return UNIT_MODELS[key]


def load_unit_model(key: str, models: Path = MODELS) -> Interleaved:
    """Return the model with this key, loaded at first use.

    Raises:
        UnknownKeyError: there is no such model.
        ModelFilesError: its weights, or those of its unit encoder, are missing or damaged.
    """
    with _LOADING:
        return _load(key, models)


def load_checkpoint(folder: Path, models: Path = MODELS) -> Interleaved:
    """Return one of our own checkpoints from any folder, such as a control or a snapshot; its name is the folder's.

    Args:
        folder: in the mini's layout.
        models: where the text model and the unit encoder lie that its config names.

    Raises:
        ModelFilesError: something is missing or damaged.
    """
    from engine.systems.interleaved import Interleaved, mini_parts

    name = f"{folder.parent.name}/{folder.name}"
    return Interleaved(_row(name, name, "mini-qwen2", 4.6), folder, mini_parts(folder, models))


@cache
def _load(key: str, models: Path) -> Interleaved:
    from engine.systems.interleaved import Interleaved, mini_parts, published_parts

    spec = get_unit_model(key)
    folder = models / key
    if key.startswith("mini-"):
        return Interleaved(spec, folder, mini_parts(folder, models))
    hubert = models / HUBERT
    return Interleaved(spec, folder, published_parts(models / spec.backbone, hubert, hubert / HUBERT_CENTRES))


def unit_model_revision(key: str, models: Path = MODELS) -> str:
    """Return the revision written beside a model's weights, or "unversioned"."""
    return revision_in(models / get_unit_model(key).key)
