"""Work that asks a service, and whether those who do it keep to one rate."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from engine.systems.loading import load_behaviour
from engine.systems.remote import RATE_VARIABLE
from precompute.executors import Executor
from precompute.ledger import LedgerRow
from precompute.units import Outcome, Unit
from tests.engine.fake_service import Sent, serving
from tests.engine.served import ENDPOINT_SAYS, point_to
from tests.precompute.fake_cluster import wait_for_two
from tests.precompute.test_executors import WordsUnit

ASK = "tests.precompute.fake_asking:ask"
SERVICE = "endpoint-text"
N_WORDS, PER_S = 24, 10


def ask(unit: Unit) -> Outcome:
    """Ask the service that the unit's notes name, once for each word, when a second process is there to ask too."""
    assert isinstance(unit, WordsUnit)
    os.environ.update(json.loads((unit.notes / "environment").read_text()))
    wait_for_two(unit.notes, str(os.getpid()))
    service = load_behaviour(SERVICE)
    began_s = time.monotonic()
    said = [service.ask(word, "what is it about").text for word in unit.words]
    rows = tuple(LedgerRow(word, "read", "x", text=text) for word, text in zip(unit.words, said, strict=True))
    return Outcome(rows, {"process": str(os.getpid()), "began_s": str(began_s)})


def assert_two_processes_keep_to_one_rate(
    executor: Executor, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If each took all of the rate, they would be done in half the time."""
    with serving(Sent(ENDPOINT_SAYS)) as service:
        told = point_to(monkeypatch, text=service.url)
        del told[RATE_VARIABLE]  # which the one that hands out the units knows
        monkeypatch.setenv(RATE_VARIABLE, str(60 * PER_S))
        (notes / "environment").write_text(json.dumps(told))
        units = [WordsUnit((f"a{i}", f"b{i}"), notes, SERVICE) for i in range(N_WORDS // 2)]
        with executor as working:
            outcomes = list(working.run(units))
    assert {row.text for outcome in outcomes for row in outcome.rows} == {"Sports"}
    assert len({outcome.findings["process"] for outcome in outcomes}) == 2
    # No turn is before anybody began, and no request before its turn: a slow machine makes them later only.
    first_s = min(float(outcome.findings["began_s"]) for outcome in outcomes)
    at_s = sorted(asked.at_s for asked in service.asked)
    assert len(at_s) == N_WORDS
    assert all(came_s >= first_s + index / PER_S for index, came_s in enumerate(at_s))
