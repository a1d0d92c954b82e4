"""Facts about a run: killed anywhere it goes on, a full disk or a damaged part loses nothing, work is shared."""

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
from precompute.benchmark import ledger_of, run_plan
from precompute.executors import make_executor
from precompute.ledger import DAMAGED, PARTS, Ledger, LedgerError
from precompute.stages.summary import summarize
from precompute.units import ListenUnit
from tests.precompute.fake_family import PERFORM, fake_plan, run_fake
from tests.precompute.whole_runs import (
    answers_of,
    assert_nothing_twice,
    assert_same_tables,
    started,
    wait_for_the_ledger,
)

ROOT = Path(__file__).resolve().parents[2]
N_KILLS = 20


@pytest.mark.parametrize(("executor", "n_kills"), [("inline", N_KILLS), ("pool", 4)])
def test_killed_at_random_moments_it_goes_on(
    executor: str, n_kills: int, tmp_path: Path, models: Path, undisturbed: Path
) -> None:
    rng = random.Random(f"kills|{executor}")
    out = tmp_path / "killed"
    n_interrupted = 0
    for _ in range(n_kills):
        process = started(out, models, executor)
        wait_for_the_ledger(process, out)
        time.sleep(rng.uniform(0.0, 0.12 if executor == "inline" else 0.5))
        process.send_signal(signal.SIGKILL)
        n_interrupted += process.wait(30) == -signal.SIGKILL
    assert n_interrupted >= n_kills // 2, "half of the kills or more met it at work"
    assert started(out, models, executor).wait(120) == 0
    assert_nothing_twice(out)
    assert_same_tables(out, undisturbed)


@pytest.mark.parametrize("executor", ["pool", "ray"])
def test_all_executors_give_the_same_tables(
    executor: str, request: pytest.FixtureRequest, tmp_path: Path, models: Path, undisturbed: Path
) -> None:
    address = request.getfixturevalue("ray_address") if executor == "ray" else None
    run_fake(fake_plan(models), tmp_path, executor, address)
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
    assert small.n_made > 0 and full.n_made == len(ledger_of(undisturbed).rows) - small.n_made
    assert_same_tables(tmp_path, undisturbed)


def test_work_is_shared(models: Path, undisturbed: Path) -> None:
    """A clean transcript that equals the true words, and a transcript heard twice, cost no second answer."""
    rows = ledger_of(undisturbed).rows.values()
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
def test_a_damaged_part_is_made_again(tmp_path: Path, models: Path, undisturbed: Path, damage: str) -> None:
    out = tmp_path / "damaged"
    shutil.copytree(undisturbed, out)
    part = sorted((out / "ledger" / PARTS).iterdir())[0]
    data = bytearray(part.read_bytes())
    data[40] ^= 255
    part.write_bytes(bytes(data if damage == "flip" else data[:50]))
    said = io.StringIO()
    run_plan(fake_plan(models), out, make_executor("inline", 1, PERFORM), said)
    assert "1 damaged part(s) of the ledger were set aside; what they held is made again." in said.getvalue()
    assert [file.name for file in (out / "ledger" / DAMAGED).iterdir()] == [part.name]
    assert_nothing_twice(out)
    assert_same_tables(out, undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with room for a few parts."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk to fill it")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
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
    with pytest.raises(LedgerError, match=r"^Nothing more can be written to --out .*No space left on device"):
        run_fake(fake_plan(models), small_disk)
    kept = ledger_of(small_disk)
    assert kept.rows and not kept.n_damaged
    assert all(file.suffix == ".parquet" for file in (small_disk / "ledger" / PARTS).iterdir())
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    report = run_fake(fake_plan(models), small_disk)
    assert report.n_made == len(ledger_of(undisturbed).rows) - len(kept.rows)
    assert_same_tables(small_disk, undisturbed)


@pytest.mark.parametrize("executor", ["inline", "pool"])
def test_failed_items_are_rows_with_their_reason(tmp_path: Path, models: Path, executor: str) -> None:
    plan = fake_plan(models, n_items=3, words="raise the roof")
    assert run_fake(plan, tmp_path, executor).n_failed == 3 * len(plan.clips)
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
    assert not any(row.failed for row in ledger_of(tmp_path).rows.values())


def test_a_worker_killed_by_an_item_is_a_row_too(tmp_path: Path, models: Path) -> None:
    plan = fake_plan(models, n_items=1, words="kill")
    report = run_fake(plan, tmp_path, "pool")
    assert report.n_failed == report.n_rows == 3 * len(plan.clips)
    reasons = set(read_table(tmp_path / "answers.parquet", "answers").reason)
    assert reasons == {"the process that worked on it was ended (signal 9)"}


def test_a_stop_in_the_middle_leaves_whole_parts(tmp_path: Path, models: Path, undisturbed: Path) -> None:
    """Ctrl-C raises wherever it finds the run."""

    class Stops:
        def __init__(self) -> None:
            self._inner = make_executor("inline", 1, PERFORM)

        def __enter__(self) -> Stops:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def run(self, units):  # type: ignore[no-untyped-def]
            for index, outcome in enumerate(self._inner.run(units)):
                if index == 3:
                    raise KeyboardInterrupt
                yield outcome

    with pytest.raises(KeyboardInterrupt):
        run_plan(fake_plan(models), tmp_path, Stops(), io.StringIO())
    assert len(list((tmp_path / "ledger" / PARTS).iterdir())) == 3
    run_fake(fake_plan(models), tmp_path)
    assert_same_tables(tmp_path, undisturbed)


def test_units_hold_what_is_not_done(models: Path, undisturbed: Path, tmp_path: Path) -> None:
    from precompute.plan import listen_units, memory_units, read_units

    plan = fake_plan(models)
    nothing, everything = Ledger(tmp_path), ledger_of(undisturbed)
    assert sum(len(unit.works) for unit in listen_units(plan, nothing)) == len(plan.clips)
    assert all(isinstance(unit, ListenUnit) for unit in listen_units(plan, nothing))
    assert not [
        *listen_units(plan, everything),
        *read_units(plan, everything),
        *memory_units(plan, everything),
    ]
