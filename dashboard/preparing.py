"""Getting a profile's models while the page is up: fetched in the background, their state in one sentence each."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from dashboard.session import warm_up
from engine.errors import EngineError, ModelFilesError
from engine.systems.catalogue import SYSTEMS
from engine.systems.fetching import fetch, free_gb, obstacle
from engine.systems.profiles import (
    DEFAULT_PROFILE,
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
        self.tell: Callable[[str], object] = logger.info

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
        self.tell(self.now)


_FETCHING = _Fetching()


def take_profile(named: str | None, memory_gib: float | None = None) -> str:
    """Take a profile for this page; return what is wrong with it, "" when nothing is.

    Args:
        named: key of a profile, or a YAML file; None for the default one.
        memory_gib: what its models may take together, instead of what the profile says.
    """
    try:
        profile = read_profile(named or DEFAULT_PROFILE)
        use_profile(profile if memory_gib is None else replace(profile, memory_gib=memory_gib))
    except EngineError as error:
        return str(error)
    return ""


def prepare(write: Callable[[str], object] = sys.stderr.write) -> None:
    """Say what the profile's systems still need, then fetch it in the background and load what is ready."""
    if _say_what_is_needed(write):
        _FETCHING.now = "Fetching begins"
    threading.Thread(target=_prepare, args=(write,), name="prepare", daemon=True).start()


def fetch_only(write: Callable[[str], object] = sys.stderr.write) -> int:
    """Fetch what the profile's systems need, telling how far it is; return 0 if all of it is here then, else 1."""
    _say_what_is_needed(write)
    _FETCHING.tell = ProgressLine(write, rewrites=sys.stderr.isatty()).tell
    _FETCHING.work(profile_in_use())
    _say_state(write)
    return 1 if _FETCHING.failures else 0


class ProgressLine:
    """Writes how far a fetch is: over the last line on a terminal, and a line every few seconds elsewhere.

    Args:
        write: takes text.
        rewrites: whether what it writes to goes back to the line's start at a carriage return.
    """

    every_s = 5.0

    def __init__(self, write: Callable[[str], object], *, rewrites: bool) -> None:
        self._write, self._rewrites = write, rewrites
        self._last, self._since = "", -math.inf

    def tell(self, line: str) -> None:
        """Write it, or leave it out because one like it was written a moment ago."""
        is_same = line.partition(":")[0] == self._last
        if self._rewrites:
            self._write(("\r\x1b[K" if is_same else "\n") + line)
        elif not is_same or time.monotonic() - self._since >= self.every_s:
            self._write(f"{line}\n")
            self._since = time.monotonic()
        self._last = line.partition(":")[0]


def _say_what_is_needed(write: Callable[[str], object]) -> bool:
    """Say what is to be fetched, and return whether anything is."""
    profile = profile_in_use()
    needed = preparation(profile)
    if needed.folders:
        write(
            f"Profile {profile.key}: {len(needed.folders)} model folders are to be fetched, {needed.gb:.1f} GB; "
            f"{free_gb():.1f} GB are free on the disk.\n"
        )
    return bool(needed.folders)


def _say_state(write: Callable[[str], object]) -> None:
    if state := state_of_profile():
        write("".join(f"{line}\n" for line in state.lines))


def _prepare(write: Callable[[str], object]) -> None:
    _FETCHING.work(profile_in_use())
    _say_state(write)
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
