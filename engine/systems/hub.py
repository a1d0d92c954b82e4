"""Fetching published weights from the hub: only what is missing, at the pinned revision, and nothing without room.

What can be said beforehand is said by `obstacle`, in one sentence, before gigabytes are on their way. What came is
kept in the hub's own cache, whole files only, and a fetch that broke off goes on from there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import ModelFilesError
from engine.systems.weights import (
    CHECKPOINTS,
    HOME_VARIABLE,
    Checkpoint,
    folder_of,
    is_here,
    missing_weights,
    weights_home,
)

GB = 1e9
HUB_TIMEOUT_S = 5.0
ASK_AGAIN_S = 30.0
SPARE_GB = 2.0  # left free on the disk: tables, sounds, the system's own needs

_SILENT_UNTIL = [0.0]  # by the monotonic clock


def fetch(name: str, report: Callable[[str], None] = lambda line: None) -> None:
    """Fetch a model folder at its pinned revision; what the hub's own cache holds is not fetched twice.

    Args:
        name: of the folder.
        report: called with a line of what is being done.

    Raises:
        ModelFilesError: it cannot be had: no network, no agreement, no room; the sentence says what to do.
    """
    if not missing_weights([name]):
        return
    row = CHECKPOINTS[name]
    found = _cached(name)
    if found is None:
        if not hub_answers():
            raise ModelFilesError(
                f"{row.repository} ({row.gb:.1f} GB) is not here and the hub does not answer: connect to the "
                f"network, or put it into the folder that {HOME_VARIABLE} names, as {name}."
            )
        if reason := obstacle(name):
            raise ModelFilesError(reason)
        report(f"{row.repository}: {row.gb:.1f} GB")
        found = _download(row)
    _link(name, found)


def _download(row: Checkpoint) -> Path:
    """Return the snapshot of the hub's cache after what it lacks was fetched; raises as `fetch`."""
    from httpx2 import HTTPError
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    try:
        return Path(snapshot_download(row.repository, **_asked_for(row)))
    except GatedRepoError as error:
        raise ModelFilesError(
            f"{row.repository} is gated, and this token may not read it: accept its licence on its page."
        ) from error
    # RuntimeError is what the hub's own transfer library raises.
    except (HTTPError, OSError, RuntimeError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 404):
            raise ModelFilesError(
                f"{row.repository} is not to be had at {row.revision[:12]}: the token in HF_TOKEN is not valid, or "
                "the hub no longer has it."
            ) from error
        raise ModelFilesError(
            f"{row.repository} could not be fetched ({type(error).__name__}); what came is kept: start again "
            "to go on."
        ) from error


def _asked_for(row: Checkpoint) -> dict[str, Any]:
    return {"revision": row.revision, "allow_patterns": [*row.files], "ignore_patterns": [*row.leave]}


def _cached(name: str) -> Path | None:
    """Return the folder in the hub's own cache that has all of it already."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    row = CHECKPOINTS[name]
    try:
        found = Path(snapshot_download(row.repository, local_files_only=True, **_asked_for(row)))
    except LocalEntryNotFoundError:
        return None
    return found if is_here(name, found) else None


def is_offline() -> bool:
    """Say whether the user wants nobody to be asked: HF_HUB_OFFLINE."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def hub_answers() -> bool:
    """Say whether the hub can be reached: asked once, where the library would try for half a minute a model."""
    from httpx2 import HTTPError
    from huggingface_hub import constants, get_session

    # A network that swallows what is sent costs the whole timeout, which one model's wait pays for all.
    if time.monotonic() < _SILENT_UNTIL[0]:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_S)
    except (OSError, HTTPError):  # the library's own offline mode is an OSError
        _SILENT_UNTIL[0] = time.monotonic() + ASK_AGAIN_S
        return False
    return True


def obstacle(name: str) -> str:
    """Return why a model folder cannot be had as things stand, told without asking the hub; "" if it can."""
    from huggingface_hub import get_token

    row, place = CHECKPOINTS[name], folder_of(name)
    if place.is_dir() and not place.is_symlink():
        return f"{name} lies in a folder of your own that lacks files: complete it, or take it away to have it fetched."
    if _cached(name) is not None:
        return ""
    if row.gated and not get_token():
        return (
            f"{row.repository} is gated: accept its licence on its page, then set HF_TOKEN to a token that may "
            "read it."
        )
    free = free_gb()
    if free < row.gb + SPARE_GB:
        return (
            f"{row.repository} needs {row.gb:.1f} GB and {free:.1f} GB are free: make room for it and "
            f"{SPARE_GB:.0f} GB more."
        )
    return ""


def free_gb() -> float:
    """Return how much room the disk of the hub's cache has, in 10^9 bytes."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return shutil.disk_usage(place).free / GB


def _link(name: str, snapshot: Path) -> None:
    """Give a snapshot of the hub's cache the folder's name."""
    link = weights_home() / name
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(snapshot, target_is_directory=True)
    except OSError as error:
        raise ModelFilesError(
            f"{name} is fetched, but {HOME_VARIABLE} cannot take a link to it; choose another folder."
        ) from error
