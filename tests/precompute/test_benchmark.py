"""Facts about a run: killed anywhere it goes on, a full disk or a damaged store loses nothing, work is shared."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.tables import read_table
from precompute import keys
from precompute.benchmark import Progress, run_plan
from precompute.command import STAGE_NAMES
from precompute.estimate import GUESSED_S
from precompute.jobs import EXPORTS, PLANS, STAGES, WORK, named, stages_of
from precompute.plan import listen_batches
from precompute.stages.summary import summarize
from precompute.store import SET_ASIDE, STORE, Store, StoreError
from precompute.workers import make_workers
from tests.precompute.fake_family import PERFORM, fake_plan, run_fake
from tests.precompute.whole_runs import (
    answers_of,
    assert_nothing_twice,
    assert_same_tables,
    started,
    wait_for_the_store,
)

ROOT = Path(__file__).resolve().parents[2]
N_KILLS = 3
RAY = pytest.param("ray", marks=pytest.mark.slow)


@pytest.mark.parametrize("workers", ["inline", pytest.param("pool", marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_goes_on(
    workers: str, tmp_path: Path, models: Path, undisturbed: Path
) -> None:
    rng = random.Random(f"kills|{workers}")
    out = tmp_path / "killed"
    n_interrupted = 0
    for _ in range(N_KILLS):
        process = started(out, models, workers)
        wait_for_the_store(process, out)
        time.sleep(rng.uniform(0.1, 0.6))
        process.send_signal(signal.SIGKILL)
        n_interrupted += process.wait(30) == -signal.SIGKILL
    assert n_interrupted >= N_KILLS // 2, "half of the kills or more met it at work"
    assert started(out, models, workers).wait(600) == 0
    assert_nothing_twice(out)
    assert_same_tables(out, undisturbed)


@pytest.mark.parametrize("workers", ["pool", RAY])
def test_all_workers_give_the_same_tables(
    workers: str, request: pytest.FixtureRequest, tmp_path: Path, models: Path, undisturbed: Path
) -> None:
    address = request.getfixturevalue("ray_address") if workers == "ray" else None
    run_fake(fake_plan(models), tmp_path, workers, address)
    assert_same_tables(tmp_path, undisturbed)


def test_a_second_run_makes_nothing_and_changes_nothing(
    undisturbed: Path, tmp_path: Path, models: Path
) -> None:
    out = tmp_path / "again"
    shutil.copytree(undisturbed, out)
    before = (out / "answers.parquet").read_bytes()
    report = run_fake(fake_plan(models), out)
    assert report.n_made == 0 and report.n_rows == len(answers_of(out))
    assert (out / "answers.parquet").read_bytes() == before
    assert not (out / "manifest.json").exists(), "tables are to be counted anew"


def test_a_greater_plan_keeps_what_a_smaller_one_made(
    tmp_path: Path, models: Path, undisturbed: Path
) -> None:
    small = run_fake(fake_plan(models, n_items=10), tmp_path)
    full = run_fake(fake_plan(models), tmp_path)
    assert small.n_made > 0 and full.n_made == len(Store(undisturbed).rows) - small.n_made
    assert_same_tables(tmp_path, undisturbed)


def test_work_is_shared(models: Path, undisturbed: Path) -> None:
    """A clean transcript that equals the true words, and a transcript heard twice, cost no second answer."""
    rows = Store(undisturbed).rows.values()
    n_clips = len(fake_plan(models).clips)
    counts = Counter(row.stage for row in rows)
    assert counts == {"render": n_clips, "transcribe": n_clips, "listen": n_clips, "read": 120, "memory": 3}
    answers = read_table(undisturbed / "answers.parquet", "answers")
    assert len(answers) == 3 * n_clips
    cascade, oracle = (
        answers[answers.system == key].set_index("clip_id") for key in ("mini-cascade", "mini-llama")
    )
    heard_right = cascade.index[cascade.heard == oracle.heard]
    assert 0 < len(heard_right) < n_clips
    assert (cascade.loc[heard_right, "text"] == oracle.loc[heard_right, "text"]).all()
    assert (cascade.seconds > oracle.seconds)[heard_right].all(), "hearing counts in every row that needs it"


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_what_a_damaged_store_lost_is_made_again(
    tmp_path: Path, models: Path, undisturbed: Path, damage: str
) -> None:
    out = tmp_path / "damaged"
    shutil.copytree(undisturbed, out)
    data = bytearray((out / STORE).read_bytes())
    data[-200] ^= 255
    (out / STORE).write_bytes(bytes(data if damage == "flip" else data[: len(data) // 2]))
    said = io.StringIO()
    run_plan(fake_plan(models), out, make_workers("inline", 1, PERFORM), said)
    assert said.getvalue().startswith("The store of results is damaged: ")
    assert (out / SET_ASIDE).exists()
    assert_nothing_twice(out)
    assert_same_tables(out, undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with room for a part of the results."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk to fill it")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(
    small_disk: Path, models: Path, undisturbed: Path
) -> None:
    with pytest.raises(StoreError, match=r"^Nothing more can be written to --out .*disk"):
        run_fake(fake_plan(models), small_disk)
    kept = Store(small_disk)
    assert kept.rows and not kept.damage
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    report = run_fake(fake_plan(models), small_disk)
    assert report.n_made == len(Store(undisturbed).rows) - len(kept.rows)
    assert_same_tables(small_disk, undisturbed)


def test_failed_items_are_rows_with_their_reason(tmp_path: Path, models: Path) -> None:
    plan = fake_plan(models, n_items=3, words="raise the roof")
    assert run_fake(plan, tmp_path).n_failed == 3 * len(plan.clips)
    answers = read_table(tmp_path / "answers.parquet", "answers")
    assert set(answers.label_status) == {"failed"} and answers.label.isna().all()
    assert answers.reason.str.startswith("ValueError: cannot say this, see raise the roof").all()
    assert not answers.correct.any()
    summarize(tmp_path)


def test_the_next_run_tries_failed_results_again(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = fake_plan(models, n_items=3, words="raise the roof")
    run_fake(plan, tmp_path)
    assert run_fake(plan, tmp_path).n_failed == 3 * len(plan.clips), "still at fault"
    monkeypatch.setattr("tests.precompute.fake_family._misbehave", lambda text: None)
    assert run_fake(plan, tmp_path).n_failed == 0
    assert not any(row.failed for row in Store(tmp_path).rows.values())


def test_a_worker_killed_by_an_item_is_a_row_too(tmp_path: Path, models: Path) -> None:
    plan = fake_plan(models, n_items=1, words="kill")
    report = run_fake(plan, tmp_path, "pool")
    assert report.n_failed == report.n_rows == 3 * len(plan.clips)
    reasons = set(read_table(tmp_path / "answers.parquet", "answers").reason)
    assert reasons == {"the process that worked on it was ended (signal 9)"}


def test_a_stop_in_the_middle_leaves_whole_results(tmp_path: Path, models: Path, undisturbed: Path) -> None:
    """Ctrl-C raises wherever it finds the run."""

    class Stops:
        def __init__(self) -> None:
            self._inner = make_workers("inline", 1, PERFORM)
            self.perform, self.n_workers = PERFORM, 1

        def __enter__(self) -> Stops:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def run(self, batches):  # type: ignore[no-untyped-def]
            for index, outcome in enumerate(self._inner.run(batches)):
                if index == 3:
                    raise KeyboardInterrupt
                yield outcome

    with pytest.raises(KeyboardInterrupt):
        run_plan(fake_plan(models), tmp_path, Stops(), io.StringIO())
    n_kept = len(Store(tmp_path).rows)
    assert 0 < n_kept < len(Store(undisturbed).rows)
    run_fake(fake_plan(models), tmp_path)
    assert_same_tables(tmp_path, undisturbed)


def test_batches_hold_what_is_not_done(models: Path, undisturbed: Path, tmp_path: Path) -> None:
    plan = fake_plan(models)
    batches = listen_batches(plan, Store(tmp_path))
    assert sum(len(batch.jobs) for batch in batches if batch.kind == "render") == len(plan.clips)
    everything = Store(undisturbed)
    assert not [
        batch for stage in stages_of(plan, everything) for batch in stage.batches_of(plan, everything)
    ]


def test_every_kind_of_run_and_of_work_is_there() -> None:
    assert STAGES.keys() == PLANS.keys() == set(STAGE_NAMES) and EXPORTS.keys() < STAGES.keys()
    wanted = [*PLANS.values(), *EXPORTS.values(), *(s.batches for stages in STAGES.values() for s in stages)]
    assert all(callable(named(name)) for name in wanted)
    assert all(callable(named(f"{module}:do_{kind}")) for kind, module in WORK.items())
    assert WORK.keys() == keys.CODE_VERSION.keys() == GUESSED_S.keys()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_sentence_says_how_far_and_how_long() -> None:
    line = Progress(io.StringIO(), "clips heard", 1200)
    line.add(300, 2)
    assert line.sentence(30.0) == "clips heard: 300 of 1,200, 2 failed, 10.0/s, about 2 min left"
    assert Progress(io.StringIO(), "clips heard", 9).sentence(0.0) == "clips heard: 0 of 9, 0.0/s"


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_progress_is_written_now_and_then_and_at_the_end(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("precompute.benchmark.time.monotonic", lambda: now)
    line = Progress(stream, "prompts", 4)
    for now in (0.1, 0.2, 20.0, 20.1):  # noqa: B007 - the clock reads it
        line.add(1, 0)
    line.finish()
    shown = stream.getvalue()
    assert shown.count("prompts: ") == 2 and shown.endswith("prompts: 4 of 4, done in 20 s\n")
    assert ("\r" in shown) == stream.isatty()


def test_a_stage_with_nothing_to_do_says_nothing() -> None:
    stream = io.StringIO()
    Progress(stream, "prompts", 0).finish()
    assert stream.getvalue() == ""
