"""Actions on the mechanism page called directly: what each changes, what it leaves alone, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pandas as pd
import pytest

from dashboard.mechanism.sections import SECTIONS
from dashboard.opened import obstacle_of
from dashboard.tables import clip_of, use_results
from dashboard.tabs import mechanism_handlers as handlers
from engine.errors import UnknownKeyError
from tests.dashboard.made_layers import PROBE_MARK, add_layers

POINT = "mini-ultravox~all tasks~precision~2"


def figure_of(shown: handlers.Shown, key: str) -> Any:
    return shown[f"{key}.plot"]["value"]


def test_the_whole_page_is_drawn_from_a_link(own_layers: Path) -> None:
    shown = handlers.draw(f"source=own&point=lens~{POINT}")
    assert set(shown) == set(handlers.part_names())
    assert len(handlers.in_order(shown)) == len(handlers.part_names())
    assert 'data-do="open"' in shown["lens.clips"] and shown["probes.clips"] == ""
    assert figure_of(shown, "lens") is not None and figure_of(shown, "probes") is not None
    for section in SECTIONS:
        assert section.title in shown[f"{section.key}.head"]


def test_every_drawn_point_lists_its_clips_and_so_does_its_cell(own_layers: Path) -> None:
    shown = handlers.draw("source=own")
    for key in ("lens", "probes", "noise_lens"):
        keys = [one for trace in figure_of(shown, key).data for one in (trace.customdata or ())]
        assert keys
        for point in keys:
            assert f'data-do="point" data-value="{point}"' in shown[f"{key}.table"]
        listed = handlers.act(shown["state"], key, "point", keys[-1])
        assert 'data-do="open"' in listed[f"{key}.clips"]


def test_a_point_of_another_section_takes_the_list_along(own_layers: Path) -> None:
    first = handlers.act("source=own", "lens", "point", POINT)
    assert set(first) == {"state", "lens.clips"}
    second = handlers.act(first["state"], "probes", "point", "mini-ultravox~pitch~1")
    assert set(second) == {"state", "lens.clips", "probes.clips"}
    assert second["lens.clips"] == "" and PROBE_MARK in second["probes.clips"]
    closed = handlers.act(second["state"], "probes", "close", "1")
    assert closed["probes.clips"] == "" and "point" not in closed["state"]


def test_fifty_rows_at_a_time(own_layers: Path) -> None:
    shown = handlers.act("source=own", "lens", "point", POINT)
    n_clean = int((pd.read_parquet(own_layers / "clips.parquet")["noise"] == "clean").sum())
    assert n_clean > 50 and shown["lens.clips"].count("<tr>") == 1 + 50
    later = handlers.act(shown["state"], "lens", "page", "1")
    assert later["lens.clips"].count("<tr>") == 1 + min(50, n_clean - 50) and "Earlier" in later["lens.clips"]
    assert parse_qs(later["state"])["rows"] == ["1"]
    assert handlers.draw(later["state"])["lens.clips"] == later["lens.clips"]


def test_an_option_redraws_its_section_only_and_not_its_own_head(own_layers: Path) -> None:
    shown = handlers.act("source=own", "lens", "option", "lens.measure=next_5")
    assert set(shown) == {"state", "lens.plot", "lens.table"}
    assert "lens.measure=next_5" in shown["state"]
    keys = [one for trace in figure_of(shown, "lens").data for one in (trace.customdata or ())]
    assert keys and all("~next_5~" in key for key in keys)


def test_published_and_measured_never_share_a_panel(own_layers: Path) -> None:
    # The paper's figures are set precision: beside the other reading of precision they do not stand.
    tokens = figure_of(handlers.draw("source=own"), "lens")
    assert all(trace.customdata is not None for trace in tokens.data if trace.mode == "lines+markers")
    shown = handlers.draw("source=own&lens.measure=set_precision")
    for key in ("lens", "probes"):
        by_panel: dict[str, set[bool]] = {}
        for trace in figure_of(shown, key).data:
            if trace.mode == "lines+markers":
                by_panel.setdefault(trace.xaxis, set()).add(trace.customdata is None)
        assert {frozenset(kinds) for kinds in by_panel.values()} == {frozenset({True}), frozenset({False})}


def test_a_run_of_behaviour_only_says_the_command_and_shows_what_was_published(own_run: Path) -> None:
    shown = handlers.draw("source=own")
    assert "<code>python -m precompute run --stage mechanism --out DIR</code>" in shown["note"]
    names = [trace.name for trace in figure_of(shown, "lens").data]
    assert names == ["Ultravox v0.6", "Qwen2-Audio-7B"]
    assert "point" not in shown["lens.table"] and shown["noise_lens.plot"]["visible"] is False


def test_a_source_that_is_not_here_still_shows_what_was_published() -> None:
    shown = handlers.draw("source=own")
    assert "--results" in shown["note"] and figure_of(shown, "lens") is not None


def test_a_damaged_table_is_said_in_its_section(layered_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(layered_run, out)
    (out / "tables" / "lens.csv").write_text("system\n")
    assert use_results(out) == ""
    try:
        shown = handlers.draw("source=own")
        assert "lens.csv" in shown["lens.table"] and str(tmp_path) not in shown["lens.table"]
        assert shown["lens.plot"]["visible"] is False and shown["probes.plot"]["visible"] is True
    finally:
        use_results(None)


@pytest.mark.parametrize(
    "point",
    [
        "x",
        "a~b~c~d",
        "mini-ultravox~all tasks~precision~x",
        "mini-ultravox~all tasks~poetry~1",
        "<b>~a~precision~1",
    ],
)
def test_a_point_that_is_not_there_is_one_sentence_or_an_empty_list(own_layers: Path, point: str) -> None:
    shown = handlers.draw(f"source=own&point=lens~{point}")["lens.clips"]
    assert "<b>~" not in shown and ("problem" in shown or "No clip" in shown)


def test_before_probes_were_kept_clip_by_clip_one_sentence_says_so(made_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(made_run, out)
    add_layers(out)
    assert use_results(out) == ""
    try:
        shown = handlers.act("source=own", "probes", "point", "mini-ultravox~pitch~1")
        assert "made before" in shown["probes.clips"] and 'data-do="open"' not in shown["probes.clips"]
    finally:
        use_results(None)


def test_a_clip_of_the_probes_is_found_and_can_be_opened(own_layers: Path) -> None:
    clip_id = next(iter(pd.read_parquet(own_layers / "mechanism" / "probe_clips.parquet")["clip_id"]))
    row = clip_of("own", clip_id)
    assert row is not None and row["clip_id"] == clip_id
    assert "this run kept no recipe" not in obstacle_of(row)
    query = handlers.act("source=own", "probes", "point", "mini-ultravox~pitch~1")["state"]
    assert handlers.clip_behind(query, clip_id) == (f"own~{clip_id}", ("mini-ultravox",))


def test_tables_are_taken_along_under_their_own_names(
    own_layers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    assert handlers.take("source=own", "own/lens.csv").endswith("own-lens.csv")
    assert handlers.take("source=own", "published/probes.parquet").endswith("published-probes.parquet")
    card = handlers.draw("source=own")["take"]
    assert 'data-value="own/lens_clips.parquet"' in card and 'data-value="published/erasure.csv"' in card
    for wrong in ("own/answers.csv", "measured/lens.csv", "own/lens.exe", "own/../lens.csv", "lens.csv", ""):
        with pytest.raises(UnknownKeyError):
            handlers.take("source=own", wrong)


def test_an_address_of_another_tab_says_nothing_here() -> None:
    assert handlers.said_in({"tab": "benchmark", "source": "own"}) == ""
    assert handlers.said_in({"tab": "mechanism", "lens.task": "topic"}) == "tab=mechanism&lens.task=topic"
