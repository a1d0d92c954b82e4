"""The claims page: rows, cells, links and export from claims.csv alone; what is missing is said; no markup gets in."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dashboard.claims import AGAIN, cells_of, claims_of, has_ledger, sentence_of, tally
from dashboard.components.claims_list import address_of, ledger_html, summary_html
from dashboard.components.take_card import names_of
from dashboard.table_rows import rows_of_table
from dashboard.tables import use_results
from dashboard.tabs.benchmark_handlers import draw as draw_benchmark
from dashboard.tabs.claims_handlers import draw, source_of
from engine.columns import VERDICTS
from engine.stats.significance import NIL
from engine.tables import read_table

HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def old_run(made_run: Path, tmp_path: Path) -> Iterator[Path]:
    """A run that was summarised before there was a ledger."""
    folder = Path(shutil.copytree(made_run, tmp_path / "old"))
    (folder / "tables" / "claims.csv").unlink()
    assert use_results(folder) == ""
    yield folder
    use_results(None)


def words(html: str) -> str:
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", html).split()))


def test_every_claim_is_a_row_with_all_that_the_table_says(own_run: Path) -> None:
    shown = draw("own")
    rows = read_table(own_run / "tables" / "claims.csv", "claims").to_dict("records")
    assert shown.shown.count('class="cm-row"') == len(rows)
    page = words(shown.shown)
    for row in rows:
        for name in ("title", "says", "source", "verdict"):
            assert row[name] in page, (row["claim"], name)
    assert page.count("Rule. ") == len(rows)


def test_the_summary_counts_each_claim_once(own_run: Path) -> None:
    claims = claims_of("own")
    counts = tally(claims)
    assert list(counts) == list(VERDICTS) and sum(counts.values()) == len(claims)
    page = words(summary_html(claims))
    assert all(str(n) in page for n in counts.values()) and "not measured" in page


def test_every_cell_stands_behind_its_claim(own_run: Path) -> None:
    cells = cells_of("own")
    assert draw("own").shown.count("<tbody>") == len(cells)
    assert draw("own").shown.count('<th scope="row">') == sum(map(len, cells.values()))


def test_a_claim_links_to_where_it_is_measured() -> None:
    row = {"shown": "lens", "task": "", "system": "a", "other": ""}
    assert address_of("own", row) == "?tab=mechanism&section=lens&source=own"
    row = {"shown": "interleaved", "task": "", "system": "a", "other": ""}
    assert address_of("own", row) == "?tab=interleaved&source=own"
    row = {"shown": "benchmark", "task": "topic", "system": "a", "other": "b"}
    assert address_of("measured", row) == "?tab=benchmark&source=measured&on=topic&pair=a~b".replace(
        "~", "%7E"
    ) or (address_of("measured", row) == "?tab=benchmark&source=measured&on=topic&pair=a~b")


def test_what_the_rule_says_of_the_papers_own_numbers_stands_beside_the_verdict(own_run: Path) -> None:
    page = words(draw("own").shown)
    rows = claims_of("own")
    assert page.count("On the paper's own numbers: ") == len(rows)
    for row in rows:
        assert row["paper_says"].replace("-", "−")[:20] in page.replace("-", "−"), row["claim"]
    old = rows[0] | {"paper_verdict": "", "paper_says": ""}
    assert "On the paper's own numbers" not in words(ledger_html("own", [old], {}))


def test_the_table_can_be_taken_along_whole(own_run: Path) -> None:
    (coded,) = re.findall(
        r'download="own-claims\.csv" href="data:text/csv;charset=utf-8;base64,([^"]+)"', draw("own").head
    )
    header = base64.b64decode(coded).decode("utf-8").splitlines()[0]
    assert header.split(",") == list(read_table(own_run / "tables" / "claims.csv", "claims").columns)
    assert {"claims", "claim_cells"} <= set(names_of("own"))
    assert rows_of_table("own", "claims", {"claim": "noise"}, 0, 10)["n_rows"] == 1


def test_an_older_run_says_what_to_do(old_run: Path) -> None:
    shown = draw("own")
    assert not has_ledger("own") and words(shown.head) == AGAIN.replace("`", "") and shown.shown == ""
    assert "summarize" in words(draw_benchmark("tab=benchmark&source=own").note)
    assert not {"claims", "claim_cells"} & set(names_of("own"))


def test_a_damaged_ledger_is_said_in_its_place(own_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(own_run, tmp_path / "cut"))
    file = folder / "tables" / "claims.csv"
    file.write_bytes(file.read_bytes()[:-20])
    assert use_results(folder) == ""
    assert "claims.csv" in words(draw("own").head) and draw("own").shown == ""


def test_no_run_of_ones_own_is_no_fault() -> None:
    assert "--results" in words(draw("own").head)
    assert source_of("published") in ("measured", "own")


def row_of(claim: str, verdict: str, **more: Any) -> dict[str, Any]:
    frame = pd.DataFrame([{"claim": claim, "title": claim.title(), "verdict": verdict, "shown": "benchmark"}])
    counts = {"holds": 0, "fails": 0, "open": 0, "undefined": 0}
    return dict(frame.iloc[0]) | counts | more


def test_the_benchmarks_sentence_is_the_ledgers() -> None:
    claims = [
        row_of("one", "holds", holds=3),
        row_of("two", "does not hold", holds=1, fails=1),
        row_of("three", "not measured"),
        row_of("four", "holds", shown="lens"),
    ]
    said = sentence_of(claims)
    assert (
        "hold here: one (in 3 of 3 cells)" in said
        and "do not hold here as stated: two (in 1 of 2 cells)" in said
    )
    assert "were not measured here: three" in said and "four" not in said and said.count(".") == 1
    assert sentence_of([]) == ""


def test_the_benchmark_page_shows_it_with_a_link(own_run: Path) -> None:
    note = draw_benchmark("tab=benchmark&source=own").note
    assert sentence_of(claims_of("own")) in unescape(note) and 'href="?tab=claims&amp;source=own"' in note


def test_text_is_text_and_signs_repeat_words(own_run: Path) -> None:
    first = claims_of("own")[0]
    hostile = first | dict.fromkeys(
        ("title", "says", "published", "source", "measure", "rule", "caveat", "note", "paper_says"), HOSTILE
    )
    cell = cells_of("own")[first["claim"]][0] | {"detail": HOSTILE, "note": HOSTILE}
    html = ledger_html("own", [hostile], {first["claim"]: [cell]})
    assert "<script" not in html and "&lt;script&gt;" in html
    for sign in re.findall(r'<span class="cm-mark[^>]*><i aria-hidden="true">.</i> ([^<]*)</span>', html):
        assert sign


def test_what_would_settle_a_cell_stands_beside_it(own_run: Path) -> None:
    open_one = claims_of("own")[0] | {
        "measured": 0.1,
        "low": -0.1,
        "high": 0.3,
        "line": 0.0,
        "wanted": "above",
    }
    about = {"n": 50, "n_of": "groups of related items", "note": ""}
    html = words(ledger_html("own", [open_one | about | {"n_needed": 200.0}], {}))
    assert "0.10 [−0.10, 0.30]" in html and "It must lie above 0." in html and "n\xa0=\xa050 groups" in html
    assert "200 groups of related items would settle it" in html
    close = words(ledger_html("own", [open_one | about | {"low": 0.004, "n_needed": float("nan")}], {}))
    assert "0.100 [0.004, 0.300]" in close
    nil = words(ledger_html("own", [open_one | about | {"n_needed": float("nan"), "note": NIL}], {}))
    assert NIL in nil and "would settle it, if" not in nil
