"""librosa, importable on a machine where nothing beside it can be written.

librosa compiles some of its functions when it is imported and wants to keep them beside its code or in the user's
home; in a read-only installation without a home directory its import fails.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

CACHE = "NUMBA_CACHE_DIR"


def import_librosa() -> ModuleType:
    """Return librosa; what it compiles is kept in a temporary folder where it can be kept nowhere else."""
    spec = find_spec("librosa")
    assert spec and spec.origin, "librosa is a requirement"
    if CACHE not in os.environ and not _can_keep(Path(spec.origin).parent):
        os.environ[CACHE] = tempfile.mkdtemp(prefix="cascade-lens-compiled-")
        atexit.register(shutil.rmtree, os.environ[CACHE], ignore_errors=True)
    import librosa

    found: ModuleType = librosa
    return found


def _can_keep(package: Path) -> bool:
    """Whether the package's own folder or the home directory can be written."""
    home = os.path.expanduser("~")  # left as it is where there is none
    return any(os.access(folder, os.W_OK | os.X_OK) for folder in (package, home) if os.path.isdir(folder))
