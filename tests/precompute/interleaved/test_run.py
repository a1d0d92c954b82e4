"""Facts about a run: nothing is measured twice, failures are named, and a folder of its own can be summed up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.columns import INTERLEAVED_CLIP_TABLES, INTERLEAVED_TABLES
from engine.errors import TableError
from engine.tables import file_of, read_table
from precompute.estimate import format_plan
from precompute.interleaved.plan import (
    FINAL_STEP,
    MAIN,
    CheckpointPlace,
    InterleavedPlan,
    interventions,
    phases_of,
)
from precompute.interleaved.tables import FOLDER, INPUTS, RECORD, interleaved_files, interleaved_tables
from precompute.jobs import Job
from precompute.stages.summary import summarize
from precompute.store import Store
from tests.precompute import fake_interleaved
from tests.precompute.fake_interleaved import (
    N_LAYERS,
    fake_interleaved_plan,
    run_fake_interleaved,
    write_unit_models,
)
from tests.precompute.invented_run import match


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> InterleavedPlan:
    return fake_interleaved_plan(*write_unit_models(tmp_path_factory.mktemp("units")))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, plan: InterleavedPlan) -> Path:
    out = tmp_path_factory.mktemp("done")
    assert run_fake_interleaved(plan, out).n_failed == 0
    return out


def test_a_second_run_measures_nothing(plan: InterleavedPlan, done: Path) -> None:
    before = {name: (done / name).read_bytes() for name in interleaved_files()}
    assert run_fake_interleaved(plan, done).n_made == 0
    assert {name: (done / name).read_bytes() for name in interleaved_files()} == before
    assert "Everything is done" in format_plan(plan, Store(done), 2)


def test_interventions_wait_until_it_is_known_where_the_phases_lie(
    plan: InterleavedPlan, done: Path, tmp_path: Path
) -> None:
    nothing = Store(tmp_path)
    assert not list(interventions(plan, nothing)) and plan.main is not None
    assert phases_of(plan, plan.main, nothing) is None
    ((checkpoint, phases),) = interventions(plan, Store(done))
    assert checkpoint.name == f"{MAIN}/{FINAL_STEP}"
    assert (phases.first, phases.current, phases.following) == ((2,), 2, 3)
    shown = format_plan(plan, nothing, 2)
    assert f"{len(plan.clips) * len(plan.checkpoints)} to phases" in shown and "to erase word" in shown


def test_every_table_is_summed_from_the_clips(plan: InterleavedPlan, done: Path) -> None:
    tables = interleaved_tables(done, seed=0)
    assert set(tables) | set(INTERLEAVED_CLIP_TABLES) == set(INTERLEAVED_TABLES)
    assert all(tables.values()) and set(INPUTS) == set(INTERLEAVED_CLIP_TABLES)
    rows = [row for row in tables["interleaved"] if row["model"] == MAIN and row["step"] == FINAL_STEP]
    assert len(rows) == (N_LAYERS + 1) * (2 * 3 + 1)
    heard = json.loads((done / RECORD).read_text())["facts_heard"]
    assert list(heard) == [fact.key for fact in plan.facts]


def test_a_run_of_its_own_can_be_summed_up(done: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(done, tmp_path / "run"))
    summarize(run, match=match)
    for name in INTERLEAVED_TABLES:
        assert len(read_table(file_of(run, name), name)), name
    files = json.loads((run / "manifest.json").read_text())["files"]
    assert set(interleaved_files()) <= set(files) and "tables/phases.csv" in files
    claims = read_table(run / "tables" / "claims.csv", "claims").set_index("claim")["verdict"]
    assert claims["latent_transcription"] != "not measured" != claims["latent_text_used"]
    assert claims["bigger_deeper"] == "cannot be said"


def test_a_folder_without_a_run_of_it_has_no_such_tables(tmp_path: Path) -> None:
    assert interleaved_tables(tmp_path, seed=0) == {}
    (tmp_path / RECORD).write_text("{")
    with pytest.raises(TableError, match="is damaged"):
        interleaved_tables(tmp_path, seed=0)


def test_a_measurement_that_fails_is_left_out_and_named(
    plan: InterleavedPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plan.main is not None
    broken, made = plan.read_key(plan.main, 0), fake_interleaved.measured_by_key

    def fails(job: Job, place: CheckpointPlace) -> object:
        if job.key == broken:
            raise ValueError("cannot be read")
        return made(job, place)

    monkeypatch.setattr(fake_interleaved, "measured_by_key", fails)
    assert run_fake_interleaved(plan, tmp_path).n_failed == 1
    assert json.loads((tmp_path / RECORD).read_text())["failed"] == {broken: "ValueError: cannot be read"}
    rows = read_table(tmp_path / FOLDER / "interleaved_clips.parquet", "interleaved_clips")
    mine = rows[(rows["model"] == MAIN) & (rows["step"] == FINAL_STEP)]
    assert plan.clips[0].clip_id not in set(mine["clip_id"]) and len(mine)
    monkeypatch.undo()
    assert run_fake_interleaved(plan, tmp_path).n_failed == 0, "the next run tries it again"
