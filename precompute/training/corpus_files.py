r"""The corpora's files as they were published: read whole, hashed, cut into lines at "\n" alone."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import ModelFilesError


class CorpusFiles:
    """Files below one folder; a path is as in the corpora's README.

    Attributes:
        hashes: path -> sha256 of each file that was read.

    Raises:
        ModelFilesError: by every method, where the folder lacks the file or the file is cut short.
    """

    def __init__(self, folder: Path) -> None:
        self.hashes: dict[str, str] = {}
        self._folder = folder

    def text(self, path: str) -> str:
        """Return a file's text, without a byte-order mark."""
        try:
            data = (self._folder / path).read_bytes()
        except OSError as error:
            raise ModelFilesError(f"The corpora's folder lacks {path}; see docs/training.md.") from error
        self.hashes[path] = hashlib.sha256(data).hexdigest()
        return data.decode("utf-8-sig")

    def rows(self, path: str) -> list[list[str]]:
        """Return the rows of a table without a header; an empty line is no row."""
        lines = io.StringIO(self.text(path), newline="\n")
        # One with tabs quotes no cell.
        written: Any = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if path.endswith(".tsv") else {}
        rows = [row for row in csv.reader(lines, **written) if row]
        if len({len(row) for row in rows}) != 1:
            raise ModelFilesError(f"{path} is empty or cut short; put the published file there anew.")
        return rows

    def table(self, path: str) -> list[dict[str, str]]:
        """Return the rows of a table whose first line names its columns."""
        header, *rows = self.rows(path)
        return [dict(zip(header, row, strict=True)) for row in rows]

    def objects(self, path: str) -> Iterator[Any]:
        """Return the JSON value of each line."""
        return (json.loads(line) for line in self.text(path).split("\n") if line.strip())
