"""What a service needs in the environment before it can be asked; read without loading its library."""

from __future__ import annotations

import os
from collections.abc import Mapping

from engine.systems.spec import SystemSpec

# Google's own name for the key goes first; the second is what its pages show.
GEMINI_KEYS = ("GOOGLE_API_KEY", "GEMINI_API_KEY")


def wanted_variables(spec: SystemSpec) -> tuple[tuple[str, ...], ...]:
    """Return what must be set: of each group one variable. An endpoint's key is its owner's choice."""
    if spec.service == "gemini":
        return (f"{spec.variables}_MODEL",), GEMINI_KEYS
    return (f"{spec.variables}_URL",), (f"{spec.variables}_MODEL",)


def unset_variables(spec: SystemSpec, environment: Mapping[str, str] = os.environ) -> str:
    """Return which variables a service still needs, as words for the page; "" when it can be asked."""
    unset = [
        " or ".join(group)
        for group in wanted_variables(spec)
        if not any(environment.get(name, "").strip() for name in group)
    ]
    return f"set {' and '.join(unset)} in the environment" if unset else ""
