"""Facts about the store: whole results or none, damage is noticed, one writer, nothing twice, old folders refused."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from precompute.store import SET_ASIDE, SIDE_FILES, STORE, ResultRow, Store, StoreError


def row(key: str, **values: Any) -> ResultRow:
    return ResultRow(key, "read", "mini-llama", **values)


def filled(folder: Path, n_rows: int = 400) -> Path:
    with Store(folder).writing() as store:
        store.add(row(f"{n:04d}", text=f"answer {n} {'x' * 100}") for n in range(n_rows))
    return folder / STORE


def test_rows_come_back_as_they_went_in_and_one_file_is_left(tmp_path: Path) -> None:
    full = row("a", status="parsed", text="Spørts \n |", label="Sports", seconds=0.1, prompt_tokens=7)
    empty = row("b", status="failed", reason="too long", label=None)
    odd = row("d", log_likelihood=float("-inf"), snr_db_achieved=float("nan"), text="\x00")
    with Store(tmp_path).writing() as store:
        store.add([full, empty])
        store.add([row("c"), odd])
    there = Store(tmp_path)
    assert there.rows.pop("d") == row("d", log_likelihood=float("-inf"), text="\x00"), "NaN is no number"
    assert there.rows == {"a": full, "b": empty, "c": row("c")} and not there.damage
    assert empty.failed and not full.failed
    assert not any((tmp_path / f"{STORE}{end}").exists() for end in SIDE_FILES)


def test_a_key_is_written_once_and_a_failure_gives_way_to_a_success(tmp_path: Path) -> None:
    failed = row("f", status="failed", reason="out of memory")
    with Store(tmp_path).writing() as store:
        store.add([row("a", text="first"), row("a", text="first")])
        store.add([row("a", text="second"), failed, failed])
        store.add([])
        assert store.is_done("a") and not store.is_done("f") and not store.is_done("g")
        store.add([row("f", text="went well")])
        store.add([failed])
    again = Store(tmp_path)
    assert {key: found.text for key, found in again.rows.items()} == {"a": "first", "f": "went well"}
    assert again.is_done("f")


def test_several_threads_may_add(tmp_path: Path) -> None:
    with Store(tmp_path).writing() as store:

        def add(n: int) -> None:
            for i in range(20):
                store.add([row(f"{n}-{i}")])

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(add, range(4)))
    assert len(Store(tmp_path).rows) == 80


@pytest.mark.parametrize(
    "damage", ["cut", "flip a bit", "no text", "a page", "empty pages", "no store at all"]
)
def test_of_a_damaged_store_what_is_whole_is_kept_and_the_file_set_aside(tmp_path: Path, damage: str) -> None:
    file = filled(tmp_path)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    if damage == "flip a bit":
        data[data.index(b"answer 200") + 3] ^= 1
    elif (
        damage == "no text"
    ):  # UTF-8 has no such byte, so SQLite's own reading of the row failed, and with it all rows
        data[data.index(b"answer 200") + 3] ^= 255
    elif damage == "a page":
        data[middle : middle + 4096] = b"\xff" * 4096
    elif damage == "empty pages":
        data[middle:] = bytes(len(data) - middle)
    elif damage == "no store at all":
        data = bytearray(b"a letter to somebody" * 99)
    else:
        del data[middle:]
    file.write_bytes(data)
    read = Store(tmp_path)
    n_kept = len(read.rows)
    assert "damaged" in read.damage and f"{n_kept} results" in read.damage and file.read_bytes() == data
    assert n_kept == 399 if damage in ("flip a bit", "no text") else 0 <= n_kept < 400
    assert n_kept > 300 or damage != "a page", "what lies before and behind is read"
    with read.writing() as store:
        assert (tmp_path / SET_ASIDE).read_bytes() == data
        store.add([row("new")])
    again = Store(tmp_path)
    assert not again.damage and len(again.rows) == n_kept + 1 and again.rows.keys() == read.rows.keys()


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    with Store(tmp_path).writing() as store:
        store.add([row("a")])
        assert "a" in Store(tmp_path).rows
        second = Store(tmp_path).writing()
        with pytest.raises(StoreError, match=r"^Another run is writing to this folder"), second:
            pass
    with Store(tmp_path).writing():
        pass


KILLED = """
import os, signal, sys
from pathlib import Path
from precompute.store import ResultRow, Store
with Store(Path(sys.argv[1])).writing() as store:
    store.add([ResultRow("a", "read", "x")])
    store.add([ResultRow("b", "read", "x")])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_writer_that_is_killed_leaves_what_it_wrote_and_no_lock(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert Store(tmp_path).rows.keys() == {"a", "b"}, "a reader sees it before anybody mends anything"
    with Store(tmp_path).writing() as store:
        store.add([row("c")])
    assert Store(tmp_path).rows.keys() == {"a", "b", "c"}


@contextmanager
def room_of(n_bytes: int) -> Iterator[None]:
    """Let this process write no file beyond a size, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_is_one_sentence_and_leaves_what_was_done(tmp_path: Path) -> None:
    with Store(tmp_path).writing() as store:
        store.add([row("a")])
        with (
            room_of(100_000),
            pytest.raises(
                StoreError, match=r"^Nothing more can be written .*what was done is kept"
            ) as caught,
        ):
            store.add(row(f"b{n}", text="x" * 1000) for n in range(500))
        assert str(tmp_path) not in str(caught.value) and store.rows.keys() == {"a"}
        assert Store(tmp_path).rows.keys() == {"a"}
        store.add([row("b")])
    assert Store(tmp_path).rows.keys() == {"a", "b"}


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StoreError, match="Nothing more can"), Store(tmp_path / "out").writing():
        pass


@pytest.mark.parametrize("parts", ["parts", "ledger/parts"])
def test_a_folder_of_before_there_was_a_store_is_refused(tmp_path: Path, parts: str) -> None:
    (tmp_path / parts).mkdir(parents=True)
    with pytest.raises(StoreError, match=r"older version.*choose another --out"):
        Store(tmp_path)


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(filled(tmp_path)) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match=r"another version.*choose another --out"):
        Store(tmp_path)
