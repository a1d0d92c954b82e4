"""One clip's answers under every arm of a setting: erased, and random controls of equal rank and equal change."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from engine.erasure import load_eraser, match_changes
from engine.hooks import ByGroup, Edit, Group, Projection
from engine.interventions import answer_pass, in_passes, reach_layers
from engine.request import preset_layers
from engine.results import Answer, RunProof
from engine.systems.base import WhiteBoxSystem
from engine.tasks import is_right
from engine.voice import say_recipe
from precompute.ledger import LedgerRow
from precompute.mechanism.grid import CHANGE_SEEDS, GRID, SEEDS, Setting
from precompute.mechanism.units import ClipJob, MechanismUnit
from precompute.stages.loaded import batching_of, speech_llm
from precompute.units import Outcome

DIGITS = 6
PLAIN, ERASED, RANK_MATCHED, CHANGE_MATCHED = "plain", "erased", "rank_matched", "change_matched"


@dataclass(frozen=True)
class Arm:
    """One row of a batch.

    Attributes:
        layers: where it is edited, in words.
        kind: erased, rank_matched or change_matched.
        seed: of a control, 0 for the eraser.
        kept_rank: directions taken out, the most over its layers.
        fitted_on: what the eraser was fitted on.
        proof: what fresh probes read of the condition in a run erased as this one; None where not measured.
        projections: of the eraser, or the random ones, whose step a control of equal change lengthens.
    """

    condition: str
    layers: str
    kind: str
    seed: int
    kept_rank: int
    fitted_on: str
    proof: RunProof | None
    projections: Mapping[int, Projection]


def erase(unit: MechanismUnit) -> Outcome:
    """Return a row for each clip and setting."""
    system = speech_llm(unit.who, unit.models)
    finding = batching_of(unit.who, unit.models)
    rows = []
    for job in unit.jobs:
        assert isinstance(job, ClipJob)
        began = time.perf_counter()
        arms = arms_of(unit.who, unit.models, job.setting)
        answered = _answers(system, job, arms, batched=finding.exact)
        seconds = time.perf_counter() - began
        rows.append(LedgerRow(job.key, "erase", unit.who, text=json.dumps(answered), seconds=seconds))
    return Outcome(tuple(rows), {unit.who: finding.sentence})


@cache
def arms_of(who: str, models: Path, setting: str) -> tuple[Arm, ...]:
    """Return the arms of a setting for one system, made once in a process."""
    return tuple(_arms(who, models, GRID[setting]))


def _arms(who: str, models: Path, setting: Setting) -> Iterator[Arm]:
    system = speech_llm(who, models)
    nine = preset_layers(len(system.decoder_layers))
    reach = {"nine layers": nine} if setting.reach == "nine layers" else reach_layers(setting.reach, nine)
    for condition in setting.conditions:
        eraser = load_eraser(who, condition, system.fingerprint, models)
        for name, layers in reach.items():
            erased = eraser.projections(layers, setting.method)
            about = (
                eraser.rank(layers, setting.method),
                eraser.fitted_on(layers, setting.method),
                eraser.proof.of_run(layers, setting.method, setting.scope) if eraser.proof else None,
            )
            yield Arm(condition, name, ERASED, 0, *about, erased)
            for seed in SEEDS:
                control = eraser.random_control(layers, setting.method, seed)
                yield Arm(condition, name, RANK_MATCHED, seed, *about, control)
                if setting.change_matched and seed in CHANGE_SEEDS:
                    yield Arm(condition, name, CHANGE_MATCHED, seed, *about, control)


def _passes(arms: Sequence[Arm]) -> Iterator[Sequence[Arm]]:
    """Yield the arms of each pass, one kind at a time: where erasing makes a system ramble, controls need not wait."""
    for kind in (ERASED, RANK_MATCHED, CHANGE_MATCHED):
        yield from in_passes([arm for arm in arms if arm.kind == kind])


def _answers(
    system: WhiteBoxSystem, job: ClipJob, arms: tuple[Arm, ...], *, batched: bool
) -> list[dict[str, Any]]:
    """Return the plain answer, then each arm's, as `precompute.mechanism.clip_tables` writes them."""
    setting = GRID[job.setting]
    prepared = system.prepare(system.hear(say_recipe(job.recipe).clip), job.question.instruction)
    out: list[dict[str, Any]] = []
    # How far each eraser moved the states of this clip, by layer and group of positions.
    shares: dict[tuple[str, str], dict[int, dict[Group, float]]] = {}
    for part in _passes(arms):
        found, edits = answer_pass(
            system,
            prepared,
            job.question,
            [_edit(arm, shares) for arm in part],
            gold=job.gold,
            scope=setting.scope,
            batched=batched,
        )
        for row, arm in enumerate(part, 1):
            if arm.kind == ERASED:
                shares[arm.condition, arm.layers] = edits.change_by_group(row)
        for row, result in enumerate(found):
            if row == 0 and out:
                continue  # the plain row of a later pass is the first pass's again
            right = result.right_log_likelihood_change
            assert right is not None, "every clip of the mini world has a right answer"
            numbers = {
                "log_likelihood_change": result.log_likelihood_change,
                "right_log_likelihood_change": right,
                "relative_change": result.relative_change_of_state,
            }
            out.append(
                _about(part[row - 1] if row else None)
                | _answered(job, result.answer)
                | {name: round(number, DIGITS) for name, number in numbers.items()}
            )
    return out


def _edit(
    arm: Arm, shares: Mapping[tuple[str, str], Mapping[int, Mapping[Group, float]]]
) -> Mapping[int, Edit | ByGroup]:
    if arm.kind != CHANGE_MATCHED:
        return arm.projections
    return match_changes(arm.projections, shares[arm.condition, arm.layers])


def _about(arm: Arm | None) -> dict[str, Any]:
    if arm is None:
        nothing = {"condition": "none", "layers": "none", "arm": PLAIN, "seed": 0, "kept_rank": 0}
        return nothing | {"fitted_on": "none", "proof": None}
    return {
        "condition": arm.condition,
        "layers": arm.layers,
        "arm": arm.kind,
        "seed": arm.seed,
        "kept_rank": arm.kept_rank,
        "fitted_on": arm.fitted_on,
        "proof": _proof(arm.proof) if arm.kind == ERASED and arm.proof else None,
    }


def _proof(proof: RunProof) -> dict[str, Any]:
    """Return the columns of the proof, as `engine.columns` names them: of the layer where most is left."""
    one = proof.layers[proof.worst]
    numbers = {
        "probe_erased": one.erased,
        "probe_low": one.low,
        "probe_high": one.high,
        "probe_plain": one.plain,
        "probe_random": one.random,
        "probe_chance": one.chance,
    }
    return {name: round(number, DIGITS) for name, number in numbers.items()} | {
        "probe_verdict": proof.verdict
    }


def _answered(job: ClipJob, answer: Answer) -> dict[str, Any]:
    task, forced = job.question.task, answer.forced_choice
    chosen = max(forced, key=forced.__getitem__) if forced else None
    return {
        "label": answer.label,
        "label_status": answer.status,
        "text": answer.text,
        "correct": is_right(task, answer.label, job.gold, job.aliases, text=answer.text),
        "forced_correct": None if chosen is None else is_right(task, chosen, job.gold, job.aliases),
    }
