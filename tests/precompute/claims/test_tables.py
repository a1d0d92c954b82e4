"""claims.csv as summarize writes it: words and code agree, no typed measurement, order of rows, partial runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine.columns import VERDICTS
from engine.tables import file_of, read_table
from precompute.claims.measured import Measured
from precompute.claims.tables import (
    INTERLEAVED,
    MECHANISM,
    SAID,
    TRIES,
    WORDS,
    claim_words,
    claims_tables,
    trials_of,
)
from precompute.stages.cells import read_run
from precompute.stages.summary import summarize
from tests.precompute.claims.hand_made import FROZEN, run_of
from tests.precompute.invented_run import invent_run, kind_of, match

SECTIONS = {
    *("benchmark", "lens", "probes", "noise_lens", "implicit", "erasure", "damage", "used", "interleaved"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = invent_run(tmp_path_factory.mktemp("run"), n_items=8, tasks=("topic", "commonsense", "emotion"))
    summarize(folder, match=match, kind_of=kind_of)
    return folder


def claims_in(folder: Path) -> dict[str, dict[str, Any]]:
    rows = read_table(folder / "tables" / "claims.csv", "claims").to_dict("records")
    return {str(row["claim"]): {str(name): value for name, value in row.items()} for row in rows}


def test_words_and_code_know_the_same_claims() -> None:
    words = claim_words()
    assert [claim["key"] for claim in words] == list(TRIES)
    for claim in words:
        assert set(claim) == {"key", "needs", *SAID} and all(claim.values()), claim["key"]
        assert claim["shown"] in SECTIONS
        assert claim["rule"].endswith(".") and claim["caveat"].endswith(".") and claim["says"].endswith(".")
        place = r"2606\.22473" if claim["shown"] == "interleaved" else r"Table|Figure|[Ss]ection"
        assert re.search(place, claim["source"]), claim["key"]


def test_the_words_stand_in_the_table_as_they_are(finished: Path) -> None:
    found = claims_in(finished)
    for place, claim in enumerate(claim_words(), start=1):
        row = found[claim["key"]]
        assert row["place"] == place and all(row[name] == claim[name] for name in SAID)


def test_numbers_are_those_of_the_tables(finished: Path) -> None:
    """The confound's cells are the clean rows of confound.csv, and what decides is their mean."""
    row = claims_in(finished)["backbone_confound"]
    table = read_table(finished / "tables" / "confound.csv", "confound")
    mine = table[table["noise"] == "clean"].set_index("task")
    cells = read_table(finished / "tables" / "claim_cells.csv", "claim_cells")
    cells = cells[cells["claim"] == "backbone_confound"].set_index("task")
    assert sorted(cells.index) == sorted(mine.index) and len(cells) > 1
    for task, cell in cells.iterrows():
        assert cell["value"] == pytest.approx(mine.loc[task, "delta"], abs=1e-5)
        assert cell["low"] == pytest.approx(mine.loc[task, "low"], abs=0.1)
    assert row["measured"] == pytest.approx(cells["value"].mean(), abs=1e-5)
    assert row["detail"] == f"mean of {len(cells)} cells"


def test_no_measured_number_is_typed(finished: Path) -> None:
    """Another run, other figures, the same words."""
    text = WORDS.read_text(encoding="utf-8")
    for row in claims_in(finished).values():
        for name in ("measured", "low", "high"):
            if row[name] == row[name] and abs(row[name]) not in (0.0, 1.0, 0.5):
                assert f"{row[name]:.10g}" not in text


def test_counts_add_up_and_verdicts_are_known(finished: Path) -> None:
    cells = read_table(finished / "tables" / "claim_cells.csv", "claim_cells")
    for claim, row in claims_in(finished).items():
        mine = cells[cells["claim"] == claim]
        for side in ("holds", "fails", "open", "undefined"):
            assert row[side] == (mine["side"] == side).sum()
        assert row["verdict"] in VERDICTS and (row["verdict"] == "not measured") == (not len(mine))


def test_without_mechanism_its_claims_say_which_command(finished: Path) -> None:
    found = claims_in(finished)
    for claim in claim_words():
        row = found[claim["key"]]
        if claim["shown"] != "benchmark":
            said = INTERLEAVED if claim["shown"] == "interleaved" else MECHANISM
            assert row["verdict"] == "not measured" and row["note"] == said
    assert found["late_text"]["note"] == MECHANISM and found["emergence_order"]["verdict"] == "not measured"


def test_a_part_of_the_mechanism_is_tried_and_the_rest_says_what_it_needs() -> None:
    """One speech LLM: nothing has an order, and what was not read has no figure."""
    lens = [
        {"system": FROZEN, "task": "topic", "item_id": f"i{item}", "clip_id": f"c{item}", "layer": layer,
         "precision": 0.5 if layer == 6 else 0.1 + 0.001 * item, "control": 0.1}
        for layer in range(7)
        for item in range(30)
    ]  # fmt: skip
    run = run_of(lens_clips=lens)
    (cell,) = trials_of(run, "late_text")
    assert cell.side == "holds" and cell.seen.n == 30
    assert cell.seen.value == pytest.approx((0.5 - 0.1145) / (0.5 - 0.1))
    assert trials_of(run, "emergence_order") == [] and trials_of(run, "acoustic_kept") == []


def test_order_of_rows_changes_nothing(finished: Path) -> None:
    names = ("accuracy", "agreement", "confound", "shared_errors")
    tables = {name: read_table(file_of(finished, name), name) for name in names}
    answers, clips = read_run(finished)

    def made(shuffled: bool) -> dict[str, list[dict[str, Any]]]:
        def dealt(frame: pd.DataFrame) -> pd.DataFrame:
            return frame.sample(frac=1, random_state=3) if shuffled else frame

        rows = {name: dealt(frame).to_dict("records") for name, frame in tables.items()}
        return claims_tables(finished, rows, dealt(answers), dealt(clips), kind_of, seed=1)

    one, other = made(False), made(True)
    for name in one:
        assert pd.DataFrame(one[name]).equals(pd.DataFrame(other[name])), name


def test_an_empty_run_holds_nothing() -> None:
    assert all(trials_of(Measured({}, {}, 0), claim) == [] for claim in TRIES)
