"""What tests of whole runs share: a run in a process of its own, and whether two results are the same."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pandas as pd

from engine.tables import read_table
from precompute.stages.summary import summarize
from precompute.store import STORE, WRITER, Store

ROOT = Path(__file__).resolve().parents[2]
MEASURED_TIMES = {"cost.csv"}


def answers_of(out: Path) -> pd.DataFrame:
    return read_table(out / "answers.parquet", "answers").drop(columns="seconds")


def assert_same_tables(out: Path, other: Path) -> None:
    """Byte for byte, measured times apart."""
    summarize(out)
    assert answers_of(out).to_csv() == answers_of(other).to_csv()
    assert (out / "clips.parquet").read_bytes() == (other / "clips.parquet").read_bytes()
    names = {file.name for file in (other / "tables").iterdir()}
    assert names == {file.name for file in (out / "tables").iterdir()} and len(names) == 7
    for name in names - MEASURED_TIMES:
        assert (out / "tables" / name).read_bytes() == (other / "tables" / name).read_bytes(), name


def assert_nothing_twice(out: Path) -> None:
    with closing(sqlite3.connect(out / STORE)) as database:
        keys = Counter(key for (key,) in database.execute("SELECT key FROM results"))
    assert max(keys.values()) == 1 and len(keys) == len(Store(out).rows)


def started(out: Path, models: Path, workers: str, address: str = "") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.precompute.fake_family", str(out), str(models), workers, address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


def wait_for_the_store(process: subprocess.Popen[bytes], out: Path) -> None:
    """Wait until the run has taken its folder: before, there is nothing to lose."""
    guard = out / WRITER
    guard.unlink(missing_ok=True)
    while process.poll() is None and not guard.exists():
        time.sleep(0.005)
