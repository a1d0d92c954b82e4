"""What tests of whole runs share: a run in a process of its own, and whether two results are the same."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd

from engine.tables import read_table
from precompute.benchmark import ledger_of
from precompute.ledger import PARTS
from precompute.stages.summary import summarize

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
    import pyarrow.parquet as pq

    parts = list((out / "ledger" / PARTS).iterdir())
    assert all(part.suffix == ".parquet" for part in parts)
    keys = Counter(key for part in parts for key in pq.read_table(part)["key"].to_pylist())
    assert max(keys.values()) == 1 and len(keys) == len(ledger_of(out).rows)


def started(out: Path, models: Path, executor: str, address: str = "") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.precompute.fake_family", str(out), str(models), executor, address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


def wait_for_the_ledger(process: subprocess.Popen[bytes], out: Path) -> None:
    """Wait until the run has taken its folder: before, there is nothing to lose."""
    lock = out / "ledger" / "lock"
    lock.unlink(missing_ok=True)
    while process.poll() is None and not lock.exists():
        time.sleep(0.005)
