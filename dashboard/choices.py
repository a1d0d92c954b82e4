"""What the rail may offer for a pair: conditions with their ranks, and layers; read without weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from engine.erasure import CONDITIONS, available_conditions, preset_layers
from engine.errors import ModelFilesError
from engine.systems.catalogue import MODELS, get_pair, get_spec


@dataclass(frozen=True)
class Condition:
    """An erasure on offer; `kept_rank` is the greatest over its layers."""

    key: str
    name: str
    kept_rank: int


def conditions(pair: str) -> tuple[tuple[Condition, ...], tuple[str, ...]]:
    """Return the conditions that are fitted for this pair, and the names of those that are not."""
    ranks = available_conditions(pair)
    offered = tuple(Condition(key, info.name, ranks[key]) for key, info in CONDITIONS.items() if key in ranks)
    return offered, tuple(info.name for key, info in CONDITIONS.items() if key not in ranks)


@cache
def all_layers(pair: str) -> tuple[int, ...]:
    """Return all layers of the speech LLM: 0 is the input of the first block, i the output of block i.

    Raises:
        ModelFilesError: the backbone's config is missing or damaged.
    """
    backbone = get_spec(get_pair(pair).speech_llm).backbone
    try:
        config = json.loads((MODELS / backbone / "config.json").read_text(encoding="utf-8"))
        return tuple(range(int(config["num_hidden_layers"]) + 1))
    except (OSError, KeyError, ValueError) as error:
        raise ModelFilesError(
            f"The config of {backbone} is missing or damaged; restore assets/models/{backbone}."
        ) from error


def layer_preset(pair: str) -> tuple[int, ...]:
    """Return the paper's nine layers, spread over this model's depth; raises as `all_layers`."""
    return preset_layers(all_layers(pair)[-1])
