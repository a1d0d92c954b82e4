"""Naming weights by their content: what was fitted on some weights refuses to load on others.

The minis' name is a sha256 over their bytes. Hashing a published checkpoint takes as long as reading it, so that its
name is a sha256 over the sha256 of each file: the hub's cache gives files that name, and elsewhere it is computed once
and kept beside the file's size and time. Which rule holds is told by the size alone, wherever the files lie.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.systems.checkpoint import weight_files
from engine.systems.shared_bytes import open_stored, stored_size
from engine.systems.weights import weights_home

LARGE_BYTES = 512 * 2**20  # by far more than a mini has, and less than any published model
BLOCK_BYTES = 1 << 20
SHA256 = re.compile(r"[0-9a-f]{64}")
KEPT = "sha256.json"


def fingerprint(folders: Iterable[Path]) -> str:
    """Return what names these folders' weights, in order: a sha256.

    Raises:
        ModelFilesError: a file is missing.
    """
    files = [file for folder in folders for file in weight_files(folder)]
    digest = hashlib.sha256()
    if sum(stored_size(file) for file in files) < LARGE_BYTES:
        for file in files:
            _hash(file, digest)
    else:
        for file in files:
            digest.update(bytes.fromhex(_file_sha256(file)))
    return digest.hexdigest()


def _file_sha256(file: Path) -> str:
    """Return a file's sha256: by the hub's cache, by our own record, or by reading it, which is then recorded."""
    real = file.resolve()
    if real.parent.name == "blobs" and SHA256.fullmatch(real.name):
        return real.name
    stat = real.stat()
    state = [stat.st_size, stat.st_mtime_ns]
    record = weights_home() / KEPT
    kept = _read(record)
    found = kept.get(str(real))
    if isinstance(found, list) and found[:2] == state:
        return str(found[2])
    digest = hashlib.sha256()
    _hash(real, digest)
    # A record that cannot be kept costs the next start the same reading, and nothing else.
    with suppress(OSError):
        _write(record, _read(record) | {str(real): [*state, digest.hexdigest()]})
    return digest.hexdigest()


def _hash(file: Path, digest: Any) -> None:
    # In blocks: a published shard is larger than many a machine's memory.
    with open_stored(file) as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)


def _read(record: Path) -> dict[str, Any]:
    try:
        kept = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _write(record: Path, kept: dict[str, Any]) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may write at once: each puts a whole file in place.
    new = record.with_name(f"{record.name}.{os.getpid()}")
    new.write_text(json.dumps(kept), encoding="utf-8")
    new.replace(record)
