"""Batches on a Ray cluster: actors that each keep one model loaded, on as much of a node as it needs.

The driver, which is this process, hands out one batch to an actor at a time and alone writes the store. An actor
that dies takes no result with it: what it was at is handed out again. Nodes import the code themselves: the checkout
must lie at the same path on each, as must models and recordings.
"""

from __future__ import annotations

import hashlib
import math
import os
import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from engine.errors import EngineError
from engine.systems.catalogue import LAPTOP_SYSTEMS, MINI_SYSTEMS, SYSTEMS
from engine.systems.loading import GIB
from engine.systems.profiles import Profile, profile_in_use, use_profile
from precompute.jobs import Batch, ModelKey, Outcome, named
from precompute.workers import Deaths, WorkersError, attempt, n_cores, reason_of

ROOM = 1.5  # the weights and half as much again: a batch's states, caches and logits
CONTEXT_GB = 1.0  # what CUDA takes in every process
SMALLEST_SHARE = 1e-4  # Ray counts resources in steps of this
_ON_CPU = frozenset(
    name for spec in (MINI_SYSTEMS | LAPTOP_SYSTEMS).values() for name in (spec.key, *spec.folders)
)

CHECKOUT = Path(__file__).resolve().parents[1]
OBJECT_STORE_BYTES = 200_000_000  # of a cluster started here: batches and outcomes are small
ANSWER_S = 10.0
PROBE_S = 120.0

LOOK_EVERY_S = 1.0
PATIENCE_S = 2.0  # then idle actors give way to one that finds no room
NO_ROOM_S = 300.0  # then a node that could take an actor will not come, not even from an autoscaler
DIED = "its Ray actor died"

Waiting = defaultdict[ModelKey, deque[Batch]]


def gpu_gb_of(needed: ModelKey) -> float:
    """Return the memory of a GPU in GB that a process needs for a model; infinite, a whole one, where it is not known.

    What runs on the processor, as the minis and the laptop's models always do, needs none.
    """
    model, settings = needed.model, profile_in_use()
    spec = SYSTEMS.get(model)
    if not model or model in _ON_CPU or settings.device == "cpu" or (spec is not None and spec.is_remote):
        return 0.0
    weights_gb = _part_gb(model) if spec is None or needed.use == "read" else spec.bf16_gb
    if settings.dtype == "float32" and needed.use != "transcribe":  # a transcriber's file says its precision
        weights_gb *= 2
    return weights_gb * ROOM + CONTEXT_GB


def gpu_share(gpu_gb: float, device_gb: float) -> float:
    """Return the share of a GPU that so much memory is, 0 to 1; a model that is larger gets all of one.

    Args:
        gpu_gb: that a process needs.
        device_gb: memory of the smallest GPU; NaN where it is not known: a GPU then serves one process.
    """
    if not gpu_gb:
        return 0.0
    share = gpu_gb / device_gb
    return math.ceil(share / SMALLEST_SHARE) * SMALLEST_SHARE if share < 1 else 1.0


def profile_within(share: float, device_gb: float, profile: Profile) -> Profile:
    """Return the profile by which an actor runs models that has a share of a GPU.

    Its models keep within the share, less what CUDA takes; of a whole GPU they may use what is free. Ray shows an
    actor one GPU, whatever the profile calls it.

    Args:
        share: of the GPU, 0 to 1; 0 without one.
        device_gb: memory of the smallest GPU.
        profile: of the run; a smaller `memory_gib` of its own stands.
    """
    device = "cuda" if profile.device.startswith("cuda") else profile.device
    memory_gib = profile.memory_gib
    if 0 < share < 1:
        memory_gib = min((share * device_gb - CONTEXT_GB) * 1e9 / GIB, memory_gib or math.inf)
    return replace(profile, device=device, memory_gib=memory_gib)


def _part_gb(folder: str) -> float:
    """Return the memory of a text LLM's weights, or of a transcriber's: a cascade's without its text LLM."""
    text_llms = {spec.folder: spec.bf16_gb for spec in SYSTEMS.values() if spec.kind == "text_llm"}
    for spec in SYSTEMS.values():
        if spec.folder == folder and spec.family == "phi4_multimodal":
            return spec.bf16_gb  # its text LLM is the whole model with the adapters off
    ears = [
        spec.bf16_gb - text_llms[spec.backbone]
        for spec in SYSTEMS.values()
        if spec.transcriber == folder and not spec.is_remote
    ]
    return text_llms.get(folder, min(ears, default=math.inf))


@dataclass(frozen=True)
class Cluster:
    """What actors are placed by.

    Attributes:
        ray: the library, connected.
        n_threads: cores for each actor.
        device_gb: memory of the smallest GPU; 0 without GPUs, NaN where none would tell.
    """

    ray: Any
    n_threads: int
    device_gb: float

    def nodes(self) -> dict[str, Mapping[str, float]]:
        """Return what each living node has: its id -> resource -> amount."""
        return {node["NodeID"]: node["Resources"] for node in self.ray.nodes() if node["Alive"]}

    def has_room(self, wanted: Mapping[str, float]) -> bool:
        """Return whether a node has these resources, free or taken."""
        return any(
            all(node.get(name, 0) >= amount for name, amount in wanted.items())
            for node in self.nodes().values()
        )


def connect(address: str | None, n_workers: int) -> Cluster:
    """Connect to the cluster at `address`, or start one on this machine.

    Raises:
        WorkersError: Ray is not installed; no cluster answers.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray starts a cluster
    try:
        import ray
    except ImportError as error:
        raise WorkersError("Ray is not installed; run pip install -r requirements-cluster.txt.") from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            ray.init(
                address="local",
                num_cpus=max(n_cores(), n_workers),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                **quiet,
            )
        else:
            _check_answers(address)
            ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises whatever its parts raise
        where = f"at {address}" if address else "on this machine"
        raise WorkersError(
            f"No Ray cluster can be reached {where} ({type(error).__name__}); run this on one of its nodes, "
            "or leave --address out."
        ) from error
    found = Cluster(ray, 1, 0.0)
    cores = [int(node.get("CPU", 0)) for node in found.nodes().values()]
    with_gpus = [name for name, node in found.nodes().items() if node.get("GPU")]
    return Cluster(ray, threads_each(cores, n_workers), _smallest_gpu_gb(ray, with_gpus))


def _check_answers(address: str) -> None:
    """Raise an OSError or a ValueError unless something listens there: Ray itself would try for minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()


def threads_each(cores: Sequence[int], n_workers: int) -> int:
    """Return the most threads with which `n_workers` processes fit on nodes of so many cores; 1 if none do."""
    fitting = (n for n in range(1, max(cores, default=1) + 1) if sum(c // n for c in cores) >= n_workers)
    return max(fitting, default=1)


def _smallest_gpu_gb(ray: Any, nodes: Sequence[str]) -> float:
    """Ask each node that has GPUs for their memory."""
    if not nodes:
        return 0.0
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = [
        ray.remote(gpu_gb_here)
        .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        .remote()
        for node in nodes
    ]
    try:
        said: list[float] = ray.get(asked, timeout=PROBE_S)
    except ray.exceptions.RayError:
        return math.nan
    return math.nan if any(map(math.isnan, said)) else min(said)


def gpu_gb_here() -> float:
    """Return the memory of this machine's smallest GPU in GB, NaN where torch sees none."""
    import torch

    sizes = [
        torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count())
    ]
    return min(sizes, default=math.nan) / 1e9


@cache
def code_hash() -> str:
    """Return a sha256 over the code that results depend on, as it lies on this machine."""
    digest = hashlib.sha256()
    for file in sorted(file for room in ("engine", "precompute") for file in (CHECKOUT / room).rglob("*.py")):
        digest.update(str(file.relative_to(CHECKOUT)).encode() + file.read_bytes())
    return digest.hexdigest()


class Arrival(NamedTuple):
    """What an actor says when it is there: its node, and the code it runs."""

    node: str
    code: str


class ActorProcess:
    """One process on a node; Ray makes it an actor."""

    def __init__(self, perform: str, n_threads: int, profile: Profile) -> None:
        import ray

        # Read when torch and CTranslate2 are first imported, which is with the first batch.
        os.environ["OMP_NUM_THREADS"] = str(n_threads)
        if not ray.get_gpu_ids():
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what it was not given it must not use
        self._perform = perform
        self._profile = profile

    def arrive(self) -> Arrival | str:
        """Take the driver's profile; say where it is and which code it runs, or why it cannot work there."""
        import ray

        try:
            use_profile(self._profile)
        except EngineError as error:
            return f"On {socket.gethostname()}: {error}"
        return Arrival(ray.get_runtime_context().get_node_id(), code_hash())

    def work(self, batch: Batch) -> Outcome | str:
        """Return the batch's outcome, or the sentence of a fault that no job is to blame for."""
        try:
            return attempt(named(self._perform), batch)
        except EngineError as error:
            return str(error)


@dataclass(eq=False)
class _Actor:
    """An actor as the driver knows it.

    Attributes:
        wanted: what it takes of its node, as Ray names it.
        saying: reference to what it says next; None while it is idle.
        node: "" until it is there.
    """

    handle: Any
    model_key: ModelKey
    wanted: dict[str, float]
    saying: Any
    asked_at: float = field(default_factory=time.monotonic)
    node: str = ""
    batch: Batch | None = None


class RayWorkers:
    """Works in at most `n_workers` actors on a Ray cluster.

    Args:
        perform: "package.module:function", imported on the nodes.
        n_workers: actors at a time.
        address: "auto" or host:port of a cluster that this machine is a node of; None starts one here.
        gpu_gb: memory of a GPU in GB that a model takes.
    """

    def __init__(
        self,
        perform: str,
        n_workers: int,
        address: str | None = None,
        gpu_gb: Callable[[ModelKey], float] = gpu_gb_of,
    ) -> None:
        self.perform = perform
        self.n_workers = n_workers
        self._address = address
        self._gpu_gb = gpu_gb
        self._actors: list[_Actor] = []

    def __enter__(self) -> Self:
        self._cluster: Cluster = connect(self._address, self.n_workers)
        self._ray = self._cluster.ray
        return self

    def __exit__(self, *_: object) -> None:
        for actor in list(self._actors):
            self._dismiss(actor)
        self._ray.shutdown()

    def run(self, batches: Iterable[Batch]) -> Iterator[Outcome]:
        """Yield outcomes as actors finish."""
        waiting: Waiting = defaultdict(deque)
        for batch in batches:
            waiting[batch.model_key].append(batch)
        deaths = Deaths()
        while any(waiting.values()) or any(actor.batch for actor in self._actors):
            self._hand_out(waiting)
            self._ask_for_actors(waiting)
            for actor in self._heard_from():
                outcome = self._settled(actor, waiting, deaths)
                if outcome is not None:
                    yield outcome

    def nodes_at_work(self) -> set[str]:
        """Return the nodes whose actors are at a batch."""
        return {actor.node for actor in self._actors if actor.batch}

    def _hand_out(self, waiting: Waiting) -> None:
        for actor in self._actors:
            if actor.saying is None and waiting[actor.model_key]:
                actor.batch = waiting[actor.model_key].popleft()
                actor.saying = actor.handle.work.remote(actor.batch)

    def _ask_for_actors(self, waiting: Waiting) -> None:
        """Ask for an actor for each model with batches left, fewest first; one at a time for each."""
        spare = [actor for actor in self._actors if actor.batch is None and not waiting[actor.model_key]]
        coming = {actor.model_key: actor for actor in self._actors if not actor.node and actor not in spare}
        if any(time.monotonic() - actor.asked_at > PATIENCE_S for actor in coming.values()):
            while spare:
                self._dismiss(spare.pop())
        held = [actor.model_key for actor in self._actors]
        for model_key in sorted(
            (key for key in waiting if waiting[key] and key not in coming), key=held.count
        ):
            if len(self._actors) >= self.n_workers:
                if not spare:
                    return
                self._dismiss(spare.pop())
            self._start(model_key)

    def _start(self, model_key: ModelKey) -> None:
        wanted = self.wanted_by(model_key)
        # Ray neither restarts an actor nor repeats a call: the driver does, by its own rules.
        actor_class = self._ray.remote(
            num_cpus=wanted["CPU"], num_gpus=wanted.get("GPU", 0), max_restarts=0, max_task_retries=0
        )(ActorProcess)
        profile = profile_within(wanted.get("GPU", 0.0), self._cluster.device_gb, profile_in_use())
        handle = actor_class.remote(self.perform, self._cluster.n_threads, profile)
        self._actors.append(_Actor(handle, model_key, wanted, handle.arrive.remote()))

    def wanted_by(self, model_key: ModelKey) -> dict[str, float]:
        """Return what an actor for a model takes of its node: resource, as Ray names it -> amount."""
        wanted: dict[str, float] = {"CPU": self._cluster.n_threads}
        gpu_gb = self._gpu_gb(model_key)
        if gpu_gb and self._cluster.device_gb != 0:
            wanted["GPU"] = gpu_share(gpu_gb, self._cluster.device_gb)
        return wanted

    def _heard_from(self) -> list[_Actor]:
        """Wait a little for an actor to say something."""
        asked = {actor.saying: actor for actor in self._actors if actor.saying is not None}
        said, _ = self._ray.wait(list(asked), timeout=LOOK_EVERY_S)
        if not said and not any(actor.batch for actor in self._actors):
            for actor in asked.values():
                waited = time.monotonic() - actor.asked_at
                if waited > NO_ROOM_S and not self._cluster.has_room(actor.wanted):
                    wanted = ", ".join(f"{amount:g} {name}" for name, amount in actor.wanted.items())
                    raise WorkersError(f"No node of the cluster has {wanted} for {actor.model_key.model}.")
        return [asked[reference] for reference in said]

    def _settled(self, actor: _Actor, waiting: Waiting, deaths: Deaths) -> Outcome | None:
        """Act on what an actor said, or on its death; return an outcome where there is one."""
        said = self._said(actor)
        batch, actor.batch, actor.saying = actor.batch, None, None
        if isinstance(said, str):
            raise WorkersError(said)
        if isinstance(said, Outcome):
            deaths.end_row()
            return said
        if isinstance(said, Arrival):
            if said.code != code_hash():
                raise WorkersError("A node runs other code than this one; bring all to the same commit.")
            actor.node = said.node
            return None
        self._dismiss(actor)
        again: list[Batch] = []
        outcome = None
        if batch is None:  # it never came
            deaths.count(reason_of(said) if isinstance(said, Exception) else DIED)
        elif actor.node not in self._cluster.nodes():
            again = [batch]  # the node is gone: not the batch's fault
        else:
            outcome, again = deaths.after(batch, DIED)
        waiting[actor.model_key].extendleft(reversed(again))
        return outcome

    def _said(self, actor: _Actor) -> object:
        """Return what an actor said, or the error that tells of its death."""
        try:
            return self._ray.get(actor.saying)
        except self._ray.exceptions.RayTaskError as error:
            return f"A Ray actor cannot work: {reason_of(error.cause)}"
        except self._ray.exceptions.RayError as error:
            return error

    def _dismiss(self, actor: _Actor) -> None:
        self._actors.remove(actor)
        self._ray.kill(actor.handle)
