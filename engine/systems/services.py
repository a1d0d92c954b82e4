"""Services that answer where no weights are here: what the environment must say, and what they do not give.

Cheap to import: `engine.systems.registry` makes the adapters. Whether anything is missing is looked up each
time; what an adapter is made from is read once for a process, when it is first asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from engine.errors import ServiceError
from engine.remote import Patience

if TYPE_CHECKING:
    from engine.systems.catalogue import SystemSpec

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

GEMINI_MODEL = "GEMINI_MODEL"
GEMINI_URL = "GOOGLE_GEMINI_BASE_URL"  # the SDK's own name; a server of another makes the same replies
GEMINI_HOST = "generativelanguage.googleapis.com"
# In the order in which the SDK and Google's own pages take them.
GEMINI_KEYS = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
TEXT_PREFIX, AUDIO_PREFIX = "CASCADE_LENS_TEXT", "CASCADE_LENS_AUDIO"
RATE_VARIABLE = "CASCADE_LENS_REQUESTS_PER_MINUTE"
# How many processes share the rate; a pool's workers set it for themselves.
WORKERS_VARIABLE = "CASCADE_LENS_WORKERS"
DEFAULT_RATE = 60.0


def missing_of(spec: SystemSpec, environment: Mapping[str, str] = os.environ) -> str:
    """Return what must be set before this service can be asked, as a clause, "" when nothing; sends nothing."""

    def is_set(name: str) -> bool:
        return bool(environment.get(name, "").strip())

    if spec.service == "gemini":
        if is_set(GEMINI_MODEL) and any(map(is_set, GEMINI_KEYS)):
            return ""
        return f"set {GEMINI_MODEL} and a key ({GEMINI_KEYS[0]}) in the environment"
    prefix = prefix_of(spec)
    if is_set(f"{prefix}_URL") and is_set(f"{prefix}_MODEL"):
        return ""
    return f"set {prefix}_URL and {prefix}_MODEL in the environment, and {prefix}_KEY where it asks for a key"


def prefix_of(spec: SystemSpec) -> str:
    """Return the prefix of an endpoint's variables: one endpoint hears, another one reads."""
    return AUDIO_PREFIX if spec.kind == "speech_llm" else TEXT_PREFIX


def destination_of(spec: SystemSpec, environment: Mapping[str, str] = os.environ) -> str:
    """Return where a request goes, as "the model M at HOST"; nothing but the host is shown of an address."""
    if spec.service == "gemini":
        model, url = environment.get(GEMINI_MODEL, ""), environment.get(GEMINI_URL, "")
    else:
        prefix = prefix_of(spec)
        model, url = environment.get(f"{prefix}_MODEL", ""), environment.get(f"{prefix}_URL", "")
    try:
        host = urlsplit(url.strip()).hostname
    except ValueError:  # half an IPv6 address
        host = None
    return f"the model {model.strip()} at {host or (GEMINI_HOST if spec.service == 'gemini' else 'no usable address')}"


def check_states(key: str, what: str) -> None:
    """Raise when a system is a service and `what`, a key of `UNAVAILABLE`, needs its states.

    Raises:
        ServiceError: it is; the sentence says why not and what to do.
    """
    from engine.systems.catalogue import get_spec

    spec = get_spec(key)
    if not spec.is_remote:
        return
    why = UNAVAILABLE[what].rstrip(".")
    raise ServiceError(
        f"Not with {spec.name}: {why[0].lower()}{why[1:]}. Choose a pair whose speech LLM runs here."
    )


def patience_here(environment: Mapping[str, str] = os.environ) -> Patience:
    """Return how patiently this process asks: the setting for the whole run, shared out among its processes.

    Raises:
        ServiceError: one of the two variables holds no number above 0.
    """
    try:
        rate = float(environment.get(RATE_VARIABLE, "").strip() or DEFAULT_RATE)
        n_processes = int(environment.get(WORKERS_VARIABLE, "").strip() or 1)
        return Patience(requests_per_minute=rate / n_processes)
    except (ValueError, ZeroDivisionError, ServiceError) as error:
        raise ServiceError(f"{RATE_VARIABLE} must be a number above 0; correct it.") from error
