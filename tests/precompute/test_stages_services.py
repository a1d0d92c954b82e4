"""A benchmark with services among its systems, on fake ones: what is asked, kept, retried and counted, and no key."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine.systems import cascade
from engine.systems.catalogue import UNAVAILABLE
from engine.systems.remote import RATE_VARIABLE
from engine.tables import read_table
from precompute.benchmark import Report, run_plan
from precompute.jobs import PERFORM, Batch, Outcome, perform
from precompute.plan import listen_batches, make_plan, read_batches
from precompute.settings import Settings
from precompute.stages.summary import summarize
from precompute.store import Store
from precompute.workers import InlineWorkers, PoolWorkers, Workers
from tests.engine.fake_service import FakeService, Sent, serving
from tests.engine.served import ENDPOINT_SAYS, GEMINI_SAYS, KEYS, forget_services, point_to
from tests.engine.tiny_systems import FromFolder, ears_config, write_backbone, write_ears
from tests.precompute.whole_runs import ROOT

pytest.importorskip("espeakng_loader", reason="pip install espeakng-loader: the clips are spoken by it")

SYSTEMS = ("gemini", "mini-cascade-endpoint", "endpoint-text", "mini-ultravox", "mini-cascade")
BUSY = Sent({"error": {"code": 503, "message": f"no {KEYS[0]}", "status": "UNAVAILABLE"}}, 418)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_backbone(folder / "mini-llama")
    write_ears(folder / "mini-ultravox", ears_config())
    (folder / "mini-whisper").mkdir()
    for name in ("config.json", "model.bin"):
        (folder / "mini-whisper" / name).write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transcriber hears the same words in every clip; memory is not measured in a process of its own."""
    monkeypatch.setattr(cascade, "Transcriber", FromFolder)
    done = subprocess.CompletedProcess([], 0, stdout="123.4\n", stderr="")
    monkeypatch.setattr("precompute.measure_answers.subprocess.run", lambda *_, **__: done)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeService, FakeService]]:
    """Gemini, and an endpoint for text."""
    with serving(Sent(GEMINI_SAYS)) as gemini, serving(Sent(ENDPOINT_SAYS)) as text:
        point_to(monkeypatch, gemini=gemini.url, text=text.url)
        yield gemini, text
    forget_services()


def worked(
    models: Path,
    out: Path,
    systems: tuple[str, ...] = SYSTEMS,
    workers: Workers | None = None,
    limit: int = 2,
) -> Report:
    settings = Settings(quick=True, limit=limit, tasks=("topic", "trivia"), systems=systems, models=models)
    plan = make_plan(settings)
    return run_plan(plan, out, workers or InlineWorkers(PERFORM), io.StringIO())


def answers_in(out: Path) -> pd.DataFrame:
    return read_table(out / "answers.parquet", "answers")


def test_services_are_rows_like_others_with_what_they_do_not_send_absent(
    models: Path, tmp_path: Path, services: tuple[FakeService, FakeService]
) -> None:
    worked(models, tmp_path)
    rows = answers_in(tmp_path).groupby("system")
    gemini, here = rows.get_group("gemini"), rows.get_group("mini-ultravox")
    assert set(gemini["label"]) == {"Sports"} or set(gemini["task"]) == {"topic", "trivia"}
    assert set(gemini["forced_choice"]) == {"{}"} and gemini["forced_label"].isna().all()
    assert set(gemini["model_version"]) == {"gemini-fake-001"} and set(gemini["prompt_tokens"]) == {40.0}
    assert set(gemini["answer_tokens"]) == {7.0} and (gemini["heard"] == "").all()
    assert set(here["model_version"]) == {""} and here["prompt_tokens"].isna().all()
    served = rows.get_group("mini-cascade-endpoint")
    assert set(served["heard"]) == {"the queen"} and set(served["model_version"]) == {"served-7b (vllm-0.9)"}
    store = Store(tmp_path).rows.values()
    assert all(row.log_likelihood is None for row in store if row.who == "gemini")
    assert {row.who for row in store if row.stage == "memory"} == {"mini-ultravox", "mini-cascade"}
    assert len(services[0].asked) == len(gemini)


def test_the_run_record_names_the_models_that_answered(
    models: Path, tmp_path: Path, services: tuple[FakeService, FakeService]
) -> None:
    worked(models, tmp_path)
    about = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["systems"]
    assert about["gemini"]["model_versions"] == ["gemini-fake-001"] and about["gemini"]["service"] == "gemini"
    assert about["gemini"]["batching"] == "" and "peak_memory_mb" not in about["gemini"]
    assert about["mini-ultravox"]["peak_memory_mb"] == 123.4 and "service" not in about["mini-ultravox"]


def test_a_failed_request_is_a_failed_row_and_is_asked_again_by_the_next_run(
    models: Path, tmp_path: Path, services: tuple[FakeService, FakeService]
) -> None:
    gemini, _ = services
    gemini.script = [BUSY, Sent(GEMINI_SAYS)]
    first = worked(models, tmp_path, ("gemini",))
    n_clips = len(gemini.asked)
    failed = answers_in(tmp_path).query("label_status == 'failed'")
    assert first.n_failed == len(failed) == 1
    assert (
        failed.iloc[0]["reason"]
        == "Gemini rejects the request (HTTP 418); check the model id and the settings."
    )
    second = worked(models, tmp_path, ("gemini",))
    assert second.n_failed == 0 and len(gemini.asked) == n_clips + 1


def test_a_batch_that_falls_apart_does_not_ask_a_service_twice(
    models: Path, tmp_path: Path, services: tuple[FakeService, FakeService], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local speech LLM fails on every batch, so its clips are tried alone; the service is asked once a clip."""
    monkeypatch.setattr("engine.answers.answer_batch", lambda *_: 1 / 0)
    report = worked(models, tmp_path, ("gemini", "mini-ultravox"))
    rows = answers_in(tmp_path)
    assert report.n_failed == (rows["system"] == "mini-ultravox").sum() > 0
    assert len(services[0].asked) == (rows["system"] == "gemini").sum()


def test_each_request_is_a_batch_of_its_own_that_no_worker_gets(
    models: Path, tmp_path: Path, services: tuple[FakeService, FakeService]
) -> None:
    systems = (*SYSTEMS, "mini-llama")
    plan = make_plan(Settings(quick=True, limit=4, tasks=("topic",), systems=systems, models=models))
    heard, read = listen_batches(plan, Store(tmp_path)), read_batches(plan, Store(tmp_path))
    asking = [batch for batch in heard if batch.is_request]
    assert len(asking) == len(plan.clips) == 8 and len(heard) == 11, "and sound, transcripts and a speech LLM"
    prompts = [batch for batch in read if batch.is_request]
    assert len(prompts) == 4 and len(read) == 5, "and one for all that the text LLM here reads"
    assert all(len(batch.keys) == 1 for batch in (*asking, *prompts))
    made = [key for batch in heard for key in batch.keys]
    assert len(made) == len(set(made)) == 4 * len(plan.clips), "sound, Gemini, transcript, speech LLM"


class OneAtATime:
    """Workers that are given what is done here; services are asked beside them."""

    perform, n_workers = PERFORM, 2

    def __init__(self) -> None:
        self.given: list[Batch] = []

    def __enter__(self) -> OneAtATime:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run(self, batches: Iterable[Batch]) -> Iterator[Outcome]:
        for batch in batches:
            self.given.append(batch)
            yield perform(batch)


def test_services_are_asked_on_threads_of_the_driver_within_one_rate(
    models: Path,
    tmp_path: Path,
    services: tuple[FakeService, FakeService],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If each thread took all of the rate, they would be done in half the time."""
    per_s = 10
    monkeypatch.setenv(RATE_VARIABLE, str(60 * per_s))
    forget_services()
    workers, began_s = OneAtATime(), time.monotonic()
    worked(models, tmp_path, ("gemini", "mini-llama"), workers, limit=5)
    assert workers.given and not any(batch.is_request for batch in workers.given)
    at_s = sorted(asked.at_s for asked in services[0].asked)
    assert len(at_s) > 8 and all(came >= began_s + n / per_s for n, came in enumerate(at_s))
    assert not (answers_in(tmp_path)["label_status"] == "failed").any()


def test_a_run_that_is_stopped_waits_for_no_service(
    models: Path, tmp_path: Path, services: tuple[FakeService, FakeService]
) -> None:
    class Stops(OneAtATime):
        def run(self, batches: Iterable[Batch]) -> Iterator[Outcome]:
            while not services[0].asked:
                time.sleep(0.01)
            raise KeyboardInterrupt
            yield  # a generator

    services[0].script = [Sent(GEMINI_SAYS, delay_s=30.0)]
    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        worked(models, tmp_path, ("gemini",), Stops())
    assert time.monotonic() - began_s < 25
    assert not any(row.who == "gemini" for row in Store(tmp_path).rows.values())


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_killed_run_loses_one_paid_reply_a_thread(
    models: Path, tmp_path: Path, services: tuple[FakeService, FakeService], n_workers: int
) -> None:
    """Killed in the middle of the clips and once more in the middle of the prompts; then it goes on to the end."""
    systems = ("gemini", "endpoint-text")
    job = [
        "run",
        "--profile",
        "mini",
        "--quick",
        "--limit",
        "3",
        "--tasks",
        "topic,trivia",
        "--systems",
        ",".join(systems),
    ]
    workers = ["--executor", "inline"] if n_workers == 1 else ["--executor", "pool", "--workers", "2"]
    command = [sys.executable, "-m", "precompute", *job, *workers, "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for service, says in zip(services, (GEMINI_SAYS, ENDPOINT_SAYS), strict=True):
        service.script = [Sent(says, delay_s=0.2)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(service.asked) < 3:
            time.sleep(0.01)
        process.kill()
        assert process.wait(30) == -signal.SIGKILL, "it was met at work"
        time.sleep(1.0)  # the last request may still be on its way
    worked(models, tmp_path, systems, limit=3)
    rows = answers_in(tmp_path)
    assert not (rows["label_status"] == "failed").any()
    for service, system in zip(services, systems, strict=True):
        n_replies = rows["item_id" if system == "endpoint-text" else "clip_id"][
            rows["system"] == system
        ].nunique()
        assert n_replies > 3 and n_replies <= len(service.asked) <= n_replies + n_workers


def test_beside_a_pool_services_give_the_same(
    models: Path, tmp_path: Path, services: tuple[FakeService, FakeService]
) -> None:
    """No transcriber: a worker is a fresh process, in which nothing is faked."""
    systems = ("gemini", "endpoint-text")
    worked(models, tmp_path / "inline", systems)
    worked(models, tmp_path / "pool", systems, PoolWorkers(PERFORM, 2))
    one, other = (answers_in(tmp_path / name).drop(columns="seconds") for name in ("inline", "pool"))
    pd.testing.assert_frame_equal(one, other)


def test_tables_count_services_and_say_what_they_do_not_send(
    models: Path, tmp_path: Path, services: tuple[FakeService, FakeService]
) -> None:
    worked(models, tmp_path)
    summarize(tmp_path)
    accuracy = read_table(tmp_path / "tables" / "accuracy.csv", "accuracy").query("task == 'topic'")
    of = accuracy.set_index("system")
    assert of.loc["gemini", "accuracy"].notna().all() and of.loc["gemini", "unparsed_rate"].eq(0).all()
    assert of.loc["gemini", "forced_choice_accuracy"].isna().all()
    assert of.loc["gemini", "note"].str.contains(UNAVAILABLE["forced_choice"], regex=False).all()
    assert of.loc["mini-ultravox", "forced_choice_accuracy"].notna().all()
    cost = read_table(tmp_path / "tables" / "cost.csv", "cost").set_index("system")
    assert set(cost.loc["gemini", "prompt_tokens_per_clip"]) == {40.0}
    assert set(cost.loc["gemini", "answer_tokens_per_clip"]) == {7.0}
    assert cost.loc["mini-ultravox", "prompt_tokens_per_clip"].isna().all()
    assert cost.loc["gemini", "peak_memory_mb"].isna().all()
    assert cost.loc["gemini", "hardware"].str.startswith("a service;").all()
    confound = read_table(tmp_path / "tables" / "confound.csv", "confound")
    assert not set(confound["mismatched"]) & {"mini-cascade-endpoint"}, "its backbone is not known"
    agreement = read_table(tmp_path / "tables" / "agreement.csv", "agreement")
    assert ((agreement["system_a"] == "gemini") & (agreement["system_b"] == "mini-cascade-endpoint")).any()


def test_no_key_is_in_anything_that_a_run_writes_or_logs(
    models: Path,
    tmp_path: Path,
    services: tuple[FakeService, FakeService],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")
    services[0].script = [BUSY, Sent(GEMINI_SAYS | {"modelVersion": f"m {KEYS[0]}"})]
    worked(models, tmp_path)
    summarize(tmp_path)
    said: list[Any] = [caplog.text, *capfd.readouterr()]
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        said.append(file.read_bytes().decode("latin-1"))
        if file.suffix == ".parquet":
            said.append(pd.read_parquet(file).to_csv())
    assert len(said) > 8
    for key in KEYS:
        assert not any(key[8:20] in text for text in said)
