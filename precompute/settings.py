"""What is asked for on the command line, and what that means: which systems, which tasks, how many items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.errors import UnknownKeyError
from engine.systems.catalogue import MINI_SYSTEMS
from engine.systems.profiles import PROFILES, read_profile, use_profile
from engine.systems.weights import MODELS
from precompute.corpora.catalogue import CORPORA
from precompute.corpora.folder import EDGE
from precompute.mini_clips import QUICK_ITEMS


@dataclass(frozen=True)
class Settings:
    """What is asked for on the command line.

    Attributes:
        profile: key of a profile, or a YAML file that holds one.
        limit: items a task; None for the profile's own number.
        systems, tasks: keys; empty for all.
        corpus: manifest of an own corpus; it then stands alone unless tasks are named too.
        corpora: folder of the paper's corpora; they then stand in the place of the mini world.
        speech: who says the text corpora: "edge", "espeak", or a folder of recordings.
        snapshots: of the trainings of interleaved models; None for where the trainings leave them.
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
    snapshots: Path | None = None


def take_profile(named: str) -> None:
    """Take a profile of one's own for this process and the workers that it starts; those that ship need nothing.

    Raises:
        UnknownKeyError: there is no such profile, or it names a system that does not exist.
        ModelFilesError: the file, or a folder that it names, cannot be used.
    """
    profile = read_profile(named)
    if named not in PROFILES:
        use_profile(profile)


def asks_corpora(settings: Settings) -> bool:
    """Say whether the paper's corpora are asked, and not the mini world or a corpus of one's own alone.

    The mini world is what the minis were made for; no other system is asked about it.
    """
    is_mini = set(read_profile(settings.profile).systems) <= set(MINI_SYSTEMS)
    return settings.corpora is not None or not (is_mini or settings.corpus)


def corpora_keys(settings: Settings, *, texts_only: bool = False) -> tuple[str, ...]:
    """Return the corpora that are asked, in the paper's order; those without sound of their own, if asked.

    Raises:
        UnknownKeyError: a task is named that is none of them.
    """
    wanted = chosen_tasks(settings.tasks, tuple(CORPORA))
    return tuple(key for key in wanted if CORPORA[key].is_text or not texts_only)


def items_a_corpus(settings: Settings) -> int | None:
    """Return how many items of a corpus are asked at most; None for as many as the paper has.

    Raises:
        UnknownKeyError: as `checked_limit`.
    """
    return checked_limit(settings) or (QUICK_ITEMS if settings.quick else None)


def checked_limit(settings: Settings) -> int | None:
    """Return the limit of items a task, None without one.

    Raises:
        UnknownKeyError: it is below 1.
    """
    if settings.limit is not None and settings.limit < 1:
        raise UnknownKeyError(f"The limit is {settings.limit}; give 1 or more items a task.")
    return settings.limit


def chosen_tasks(tasks: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the known tasks that are named, all where none is.

    Raises:
        UnknownKeyError: one is named that is not known.
    """
    for task in tasks:
        if task not in known:
            raise UnknownKeyError(f'There is no task "{task[:40]}" here. Choose from: {", ".join(known)}.')
    return tuple(task for task in known if not tasks or task in tasks)
