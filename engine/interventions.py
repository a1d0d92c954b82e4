"""States that are changed, and what follows: one word put in another's place, the word erased, and the sweep by layer.

Patching and word erasure go beyond arXiv 2606.22473, which observes with the logit lens alone. What is patched in is
a word of another clip; the controls are the same word from another clip, and a word that has nothing to do with
either. Which word is being spoken is erased by LEACE on word labels at the first phase's layers; beside it random
directions of equal rank, and random directions that move each state as far (`engine.erasure.MatchedStep`).

The sweep erases one condition at each layer alone, or at all up to each, beside random controls of equal rank. The
benchmark and the page erase through `answer_pass`: arms are rows of batches over one prompt, the plain one first. A
layer's erased arm is what a run with that layer alone gives (paper arXiv 2602.17598, section 5.4; it erases nine
layers at once, the sweep and its controls are ours).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor

from engine.answers import answer_arms, arm_results, hear
from engine.checks import batch_is_exact
from engine.erasure import Eraser, bare_eraser, fit_leace, load_eraser, match_changes
from engine.errors import UnknownKeyError
from engine.generate import read_states
from engine.hooks import ByGroup, Edit, RowEdits, Scope
from engine.lens import unembed
from engine.probes import OTHER_WORD
from engine.request import Method, Question, RunRequest, check_request, clip_as_heard, preset_layers
from engine.results import ArmResult
from engine.systems.base import Prepared, WhiteBoxModel, WhiteBoxSystem
from engine.systems.catalogue import get_pair
from engine.systems.loading import load_speech_llm, using
from engine.words import SpokenWord


@dataclass(frozen=True)
class Replacement:
    """States that take the place of those that were there.

    Attributes:
        states: [positions, d_model], as many as are replaced.
    """

    states: Float[Tensor, "positions d_model"]

    def to(self, device: torch.device) -> Replacement:
        """Return the same replacement on a device."""
        return Replacement(self.states.to(device))

    def __call__(self, states: Float[Tensor, "rows positions d_model"]) -> Tensor:
        """Return the replacement for every row, in the dtype of what it replaces."""
        return self.states.to(states.dtype).expand_as(states)


def stretch(states: Float[Tensor, "positions d_model"], length: int) -> Tensor:
    """Return `length` states, each the one whose middle is nearest in relative time: words differ in length."""
    places = ((torch.arange(length) + 0.5) * len(states) / length).long()
    return states[places]


@torch.inference_mode()
def run_patched(
    system: WhiteBoxModel,
    prepared: Prepared,
    span: tuple[int, int],
    layer: int,
    donors: Sequence[Float[Tensor, "_ d_model"]],
) -> list[dict[int, Tensor]]:
    """Return the prompt's states plain, then with each donor in the word's place: layer -> [positions, d_model].

    Args:
        system: whose states are replaced.
        prepared: the prompt.
        span: positions of the word in the prompt, first and one after the last.
        layer: at which they are replaced; what follows is the model's own.
        donors: states of a word at this layer, of any number of positions.
    """
    rows: list[Mapping[int, Replacement] | None] = [None]
    rows += [{layer: Replacement(stretch(donor, span[1] - span[0]))} for donor in donors]
    return read_states(system, prepared, RowEdits(rows, span, prepared.embeddings.shape[1], "audio"))


@torch.inference_mode()
def lead_of(
    system: WhiteBoxModel,
    states: Float[Tensor, "positions d_model"],
    text: range,
    wanted: Sequence[int],
    instead: Sequence[int],
) -> float:
    """Return by how many nats one word leads another among text tokens, in the max over these positions.

    Args:
        system: whose head reads.
        states: of one layer, at the positions that are pooled.
        text: ids of text tokens.
        wanted: ids that the one may begin with; the likeliest counts.
        instead: the same for the other.
    """
    pooled = unembed(system, states)[:, text.start : text.stop].amax(0)
    one, other = (pooled[[i - text.start for i in ids]].max() for ids in (wanted, instead))
    return float(one - other)


N_TARGETS = 64  # words with a class of their own; the others share one
SEEDS = (0, 1, 2)
PLAIN, ERASED, RANK_MATCHED, CHANGE_MATCHED = "plain", "erased", "rank_matched", "change_matched"


@dataclass(frozen=True)
class ArmStates:
    """One arm's prompt as the model has it.

    Attributes:
        arm: plain, erased, rank_matched or change_matched.
        seed: of a control, 0 elsewhere.
        states: layer -> [positions, d_model] over the whole prompt, every layer.
        relative_change: mean of |change| / |state| over edited positions and layers.
    """

    arm: str
    seed: int
    states: Mapping[int, Float[Tensor, "positions d_model"]]
    relative_change: float


def choose_targets(texts: Iterable[str], n_targets: int = N_TARGETS) -> tuple[str, ...]:
    """Return the commonest words of these texts, the commonest first, and last the class of all others."""
    counts = Counter(word for text in texts for word in text.lower().split())
    return (*(word for word, _ in counts.most_common(n_targets)), OTHER_WORD)


def label_positions(
    words: Sequence[SpokenWord],
    spans: Sequence[tuple[int, int]],
    n_positions: int,
    targets: Sequence[str],
) -> Float[Tensor, "positions targets"]:
    """Return at each position the share of each target in the words heard there; NaN where no word is heard."""
    counts = torch.zeros(n_positions, len(targets), dtype=torch.float64)
    place = {target: index for index, target in enumerate(targets)}
    for word, (start, stop) in zip(words, spans, strict=True):
        counts[start:stop, place.get(word.text.lower(), len(targets) - 1)] += 1
    return counts / counts.sum(1, keepdim=True)  # 0 / 0 is NaN


def fit_word_eraser(
    states: Mapping[int, Float[Tensor, "n d_model"]],
    labels: Float[Tensor, "n targets"],
    targets: tuple[str, ...],
    fit: str,
) -> Eraser:
    """Return LEACE erasers of the word being spoken, one for each layer of `states`.

    Args:
        states: at the speech positions of many clips, after one another.
        labels: as `label_positions`; rows of NaN are left out.
        targets: names of the labels' columns; those that never occur do no harm.
        fit: what it is fitted on, in words.
    """
    known = ~labels.isnan().any(1)
    found = {layer: fit_leace(x[known].double(), labels[known]) for layer, x in states.items()}
    return bare_eraser("current word", found, targets, fit)


@torch.inference_mode()
def run_erased(
    system: WhiteBoxModel,
    prepared: Prepared,
    eraser: Eraser,
    layers: Sequence[int],
    *,
    span: tuple[int, int],
    seeds: Sequence[int] = SEEDS,
) -> list[ArmStates]:
    """Return the prompt's states plain, erased, and under both controls for each seed.

    Erasers keep the training mean (affine): it was taken at such positions. The control of equal change moves each
    state by the share of its length that the eraser moved this prompt's states at that layer, on average.

    Args:
        system: whose states are edited.
        prepared: the prompt.
        eraser: fitted at these layers at least.
        layers: where it is erased, all at once.
        span: positions that are edited, first and one after the last.
        seeds: of the random directions.
    """
    (plain, erased), edits = _run(system, prepared, [None, eraser.projections(layers, "affine")], span)
    out = [
        ArmStates(PLAIN, 0, plain, 0.0),
        ArmStates(ERASED, 0, erased, edits.relative_change(1)),
    ]
    shares = edits.change_by_group(1)
    controls = [eraser.random_control(layers, "affine", seed) for seed in seeds]
    for arm, arms in (
        (RANK_MATCHED, controls),
        (CHANGE_MATCHED, [match_changes(control, shares) for control in controls]),
    ):
        rows, edits = _run(system, prepared, arms, span)
        out += [
            ArmStates(arm, seed, states, edits.relative_change(row))
            for row, (seed, states) in enumerate(zip(seeds, rows, strict=True))
        ]
    return out


def _run(
    system: WhiteBoxModel,
    prepared: Prepared,
    rows: Sequence[Mapping[int, Edit | ByGroup] | None],
    span: tuple[int, int],
) -> tuple[list[dict[int, Tensor]], RowEdits]:
    edits = RowEdits(rows, span, prepared.embeddings.shape[1], "audio")
    return read_states(system, prepared, edits), edits


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
    return arm_results(passed, edits, answers, right), edits


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
