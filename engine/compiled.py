"""librosa, importable on any machine and by several processes at once.

librosa compiles some of its functions when it is imported and wants to keep them beside its code or in the user's
home. In a read-only installation without a home its import fails; and two processes that compile at the same time
leave halves of two compilations behind, with which every later process crashes (numba issue 10128).
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from filelock import FileLock

CACHE = "NUMBA_CACHE_DIR"
LOCK = "cascade-lens.lock"


def import_librosa() -> ModuleType:
    """Return librosa, compiled by one process at a time into a folder that only this product writes."""
    if CACHE not in os.environ:
        os.environ[CACHE] = str(_folder())
    folder = Path(os.environ[CACHE])
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        import librosa

        assert callable(librosa.pyin)  # its module is loaded, and compiled, when it is first named
    found: ModuleType = librosa
    return found


def _folder() -> Path:
    """Return a folder in the user's cache, or one that ends with the process where there is none to write to."""
    home = os.path.expanduser("~")  # left as it is where there is none
    folder = Path(home) / ".cache" / "cascade-lens" / "compiled"
    with suppress(OSError):
        if folder.is_absolute():
            folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    temporary = tempfile.mkdtemp(prefix="cascade-lens-compiled-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)
