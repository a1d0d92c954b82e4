"""What the rail may offer for a pair: conditions with their ranks, and layers; read without weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from engine.errors import EngineError
from engine.request import CONDITIONS, available_conditions, fitted_layers, layer_words, preset_layers
from engine.systems.catalogue import (
    SYSTEMS,
    UNAVAILABLE,
    backbone_of,
    destination_of,
    get_pair,
    get_spec,
    match_of,
    n_layers_of,
    unset_variables,
)

MATCHES = {
    "exact": "Match: exact, both run the same backbone weights.",
    "ancestor": "Match: ancestor, the cascade runs the backbone that the speech LLM was trained from.",
    "self": "Match: self, the cascade's transcript goes into the speech LLM's own weights.",
    "paper": "Match: called so in the paper; the checkpoints do not show it, compare with care.",
    "none": "Match: none, the two run different backbones; compare with care.",
}


@dataclass(frozen=True)
class Condition:
    """An erasure on offer; `kept_rank` is the greatest over its layers."""

    key: str
    name: str
    kept_rank: int


@dataclass(frozen=True)
class Offer:
    """What the rail shows for a pair; where files are missing, what is left and one sentence that says so.

    Attributes:
        conditions: fitted erasures.
        erase_note: why others are not offered, "" when all are.
        layers: in words, for the label of the custom layers.
        match_note: whether both lanes run the same backbone, or why that cannot be told.
        service_note: what Run sends to whom, "" where everything runs here.
        has_states: whether the speech LLM's states are here, to be read and erased.
    """

    conditions: tuple[Condition, ...]
    erase_note: str
    layers: str
    match_note: str
    service_note: str = ""
    has_states: bool = True


def offer(pair: str) -> Offer:
    """Return what can be offered for this pair; missing or damaged files make it smaller, never fail."""
    specs = [get_spec(key) for key in get_pair(pair).systems]
    if specs[0].is_remote:
        erased = f"Off: {UNAVAILABLE['erasure'][0].lower()}{UNAVAILABLE['erasure'][1:]}"
        return Offer((), erased, "off", UNAVAILABLE["match"], service_note(pair), False)
    found = _offer(pair)
    if not any(spec.is_remote for spec in specs):
        return found
    return replace(found, match_note=UNAVAILABLE["match"], service_note=service_note(pair))


def service_note(pair: str) -> str:
    """Return what Run sends out and where to, before anything was sent; "" where everything runs here."""
    speech, cascade, oracle = (get_spec(key) for key in get_pair(pair).systems)
    sent = [f"clip and question to {destination_of(speech)}"] if speech.is_remote else []
    if cascade.is_remote or oracle.is_remote:
        reader = cascade if cascade.is_remote else oracle
        sent.append(f"transcript and question, no sound, to {destination_of(reader)}")
    if not sent:
        return ""
    return f"Run sends {'; '.join(sent)}. Nothing is sent before."


def unset_services() -> tuple[str, ...]:
    """Return one sentence for each service that cannot be asked yet: what to set in the environment."""
    found: dict[str, str] = {}
    for spec in SYSTEMS.values():
        if spec.is_remote and spec.kind != "cascade" and (unset := unset_variables(spec)):
            found.setdefault(
                unset, f"{spec.name.split(',')[0]} is unavailable: {unset}, then start the page anew."
            )
    return tuple(found.values())


def needs_press(pair: str) -> bool:
    """Say whether a run of this pair sends something out, and so waits for a person to press Run."""
    return any(get_spec(key).is_remote for key in get_pair(pair).systems)


def _offer(pair: str) -> Offer:
    try:
        found, missing = conditions(pair)
        note = f"Not fitted for this pair, so not offered: {', '.join(missing)}." if missing else ""
    except EngineError as error:
        found, note = (), str(error)
    try:
        return Offer(found, note, layer_words(editable_layers(pair)), MATCHES[match_of(get_pair(pair))])
    except EngineError as error:
        return Offer(found, note, "by number", str(error))


def conditions(pair: str) -> tuple[tuple[Condition, ...], tuple[str, ...]]:
    """Return the conditions that are fitted for this pair, and the names of those that are not.

    Raises:
        ErasureError: a file is damaged or of another version.
    """
    ranks = available_conditions(pair)
    offered = tuple(Condition(key, info.name, ranks[key]) for key, info in CONDITIONS.items() if key in ranks)
    return offered, tuple(info.name for key, info in CONDITIONS.items() if key not in ranks)


def editable_layers(pair: str) -> tuple[int, ...]:
    """Return the layers that erasers can edit, or all of a speech LLM that has none fitted.

    Layer 0 is the input of the first block, i the output of block i.

    Raises:
        ModelFilesError: the backbone's config is missing or damaged.
        ErasureError: an eraser's file is damaged or of another version.
    """
    return fitted_layers(pair) or tuple(range(_n_layers(pair) + 1))


def layer_preset(pair: str) -> tuple[int, ...]:
    """Return the paper's nine layers, spread over this model's depth; raises as `editable_layers`."""
    return preset_layers(_n_layers(pair))


@cache
def _n_layers(pair: str) -> int:
    return n_layers_of(backbone_of(get_spec(get_pair(pair).speech_llm)))
