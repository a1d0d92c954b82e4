"""What systems, tasks and matches are called on the benchmark page, for measured and published results alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from dashboard.published import published
from dashboard.tables import POOLED, manifest
from engine.systems.catalogue import SYSTEMS
from engine.tasks import TASKS

MATCHES = {
    "exact": "exact match: both run the same backbone weights",
    "ancestor": "ancestor match: the cascade runs the model that the speech LLM's backbone was trained from",
    "self": "self match: the cascade's transcript goes into the speech LLM's own weights",
    "paper": "called matched in the paper",
    "none": "not matched: the backbones differ",
}
_MATCH_BADGES = {"exact": "=", "ancestor": "a", "self": "s", "paper": "p"}
_KINDS = {"speech_llm": "speech LLM", "cascade": "cascade", "text_llm": "text oracle"}
_KIND_ORDER = {"speech_llm": 0, "cascade": 1, "text_llm": 2}
_PUBLISHED_TASKS = {
    "ag_news": "AG News",
    "sst2": "SST-2",
    "csqa": "CommonsenseQA",
    "meld": "MELD",
    "mustard": "MUStARD",
    "triviaqa": "TriviaQA",
}


def name_of(source: str, system: str) -> str:
    """Return a system's name, its key where nothing better is known; plain text."""
    return str(_known(source, system).get("name") or system).replace("->", "→")


def kind_of(source: str, system: str) -> str:
    """Return speech_llm, cascade or text_llm; "" for a system that nothing is known of."""
    return str(_known(source, system).get("kind") or "")


def _known(source: str, system: str) -> Mapping[str, Any]:
    """Return name and kind: of the paper, as the run wrote them down, or of today's catalogue."""
    if source == "published":
        return _published_systems().get(system, {})
    said = manifest(source).get("systems")
    about = said.get(system) if isinstance(said, dict) else None
    if isinstance(about, dict) and about.get("kind"):
        return about
    return vars(SYSTEMS[system]) if system in SYSTEMS else {}


@lru_cache(maxsize=1)
def _published_systems() -> dict[str, dict[str, Any]]:
    return {str(row["system"]): row for row in published("systems").to_dict("records")}


def kind_name(kind: str) -> str:
    """Return a kind in words; "" for an unknown one."""
    return _KINDS.get(kind, "")


def in_order(source: str, systems: set[str]) -> list[str]:
    """Return the systems in the page's order: speech LLMs, cascades, oracles, others, each as catalogued."""
    return sorted(
        systems, key=lambda key: (_KIND_ORDER.get(kind_of(source, key), 3), rank_of(source, key), key)
    )


def rank_of(source: str, system: str) -> int:
    """Return a system's place in its catalogue; the last for those that are not in it."""
    catalogue = list(_published_systems() if source == "published" else SYSTEMS)
    return catalogue.index(system) if system in catalogue else len(catalogue)


def tasks_in_order(tasks: Iterable[str]) -> list[str]:
    """Return the tasks, each once, as the product lists them; a person's own after those, the pool last."""
    known = [*TASKS, *_PUBLISHED_TASKS]
    return sorted(
        set(tasks), key=lambda key: (key == POOLED, known.index(key) if key in known else len(known), key)
    )


def task_name(task: str) -> str:
    """Return a task's name, the key itself where it is one of a person's own."""
    if task in TASKS:
        return TASKS[task].name
    return "All words-only" if task == POOLED else _PUBLISHED_TASKS.get(task, task)


def badge_of(match: str) -> str:
    """Return the sign of a match in a cell of the matrix; "" for pairs that are not matched."""
    return _MATCH_BADGES.get(match, "")
