"""Errors whose text is written for the person at the screen.

Each message says what was found, what is allowed and what to do; it never holds a path, a token or a
traceback. The dashboard and the command line show these messages and only these.
"""

from __future__ import annotations

import re

NO_MEMORY = re.compile(r"out of memory|not enough memory|can(no|')t allocate memory", re.IGNORECASE)


class EngineError(Exception):
    """A fault of the input or of the set-up that the user can mend."""


class ClipError(EngineError):
    """The audio cannot be used: unreadable, empty, too long, too short, silent."""


class NoiseError(EngineError):
    """The noise asked for cannot be added: unknown kind, ratio out of range, unusable noise file."""


class PromptError(EngineError):
    """The prompt, the choices or the reference text cannot be used."""


class UnknownKeyError(EngineError):
    """A task, system, pair, erasure, scope or layer was named that does not exist here."""


class ErasureError(EngineError):
    """An eraser is missing, or was fitted on another model than the one loaded."""


class LensError(EngineError):
    """A readout of the states was asked for that this system or this run does not have."""


class ModelFilesError(EngineError):
    """Weights are missing, incomplete or of another layout than expected."""


class PlacementError(EngineError):
    """A model cannot go where it is told to: no such device or precision, or more memory than there is."""


class ServiceError(EngineError):
    """A model behind a network cannot answer: no key, refused, too busy, unreachable, or a reply not understood."""


class VoiceError(EngineError):
    """The text cannot be spoken, or no synthesiser is installed."""


class TableError(EngineError):
    """A table of results is missing, half-written, of another layout, or cannot be written."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or beside it; CTranslate2 and the CPU say so in words."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)) is not None
    )
