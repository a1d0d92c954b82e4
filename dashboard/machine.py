"""What the machine may lack or impose when the page starts: a folder for uploads, a way around a proxy to itself.

`app.py` asks here before Gradio is imported, which reads the environment only once. Gradio is not known here.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UPLOADS = "GRADIO_TEMP_DIR"
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def take_upload_folder() -> str:
    """Let Gradio keep uploads where this process may write; return what is wrong, "" when nothing is.

    A folder that somebody names is theirs to mend. Gradio's own in the temporary folder may belong to another user of
    the machine; then a private one is made, which goes when the process ends by itself.
    """
    named = os.environ.get(UPLOADS, "").strip()
    try:
        folder = Path(named) if named else Path(tempfile.gettempdir()) / "gradio"
    except FileNotFoundError:
        return "There is no temporary folder that can be written; name one in TMPDIR and start again."
    if _can_write(folder):
        return ""
    if named:
        return f"The folder that {UPLOADS} names cannot be written; name another, or leave it out."
    try:
        own = tempfile.mkdtemp(prefix="cascade-lens-")
    except OSError:
        return "The temporary folder cannot be written; name another in TMPDIR and start again."
    os.environ[UPLOADS] = own
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return ""


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@contextmanager
def without_proxies() -> Iterator[None]:
    """Hide the environment's proxies, right or wrong, from what is done inside.

    Gradio asks its own address when it starts, and would ask a company's proxy for it. Not for several threads.
    """
    hidden = {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)
