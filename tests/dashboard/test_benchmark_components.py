"""The parts of the page as HTML: escaped, marked, contrasted, and saying why a figure is missing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dashboard import endpoints
from dashboard.benchmark_link import BenchmarkView, level_of, settled
from dashboard.components.agreement_matrix import STEPS, matrix_html
from dashboard.components.benchmark_marks import between, figure, percent, probability, signed
from dashboard.components.clip_list import ROWS_A_PAGE, ClipRow, list_html, rows_of
from dashboard.components.pair_card import counts_of, pair_html
from dashboard.components.shared_errors_card import shared_errors_html
from dashboard.components.take_card import ADDRESS, python_of
from dashboard.tables import Level, at, table
from dashboard.tabs.benchmark import STYLE

NAN = float("nan")


def cell(source: str = "own", task: str = "topic", level: Level | None = None) -> tuple[Any, Any]:
    level = level or Level("clean")
    return tuple(at(table(source, name), task=task, level=level) for name in ("agreement", "accuracy"))  # type: ignore[return-value]


def row_of(source: str, task: str, pair: tuple[str, str]) -> dict[str, Any]:
    rows, _ = cell(source, task)
    return dict(rows[(rows["system_a"] == pair[0]) & (rows["system_b"] == pair[1])].iloc[0])


def test_numbers_read_as_people_write_them() -> None:
    assert figure(-0.254) == "−0.25" and figure(-0.001) == "0.00" and figure(NAN) == "–"
    assert signed(3.04) == "+3.0" and signed(-0.01) == "0.0"
    assert percent(0.126) == "13 %" and between(0.1, NAN) == "" and between(-0.1, 0.2) == "[−0.10, 0.20]"
    assert probability(0.0002) == "under 0.001" and probability(0.29) == "0.29"


def test_the_matrix_has_each_pair_once_and_one_tab_stop(own_run: Path) -> None:
    html = matrix_html("own", *cell(), ("mini-ultravox", "mini-cascade"))
    assert html.count('data-do="pair"') == 6 * 5 // 2
    assert (
        html.count('tabindex="0"') - html.count('aria-label="Agreement matrix" tabindex="0"') == 2
    )  # cell, table
    assert html.count('aria-pressed="true"') == 1
    assert html.count('class="bm-badge"') == 3 + 1  # three matched pairs and the legend
    assert "As a table" in html


def test_a_cell_without_kappa_says_why(own_run: Path) -> None:
    html = matrix_html("own", *cell(task="trivia"), ("mini-ultravox", "mini-cascade"))
    assert "kappa is not defined" in html and "open answers" in html
    assert "k-none" in html and "nan" not in html.lower()


def test_names_are_escaped(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = '<img src=x onerror="alert(1)">'
    for module in ("agreement_matrix", "pair_card", "shared_errors_card", "clip_list"):
        monkeypatch.setattr(f"dashboard.components.{module}.name_of", lambda source, system: hostile)
    pair = ("mini-ultravox", "mini-cascade")
    view = replace(settled(BenchmarkView()), kind="both_right", find=hostile)
    row = ClipRow("id<b>", hostile, hostile, hostile, hostile, hostile, hostile)
    errors = at(table("own", "shared_errors"), task="topic", level=Level("babble", 0.0))
    for html in (
        matrix_html("own", *cell(), pair),
        pair_html("own", row_of("own", "topic", pair), 10, "both_right"),
        shared_errors_html("own", errors, pair),
        list_html("own", view, hostile, [row], {}),
        list_html("own", view, hostile, [row], {"id<b>": hostile}),
    ):
        assert "<img" not in html and "id<b>" not in html and "&lt;img" in html


def test_classes_add_up_to_the_clips(own_run: Path) -> None:
    row = row_of("own", "topic", ("mini-ultravox", "mini-cascade"))
    assert sum(counts_of(row).values()) == row["n_clips"]
    html = pair_html("own", row, 570, "a_only")
    assert html.count('data-do="class"') >= 5 and "570 tests" in html
    assert "chance, 1/(C−1)" in html and "null:" in html


def test_the_pair_says_kappa_in_three_readings_where_they_differ(own_run: Path) -> None:
    row = row_of("own", "topic", ("mini-ultravox", "mini-cascade"))
    told = {"kappa": 0.502, "both_unparsed": 124.0} | {
        "kappa_unparsed_agree": 0.638, "kappa_both_parsed": 0.781,
    }  # fmt: skip
    html = pair_html("own", row | told, None, "")
    assert "Two unparsed answers never agree in kappa. On 124 clips neither is parsed." in html
    assert "Kappa if they agreed 0.64; where both are parsed 0.78." in html
    same = told | {"kappa_unparsed_agree": 0.502, "kappa_both_parsed": 0.502}
    assert "if they agreed" not in pair_html("own", row | same, None, "")
    assert "if they agreed" not in pair_html("own", row | told | {"kappa_both_parsed": NAN}, None, "")


def test_a_published_pair_has_no_list_of_clips() -> None:
    row = row_of("published", "ag_news", ("ultravox", "casc_llama31"))
    html = pair_html("published", row, None, "")
    assert counts_of(row) == {} and "data-do" not in html
    assert "Figure 1" in html and "published <b>0.96" in html and "too narrow" in html
    assert "measured" not in html


def test_undefined_overlap_says_why(own_run: Path) -> None:
    html = pair_html("own", row_of("own", "trivia", ("mini-ultravox", "mini-cascade")), None, "")
    assert "nan" not in html.lower() and "open answers" in html


def test_a_flagged_recording_says_so_and_can_be_looked_for() -> None:
    answers = pd.DataFrame(
        [
            {**{"clip_id": clip, "system": system, "label": "joy", "label_status": "parsed", "text": "joy"},
             **{"reason": "", "heard": "", "correct": True, "gold": "joy", "voice": "recording"}}
            for clip in ("a", "b")
            for system in ("one", "two")
        ]
    )  # fmt: skip
    clips = {
        "a": {"reference": "hey", "flags": "no_speech,very_short"},
        "b": {"reference": "hey", "flags": ""},
    }
    view = BenchmarkView(source="own", task="meld", pair=("one", "two"), kind="both_right", find="flagged")
    rows = rows_of(answers, clips, view)
    assert [(row.clip_id, row.flags) for row in rows] == [("a", "flagged: no speech, very short")]
    assert "flagged: no speech, very short" in list_html("published", view, "Both right", rows, {})
    assert len(rows_of(answers, clips, replace(view, find=""))) == 2


def test_long_lists_have_pages(own_run: Path) -> None:
    rows = [ClipRow(f"c{n:03}", f"said {n:03}", "a", "b", "c", "as said", "v") for n in range(120)]
    view = BenchmarkView("own", "topic", "clean", ("a", "b"), "both_right", page=99)
    html = list_html("own", view, "Both right", rows, {})
    assert html.count('data-do="open"') == 120 - 2 * ROWS_A_PAGE and "Page 3 of 3" in html
    assert "No clip fits" in list_html("own", replace(view, find="zebra"), "Both right", [], {})


@pytest.mark.parametrize("level", ["clean", "babble-5"])
def test_the_python_lines_give_the_pair_on_screen(
    own_run: Path,
    level: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They named a folder of the clone and ran nowhere else; now they ask the page's own endpoint."""

    class Client:
        def __init__(self, address: str, verbose: bool) -> None:
            assert address == ADDRESS and not verbose

        def predict(self, *, api_name: str, **asked: Any) -> Any:
            assert api_name == "/table"
            return json.loads(json.dumps(endpoints.table(**asked)))

    monkeypatch.setattr("gradio_client.Client", Client)
    monkeypatch.chdir(tmp_path)
    view = settled(BenchmarkView("own", "topic", level))
    space: dict[str, Any] = {}
    exec(python_of(view), space)
    wanted = at(table("own", "agreement"), task="topic", level=level_of("own", "topic", level))
    wanted = wanted[(wanted["system_a"] == view.pair[0]) & (wanted["system_b"] == view.pair[1])]
    assert len(space["pair"]) == 1 and space["pair"]["kappa"].iloc[0] == wanted["kappa"].iloc[0]
    assert "kappa" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_on_the_scale_has_contrast(mode: str) -> None:
    css = STYLE.read_text(encoding="utf-8")
    start = css.index("#bm {") if mode == "light" else css.index(".dark #bm {")
    tokens = dict(re.findall(r"--(k[\w-]*): (#\w{6})", css[start : css.index("}", start)]))
    for step in range(STEPS):
        rule = re.search(
            rf"(?<!dark )\.k{step} {{ background: var\(--k{step}\); color: var\(--(k-\w+)\)", css
        )
        assert rule
        ink = "k-high" if mode == "dark" and f".dark .k{step} {{ color: var(--k-high)" in css else rule[1]
        assert contrast(tokens[f"k{step}"], tokens[ink]) >= 4.5, (mode, step)


def contrast(one: str, other: str) -> float:
    """WCAG contrast of two #rrggbb colours."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
