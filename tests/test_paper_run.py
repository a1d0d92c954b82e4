"""The paper's profile from its corpora's files to its tables and the page: every architecture, tiny and random.

Gemini and an endpoint are fake servers on this machine; all else is the product's own code on the published layouts.
"""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard import table_rows
from dashboard.tables import use_results
from engine.systems.profiles import PAPER_SYSTEMS
from engine.tables import file_of, read_table
from engine.tasks import CORPUS_TASKS
from precompute.benchmark import run_plan
from precompute.jobs import PERFORM
from precompute.plan import make_plan
from precompute.settings import Settings
from precompute.stages.summary import summarize
from precompute.workers import InlineWorkers
from tests.engine.fake_service import Sent, serving
from tests.engine.served import ENDPOINT_SAYS, GEMINI_SAYS, KEYS, point_to
from tests.engine.tiny_models_folder import write_models_folder
from tests.precompute.tiny_corpora import write_corpora

pytest.importorskip("espeakng_loader", reason="pip install espeakng-loader: it says the texts here")
N_ITEMS = 2
# Beyond the paper: the first system of another maker, exact matches, and an endpoint in both places.
MORE = (
    "voxtral-mini-3b-2507",
    "whisper-large-v3-voxtral-self",
    "whisper-large-v3-qwen2-audio-self",
    "whisper-large-v3-phi-4-adapters-off",
    "llama-3.1-8b-instruct",
    "endpoint-audio",
    "whisper-large-v3-turbo-endpoint",
)
SYSTEMS = (*PAPER_SYSTEMS.values(), *MORE)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of all of them over all six corpora, summarised, as the page's own run."""
    folder = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as patch:
        # What a system holds is measured in a process of its own, ten seconds each; nothing here asks for it.
        done = subprocess.CompletedProcess([], 0, stdout="123.4\n", stderr="")
        patch.setattr("precompute.measure_answers.subprocess.run", lambda *_, **__: done)
        settings = Settings(
            profile="paper",
            quick=True,
            corpora=write_corpora(folder / "corpora", patch),
            speech="espeak",
            models=write_models_folder(folder / "models"),
            systems=SYSTEMS,
            limit=N_ITEMS,
        )
        with (
            serving(Sent(GEMINI_SAYS)) as gemini,
            serving(Sent(ENDPOINT_SAYS)) as text,
            serving(Sent(ENDPOINT_SAYS)) as audio,
        ):
            point_to(patch, gemini=gemini.url, text=text.url, audio=audio.url)
            run_plan(make_plan(settings), folder / "out", InlineWorkers(PERFORM), io.StringIO())
            summarize(folder / "out")
        assert use_results(folder / "out") == ""
        yield folder / "out"
        use_results(None)


def test_every_system_answers_every_clip_of_every_corpus(ran: Path) -> None:
    answers = read_table(ran / "answers.parquet", "answers")
    assert set(answers["system"]) == set(SYSTEMS) and set(answers["task"]) == set(CORPUS_TASKS)
    n_clips = answers["clip_id"].nunique()
    assert (answers.groupby("system")["clip_id"].nunique() == n_clips).all() and len(
        answers
    ) == n_clips * len(SYSTEMS)
    assert not (answers["label_status"] == "failed").any(), set(answers["note"])


def test_each_pair_is_matched_as_its_checkpoints_say(ran: Path) -> None:
    agreement = read_table(file_of(ran, "agreement"), "agreement")
    found = {frozenset((row.system_a, row.system_b)): row.match for row in agreement.itertuples()}
    wanted = {
        ("ultravox-v0.6-8b", "whisper-large-v3-llama-3.1-8b"): "exact",
        ("phi-4-multimodal", "whisper-large-v3-phi-4-adapters-off"): "exact",
        ("phi-4-multimodal", "whisper-large-v3-phi-4-mini"): "paper",
        ("qwen2-audio-7b-instruct", "whisper-large-v3-qwen2-7b"): "paper",
        ("qwen2-audio-7b-instruct", "whisper-large-v3-qwen2-audio-self"): "self",
        ("voxtral-mini-3b-2507", "whisper-large-v3-voxtral-self"): "self",
        ("gemini", "whisper-large-v3-qwen2.5-7b"): "none",
    }
    assert {pair: found[frozenset(pair)] for pair in wanted} == wanted


def test_what_a_service_does_not_send_is_absent_and_said(ran: Path) -> None:
    accuracy = read_table(file_of(ran, "accuracy"), "accuracy").set_index(["system", "task", "noise"])
    served, here = (accuracy.loc[(key, "ag_news", "clean")] for key in ("gemini", "ultravox-v0.6-8b"))
    assert served["forced_choice_accuracy"] != served["forced_choice_accuracy"] and served["note"]
    assert 0 <= here["forced_choice_accuracy"] <= 1


def test_the_page_shows_the_run_and_no_key_is_in_it(ran: Path) -> None:
    page = table_rows.rows_of_table("own", "accuracy", {}, 0, 10_000)
    assert {row["system"] for row in page["rows"]} == set(SYSTEMS)
    assert json.dumps(page, allow_nan=False)
    written = b"".join(path.read_bytes() for path in sorted(ran.rglob("*")) if path.is_file())
    assert not any(key.encode() in written for key in KEYS)
