"""Facts about a run of mechanism: killed anywhere it goes on, nothing is measured twice, failures are named."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.columns import MECHANISM_TABLES
from engine.errors import UnknownKeyError
from engine.tables import read_table
from precompute.__main__ import main
from precompute.benchmark import ledger_of
from precompute.clips import FULL_NOISE
from precompute.ledger import PARTS, Ledger
from precompute.mechanism import work
from precompute.mechanism.clip_tables import FOLDER, RECORD
from precompute.mechanism.estimate import format_mechanism_plan
from precompute.mechanism.grid import GRID
from precompute.mechanism.plan import MechanismPlan, make_mechanism_plan
from precompute.mechanism.tables import DETAILS, INPUTS, mechanism_tables
from precompute.mechanism.units import INPUT, MechanismUnit
from precompute.mini.voices import train_voices
from precompute.plan import Settings, listen_units, make_plan
from precompute.stages.cells import read_run
from precompute.stages.summary import summarize
from tests.precompute.fake_mechanism import (
    N_ITEMS,
    N_LAYERS,
    fake_mechanism_plan,
    run_fake_mechanism,
    write_mechanism_models,
)
from tests.precompute.invented_run import invent_run, kind_of, match

PAPER = "linear, all positions"  # the paper's setting, of the grid
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mechanism_models(tmp_path_factory.mktemp("fake") / "models")


@pytest.fixture(scope="module")
def plan(models: Path) -> MechanismPlan:
    return fake_mechanism_plan(models)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, plan: MechanismPlan) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    assert run_fake_mechanism(plan, out).n_failed == 0
    return out


def test_killed_anywhere_it_goes_on_and_ends_with_the_same_tables(
    tmp_path: Path, models: Path, undisturbed: Path
) -> None:
    rng = random.Random(0)
    command = [sys.executable, "-m", "tests.precompute.fake_mechanism", str(tmp_path), str(models)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    n_total, n_killed = len(ledger_of(undisturbed).rows), 0
    while not (tmp_path / RECORD).exists():
        n_before = len(ledger_of(tmp_path).rows)
        aim = n_before + rng.randint(5, n_total // 2)
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list((tmp_path / "ledger" / PARTS).glob("*"))) == 0:
            time.sleep(0.05)
        while process.poll() is None and len(ledger_of(tmp_path).rows) < aim:
            time.sleep(0.02)
        n_killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        n_after = len(ledger_of(tmp_path).rows)
        assert n_after > n_before or n_before == n_total, "nothing that was done was lost, and more was done"
    assert n_killed
    for name in (*INPUTS, *DETAILS):
        file = Path(FOLDER) / f"{name}.parquet"
        assert (tmp_path / file).read_bytes() == (undisturbed / file).read_bytes(), name


def test_a_second_run_measures_nothing(plan: MechanismPlan, undisturbed: Path) -> None:
    assert run_fake_mechanism(plan, undisturbed).n_made == 0
    assert "Everything is done" in format_mechanism_plan(plan, ledger_of(undisturbed), 2)


def test_a_run_of_behaviour_is_made_use_of(plan: MechanismPlan, models: Path) -> None:
    """The clean clips of mechanism are clips of the benchmark, recipe for recipe: their answers are shared."""
    behaviour = make_plan(Settings(models=models, limit=N_ITEMS, tasks=("topic", "trivia")))
    assert {clip.clip_id for clip in plan.behaviour.clips} <= {clip.clip_id for clip in behaviour.clips}
    ours, theirs = (
        {
            need.key
            for unit in listen_units(p, Ledger(Path("nowhere")))
            for work_ in unit.works
            for need in work_.needs
        }
        for p in (plan.behaviour, behaviour)
    )
    assert ours <= theirs


def test_a_probe_clips_sentence_and_voice_keep_to_one_fold(plan: MechanismPlan) -> None:
    folds: dict[str, set[int]] = {}
    seen = {voice.name for voice in train_voices()}
    for clip in plan.probed:
        folds.setdefault(clip.recipe.text, set()).add(clip.fold)
        folds.setdefault(clip.recipe.voice, set()).add(clip.fold)
        assert clip.recipe.voice not in seen
    assert all(len(found) == 1 for found in folds.values())
    for fold in range(3):
        assert {clip.sex for clip in plan.probed if clip.fold == fold} == {"man", "woman"}


def test_what_is_measured_of_how_many(plan: MechanismPlan, tmp_path: Path) -> None:
    nothing = Ledger(tmp_path)
    n_clips = len(plan.behaviour.clips)
    assert n_clips == 2 * N_ITEMS and plan.ears is None and "cannot be read" in plan.notes[0]
    assert len(plan.noisy) == 2 * round(0.3 * N_ITEMS) * len(FULL_NOISE)
    count = {
        name: sum(len(unit.keys) for unit in units(plan, nothing))
        for name, units in (
            ("lens", work.lens_units),
            ("erase", work.erase_units),
            ("damage", work.damage_units),
        )
    }
    assert count["lens"] == n_clips + len(plan.noisy) and count["damage"] == N_LAYERS + 1
    assert count["erase"] == sum(2 * setting.n_items(N_ITEMS) for setting in GRID.values())
    assert {layer for _, layers in work.layers_probed(plan) for layer in layers} == {INPUT, 0, 1, 2}


def test_other_weights_erasers_or_settings_are_measured_anew(models: Path, tmp_path: Path) -> None:
    changed = write_mechanism_models(tmp_path / "models")
    (changed / "mini-ultravox" / "erasers" / "text.safetensors").write_bytes(b"fitted again")
    one, two = fake_mechanism_plan(models), fake_mechanism_plan(changed)
    spec, clip = one.speech_llms[0], one.behaviour.clips[0]
    assert one.lens_key(spec, clip) == two.lens_key(spec, clip)
    assert one.layer_key("probe", spec.key, 1) == two.layer_key("probe", spec.key, 1)
    assert one.erase_key(spec, clip, PAPER) != two.erase_key(spec, clip, PAPER)
    assert one.layer_key("damage", spec.key, 1) != two.layer_key("damage", spec.key, 1)
    assert len({one.erase_key(spec, clip, setting) for setting in GRID}) == len(GRID)
    assert one.layer_key("probe", spec.key, 1) != one.layer_key("probe", spec.key, 2)
    fewer = fake_mechanism_plan(models, limit=3)
    assert one.layer_key("probe", spec.key, 1) != fewer.layer_key("probe", spec.key, 1), (
        "other clips are fitted on"
    )


def test_a_system_without_erasers_is_probed_and_not_erased(tmp_path: Path) -> None:
    models = write_mechanism_models(tmp_path / "models")
    (models / "mini-ultravox" / "erasers" / "boc.safetensors").unlink()
    plan = fake_mechanism_plan(models)
    assert any("has no erasers" in note for note in plan.notes)
    assert not work.erase_units(plan, Ledger(tmp_path)) and not list(work.layers_damaged(plan))
    assert work.probe_units(plan, Ledger(tmp_path))


def test_a_cascade_or_an_own_corpus_is_refused(models: Path) -> None:
    with pytest.raises(UnknownKeyError, match="no speech LLM"):
        make_mechanism_plan(Settings(models=models, systems=("mini-cascade",)))
    with pytest.raises(UnknownKeyError, match="leave --corpus and --corpora out"):
        make_mechanism_plan(Settings(models=models, corpus=Path("manifest.csv")))


def test_a_measurement_that_fails_is_left_out_and_named(
    plan: MechanismPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.precompute import fake_mechanism

    measured = fake_mechanism._measured
    broken = plan.lens_key(plan.speech_llms[0], plan.behaviour.clips[0])

    def fails(unit: MechanismUnit, job: object) -> object:
        if job.key == broken:  # type: ignore[attr-defined]
            raise ValueError("cannot be read")
        return measured(unit, job)

    monkeypatch.setattr(fake_mechanism, "_measured", fails)
    assert run_fake_mechanism(plan, tmp_path).n_failed == 1
    assert json.loads((tmp_path / RECORD).read_text())["failed"] == {broken: "ValueError: cannot be read"}
    clip_id = plan.behaviour.clips[0].clip_id
    lens = read_table(tmp_path / FOLDER / "lens_clips.parquet", "lens_clips")
    assert clip_id not in set(lens["clip_id"]) and len(lens)
    monkeypatch.undo()
    assert run_fake_mechanism(plan, tmp_path).n_failed == 0, "the next run tries it again"


def test_every_table_is_summed_from_the_clips(undisturbed: Path) -> None:
    tables = mechanism_tables(undisturbed, seed=0)
    assert set(tables) | {*INPUTS, *DETAILS} == set(MECHANISM_TABLES)
    assert all(tables.values())
    probes = [row for row in tables["probes"] if row["target"] == "pitch"]
    assert [row["layer"] for row in probes] == list(range(N_LAYERS + 1))
    assert all(row["selectivity"] == pytest.approx(0.75 * row["score"]) for row in probes)
    (plain,) = [row for row in tables["erasure"] if (row["task"], row["arm"]) == ("topic", "plain")]
    assert plain["n_clips"] == N_ITEMS, "each clip's plain answer counts once, whatever the settings"


def test_a_run_of_mechanism_alone_can_be_summed_up(undisturbed: Path, tmp_path: Path) -> None:
    """Bug: summarize found no answers in a folder that had never seen a run of behaviour."""
    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    summarize(run, match=match)
    answers, clips = read_run(run)
    assert set(answers["system"]) == {"mini-ultravox", "mini-cascade"}
    assert len(clips) == 2 * N_ITEMS and len(read_table(run / "tables" / "erasure.csv", "erasure"))


def test_answers_that_are_there_stay_and_an_old_manifest_goes(
    plan: MechanismPlan, undisturbed: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    invent_run(run, tasks=("topic",), n_items=4)
    before = (run / "answers.parquet").read_bytes()
    (run / "manifest.json").write_text("{}")
    run_fake_mechanism(plan, run)
    assert (run / "answers.parquet").read_bytes() == before and not (run / "manifest.json").exists()


def test_summarize_writes_them_beside_those_of_behaviour(undisturbed: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    invent_run(run, tasks=("topic",), n_items=4)
    summarize(run, match=match, kind_of=kind_of)
    names = {"probes", "damage", "lens", "noise_lens", "sufficiency", "erasure"}
    assert all(len(read_table(run / "tables" / f"{name}.csv", name)) for name in names)
    files = json.loads((run / "manifest.json").read_text())["files"]
    assert {RECORD, "mechanism/erasure_clips.parquet", "tables/erasure.csv", "tables/accuracy.csv"} <= set(
        files
    )


def test_the_flag_plans_mechanism_and_refuses_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: str) -> int:
        out = ("--profile", "mini", "--stage", "mechanism", "--out", str(tmp_path / "out"))
        monkeypatch.setattr(sys, "argv", ["precompute", "plan", *arguments, *out])
        return main()

    assert call("--limit", "1", "--tasks", "topic", "--systems", "mini-ultravox") == 0
    planned = capsys.readouterr().out
    assert "1 items a task: 1 clean clips" in planned and "to erase" in planned and "About" in planned
    assert not (tmp_path / "out").exists()
    assert call("--systems", "mini-cascade") == 2
    assert "no speech LLM" in capsys.readouterr().err


def test_a_folder_without_a_run_of_mechanism_has_no_such_tables(tmp_path: Path) -> None:
    assert mechanism_tables(tmp_path, seed=0) == {}
