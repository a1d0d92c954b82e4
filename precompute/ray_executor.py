"""Units on a Ray cluster: actors that each keep one model loaded, on as much of a node as it needs.

The driver, which is this process, hands out one unit to an actor at a time and alone writes the ledger. An
actor that dies takes no result with it: what it was at is handed out again.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from engine.errors import EngineError
from engine.systems.profiles import Profile, profile_to_send, use_profile
from engine.systems.remote import Turns, patience_here, take_turns_at
from precompute.executors import Deaths, ExecutorError, attempt, perform_named, reason_of
from precompute.placement import Needs, needs_of, profile_within
from precompute.ray_cluster import API, Cluster, code_hash, connect, start_here
from precompute.units import Load, Outcome, Unit

LOOK_EVERY_S = 1.0
PATIENCE_S = 2.0  # then idle actors give way to one that finds no room
NO_ROOM_S = 300.0  # then a node that could take an actor will not come, not even from an autoscaler
DIED = "its Ray actor died"

Waiting = defaultdict[Load, deque[Unit]]


class Arrival(NamedTuple):
    """What an actor says when it is there: its node, and the code it runs."""

    node: str
    code: str


@dataclass(frozen=True)
class Terms:
    """What the driver's environment says and a node's does not.

    Attributes:
        profile: what models are run by.
        turns: actor at which all take their turns at services; None for who asks none.
        requests_per_minute: to each service, of the run.
    """

    profile: Profile
    turns: Any = None
    requests_per_minute: float = math.inf


class Worker:
    """One process on a node; Ray makes it an actor."""

    def __init__(self, perform: str, n_threads: int, terms: Terms) -> None:
        import ray

        # Read when torch and CTranslate2 are first imported, which is with the first unit.
        os.environ["OMP_NUM_THREADS"] = str(n_threads)
        if not ray.get_gpu_ids():
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what it was not given it must not use
        self._perform = perform
        self._terms = terms

    def arrive(self) -> Arrival | str:
        """Take the driver's terms; say where it is and which code it runs, or why it cannot work there."""
        import ray

        turns, a_minute = self._terms.turns, self._terms.requests_per_minute
        if turns is not None:
            take_turns_at(lambda name, _: ray.get(turns.take.remote(name, a_minute)))
        try:
            use_profile(self._terms.profile)
        except EngineError as error:
            return f"On {socket.gethostname()}: {error}"
        return Arrival(ray.get_runtime_context().get_node_id(), code_hash())

    def work(self, unit: Unit) -> Outcome | str:
        """Return the unit's outcome, or the sentence of a fault that no item is to blame for."""
        try:
            return attempt(perform_named(self._perform), unit)
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
    load: Load
    wanted: dict[str, float]
    saying: Any
    asked_at: float = field(default_factory=time.monotonic)
    node: str = ""
    unit: Unit | None = None


class RayExecutor:
    """Works in at most `n_workers` actors on a Ray cluster.

    Args:
        perform: "package.module:function", imported on the nodes.
        n_workers: actors at a time.
        address: "auto" or host:port of a cluster that this machine is a node of; None starts one here.
        needs: what a model takes of a node.
    """

    def __init__(
        self,
        perform: str,
        n_workers: int,
        address: str | None = None,
        needs: Callable[[Load], Needs] = needs_of,
    ) -> None:
        self._perform = perform
        self._n_workers = n_workers
        self._address = address
        self._needs = needs
        self._actors: list[_Actor] = []
        self._turns: Any = None

    def __enter__(self) -> Self:
        self._cluster: Cluster = connect(self._address, self._n_workers)
        self._ray = self._cluster.ray
        return self

    def __exit__(self, *_: object) -> None:
        for actor in list(self._actors):
            self._dismiss(actor)
        if self._turns is not None:
            self._ray.kill(self._turns)
        self._ray.shutdown()

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """Yield outcomes as actors finish; a unit that needs several models is worked on in parts."""
        waiting: Waiting = defaultdict(deque)
        for unit in units:
            for load, part in unit.by_load().items():
                waiting[load].append(part)
        deaths = Deaths()
        while any(waiting.values()) or any(actor.unit for actor in self._actors):
            self._hand_out(waiting)
            self._ask_for_actors(waiting)
            for actor in self._heard_from():
                yield from self._settle(actor, waiting, deaths)

    def _hand_out(self, waiting: Waiting) -> None:
        for actor in self._actors:
            if actor.saying is None and waiting[actor.load]:
                actor.unit = waiting[actor.load].popleft()
                actor.saying = actor.handle.work.remote(actor.unit)

    def _ask_for_actors(self, waiting: Waiting) -> None:
        """Ask for an actor for each model with units left, fewest first; one at a time for each."""
        spare = [actor for actor in self._actors if actor.unit is None and not waiting[actor.load]]
        coming = {actor.load: actor for actor in self._actors if not actor.node and actor not in spare}
        if any(time.monotonic() - actor.asked_at > PATIENCE_S for actor in coming.values()):
            while spare:
                self._dismiss(spare.pop())
        held = [actor.load for actor in self._actors]
        for load in sorted(
            (load for load in waiting if waiting[load] and load not in coming), key=held.count
        ):
            if len(self._actors) >= self._n_workers:
                if not spare:
                    return
                self._dismiss(spare.pop())
            self._start(load)

    def _start(self, load: Load) -> None:
        wanted = self._wanted(load)
        # Ray neither restarts an actor nor repeats a call: the driver does, by its own rules.
        actor_class = self._ray.remote(
            num_cpus=wanted["CPU"],
            num_gpus=wanted.get("GPU", 0),
            resources={API: wanted[API]} if API in wanted else {},
            max_restarts=0,
            max_task_retries=0,
        )(Worker)
        handle = actor_class.remote(self._perform, self._cluster.n_threads, self._terms(wanted))
        self._actors.append(_Actor(handle, load, wanted, handle.arrive.remote()))

    def _terms(self, wanted: dict[str, float]) -> Terms:
        profile = profile_within(wanted.get("GPU", 0.0), self._cluster.device_gb, profile_to_send())
        if API not in wanted:
            return Terms(profile)
        if self._turns is None:
            self._turns = start_here(self._ray, Turns)
        return Terms(profile, self._turns, patience_here().requests_per_minute)

    def _wanted(self, load: Load) -> dict[str, float]:
        needs = self._needs(load)
        wanted: dict[str, float] = {"CPU": self._cluster.n_threads}
        if needs.gpu_gb and self._cluster.device_gb != 0:
            wanted["GPU"] = needs.gpu_share(self._cluster.device_gb)
        if needs.asks_service:
            wanted[API] = 1
            if not self._cluster.has_room({API: 1}):
                raise ExecutorError(
                    f"{load.model} is a service, and no node of the cluster may ask one; start a node with "
                    f"--resources '{{\"{API}\": 1}}'."
                )
        return wanted

    def _heard_from(self) -> list[_Actor]:
        """Wait a little for an actor to say something."""
        asked = {actor.saying: actor for actor in self._actors if actor.saying is not None}
        said, _ = self._ray.wait(list(asked), timeout=LOOK_EVERY_S)
        if not said and not any(actor.unit for actor in self._actors):
            for actor in asked.values():
                waited = time.monotonic() - actor.asked_at
                if waited > NO_ROOM_S and not self._cluster.has_room(actor.wanted):
                    wanted = ", ".join(f"{amount:g} {name}" for name, amount in actor.wanted.items())
                    raise ExecutorError(f"No node of the cluster has {wanted} for {actor.load.model}.")
        return [asked[reference] for reference in said]

    def _settle(self, actor: _Actor, waiting: Waiting, deaths: Deaths) -> Iterator[Outcome]:
        """Act on what an actor said, or on its death."""
        said = self._said(actor)
        unit, actor.unit, actor.saying = actor.unit, None, None
        if isinstance(said, str):
            raise ExecutorError(said)
        if isinstance(said, Outcome):
            deaths.end_row()
            yield said
        elif isinstance(said, Arrival):
            if said.code != code_hash():
                raise ExecutorError("A node runs other code than this one; bring all to the same commit.")
            actor.node = said.node
        else:
            self._dismiss(actor)
            if unit is None:  # it never came
                deaths.count(reason_of(said) if isinstance(said, Exception) else DIED)
            elif actor.node not in self._cluster.nodes():
                waiting[actor.load].appendleft(unit)  # the node is gone: not the unit's fault
            else:
                found = deaths.after(unit, DIED)
                if isinstance(found, Outcome):
                    yield found
                else:
                    waiting[actor.load].extendleft(reversed(found))

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
