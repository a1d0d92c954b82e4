"""Facts about processes of this machine that hold for no other executor; the rest is in test_executors.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from precompute.pool import PoolExecutor
from tests.precompute.fake_asking import ASK, assert_two_processes_keep_to_one_rate
from tests.precompute.test_executors import PERFORM, WordsUnit


def test_threads_are_shared_out_and_the_pool_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("precompute.pool.n_cores", lambda: 6)
    units = [WordsUnit((f"a{i}",), tmp_path) for i in range(12)]
    with PoolExecutor(PERFORM, 2) as working:
        outcomes = list(working.run(units))
    assert {outcome.findings["threads"] for outcome in outcomes} == {"3"}
    assert str(os.getpid()) not in {outcome.findings["process"] for outcome in outcomes}


def test_the_rate_of_a_service_is_that_of_all_processes_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_two_processes_keep_to_one_rate(PoolExecutor(ASK, 2), tmp_path, monkeypatch)
