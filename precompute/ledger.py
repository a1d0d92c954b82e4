"""What is done: rows in content-addressed Parquet parts, each written whole or not at all.

A part is written under a temporary name, synced and renamed to the hash of its own bytes; a file whose bytes
do not have that hash is set aside and its rows are made again. One process at a time may write.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from engine.errors import EngineError

PARTS, DAMAGED, LOCK = "parts", "damaged", "lock"


class LedgerError(EngineError):
    """The ledger cannot be written or is in use; the message says what to do."""


@dataclass(frozen=True)
class LedgerRow:
    """One thing done.

    Attributes:
        key: sha256 over all that the result depends on, see `precompute.keys`.
        stage: a key of `precompute.keys.CODE_VERSION`.
        who: the system or the transcriber; "" for render.
        status: done, failed, or for an answer how it was read.
        reason: why it failed.
        text: transcript or answer; a measurement of mechanism as JSON.
        forced_choice: JSON object of label -> probability.
        seconds: its own time; a batch's time is shared out evenly.
        audio_s, snr_db_achieved, audio_sha256: of a rendered clip.
        peak_memory_mb: of a system.
        flags: of a recording that was rendered, joined by commas.
        model_version, note: of a service's answer: which model it was, and what to know of it.
        prompt_tokens, answer_tokens: as a service counts them.
    """

    key: str
    stage: str
    who: str
    status: str = "done"
    reason: str = ""
    text: str = ""
    label: str | None = None
    forced_choice: str = "{}"
    log_likelihood: float | None = None
    seconds: float = 0.0
    audio_s: float | None = None
    snr_db_achieved: float | None = None
    audio_sha256: str = ""
    peak_memory_mb: float | None = None
    flags: str = ""
    model_version: str = ""
    note: str = ""
    prompt_tokens: float | None = None
    answer_tokens: float | None = None

    @property
    def failed(self) -> bool:
        """Whether it was tried, tried again alone, and failed."""
        return self.status == "failed"


_NUMBERS = {
    *("log_likelihood", "seconds", "audio_s", "snr_db_achieved", "peak_memory_mb"),
    *("prompt_tokens", "answer_tokens"),
}


class Ledger:
    """All rows of a folder in memory, and the way to add some.

    Attributes:
        rows: key -> row.
        n_damaged: parts that were found damaged when it was opened.
        n_bytes: size of all parts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rows: dict[str, LedgerRow] = {}
        self.n_damaged = 0
        self.n_bytes = 0
        self._damaged: list[Path] = []
        for part in sorted((folder / PARTS).glob("*.parquet")):
            self._read(part)

    def _read(self, part: Path) -> None:
        data = part.read_bytes()
        if hashlib.sha256(data).hexdigest() != part.stem:
            self.n_damaged += 1
            self._damaged.append(part)
            return
        self.n_bytes += len(data)
        for row in _rows_in(data):
            if not self.is_done(row.key):
                self.rows[row.key] = row

    def is_done(self, key: str) -> bool:
        """Return whether a result is there; one that failed is, until the next run tries it again, not done."""
        return key in self.rows and not self.rows[key].failed

    @contextmanager
    def writing(self) -> Iterator[Ledger]:
        """Hold the folder for writing; damaged parts are set aside, leftovers of a killed run removed.

        Raises:
            LedgerError: another process holds it, or the folder cannot be written.
        """
        try:
            (self._folder / PARTS).mkdir(parents=True, exist_ok=True)
            lock = (self._folder / LOCK).open("w")
        except OSError as error:
            raise _disk_error(error) from error
        with lock:
            _hold(lock)
            for left in (self._folder / PARTS).glob("*.tmp"):
                left.unlink()
            for part in self._damaged:
                (self._folder / DAMAGED).mkdir(exist_ok=True)
                part.replace(self._folder / DAMAGED / part.name)
            self._damaged = []
            yield self

    def add(self, rows: Iterable[LedgerRow]) -> None:
        """Write rows as one part; what is there already is left out, but for a failure that now went well.

        Raises:
            LedgerError: the disk is full or refuses; nothing half-written is left.
        """
        new = {
            row.key: row
            for row in rows
            if row.key not in self.rows or (self.rows[row.key].failed and not row.failed)
        }
        if not new:
            return
        data = _bytes_of(list(new.values()))
        folder = self._folder / PARTS
        temporary = folder / f"{os.getpid()}.tmp"
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(folder / f"{hashlib.sha256(data).hexdigest()}.parquet")
            _sync_folder(folder)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise _disk_error(error) from error
        self.rows |= new
        self.n_bytes += len(data)


def _rows_in(data: bytes) -> Iterator[LedgerRow]:
    import pyarrow.parquet as pq

    names = {field.name for field in fields(LedgerRow)}
    # A part may hold one row, and there may be tens of thousands: this is four times as fast as read_table.
    for row in pq.ParquetFile(io.BytesIO(data)).read(use_threads=False).to_pylist():
        yield LedgerRow(**{name: value for name, value in row.items() if name in names})


def _bytes_of(rows: list[LedgerRow]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types: dict[str, Any] = {
        field.name: pa.float64() if field.name in _NUMBERS else pa.string() for field in fields(LedgerRow)
    }
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=pa.schema(types))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _hold(lock: io.TextIOWrapper) -> None:
    """Take the lock that ends with the process, however that ends; without fcntl two runs are not told apart."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise LedgerError(
            "Another run is writing to this folder; wait for it or choose another --out."
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets a folder be synced."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _disk_error(error: OSError) -> LedgerError:
    why = error.strerror or type(error).__name__
    return LedgerError(
        f"Nothing more can be written to --out ({why}); what was done is kept: make room, then run again."
    )
