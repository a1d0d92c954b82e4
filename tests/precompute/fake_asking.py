"""Work that asks a service, and whether those who do it keep to one rate."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path

import pytest

from engine.systems.registry import load_behaviour
from engine.systems.services import RATE_VARIABLE
from precompute.executors import Executor
from precompute.ledger import LedgerRow
from precompute.units import Outcome, Unit
from tests.engine.fake_service import Sent, serving
from tests.engine.served import ENDPOINT_SAYS, point_to
from tests.precompute.test_executors import WordsUnit

ASK = "tests.precompute.fake_asking:ask"
SERVICE = "endpoint-text"
N_WORDS, PER_S = 24, 10
LATE_S = 0.5  # a request may be late by what the machine is busy with, and the next come on time


def ask(unit: Unit) -> Outcome:
    """Ask the service that the unit's notes name, once for each word, when a second process is there to ask too."""
    assert isinstance(unit, WordsUnit)
    os.environ.update(json.loads((unit.notes / "environment").read_text()))
    (unit.notes / f"process-{os.getpid()}").touch()
    deadline = time.monotonic() + 60
    while len(list(unit.notes.glob("process-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    said = [load_behaviour(SERVICE).ask(word, "what is it about").text for word in unit.words]
    rows = tuple(LedgerRow(word, "read", "x", text=text) for word, text in zip(unit.words, said, strict=True))
    return Outcome(rows, {"process": str(os.getpid())})


def assert_two_processes_keep_to_one_rate(
    executor: Executor, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If each took all of the rate, they would be done in half the time."""
    with serving(Sent(ENDPOINT_SAYS)) as service:
        told = point_to(monkeypatch, text=service.url) | {RATE_VARIABLE: str(60 * PER_S)}
        (notes / "environment").write_text(json.dumps(told))
        units = [WordsUnit((f"a{i}", f"b{i}"), notes, SERVICE) for i in range(N_WORDS // 2)]
        with executor as working:
            outcomes = list(working.run(units))
    assert {row.text for outcome in outcomes for row in outcome.rows} == {"Sports"}
    assert len({outcome.findings["process"] for outcome in outcomes}) == 2
    at_s = sorted(asked.at_s for asked in service.asked)
    assert len(at_s) == N_WORDS
    for first, last in itertools.combinations(range(N_WORDS), 2):
        assert at_s[last] - at_s[first] >= (last - first) / PER_S - LATE_S
