"""The interleaved speech-text language models by key: rows that are cheap to read, and loading at first use.

They stand apart from the catalogue's systems: they answer no task, so that they are in no pair and have no cascade.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UnknownKeyError
from engine.systems.spec import SystemSpec
from engine.systems.weights import CHECKPOINTS, MODELS, folder_of, missing_weights

if TYPE_CHECKING:
    from engine.systems.interleaved import Interleaved

_LOADING = threading.RLock()
_CAN = ("lens", "erasure", "continue")
# In HuBERT's folder: the published centres are a pickle, which is not read here. Converted once, where it is trusted:
# np.savez("centres.npz", centres=joblib.load(file).cluster_centers_)
HUBERT_CENTRES = "centres.npz"

# Millions of parameters of the language model; `backbone` is the folder that its text model's vocabulary is read from.
UNIT_MODELS: dict[str, SystemSpec] = {
    key: SystemSpec(key, name, "unit_lm", "interleaved", key, text, None, _CAN, parameters_m, licence, ears)
    for key, name, text, ears, parameters_m, licence in (
        ("mini-interleaved", "mini-interleaved", "mini-qwen2", "mini-whisper", 4.6, "MIT"),
        ("sims-7b", "SIMS-7B", "qwen2.5-7b-vocabulary", "mhubert-base-25hz", 7_618.0, "MIT"),
        (
            *("sims-llama3.2-3b", "SIMS-Llama3.2-3B", "llama-3.2-3b-vocabulary", "mhubert-base-25hz"),
            *(3_214.0, "Llama 3.2"),
        ),
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

    spec = replace(get_unit_model("mini-interleaved"), name=f"{folder.parent.name}/{folder.name}")
    return Interleaved(spec, folder, mini_parts(folder, models))


def unavailable(spec: SystemSpec, models: Path = MODELS) -> str:
    """Return why a model cannot run here, "" when it can; loads no weights."""
    missing = missing_weights(spec.folders, models)
    if missing:
        return f"weights are missing: {', '.join(missing)}"
    centres = folder_of(spec.audio_base, models) / HUBERT_CENTRES
    if spec.audio_base in CHECKPOINTS and not centres.exists():
        return f"the centres of its units are missing: convert them to {spec.audio_base}/{HUBERT_CENTRES}"
    return ""


@cache
def _load(key: str, models: Path) -> Interleaved:
    from engine.systems.interleaved import Interleaved, mini_parts, published_parts

    spec = get_unit_model(key)
    folder = folder_of(key, models)
    if spec.audio_base not in CHECKPOINTS:
        return Interleaved(spec, folder, mini_parts(folder, models))
    hubert = folder_of(spec.audio_base, models)
    parts = published_parts(folder_of(spec.backbone, models), hubert, hubert / HUBERT_CENTRES)
    return Interleaved(spec, folder, parts)
