"""How a speech LLM's states can be read, and why one of the ways is off; loads no model and no torch."""

from __future__ import annotations

from pathlib import Path

from engine.systems.catalogue import get_pair, get_spec
from engine.systems.weights import MODELS

LOGIT, TUNED, DIFFERENCE = READOUTS = ("logit", "tuned", "difference")
NO_DIFFERENCE = (
    "The difference of two conditions needs a second one: switch an erasure or noise on, or choose the logit "
    "lens."
)
TUNED_LENS = "tuned_lens.safetensors"


def tuned_lens_file(key: str, models: Path = MODELS) -> Path:
    """Return where a system's tuned lens lies."""
    return models / key / TUNED_LENS


def why_no_tuned_lens(key: str, models: Path = MODELS) -> str:
    """Return why a system cannot be read by a tuned lens, as a sentence; "" where it can."""
    if tuned_lens_file(key, models).is_file():
        return ""
    return f"No tuned lens was fitted for {get_spec(key).name}; choose the logit lens."


def why_no_readout(readout: str, pair: str, has_two_conditions: bool) -> str:
    """Return why a pair's states cannot be read so, as a sentence; "" where they can.

    Args:
        readout: one of READOUTS.
        pair: whose speech LLM.
        has_two_conditions: whether the run has an erasure that acts, or noise.
    """
    if readout == TUNED:
        return why_no_tuned_lens(get_pair(pair).speech_llm)
    return NO_DIFFERENCE if readout == DIFFERENCE and not has_two_conditions else ""
