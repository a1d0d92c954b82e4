"""Getting a profile's models while the page is up: fetched in the background, their state in one sentence each."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from dashboard.session import warm_up
from engine.errors import EngineError, ModelFilesError
from engine.systems.catalogue import SYSTEMS
from engine.systems.hub import fetch, free_gb, obstacle
from engine.systems.profiles import (
    Profile,
    offered_pairs,
    preparation,
    profile_in_use,
    read_profile,
    use_profile,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProfileState:
    """How far a profile is.

    Attributes:
        now: what is being fetched, "" when nothing is.
        lines: one sentence a system.
        live: names of its systems that the page can ask: those that are ready and have their pair's others.
    """

    key: str
    n_systems: int
    n_ready: int
    now: str
    lines: tuple[str, ...]
    live: tuple[str, ...] = ()


class _Fetching:
    """What is being fetched, and what could not be."""

    def __init__(self) -> None:
        self.now = ""
        self.failures: dict[str, str] = {}

    def work(self, profile: Profile) -> None:
        """Fetch what can be had; a system that must stay incomplete makes nothing else be fetched for it."""
        missing = preparation(profile).folders
        self.failures = {name: found for name in missing if (found := obstacle(name))}
        folders = [name for name in missing if self._is_of_use(name, profile)]
        for number, name in enumerate(folders, start=1):
            try:
                fetch(name, partial(self._tell, f"{number} of {len(folders)}"))
            except ModelFilesError as error:
                self.failures[name] = str(error)
            except Exception:  # one folder's fault must not keep the others from being fetched
                logger.exception("fetching %s failed", name)
                self.failures[name] = f"{name} could not be fetched; the log says why."
        self.now = ""

    def _is_of_use(self, name: str, profile: Profile) -> bool:
        wanting = [SYSTEMS[key].folders for key in profile.systems if name in SYSTEMS[key].folders]
        return any(not self.failures.keys() & set(folders) for folders in wanting)

    def _tell(self, place: str, line: str) -> None:
        self.now = f"Fetching {line} ({place})"
        logger.info("%s", self.now)


_FETCHING = _Fetching()


def take_profile(named: str, memory_gib: float | None = None) -> str:
    """Take a profile for this page; return what is wrong with it, "" when nothing is.

    Args:
        named: key of a profile, or a YAML file.
        memory_gib: what its models may take together, instead of what the profile says.
    """
    try:
        profile = read_profile(named)
        use_profile(profile if memory_gib is None else replace(profile, memory_gib=memory_gib))
    except EngineError as error:
        return str(error)
    return ""


def prepare(write: Callable[[str], object] = sys.stderr.write) -> None:
    """Say what the profile's systems still need, then fetch it in the background and load what is ready."""
    profile = profile_in_use()
    needed = preparation(profile)
    if needed.folders:
        write(
            f"Profile {profile.key}: {len(needed.folders)} model folders are to be fetched, {needed.gb:.1f} GB; "
            f"{free_gb():.1f} GB are free on the disk.\n"
        )
    threading.Thread(target=_prepare, args=(profile, write), name="prepare", daemon=True).start()


def _prepare(profile: Profile, write: Callable[[str], object]) -> None:
    _FETCHING.work(profile)
    if state := state_of_profile():
        write("".join(f"{line}\n" for line in state.lines))
    warm_up()


def state_of_profile() -> ProfileState | None:
    """Return how far this page's profile is, None for the models that ship."""
    profile = profile_in_use()
    if profile.key == "mini":
        return None
    found = preparation(profile, _FETCHING.failures)
    asked = {key for pair in offered_pairs().values() for key in pair.systems}
    live = tuple(SYSTEMS[key].name for key in profile.systems if key in asked)
    return ProfileState(profile.key, len(profile.systems), found.n_ready, _FETCHING.now, found.lines, live)
