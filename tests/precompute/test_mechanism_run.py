"""Facts about a run of mechanism: nothing is measured twice, failures are named, a folder of its own is summed up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.columns import MECHANISM_TABLES
from engine.errors import UnknownKeyError
from engine.tables import read_table
from precompute.clips import FULL_NOISE
from precompute.estimate import format_plan
from precompute.jobs import Job
from precompute.mechanism import plan as work
from precompute.mechanism.clip_tables import FOLDER, RECORD
from precompute.mechanism.grid import GRID
from precompute.mechanism.plan import INPUT, MechanismPlan, make_mechanism_plan
from precompute.mechanism.tables import DETAILS, INPUTS, mechanism_tables
from precompute.mini.voices import train_voices
from precompute.plan import listen_batches, make_plan
from precompute.settings import Settings
from precompute.stages.cells import read_run
from precompute.stages.summary import summarize
from precompute.store import Store
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


def test_a_second_run_measures_nothing(plan: MechanismPlan, undisturbed: Path) -> None:
    before = {name: (undisturbed / FOLDER / f"{name}.parquet").read_bytes() for name in (*INPUTS, *DETAILS)}
    assert run_fake_mechanism(plan, undisturbed).n_made == 0
    assert before == {name: (undisturbed / FOLDER / f"{name}.parquet").read_bytes() for name in before}
    shown = format_plan(plan, Store(undisturbed), 2)
    assert (
        shown.startswith(f"{N_ITEMS} items a task: {2 * N_ITEMS} clean clips")
        and "Everything is done" in shown
    )


def test_a_run_of_behaviour_is_made_use_of(plan: MechanismPlan, models: Path) -> None:
    """The clean clips of mechanism are clips of the benchmark, recipe for recipe: their answers are shared."""
    behaviour = make_plan(Settings(models=models, limit=N_ITEMS, tasks=("topic", "trivia")))
    assert {clip.clip_id for clip in plan.behaviour.clips} <= {clip.clip_id for clip in behaviour.clips}
    ours, theirs = (
        {key for batch in listen_batches(p, Store(Path("nowhere"))) for key in batch.keys}
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
    nothing = Store(tmp_path)
    n_clips = len(plan.behaviour.clips)
    assert n_clips == 2 * N_ITEMS and plan.ears is None and "cannot be read" in plan.notes[0]
    assert len(plan.noisy) == 2 * round(0.3 * N_ITEMS) * len(FULL_NOISE)
    count = {
        name: sum(len(batch.keys) for batch in batches(plan, nothing))
        for name, batches in (
            ("lens", work.lens_batches),
            ("erase", work.erase_batches),
            ("damage", work.damage_batches),
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
    assert not work.erase_batches(plan, Store(tmp_path)) and not list(work.layers_damaged(plan))
    assert work.probe_batches(plan, Store(tmp_path))


def test_a_cascade_or_an_own_corpus_is_refused(models: Path) -> None:
    with pytest.raises(UnknownKeyError, match="no speech LLM"):
        make_mechanism_plan(Settings(models=models, systems=("mini-cascade",)))
    with pytest.raises(UnknownKeyError, match="leave --corpus and --corpora out"):
        make_mechanism_plan(Settings(models=models, corpus=Path("manifest.csv")))


def test_a_measurement_that_fails_is_left_out_and_named(
    plan: MechanismPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.precompute import fake_mechanism

    measured = fake_mechanism.measured_by_key
    broken = plan.lens_key(plan.speech_llms[0], plan.behaviour.clips[0])

    def fails(job: Job, shared: object) -> object:
        if job.key == broken:
            raise ValueError("cannot be read")
        return measured(job, shared)

    monkeypatch.setattr(fake_mechanism, "measured_by_key", fails)
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


def test_a_folder_without_a_run_of_mechanism_has_no_such_tables(tmp_path: Path) -> None:
    assert mechanism_tables(tmp_path, seed=0) == {}
