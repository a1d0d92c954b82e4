"""What a service needs in the environment before it can be asked, and what it does not give.

Read without loading a service's library: `engine.systems.registry` makes the adapters.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from engine.errors import ServiceError
from engine.remote import Patience
from engine.systems.spec import SystemSpec

# What a behaviour-only system cannot give -> why, in words for the page.
UNAVAILABLE: Mapping[str, str] = MappingProxyType(
    {
        "forced_choice": "The service sends text only: it does not say how probable the other answers were.",
        "log_likelihood": "The service sends text only: it does not say how probable its answer was.",
        "lens": "The model's states stay with the service, so there is nothing to read layer by layer.",
        "erasure": "The model's states stay with the service, so nothing can be erased from them.",
        "hearing": "The service sends text only: whether it heard shows in logits, which stay there.",
        "match": "The service does not say which weights answer, so no match of backbones is claimed.",
    }
)

# Google's own name for the key goes first; the second is what its pages show.
GEMINI_KEYS = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
GEMINI_URL = "GOOGLE_GEMINI_BASE_URL"  # the SDK's own name, for a server that speaks as Google's
GEMINI_HOST = "generativelanguage.googleapis.com"
RATE_VARIABLE = "CASCADE_LENS_REQUESTS_PER_MINUTE"
DEFAULT_RATE = 60.0


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


def destination_of(spec: SystemSpec, environment: Mapping[str, str] = os.environ) -> str:
    """Return where a request goes, as "MODEL at HOST"; nothing but the host is shown of an address."""
    is_gemini = spec.service == "gemini"
    model = environment.get(f"{spec.variables}_MODEL", "").strip()
    url = environment.get(GEMINI_URL if is_gemini else f"{spec.variables}_URL", "").strip()
    try:
        host = urlsplit(url).hostname
    except ValueError:  # half an IPv6 address
        host = None
    return f"{model} at {host or (GEMINI_HOST if is_gemini else 'no usable address')}"


def states_away(spec: SystemSpec, what: str) -> str:
    """Return why `what`, a key of `UNAVAILABLE`, cannot be had of this system, "" where it runs here."""
    if not spec.is_remote:
        return ""
    why = UNAVAILABLE[what].rstrip(".")
    return f"Not with {spec.name}: {why[0].lower()}{why[1:]}. Choose a pair whose speech LLM runs here."


def require_states(spec: SystemSpec, what: str) -> None:
    """Raise ServiceError with the sentence of `states_away` when a system is a service."""
    if sentence := states_away(spec, what):
        raise ServiceError(sentence)


def patience_here(environment: Mapping[str, str] = os.environ) -> Patience:
    """Return how patiently services are asked; the rate holds for all processes of a run together.

    Raises:
        ServiceError: the variable holds no number above 0.
    """
    try:
        return Patience(requests_per_minute=float(environment.get(RATE_VARIABLE, "").strip() or DEFAULT_RATE))
    except (ValueError, ServiceError) as error:
        raise ServiceError(f"{RATE_VARIABLE} must be a number above 0; correct it.") from error
