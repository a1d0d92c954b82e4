"""Facts about work on a cluster: what a model takes of a node, lost nodes, killed drivers, one sentence for a fault."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.systems.catalogue import LAPTOP_SYSTEMS, MINI_SYSTEMS, SYSTEMS
from engine.systems.loading import LOADED
from engine.systems.profiles import PROFILES, Profile, use_profile
from precompute import ray_workers
from precompute.benchmark import run_plan
from precompute.jobs import Batch, ModelKey, Outcome
from precompute.ray_workers import (
    CONTEXT_GB,
    ROOM,
    RayWorkers,
    connect,
    gpu_gb_of,
    gpu_share,
    profile_within,
    threads_each,
)
from precompute.store import ResultRow, Store
from precompute.workers import WorkersError
from tests.precompute import fake_family
from tests.precompute.fake_cluster import cluster_of, wait_for_two
from tests.precompute.fake_family import fake_plan, run_fake, write_models
from tests.precompute.test_workers import LLAMA, words_batch
from tests.precompute.test_workers import PERFORM as PERFORM_WORDS
from tests.precompute.test_workers import perform as perform_words
from tests.precompute.whole_runs import (
    assert_nothing_twice,
    assert_same_tables,
    started,
    wait_for_the_store,
)

PERFORM = "tests.precompute.test_ray_workers:perform"
TOGETHER = "tests.precompute.test_ray_workers:perform_together"
SIDE_BY_SIDE = "tests.precompute.test_ray_workers:perform_side_by_side"
HOLD = "tests.precompute.test_ray_workers:hold"
GPU_GB = 80.0
starts_ray = pytest.mark.slow


@pytest.fixture
def restored() -> Iterator[None]:
    yield
    use_profile(PROFILES["mini"])


def test_what_needs_no_model_needs_no_gpu() -> None:
    assert gpu_gb_of(ModelKey("")) == 0 and gpu_share(0, 80.0) == gpu_share(0, math.nan) == 0.0


def test_a_system_needs_its_weights_and_room() -> None:
    spec = SYSTEMS["ultravox-v0.6-8b"]
    assert gpu_gb_of(ModelKey(spec.key)) == pytest.approx(ROOM * 2e-3 * spec.parameters_m + CONTEXT_GB)
    assert gpu_gb_of(ModelKey(spec.key, "memory")) == gpu_gb_of(ModelKey(spec.key))


def test_a_part_of_a_cascade_needs_less_than_the_whole() -> None:
    cascade = SYSTEMS["whisper-large-v3-qwen2-audio-self"]
    ears = gpu_gb_of(ModelKey("faster-whisper-large-v3", "transcribe"))
    text_llm = gpu_gb_of(ModelKey(cascade.backbone, "read"))
    assert ears == pytest.approx(ROOM * 2 * 1.543 + CONTEXT_GB)
    # The folder holds a speech LLM of that name too, which is larger.
    assert text_llm < gpu_gb_of(ModelKey(cascade.backbone))
    assert ears + text_llm - 2 * CONTEXT_GB == pytest.approx(ROOM * cascade.bf16_gb)


def test_every_system_of_the_catalogue_can_be_placed() -> None:
    for spec in SYSTEMS.values():
        needs = gpu_gb_of(ModelKey(spec.key))
        if (
            spec.is_remote or spec.key in MINI_SYSTEMS | LAPTOP_SYSTEMS
        ):  # a service, or it runs on the processor
            assert needs == 0
            assert spec.is_remote or all(gpu_gb_of(ModelKey(name, "read")) == 0 for name in spec.folders)
        else:
            assert 0 < needs < 80
            if spec.transcriber and not spec.transcriber.startswith("mini-"):
                assert 0 < gpu_gb_of(ModelKey(spec.transcriber, "transcribe")) < 8


def test_who_reads_for_a_cascade_has_room_for_its_transcriber_too() -> None:
    """A text LLM is loaded by any system that has it, and a cascade brings its transcriber."""
    cascades = [spec for spec in SYSTEMS.values() if spec.kind == "cascade" and not spec.is_remote]
    for spec in (spec for spec in cascades if spec.key not in MINI_SYSTEMS | LAPTOP_SYSTEMS):
        assert spec.transcriber is not None
        parts = (ModelKey(spec.backbone, "read"), ModelKey(spec.transcriber, "transcribe"))
        text_gb, ears_gb = ((gpu_gb_of(part) - CONTEXT_GB) / ROOM for part in parts)
        assert ROOM * text_gb > text_gb + ears_gb


def test_the_text_llm_of_phi_4_multimodal_is_loaded_with_all_its_towers() -> None:
    assert gpu_gb_of(ModelKey("phi-4-multimodal", "read")) == gpu_gb_of(ModelKey("phi-4-multimodal"))


def test_needs_follow_the_settings(restored: None) -> None:
    llama, ears = ModelKey("llama-3.1-8b-instruct", "read"), ModelKey("faster-whisper-small", "transcribe")
    half, ears_gb = gpu_gb_of(llama) - CONTEXT_GB, gpu_gb_of(ears)
    use_profile(replace(PROFILES["mini"], dtype="float32"))
    assert gpu_gb_of(llama) - CONTEXT_GB == pytest.approx(2 * half)
    assert gpu_gb_of(ears) == ears_gb, "its file says its precision"
    use_profile(replace(PROFILES["mini"], device="cpu"))
    assert gpu_gb_of(llama) == 0


def test_an_actor_keeps_within_its_share_of_a_gpu() -> None:
    """Half of 81 GB is 40.5, of which CUDA takes one; a gibibyte is 2**30 bytes."""
    own = Profile("own", "mine", (), (), device="cuda:1", dtype="float32")
    within = profile_within(0.5, 81.0, own)
    assert within.device == "cuda" and within.memory_gib == pytest.approx(39.5e9 / 2**30)
    assert within == replace(own, device="cuda", memory_gib=within.memory_gib)
    assert profile_within(0.5, 81.0, replace(own, memory_gib=10.0)).memory_gib == 10.0
    assert profile_within(0.5, 81.0, replace(own, memory_gib=60.0)) == within
    for share, device_gb in ((1.0, 81.0), (1.0, math.nan), (0.0, 0.0)):
        assert profile_within(share, device_gb, own).memory_gib is None, "what is free"
    assert profile_within(0.0, 0.0, replace(own, device="cpu")).device == "cpu"


def test_the_budget_of_a_share_holds_the_weights_that_it_was_made_for() -> None:
    published = [spec for spec in SYSTEMS.values() if gpu_gb_of(ModelKey(spec.key))]
    assert published
    for spec in published:
        share = gpu_share(gpu_gb_of(ModelKey(spec.key)), 80.0)
        budget_gib = profile_within(share, 80.0, Profile("own", "mine", (), ())).memory_gib
        assert budget_gib is not None and budget_gib * 2**30 > 1.2 * spec.bf16_gb * 1e9


def test_shares_of_a_gpu() -> None:
    assert gpu_share(20, 80.0) == pytest.approx(0.25)
    assert gpu_share(1, 81.0) * 81.0 >= 1, "rounded up to what Ray counts"
    assert (
        gpu_share(90, 80.0)
        == gpu_share(20, math.nan)
        == gpu_share(gpu_gb_of(ModelKey("own-model")), 80.0)
        == 1
    )


@pytest.mark.parametrize(
    ("cores", "n_workers", "threads"),
    [
        ([2], 2, 1),
        ([6], 2, 3),
        ([8], 3, 2),
        ([4, 4], 2, 4),
        ([3, 3, 3], 4, 1),  # two threads each would leave room for three
        ([0, 16], 4, 4),  # a head that takes no work
        ([2], 5, 1),
        ([], 1, 1),
    ],
)
def test_threads_are_shared_out_over_nodes(cores: list[int], n_workers: int, threads: int) -> None:
    assert threads_each(cores, n_workers) == threads


def test_a_missing_ray_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkersError, match=r"^Ray is not installed; run pip install -r requirements-cluster"):
        connect(None, 1)


@starts_ray  # which is imported
@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense", "ray://127.0.0.1:9"])
def test_no_cluster_at_an_address_is_one_sentence(address: str) -> None:
    with pytest.raises(WorkersError, match=rf"^No Ray cluster can be reached at {address} "):
        connect(address, 1)


@starts_ray
def test_statistics_of_use_are_off(ray_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    cluster = connect(ray_address, 2)
    try:
        from ray._common.usage.usage_lib import usage_stats_enabled

        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0" and not usage_stats_enabled()
        assert (cluster.n_threads, cluster.device_gb) == (1, 0.0)
        assert cluster.has_room({"CPU": 2}) and not cluster.has_room({"CPU": 3})
    finally:
        cluster.ray.shutdown()


def test_the_hash_of_the_code_follows_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "CHECKOUT", tmp_path)
    (tmp_path / "engine").mkdir()
    file = tmp_path / "engine" / "lens.py"

    def hash_with(text: str) -> str:
        file.write_text(text)
        return ray_workers.code_hash.__wrapped__()

    assert hash_with("a = 1\n") == hash_with("a = 1\n") != hash_with("a = 2\n")


def perform(batch: Batch) -> Outcome:
    """Work for half a second and say when, where, and on which GPU."""
    import ray

    began = time.time()
    done = perform_words(batch)
    time.sleep(0.5)
    facts = {
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES", "all"),
        "node": ray.get_runtime_context().get_node_id(),
        "began": str(began),
        "ended": str(time.time()),
    }
    return Outcome(done.rows, {**done.findings, **facts})


def perform_together(batch: Batch) -> Outcome:
    """Work once two nodes are at work."""
    import ray

    wait_for_two(batch.shared.models, ray.get_runtime_context().get_node_id())
    time.sleep(0.1)
    return fake_family.perform(batch)


class Wrapped:
    """Workers whose outcomes are handed on by a function of its own."""

    def __init__(self, inner: RayWorkers, hand_on: Callable[[Iterable[Outcome]], Iterator[Outcome]]) -> None:
        self._inner = inner
        self._hand_on = hand_on
        self.perform, self.n_workers = inner.perform, inner.n_workers

    def __enter__(self) -> Wrapped:
        self._inner.__enter__()
        return self

    def __exit__(self, *fault: object) -> None:
        self._inner.__exit__(*fault)

    def run(self, batches: Iterable[Batch]) -> Iterator[Outcome]:
        return self._hand_on(self._inner.run(batches))


@starts_ray
def test_a_node_that_is_removed_in_a_run_costs_nothing(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three nodes: the driver's, and two with a core each; one of the two goes while it is at work."""
    monkeypatch.setattr(ray_workers, "PATIENCE_S", 0.2)  # what is left has room for one actor at a time
    gone: list[str] = []
    with cluster_of({"num_cpus": 0}, {"num_cpus": 1}, {"num_cpus": 1}) as cluster:
        inner = RayWorkers(TOGETHER, 2, cluster.address)

        def remove_one(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
            for outcome in outcomes:
                yield outcome
                busy = inner.nodes_at_work()
                for node in [node for node in cluster.worker_nodes if node.node_id in busy and not gone]:
                    gone.append(node.node_id)
                    cluster.remove_node(node, allow_graceful=False)

        plan, out = fake_plan(write_models(tmp_path / "models")), tmp_path / "out"
        report = run_plan(plan, out, Wrapped(inner, remove_one), sys.stderr)
        assert len(gone) == 1 and len(cluster.list_all_nodes()) == 2
    assert report.n_failed == 0
    assert_nothing_twice(out)
    assert_same_tables(out, undisturbed)


@starts_ray
@pytest.mark.parametrize(("first", "then"), [("inline", "ray"), ("ray", "inline")])
def test_a_killed_run_goes_on_with_other_workers(
    first: str, then: str, ray_address: str, tmp_path: Path, models: Path, undisturbed: Path
) -> None:
    process = started(tmp_path, models, first, ray_address)
    wait_for_the_store(process, tmp_path)
    deadline = time.monotonic() + 60
    while len(Store(tmp_path).rows) < 200 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    n_before = len(Store(tmp_path).rows)
    report = run_fake(fake_plan(models), tmp_path, then, ray_address)
    assert 200 <= n_before < n_before + report.n_made == len(Store(undisturbed).rows)
    assert_nothing_twice(tmp_path)
    assert_same_tables(tmp_path, undisturbed)


@starts_ray
def test_an_outcome_delivered_twice_is_written_once(
    ray_address: str, tmp_path: Path, models: Path, undisturbed: Path
) -> None:
    def twice(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        for outcome in outcomes:
            yield outcome
            yield outcome

    doubled = Wrapped(RayWorkers(fake_family.PERFORM, 2, ray_address), twice)
    run_plan(fake_plan(models), tmp_path, doubled, sys.stderr)
    assert_nothing_twice(tmp_path)
    assert_same_tables(tmp_path, undisturbed)


@starts_ray
def test_an_actor_killed_from_outside_at_its_work_loses_nothing(ray_address: str, tmp_path: Path) -> None:
    batches = [words_batch((f"a{i}", f"b{i}"), tmp_path) for i in range(4)]
    killed: list[int] = []
    with RayWorkers(PERFORM, 1, ray_address) as working:
        rows: list[ResultRow] = []
        for outcome in working.run(batches):
            rows += outcome.rows
            if not killed:  # the actor has the next unit by the time this is settled
                killed.append(int(outcome.findings["process"]))
                os.kill(killed[0], signal.SIGKILL)
    assert sorted(row.key for row in rows) == sorted(key for batch in batches for key in batch.keys)
    assert not any(row.failed for row in rows)


@starts_ray
def test_what_no_node_can_hold_is_given_up_with_a_sentence(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_workers, "NO_ROOM_S", 1.0)
    with RayWorkers(PERFORM_WORDS, 1, ray_address) as working:
        monkeypatch.setattr(working, "wanted_by", lambda model_key: {"CPU": 99})
        with pytest.raises(WorkersError, match=r"^No node of the cluster has 99 CPU for own-model\.$"):
            list(working.run([words_batch(("a",), tmp_path, "own-model")]))


@starts_ray
def test_a_node_with_other_code_is_refused(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_workers, "code_hash", lambda: "of an older checkout")
    with (
        pytest.raises(WorkersError, match="runs other code than this one"),
        RayWorkers(PERFORM_WORDS, 1, ray_address) as working,
    ):
        list(working.run([words_batch(("a",), tmp_path)]))


@starts_ray
def test_work_that_cannot_be_imported_ends_the_run(ray_address: str, tmp_path: Path) -> None:
    with (
        pytest.raises(WorkersError, match="cannot work: ModuleNotFoundError: No module named 'nowhere'"),
        RayWorkers("nowhere:perform", 1, ray_address) as working,
    ):
        list(working.run([words_batch(("a",), tmp_path)]))


@starts_ray
@pytest.mark.usefixtures("ray_address")  # which says where Ray may write
def test_a_cluster_is_started_here_without_an_address(
    tmp_path: Path, models: Path, undisturbed: Path
) -> None:
    assert started(tmp_path, models, "ray").wait(120) == 0
    assert_same_tables(tmp_path, undisturbed)


@starts_ray
def test_one_actor_for_each_model_and_no_more_than_asked(ray_address: str, tmp_path: Path) -> None:
    """What is loaded once is used for all its batches, though they come mixed."""
    batches = [words_batch((f"{model}{i}",), tmp_path, model) for i in range(6) for model in ("one", "two")]
    with RayWorkers(PERFORM_WORDS, 2, ray_address) as working:
        outcomes = list(working.run(batches))
    processes: dict[str, set[str]] = {}
    for outcome in outcomes:
        processes.setdefault(outcome.rows[0].key[:3], set()).add(outcome.findings["process"])
    assert processes["one"].isdisjoint(processes["two"])
    assert len(processes["one"] | processes["two"]) <= 3, (
        "an idle actor may give way to one more of the other"
    )


def hold(batch: Batch) -> Outcome:
    """Load models that only say that they are so many GB, and tell which are there."""
    rows = []
    for gb in batch.keys:
        LOADED.get(gb, object, name=gb, size=partial(int, float(gb) * 1e9))
        rows.append(ResultRow(gb, "read", "x", text=" ".join(map(str, LOADED.loaded))))
    return Outcome(tuple(rows))


def perform_side_by_side(batch: Batch) -> Outcome:
    """Work once two processes are at work, and say when."""
    wait_for_two(batch.shared, str(os.getpid()))
    return perform(batch)


def most_at_once(outcomes: list[Outcome]) -> int:
    """Return how many batches were worked on at a time, at most."""
    spans = [(float(o.findings["began"]), float(o.findings["ended"])) for o in outcomes]
    return max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)


@pytest.fixture(scope="module")
def mixed() -> Iterator[Any]:
    """A node with a GPU that is only declared, and one without."""
    with cluster_of({"num_cpus": 3, "num_gpus": 1}, {"num_cpus": 2}) as cluster:
        yield cluster


@starts_ray
def test_two_actors_share_a_gpu_and_a_third_waits(
    mixed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_workers, "_smallest_gpu_gb", lambda *_: GPU_GB)
    batches = [
        words_batch((f"{model}{i}",), tmp_path, model) for model in ("one", "two", "three") for i in range(2)
    ]
    with RayWorkers(SIDE_BY_SIDE, 3, mixed.address, gpu_gb=lambda _: GPU_GB / 2) as working:
        outcomes = list(working.run(batches))
    assert len(outcomes) == 6 and most_at_once(outcomes) == 2
    assert {outcome.findings["gpu"] for outcome in outcomes} == {"0"}


@starts_ray
def test_an_actors_models_keep_within_its_share_of_a_gpu(
    mixed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of 80 GB: two models of 15 GB are there side by side, a third makes room, and one of 45 GB is refused."""
    monkeypatch.setattr(ray_workers, "_smallest_gpu_gb", lambda *_: GPU_GB)
    batches = [words_batch((gb,), tmp_path) for gb in ("15", "15.1", "15.2", "45")]
    with RayWorkers(HOLD, 1, mixed.address, gpu_gb=lambda _: GPU_GB / 2) as working:
        rows = {row.key: row for outcome in working.run(batches) for row in outcome.rows}
    assert [rows[gb].text for gb in ("15", "15.1", "15.2")] == ["15", "15 15.1", "15.1 15.2"]
    assert rows["45"].reason.startswith("45 needs about 41.9 GiB and 36.3 GiB may be used")


@starts_ray
def test_a_gpu_that_does_not_tell_its_memory_serves_one_actor(mixed: Any, tmp_path: Path) -> None:
    batches = [words_batch((model,), tmp_path, model) for model in ("one", "two")]
    with RayWorkers(PERFORM, 2, mixed.address, gpu_gb=lambda _: 1.0) as working:
        outcomes = list(working.run(batches))
    assert len(outcomes) == 2 and most_at_once(outcomes) == 1


@starts_ray
def test_a_folder_of_the_profile_that_a_node_lacks_is_one_sentence(ray_address: str, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    use_profile(Profile("own", "mine", (), (), folders={LLAMA: tmp_path / "weights"}))
    (tmp_path / "weights").rmdir()  # all nodes of the tests are this machine
    try:
        with (
            pytest.raises(
                WorkersError, match=rf"^On \S+: The profile's folder for {LLAMA} does not exist; mend"
            ),
            RayWorkers(PERFORM_WORDS, 1, ray_address) as working,
        ):
            list(working.run([words_batch(("a",), tmp_path)]))
    finally:
        use_profile(PROFILES["mini"])
