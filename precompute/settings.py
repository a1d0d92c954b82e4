"""What is asked for on the command line, and what that means: which systems, which tasks, how many items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.errors import UnknownKeyError
from engine.systems.catalogue import MODELS
from engine.systems.mini_rows import MINI_SYSTEMS
from engine.systems.published_rows import PAPERS_SYSTEMS
from precompute.corpora.catalogue import CORPORA
from precompute.corpora.folder import EDGE
from precompute.mini_clips import QUICK_ITEMS

MINI = "mini"
PROFILES = {MINI: tuple(MINI_SYSTEMS), "paper": tuple(PAPERS_SYSTEMS.values())}


@dataclass(frozen=True)
class Settings:
    """What is asked for on the command line.

    Attributes:
        limit: items a task; None for the profile's own number.
        systems, tasks: keys; empty for all.
        corpus: manifest of an own corpus; it then stands alone unless tasks are named too.
        corpora: folder of the paper's corpora; they then stand in the place of the mini world.
        speech: who says the text corpora: "edge", "espeak", or a folder of recordings.
    """

    profile: str = "mini"
    quick: bool = False
    systems: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    corpus: Path | None = None
    models: Path = MODELS
    corpora: Path | None = None
    speech: str = EDGE


def systems_of(profile: str) -> tuple[str, ...]:
    """Return the keys of a profile's systems.

    Raises:
        UnknownKeyError: there is no such profile.
    """
    if profile not in PROFILES:
        raise UnknownKeyError(f'There is no profile "{profile[:40]}". Choose: {", ".join(PROFILES)}.')
    return PROFILES[profile]


def asks_corpora(settings: Settings) -> bool:
    """Say whether the paper's corpora are asked, and not the mini world or a corpus of one's own alone."""
    return settings.corpora is not None or (settings.profile != MINI and settings.corpus is None)


def corpora_keys(settings: Settings, *, texts_only: bool = False) -> tuple[str, ...]:
    """Return the corpora that are asked, in the paper's order; those without sound of their own, if asked.

    Raises:
        UnknownKeyError: a task is named that is none of them.
    """
    wanted = chosen_tasks(settings.tasks, tuple(CORPORA))
    return tuple(key for key in wanted if CORPORA[key].is_text or not texts_only)


def items_a_corpus(settings: Settings) -> int | None:
    """Return how many items of a corpus are asked at most; None for as many as the paper has."""
    return settings.limit or (QUICK_ITEMS if settings.quick else None)


def chosen_tasks(tasks: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the known tasks that are named, all where none is.

    Raises:
        UnknownKeyError: one is named that is not known.
    """
    for task in tasks:
        if task not in known:
            raise UnknownKeyError(f'There is no task "{task[:40]}" here. Choose from: {", ".join(known)}.')
    return tuple(task for task in known if not tasks or task in tasks)
