"""A file of weights that shares tensors with another model's: kept as pieces, read as the very bytes that it was.

Two minis grew from one encoder. What the later one left as it was is stored once, with the earlier one; beside its
own bytes lies "NAME.shared.json", which says how to put the file together. Fingerprints and revisions are those of
the whole file, so that nothing that names them has to change. No model library is imported here.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

from engine.errors import ModelFilesError

SHARED = ".shared.json"
SAFETENSORS = ".safetensors"


def pieces_file(file: Path) -> Path:
    """Return where the pieces of a file are listed, if it is kept as pieces."""
    return file.with_name(file.name + SHARED)


def is_stored(file: Path) -> bool:
    """Say whether a file is there, as itself or as pieces."""
    return file.exists() or pieces_file(file).exists()


def stored_files(folder: Path) -> list[Path]:
    """Return a folder's safetensors in order, those that are kept as pieces among them."""
    names = {file.name for file in folder.glob(f"*{SAFETENSORS}")}
    names |= {file.name.removesuffix(SHARED) for file in folder.glob(f"*{SAFETENSORS}{SHARED}")}
    return [folder / name for name in sorted(names)]


def open_stored(file: Path) -> io.BufferedIOBase:
    """Open a file for reading; one that is kept as pieces is put together in memory.

    Raises:
        ModelFilesError: a piece is missing, or the whole is not what it was.
        OSError: there is no such file.
    """
    return file.open("rb") if file.exists() else io.BytesIO(put_together(file))


def stored_size(file: Path) -> int:
    """Return how many bytes a file has, or would have in one; raises as `open_stored`."""
    return file.stat().st_size if file.exists() else len(put_together(file))


def put_together(file: Path) -> bytes:
    """Return the bytes of a file that is kept as pieces; raises as `open_stored`."""
    try:
        listed = json.loads(pieces_file(file).read_text(encoding="utf-8"))
        whole = b"".join(_piece(file, **piece) for piece in listed["pieces"])
        intact = hashlib.sha256(whole).hexdigest() == listed["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFilesError(
            f"{file.parent.name}/{file.name} is kept in pieces, and one is missing; restore both models' folders."
        ) from error
    if not intact:
        raise ModelFilesError(
            f"{file.parent.name}/{file.name} is kept in pieces that do not make the file it was; restore both "
            "models' folders."
        )
    return whole


def _piece(file: Path, name: str, start: int, stop: int, model: str = "") -> bytes:
    """Return one run of bytes of a file beside this one, or of one in another model's folder."""
    if {"/", "\\"} & {*name, *model} or ".." in (name, model):
        raise ValueError("a piece lies in a model's folder")
    folder = file.parent.parent / model if model else file.parent
    with (folder / name).open("rb") as stream:
        stream.seek(start)
        return stream.read(stop - start)
