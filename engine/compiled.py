"""librosa, importable by many processes at once and on a machine where nothing beside it can be written.

librosa compiles some of its functions when it is imported and keeps them. Numba writes its index of them without a
lock: processes that do so at the same time leave one that names another's code, which ends every later process
without a word. They are kept in a folder of our own, written by one process at a time.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from filelock import FileLock

CACHE = "NUMBA_CACHE_DIR"
LOCK = "cascade-lens.lock"


def import_librosa() -> ModuleType:
    """Return librosa with its functions of pitch compiled; what it compiles is kept where something can be kept."""
    if not os.environ.get(CACHE):
        os.environ[CACHE] = str(_kept() or _passing())
    folder = Path(os.environ[CACHE])
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        import librosa

        assert callable(librosa.pyin)  # librosa loads its parts when they are named, and compiles them then
    found: ModuleType = librosa
    return found


def _kept() -> Path | None:
    """Return a folder in the user's cache, None where there is none that can be written."""
    home = os.path.expanduser("~")  # left as it is where the machine knows none
    folder = Path(home) / ".cache" / "cascade-lens" / f"compiled-{version('librosa')}-{version('numba')}"
    with suppress(OSError):
        if home != "~":
            folder.mkdir(parents=True, exist_ok=True)
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def _passing() -> Path:
    folder = tempfile.mkdtemp(prefix="cascade-lens-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
