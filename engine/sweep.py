"""One erasure layer by layer: each layer alone, or all up to each, beside random controls of equal rank.

The benchmark and the page erase through here: arms are rows of batches over one prompt, the plain one first.
A layer's erased arm is what a run with that layer alone gives (paper arXiv 2602.17598, section 5.4; it
erases nine layers at once, the sweep and its controls are ours).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar, cast

from engine.answering import answer_arms
from engine.checks import batch_is_exact
from engine.conditions import Method, preset_layers
from engine.erasure import Eraser, load_eraser
from engine.errors import UnknownKeyError
from engine.hooks import ByGroup, Edit, RowEdits, Scope
from engine.request import Question, RunRequest, check_request
from engine.result import ArmResult
from engine.run import clip_as_heard, hear
from engine.systems.base import Prepared, WhiteBoxSystem
from engine.systems.catalogue import get_pair
from engine.systems.loading import load_speech_llm, using

MAX_ARMS = 24  # rows to a pass beside the plain one: more do not fit the cores' caches
N_CONTROLS = 3

Reach = Literal["single layer", "cumulative"]
REACHES: tuple[Reach, ...] = ("single layer", "cumulative")
Progress = Callable[[float, str], None]
Arm = Mapping[int, Edit | ByGroup]
One = TypeVar("One")


@dataclass(frozen=True)
class SweepPoint:
    """One place of the sweep.

    Attributes:
        layer: the layer, or the last of those erased together.
        layers: all that are edited.
        kept_rank: directions taken out at each edited layer, the most over them.
        erased: the chosen condition's arm.
        controls: random directions of equal rank, one arm for each seed of the sweep.
    """

    layer: int
    layers: tuple[int, ...]
    kept_rank: int
    erased: ArmResult
    controls: tuple[ArmResult, ...]


@dataclass(frozen=True)
class Sweep:
    """One condition erased at one place after another.

    Attributes:
        reach: "single layer" (each alone) or "cumulative" (all of the nine up to each).
        seeds: of the controls; the first is the request's own.
        plain: the arm without any erasure.
        points: by rising layer.
    """

    condition: str
    reach: Reach
    scope: str
    method: str
    strength: float
    seeds: tuple[int, ...]
    plain: ArmResult
    points: tuple[SweepPoint, ...]
    seconds: float


def reach_layers(reach: Reach, layers: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the places of a sweep over these layers, by name: what is edited together at each."""
    if reach == "single layer":
        return {f"layer {layer}": (layer,) for layer in layers}
    return {f"up to layer {layer}": tuple(layers[: n + 1]) for n, layer in enumerate(layers)}


def in_passes(arms: Sequence[One]) -> Iterator[Sequence[One]]:
    """Yield the arms of each pass, as many as fit."""
    for start in range(0, len(arms), MAX_ARMS):
        yield arms[start : start + MAX_ARMS]


def answer_pass(
    system: WhiteBoxSystem,
    prepared: Prepared,
    question: Question,
    arms: Sequence[Arm],
    *,
    gold: str | None,
    scope: Scope,
    batched: bool,
) -> tuple[list[ArmResult], RowEdits]:
    """Return what the plain row and then each arm give, as rows of one batch, and how far each was moved.

    Args:
        system: whose states are edited.
        prepared: the prompt.
        question: what is asked.
        arms: each arm's projections by layer.
        gold: the right answer, None where it is not known.
        scope: positions that are edited.
        batched: whether the rows run at once; False runs them one by one.
    """
    edits = RowEdits([None, *arms], prepared.span, prepared.embeddings.shape[1], scope)
    passed, answers, right = answer_arms(
        system, prepared, question, gold=gold, edits=edits, batched=batched, record=False
    )
    scores, before = passed.first_answer_scores, right[0]
    results = [
        ArmResult(
            answer=answers[row],
            log_likelihood_change=scores[row] - scores[0],
            right_log_likelihood_change=None if after is None or before is None else after - before,
            relative_change_of_state=edits.relative_change(row),
        )
        for row, after in enumerate(right)
    ]
    return results, edits


@using()
def sweep_layers(request: RunRequest, condition: str, reach: str, progress: Progress | None = None) -> Sweep:
    """Erase one condition at the nine layers of the preset, place by place.

    Args:
        request: clip, question, scope, method, strength and seed; its own erasures and layers are not read.
        condition: what is erased.
        reach: one of REACHES: each layer alone, or all up to each.
        progress: told a share of 1 and what is done before each pass; what it raises ends the sweep.

    Raises:
        EngineError: something in the request cannot be used, or the eraser is not fitted.
    """
    report = progress or (lambda share, what: None)
    started = time.perf_counter()
    if reach not in REACHES:
        raise UnknownKeyError(f'There is no sweep "{reach[:40]}". Choose one of: {", ".join(REACHES)}.')
    question = check_request(replace(request, erasures=(condition,)))
    report(0.0, "loading the models")
    system = load_speech_llm(get_pair(request.pair).speech_llm)
    eraser = load_eraser(request.pair, condition, system.fingerprint)
    prepared = system.prepare(hear(system, clip_as_heard(request)), question.instruction)
    places = list(reach_layers(reach, preset_layers(len(system.decoder_layers))).values())
    seeds = tuple(range(request.seed, request.seed + N_CONTROLS))
    erased, controls = _projections(request, eraser, places, seeds)
    ask = partial(
        answer_pass,
        system,
        prepared,
        question,
        gold=(request.gold or "").strip() or None,
        scope=cast(Scope, request.scope),  # checked by check_request
        batched=batch_is_exact(system.spec.key),
    )
    plain, arms = _answers(ask, erased, controls, report)
    points = tuple(
        SweepPoint(
            layer=layers[-1],
            layers=layers,
            kept_rank=eraser.rank(layers, cast(Method, request.method)),
            erased=arms[index],
            controls=tuple(arms[len(places) + index * N_CONTROLS :][:N_CONTROLS]),
        )
        for index, layers in enumerate(places)
    )
    asked = (request.scope, request.method, request.strength, seeds)
    return Sweep(condition, reach, *asked, plain, points, time.perf_counter() - started)


def _projections(
    request: RunRequest, eraser: Eraser, places: Sequence[tuple[int, ...]], seeds: Sequence[int]
) -> tuple[list[Arm], list[Arm]]:
    """Return the erasers' arms by place, and the controls' by place and seed; at strength 0 there are none."""
    method = cast(Method, request.method)
    if request.strength == 0:
        nothing: list[Arm] = [{}] * len(places)
        return nothing, nothing * len(seeds)
    erased: list[Arm] = [eraser.projections(layers, method, request.strength) for layers in places]
    controls: list[Arm] = [
        eraser.random_control(layers, method, seed, request.strength) for layers in places for seed in seeds
    ]
    return erased, controls


def _answers(
    ask: Callable[[Sequence[Arm]], tuple[list[ArmResult], RowEdits]],
    erased: Sequence[Arm],
    controls: Sequence[Arm],
    report: Progress,
) -> tuple[ArmResult, list[ArmResult]]:
    """Return the plain arm and the others in their order; erased ones go apart, for they may ramble on."""
    if not any(erased):
        report(0.5, "nothing is erased at strength 0")
        (alone,), _ = ask([])
        return alone, [alone] * (len(erased) + len(controls))
    parts = [*in_passes(erased), *in_passes(controls)]
    plain: ArmResult | None = None
    arms: list[ArmResult] = []
    for done, part in enumerate(parts):
        report((done + 0.2) / len(parts), f"pass {done + 1} of {len(parts)}, {len(part)} erasures at once")
        (first, *others), _ = ask(part)
        plain = plain or first
        arms += others
    assert plain is not None, "there is at least one pass"
    return plain, arms
