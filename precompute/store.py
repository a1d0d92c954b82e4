"""What is done: one SQLite file, a row for each result, failures too. Parquet and CSV are exports of it.

Assumed: a disk of this machine, or a mount with working locks. One process at a time writes, and holds `WRITER` by
SQLite's own lock, which ends with the process however that ends; others may read. While a run writes, SQLite keeps a
write-ahead log beside the file; where a file system has none, SQLite stays with its rollback journal, as safe and
only slower. After the run a single file is left. Only the driver of a run opens it: workers hand rows back.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from engine.errors import EngineError

STORE, WRITER, SET_ASIDE = "results.sqlite", "writer.sqlite", "results.damaged.sqlite"
OLD_PARTS = ("parts", "ledger/parts")  # of runs before there was a store
VERSION = 1  # of the table
SIDE_FILES = ("-wal", "-shm", "-journal")  # which SQLite keeps beside a file
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
PRIMARY = 0xFF  # the part of SQLite's error codes that names the kind


class StoreError(EngineError):
    """The store cannot be used or written, or is in use; the message says what to do."""


@dataclass(frozen=True)
class ResultRow:
    """One thing done.

    Attributes:
        key: sha256 over all that the result depends on, see `precompute.keys`.
        stage: a key of `precompute.keys.CODE_VERSION`.
        who: the system, the transcriber or the text LLM; "" where none was needed.
        status: done, failed, or for an answer how it was read.
        reason: why it failed.
        text: transcript or answer; a measurement as JSON.
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


_COLUMNS = tuple(field.name for field in fields(ResultRow))
_NUMBERS = frozenset(field.name for field in fields(ResultRow) if "float" in str(field.type))
_TABLE = ", ".join(
    f"{name} {'REAL' if name in _NUMBERS else 'TEXT'}{' PRIMARY KEY' if name == 'key' else ''}"
    for name in _COLUMNS
)
_CREATE = f"CREATE TABLE IF NOT EXISTS results ({_TABLE}, seal INTEGER) WITHOUT ROWID"
_INSERT = f"INSERT OR REPLACE INTO results VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})"


class Store:
    """All results of a folder in memory, and the way to add some. Reading changes nothing.

    Attributes:
        folder: the results folder.
        rows: key -> result.
        damage: what is to be said of a store that was found damaged, "" of a whole one.
    """

    def __init__(self, out: Path) -> None:
        """Read the store of a results folder; one without any is empty.

        Raises:
            StoreError: the folder holds results of an older or a newer version, or cannot be read.
        """
        self.folder = out
        self._file = out / STORE
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self.rows: dict[str, ResultRow] = {}
        self.damage = ""
        if any((out / parts).is_dir() for parts in OLD_PARTS):
            raise StoreError(
                "The results in --out were begun by an older version, which kept them in parts; choose another --out "
                "(summarize still works there)."
            )
        if self._file.exists():
            self._read()

    @property
    def n_bytes(self) -> int:
        """Size of the store on the disk."""
        files = (self._file, *_beside(self._file))
        return sum(file.stat().st_size for file in files if file.exists())

    def is_done(self, key: str) -> bool:
        """Return whether a result is there; one that failed is, until the next run tries it again, not done."""
        return key in self.rows and not self.rows[key].failed

    def _read(self) -> None:
        address = f"{self._file.resolve().as_uri()}?mode=ro"
        n_lost, is_whole = 0, True
        # Where pages are damaged, what lies before them is read from one end, and what lies behind from the other.
        for order in ("ASC", "DESC"):
            try:
                with closing(sqlite3.connect(address, uri=True)) as database:
                    if not _is_ours(database):
                        return
                    # A bit that turned may leave what is no UTF-8; the seal tells, and the row alone is lost.
                    database.text_factory = lambda text: text.decode("utf-8", "replace")
                    wanted = f"SELECT {', '.join(_COLUMNS)}, seal FROM results ORDER BY key {order}"
                    for *values, seal in database.execute(wanted):
                        if seal != _seal(values):
                            n_lost += 1
                        else:
                            self.rows[values[0]] = ResultRow(*values)
                    break
            except sqlite3.Error as error:
                if _kind(error) not in DAMAGE:
                    raise StoreError(
                        f"The results in --out cannot be read ({error}); look at {STORE}."
                    ) from error
                is_whole = False
        if n_lost or not is_whole:
            self.damage = (
                f"The store of results is damaged: {len(self.rows):,} results in it are whole and kept; a run sets "
                f"the file aside as {SET_ASIDE} and makes the others again."
            )

    @contextmanager
    def writing(self) -> Iterator[Store]:
        """Hold the folder for writing; a damaged store is set aside, and what could be read of it kept.

        Raises:
            StoreError: another process holds it, or the folder cannot be written.
        """
        guard = self._take()
        try:
            yield self
        finally:
            assert self._database is not None
            # A single file is left, which is read without leave to write beside it.
            with suppress(sqlite3.Error):
                self._database.execute("PRAGMA journal_mode=DELETE")
            self._database.close()
            self._database = None
            guard.close()

    def _take(self) -> sqlite3.Connection:
        """Open the store for writing; return what keeps other writers out while it is open."""
        guard = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            guard = sqlite3.connect(self.folder / WRITER, timeout=0, isolation_level=None)
            guard.execute("BEGIN EXCLUSIVE")
            if self.damage:
                self._set_aside()
            self._database = _opened(self._file)
        except (sqlite3.Error, OSError) as error:
            if guard is not None:
                guard.close()
            if isinstance(error, sqlite3.Error) and _kind(error) == sqlite3.SQLITE_BUSY:
                raise StoreError(
                    "Another run is writing to this folder; wait for it or choose another --out."
                ) from error
            raise _disk_error(error) from error
        return guard

    def add(self, rows: Iterable[ResultRow]) -> None:
        """Write rows at once and for good; what is there already is left out, but for a failure that now went well.

        Safe for several threads.

        Raises:
            StoreError: the disk is full or refuses; none of the rows is written then.
        """
        assert self._database is not None, "a store is written inside `writing`"
        with self._lock:
            new = {
                row.key: row
                for row in rows
                if row.key not in self.rows or (self.rows[row.key].failed and not row.failed)
            }
            if new:
                try:
                    _insert(self._database, new.values())
                except sqlite3.Error as error:
                    raise _disk_error(error) from error
                self.rows |= new

    def _set_aside(self) -> None:
        """Put a store with the rows that are whole in the place of a damaged one, which is kept beside it."""
        fresh = self._file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with closing(_opened(fresh)) as database:
            _insert(database, self.rows.values())
            database.execute("PRAGMA journal_mode=DELETE")
        shutil.copyfile(self._file, self.folder / SET_ASIDE)
        for file in _beside(self._file):  # they belong to the damaged file alone
            file.unlink(missing_ok=True)
        fresh.replace(self._file)
        self.damage = ""


def _opened(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, check_same_thread=False)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")  # a row that was told of outlives a power cut
    with database:
        database.execute(_CREATE)
        database.execute(f"PRAGMA user_version={VERSION}")
    return database


def _is_ours(database: sqlite3.Connection) -> bool:
    """Say whether there is a table yet; raise a StoreError where it is another version's."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version not in (0, VERSION):
        raise StoreError("The results in --out are of another version of this program; choose another --out.")
    return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'results'").fetchone())


def _insert(database: sqlite3.Connection, rows: Iterable[ResultRow]) -> None:
    with database:
        database.executemany(_INSERT, map(_values, rows))


def _values(row: ResultRow) -> list[Any]:
    """Return a row's columns and its seal; a number that is none is stored as none."""
    values = [
        None if value != value else float(value) if name in _NUMBERS and value is not None else value
        for name, value in asdict(row).items()
    ]
    return [*values, _seal(values)]


def _seal(values: list[Any]) -> int:
    """Return a checksum: SQLite itself does not notice a bit that has turned."""
    return zlib.crc32(repr(values).encode("utf-8", "surrogatepass"))


def _beside(file: Path) -> tuple[Path, ...]:
    return tuple(file.with_name(file.name + end) for end in SIDE_FILES)


def _kind(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & PRIMARY


def _disk_error(error: sqlite3.Error | OSError) -> StoreError:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return StoreError(
        f"Nothing more can be written to --out ({why or type(error).__name__}); what was done is kept: make room, "
        "then run again."
    )
