"""Facts about the ledger: whole parts or none, damage is noticed, one writer, nothing twice."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from precompute.ledger import DAMAGED, PARTS, Ledger, LedgerError, LedgerRow


def row(key: str, **values: Any) -> LedgerRow:
    return LedgerRow(key, "read", "mini-llama", **values)


def parts(folder: Path) -> list[Path]:
    return sorted((folder / PARTS).iterdir())


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    full = row("a", status="parsed", text="Spørts \n |", label="Sports", seconds=0.1, log_likelihood=-1e-9)
    empty = row("b", status="failed", reason="too long", label=None)
    with Ledger(tmp_path).writing() as ledger:
        ledger.add([full, empty])
        ledger.add([row("c")])
    assert Ledger(tmp_path).rows == {"a": full, "b": empty, "c": row("c")}
    assert empty.failed and not full.failed


def test_parts_are_named_by_their_bytes_and_nothing_else_is_left(tmp_path: Path) -> None:
    with Ledger(tmp_path).writing() as ledger:
        ledger.add([row("a")])
        ledger.add([row("b")])
    assert len(parts(tmp_path)) == 2
    for part in parts(tmp_path):
        assert part.stem == hashlib.sha256(part.read_bytes()).hexdigest()


def test_a_key_is_written_once(tmp_path: Path) -> None:
    with Ledger(tmp_path).writing() as ledger:
        ledger.add([row("a", text="first"), row("a", text="first")])
        ledger.add([row("a", text="second")])
        ledger.add([])
    assert len(parts(tmp_path)) == 1 and Ledger(tmp_path).rows["a"].text == "first"


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_part_is_set_aside_and_its_rows_are_not_done(tmp_path: Path, damage: str) -> None:
    with Ledger(tmp_path).writing() as ledger:
        ledger.add([row("a")])
        ledger.add([row("b")])
    part = parts(tmp_path)[0]
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes({"cut": bytes(data[:-9]), "flip": bytes(data), "empty": b""}[damage])
    read = Ledger(tmp_path)
    assert read.n_damaged == 1 and len(read.rows) == 1
    assert part.exists(), "reading changes nothing"
    with read.writing():
        assert not part.exists() and (tmp_path / DAMAGED / part.name).exists()
    assert Ledger(tmp_path).n_damaged == 0


def test_leftovers_of_a_killed_write_are_removed(tmp_path: Path) -> None:
    (tmp_path / PARTS).mkdir(parents=True)
    (tmp_path / PARTS / "123.tmp").write_bytes(b"half")
    assert Ledger(tmp_path).rows == {}
    with Ledger(tmp_path).writing():
        assert parts(tmp_path) == []


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    with Ledger(tmp_path).writing() as ledger:
        ledger.add([row("a")])
        assert "a" in Ledger(tmp_path).rows
        with pytest.raises(LedgerError, match="Another run"), Ledger(tmp_path).writing():
            pass
    with Ledger(tmp_path).writing():
        pass


def test_a_full_disk_is_one_sentence_and_leaves_what_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Ledger(tmp_path).writing() as ledger:
        ledger.add([row("a")])
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(LedgerError, match=r"No space left on device.*what was done is kept") as caught:
            ledger.add([row("b")])
        assert str(tmp_path) not in str(caught.value) and "b" not in ledger.rows
        monkeypatch.undo()
        assert len(parts(tmp_path)) == 1
        ledger.add([row("b")])
    assert Ledger(tmp_path).rows.keys() == {"a", "b"}


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(LedgerError, match="Nothing more can"), Ledger(tmp_path / "out").writing():
        pass


def test_a_failure_is_not_done_and_gives_way_to_a_success(tmp_path: Path) -> None:
    failed = row("a", status="failed", reason="out of memory")
    with Ledger(tmp_path).writing() as ledger:
        ledger.add([failed])
        ledger.add([failed])
        assert not ledger.is_done("a") and not ledger.is_done("b") and len(parts(tmp_path)) == 1
        ledger.add([row("a", text="went well")])
        ledger.add([failed])
    again = Ledger(tmp_path)
    assert again.is_done("a") and again.rows["a"].text == "went well"
