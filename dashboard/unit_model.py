"""The interleaved model of the page: the mini that ships, or a checkpoint of one's own, loaded when it is first asked.

`app.py` takes the folder once; the tab and its endpoint ask for the model. Nothing here knows Gradio.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError, ModelFilesError
from engine.systems.catalogue import get_pair, get_unit_model, ready_pairs, transcriber_name, unit_model_lacks
from engine.systems.weights import folder_of

if TYPE_CHECKING:
    from engine.interleaved import Parts
    from engine.systems.base import Transcribes

MODEL = "mini-interleaved"
NO_VOICE = "This checkpoint has no recorded voice beside its units, so they cannot be heard."


class _Chosen:
    """The folder given with --interleaved; set once, when the app starts."""

    folder: Path | None = None


def use_unit_model(folder: Path | None) -> str:
    """Take a checkpoint in the mini's layout in place of the mini; return why it cannot be one, "" when it can."""
    _Chosen.folder = None
    if folder is None:
        return ""
    if not (folder / "config.json").is_file():
        return f"{folder.name} is no checkpoint of an interleaved model: it has no config.json."
    _Chosen.folder = folder.resolve()
    return ""


def why_no_model() -> str:
    """Return why no interleaved model can run here, in one sentence; "" when one can. Loads no weights."""
    if _Chosen.folder is not None:
        return ""
    missing = unit_model_lacks(get_unit_model(MODEL))
    return f"{MODEL} cannot run on this copy: {missing}. The tables below need no model." if missing else ""


def unit_model_name() -> str:
    """Return the model's name."""
    folder = _Chosen.folder
    return get_unit_model(MODEL).name if folder is None else f"{folder.parent.name}/{folder.name}"


def load_parts() -> Parts:
    """Return the model, its voice and the ears that judge it, loaded at the first call.

    Raises:
        ModelFilesError: weights are missing or damaged.
    """
    if reason := why_no_model():
        raise ModelFilesError(reason)
    ears = load_ears()
    return replace(_load(_Chosen.folder), ears=ears[0] if ears else None)


@cache
def _load(folder: Path | None) -> Parts:
    from engine.interleaved import VOICE_FILE, Parts, read_unit_voice
    from engine.systems.loading import load_unit_checkpoint as load_checkpoint
    from engine.systems.loading import load_unit_model
    from engine.systems.unit_lm import UNITS_FOLDER

    system = load_unit_model(MODEL) if folder is None else load_checkpoint(folder)
    voice_file = (folder or folder_of(MODEL)) / UNITS_FOLDER / VOICE_FILE
    if not voice_file.is_file():
        return Parts(system, no_voice=NO_VOICE)
    return Parts(system, read_unit_voice(voice_file))


def load_ears() -> tuple[Transcribes, str] | None:
    """Return the transcriber of the first pair that is ready, and its name; None where no pair is."""
    from engine.systems.loading import load_cascade

    for key in ready_pairs():
        try:
            cascade = load_cascade(get_pair(key).cascade)
        except EngineError:
            continue
        return cascade.transcriber, transcriber_name(cascade.spec)
    return None
