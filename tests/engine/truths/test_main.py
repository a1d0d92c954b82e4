"""The command shows truth beside verdict with every figure, and fails when one does not agree."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from engine import planted as command
from engine.planted import MEASURES, PLANTS, Judgement
from engine.stats.intervals import Estimate

GOOD = Judgement(
    key="cascade",
    name="A cascade inside",
    truth=PLANTS[0].truth,
    expected="a cascade inside",
    verdict="a cascade inside",
    agrees=True,
    measured={key: Estimate(0.5, 0.4, 0.6, 200, "made up") for key in MEASURES},
    kept_rank={"text": 3, "pitch": 1},
    limit="It is known to miss this.",
)
BAD = replace(GOOD, verdict="undecided", agrees=False)


@pytest.mark.parametrize(("found", "code"), [((GOOD,), 0), ((GOOD, BAD), 1)])
def test_the_exit_code_says_whether_all_agree(
    found: tuple[Judgement, ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["engine.planted", "--seed", "4"])
    monkeypatch.setattr(command, "judge_all", lambda seed: found if seed == 4 else ())
    assert command.main() == code
    shown = capsys.readouterr().out
    assert ("must be: a cascade inside" in shown) is bool(code)


def test_the_table_holds_truth_verdict_figures_and_limit() -> None:
    shown = command.table([GOOD])
    assert all(words in shown for words in MEASURES.values())
    assert GOOD.truth in shown and GOOD.limit in shown and shown.count("n 200") == len(MEASURES)
