"""When a cell holds, fails, is open or undefined, how cells are pooled, and what that says: cases made by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from engine.stats.intervals import TOGETHER, Estimate, Resampled, bootstrap, ratio
from engine.stats.significance import NIL
from precompute.claims.verdict import (
    FEW,
    NEAR,
    NO_LINE,
    NO_WIDTH,
    TOO_FEW,
    Trial,
    claim_figures,
    deciding,
    parts_of,
    pooled,
    published_verdict,
    verdict_of,
)
from tests.precompute.claims.hand_made import drawn


def trial(value: float, low: float, high: float, **about: Any) -> Trial:
    error = about.pop("mc_error", 0.0)
    seen = Estimate(value, low, high, about.pop("n", 50), "bootstrap", about.pop("seen_note", ""), error)
    place = {"system": "s", "other": "", "task": "topic", "detail": "", "line": 0.0}
    return Trial(figure=Resampled(seen), **(place | about))


HOLDS, FAILS, OPEN = trial(0.3, 0.1, 0.5), trial(-0.3, -0.5, -0.1), trial(0.1, -0.1, 0.3)
UNDEFINED = trial(0.1, math.nan, math.nan)


@pytest.mark.parametrize(
    ("cell", "side"),
    [
        (HOLDS, "holds"),
        (FAILS, "fails"),
        (OPEN, "open"),
        (UNDEFINED, "undefined"),
        (trial(0.3, 0.1, 0.5, wanted="below"), "fails"),
        (trial(-0.3, -0.5, -0.1, wanted="below"), "holds"),
        (trial(0.3, 0.1, 0.5, line=0.05), "holds"),
        (trial(0.3, 0.1, 0.5, line=0.2), "open"),
        (trial(0.3, 0.1, 0.5, line=0.6), "fails"),
        (trial(0.3, 0.1, 0.5, line=math.nan), "undefined"),
        (trial(0.3, 0.0, 0.5), "open"),  # the line itself is not beyond the line
        (trial(1.0, 1.0, 1.0), "undefined"),
    ],
)
def test_a_cell(cell: Trial, side: str) -> None:
    assert cell.side == side


@pytest.mark.parametrize("turned", [False, True])
def test_an_end_within_the_monte_carlo_error_of_the_line_decides_nothing(turned: bool) -> None:
    """The fault: such verdicts turned with the seed."""
    ends = (-0.3, -0.5, -0.004) if turned else (0.3, 0.004, 0.5)
    wanted = "below" if turned else "above"
    assert trial(*ends, wanted=wanted, mc_error=0.003).side == "holds"
    near = trial(*ends, wanted=wanted, mc_error=0.005)
    assert near.side == "open" and NEAR in near.why and verdict_of([near]) == "cannot be said"
    assert NEAR not in OPEN.why


def test_no_verdict_turns_between_holds_and_fails_or_flickers_with_the_seed() -> None:
    """Shares around a line: of 40 seeds none may say otherwise than another but for "cannot be said"."""
    rng = np.random.default_rng(5)
    n_steady = 0
    for share in np.linspace(0.5, 0.7, 21):
        hits = np.stack([rng.random(120) < share, np.ones(120)], axis=1).astype(float)
        sides = set()
        for seed in range(40):
            estimate = bootstrap(hits, ratio, seed=seed)
            sides.add(Trial("s", "", "", "", Resampled(estimate), 0.5).side)
        assert not {"holds", "fails"} <= sides
        n_steady += len(sides) == 1
    assert n_steady >= 18


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ([], "not measured"),
        ([HOLDS, HOLDS], "holds"),
        ([HOLDS, UNDEFINED], "holds"),
        ([UNDEFINED], "cannot be said"),
        ([HOLDS, FAILS], "cannot be said"),
        ([HOLDS, HOLDS, OPEN], "holds"),
        ([FAILS, FAILS], "does not hold"),
        ([trial(0.3, 0.1, 0.5, part="a"), trial(-0.3, -0.5, -0.1, part="b")], "does not hold"),
        ([trial(0.3, 0.1, 0.5, part="a"), trial(0.1, -0.1, 0.3, part="b")], "cannot be said"),
        ([trial(0.3, 0.1, 0.5, part="a"), trial(0.2, 0.1, 0.3, part="b")], "holds"),
        ([trial(0.3, 0.1, 0.5, n=19)], "cannot be said"),
        ([trial(0.3, 0.1, 0.5, n=8, n_of="checkpoints")], "holds"),
    ],
)
def test_a_claim(cells: list[Trial], verdict: str) -> None:
    assert verdict_of(cells) == verdict
    assert claim_figures(cells, "It needs a run.")["verdict"] == verdict


def test_many_open_cells_that_point_one_way_hold_together() -> None:
    """The fault: a conjunction of up to 28 cells at n 100 could hardly hold, whatever was true."""
    cells = [Trial("s", "", f"t{k}", "", drawn(0.04, 0.06, name=str(k))) for k in range(16)]
    assert {cell.side for cell in cells} == {"open"} and verdict_of(cells) == "holds"
    row = claim_figures(cells, "")
    assert (row["open"], row["detail"]) == (16, "mean of 16 cells")
    assert row["measured"] == pytest.approx(0.04) and row["high"] - row["low"] == pytest.approx(0.03, rel=0.1)


def test_cells_that_rise_and_fall_together_gain_nothing_by_their_number() -> None:
    cells = [Trial("s", "", f"t{k}", "", drawn(0.04, 0.06, name="one")) for k in range(16)]
    assert pooled(cells).side == "open"
    ends = pooled([OPEN, OPEN])
    assert ends.seen.method == TOGETHER and (ends.seen.low, ends.seen.high) == (OPEN.seen.low, OPEN.seen.high)


def test_cells_with_lines_of_their_own_are_pooled_by_their_distance() -> None:
    mean = pooled([trial(0.5, 0.4, 0.6, line=0.3), trial(0.1, 0.0, 0.2, line=0.4, wanted="below")])
    assert mean.seen.value == pytest.approx(0.25) and (mean.line, mean.wanted) == (0.0, "above")
    assert "on the claim's side" in mean.detail and mean.side == "holds"


def test_a_claim_of_several_statements_shows_the_least_of_them() -> None:
    far, near = trial(0.9, 0.8, 1.0, part="far"), trial(0.05, -0.05, 0.15, part="near")
    assert deciding([far, near]) is near and deciding([]) is None
    row = claim_figures([far, near], "")
    assert (
        row["detail"] == "near"
        and "Its parts: far 0.90 [0.80, 1.00], to lie above 0.00: holds; near" in row["note"]
    )
    assert [part.part for part in parts_of([far, near, far])] == ["far", "near"]


def test_fewer_than_twenty_groups_do_not_decide() -> None:
    row = claim_figures([trial(0.3, 0.1, 0.5, n=19)], "")
    assert row["verdict"] == "cannot be said" and TOO_FEW in row["note"] and row["holds"] == 1


def test_a_thin_cell_is_not_in_the_mean_of_others() -> None:
    thin = trial(-0.9, -1.0, -0.8, n=12)
    mean = pooled([HOLDS, HOLDS, thin])
    assert mean.seen.value == pytest.approx(0.3) and mean.seen.n == 50 and "fewer than 20" in mean.note
    assert verdict_of([HOLDS, thin]) == "holds" and verdict_of([thin, thin]) == "cannot be said"


def test_cells_without_a_figure_are_left_out_of_the_mean_and_counted() -> None:
    mean = pooled([HOLDS, HOLDS, UNDEFINED])
    assert mean.seen.value == pytest.approx(0.3) and "1 of 3 cells" in mean.note


def test_published_values_have_no_interval_and_are_judged_as_values() -> None:
    cells = [
        Trial("s", "", task, "", Resampled.known(value), 0.8) for task, value in (("a", 0.93), ("b", 0.71))
    ]
    verdict, said = published_verdict(cells)
    assert verdict == "holds" and "0.82" in said and "1 of 2 cells" in said and "Values only" in said
    assert published_verdict(cells[1:])[0] == "does not hold"
    assert published_verdict([])[0] == "not published"
    assert published_verdict([Trial("s", "", "", "", Resampled.known(math.nan))])[0] == "cannot be said"


def test_the_lead_is_in_halves_of_the_interval() -> None:
    wide, narrow = trial(0.3, -0.1, 0.7, part="wide"), trial(0.1, 0.05, 0.15, part="narrow")
    assert deciding([wide, narrow]) is wide and wide.side == "open" and narrow.side == "holds"
    assert wide.lead == pytest.approx(0.75) and narrow.lead == pytest.approx(2.0)
    assert FAILS.lead == pytest.approx(-1.5)
    assert trial(-0.3, -0.5, -0.1, wanted="below").lead == pytest.approx(1.5)


def test_only_what_is_open_needs_more() -> None:
    assert OPEN.needed.n == 200 and math.isnan(HOLDS.needed.n) and math.isnan(FAILS.needed.n)
    nil = trial(0.001, -0.2, 0.2)
    assert math.isnan(nil.needed.n) and NIL in nil.why


def test_the_row_counts_cells() -> None:
    row = claim_figures([HOLDS, OPEN, FAILS, UNDEFINED], "")
    assert [row[side] for side in ("holds", "fails", "open", "undefined")] == [1, 1, 1, 1]
    assert row["detail"] == "mean of 3 cells" and row["measured"] == pytest.approx(0.1 / 3)


def test_what_is_missing_is_said_and_never_filled_in() -> None:
    row = claim_figures([], "It needs a run.")
    assert row["note"] == "It needs a run." and math.isnan(row["measured"]) and row["n"] == 0
    assert trial(0.3, 0.1, 0.5, line=math.nan).why == NO_LINE
    assert trial(1.0, 1.0, 1.0).why == NO_WIDTH
    assert "one group" in trial(0.1, math.nan, math.nan, seen_note="one group").why
    assert trial(0.3, 0.1, 0.5, n=10).why == FEW and not HOLDS.why
