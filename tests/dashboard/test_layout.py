"""The built page: the intended endpoints and no others, private events, a config without paths or secrets."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from dashboard import endpoints
from dashboard.layout import CLEAN_UP_S, build_dashboard, header, launch_options
from dashboard.preparing import ProfileState, state_of_profile, take_profile
from dashboard.tabs.benchmark import STYLE as BENCHMARK_STYLE
from dashboard.tabs.claims import STYLE as CLAIMS_STYLE
from dashboard.tabs.truth import STYLE as TRUTH_STYLE
from dashboard.theme import STYLE
from engine.systems.profiles import PROFILES, use_profile

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = {
    "pair": "mini-ultravox",
    "noise": "babble",
    "snr_db": None,
    "erasure": "none",
    "scope": "audio",
    "seed": 0,
    "prompt": "",
    "reference": "",
    "strength": 1.0,
    "readout": "logit",
}


@pytest.fixture(scope="module")
def page() -> gr.Blocks:
    return build_dashboard()


def test_only_the_five_endpoints_are_public(page: gr.Blocks) -> None:
    info: dict[str, Any] = page.get_api_info()  # type: ignore[assignment]
    assert set(info["named_endpoints"]) == {"/systems", "/analyze", "/interleaved", "/tables", "/table"}
    assert info["unnamed_endpoints"] == {}


def test_analyze_has_the_promised_names_and_defaults(page: gr.Blocks) -> None:
    info: dict[str, Any] = page.get_api_info()  # type: ignore[assignment]
    parameters = info["named_endpoints"]["/analyze"]["parameters"]
    assert [one["parameter_name"] for one in parameters] == ["audio", "task", *DEFAULTS]
    found = {
        one["parameter_name"]: one["parameter_default"] for one in parameters if one["parameter_has_default"]
    }
    assert found == DEFAULTS


def test_the_config_holds_no_path_and_no_secret(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(page.get_config_file(), default=str)
    assert str(ROOT) not in text
    assert not re.search(r"hf_[A-Za-z0-9]{8,}|/home/|/root/", text)


def test_every_event_that_runs_models_shares_one_queue(page: gr.Blocks) -> None:
    model_events = [fn for fn in page.fns.values() if fn.concurrency_id == "model"]
    assert len(model_events) >= 6
    assert {fn.concurrency_limit for fn in model_events} == {1}
    assert {fn.api_name for fn in page.fns.values() if fn.api_visibility == "public"} == {
        "systems",
        "analyze",
        "interleaved",
        "tables",
        "table",
    }


def test_the_header_says_which_models_are_seen() -> None:
    """The minis under their own profile, and under another's for as long as none of its systems is there."""
    assert "Small models trained on synthetic speech ship with this page" in header(None)
    lines = ("Ultravox v0.5 1B cannot run yet: weights are missing.",) * 3
    waiting = header(ProfileState("small", 3, 0, "", lines))
    assert "Profile small: none of its systems is on this page yet. What you see are the small mod" in waiting
    live = header(ProfileState("<lab>", 5, 5, "", lines, ("A", "B <i>", "C", "D", "E")))
    assert "Profile &lt;lab&gt;, live: A; B &lt;i&gt;; C and 2 more. Systems called mini are" in live
    assert "live: A; B; C. " in header(ProfileState("x", 3, 3, "", lines, ("A", "B (known to be one)", "C")))


def test_the_header_is_told_when_the_page_loads(page: gr.Blocks) -> None:
    """The app takes its profile after the page is built."""
    [told] = [
        fn
        for fn in page.fns.values()
        if [type(one) for one in fn.outputs] == [gr.HTML, gr.Timer] and not fn.inputs
    ]
    assert told.fn is not None and told.fn()[0] == header(None)
    take_profile("small")
    try:
        title, coming = told.fn()
        assert title == header(state_of_profile()) != header(None)
        assert not coming.active, "nothing is being fetched, so the page asks for nothing new"
    finally:
        use_profile(PROFILES["mini"])


def test_the_page_state_holds_ids_only(page: gr.Blocks) -> None:
    states = [block for block in page.blocks.values() if isinstance(block, gr.State)]
    assert all(isinstance(block.value, str | bool) for block in states)


def test_the_launch_line_keeps_its_promises(page: gr.Blocks) -> None:
    options = launch_options()
    wanted = {
        "share": False,
        "ssr_mode": False,
        "run_history": False,
        "show_error": False,
        "enable_monitoring": False,
        "max_file_size": "25mb",
        "footer_links": [],
        "state_session_capacity": 200,
    }
    assert wanted.items() <= options.items()
    assert set(options) <= set(inspect.signature(gr.Blocks.launch).parameters)
    assert page.delete_cache == CLEAN_UP_S


def test_fonts_and_styles_are_the_machines_own() -> None:
    theme = launch_options()["theme"]
    assert not re.search(r"url\(['\"]?https?:|@import", theme._get_theme_css())
    for style in (STYLE, BENCHMARK_STYLE, CLAIMS_STYLE, TRUTH_STYLE):
        assert not re.search(r"url\(|@import|http", style.read_text())


def test_systems_lists_the_promised_fields() -> None:
    rows = endpoints.systems()
    assert {"mini-ultravox", "mini-cascade", "mini-llama"} <= {row["key"] for row in rows}
    fields = ["key", "name", "kind", "backbone", "match", "capabilities", "status", "reason", "revision"]
    fields += ["parameters_m", "bf16_gb", "licence", "pinned", "gated"]
    assert all(list(row) == fields for row in rows)


def test_neither_the_app_nor_its_pages_of_tables_load_a_model_library(layered_run: Path) -> None:
    models = ("torch", "transformers", "faster_whisper", "ctranslate2", "librosa")
    code = f"""
import sys
from pathlib import Path

import app

assert not set({(*models, "plotly")}) & set(sys.modules)
from dashboard.tables import use_results
from dashboard.tabs import benchmark_handlers, mechanism_handlers

use_results(Path({str(layered_run)!r}))
shown = benchmark_handlers.draw("source=own&on=topic&class=both_right")
assert 'data-do="open"' in shown.clips and mechanism_handlers.draw("source=own")
assert not set({models}) & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, check=True, timeout=600)
