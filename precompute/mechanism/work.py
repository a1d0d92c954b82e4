"""The units of the plan that are not done yet, stage by stage; a stage's units may need the rows of those before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from engine.request import preset_layers
from engine.systems.catalogue import SYSTEMS, SystemSpec
from precompute import keys
from precompute.clips import Clip
from precompute.ledger import Ledger
from precompute.mechanism.grid import GRID
from precompute.mechanism.plan import MechanismPlan
from precompute.mechanism.units import INPUT, ClipJob, LayerJob, MechanismUnit, ProbeClip, Stage
from precompute.units import Prompt, ReadUnit

CLIPS_IN_UNIT = {"pitch": 16, "lens": 16, "erase": 4}
PROMPTS_IN_UNIT = 128


def pitch_units(plan: MechanismPlan, ledger: Ledger) -> list[MechanismUnit]:
    """Return the probe clips whose pitch is not known."""
    question = plan.behaviour.clips[0].item.question  # a clip's pitch answers none
    jobs = [ClipJob(plan.pitch_key(clip), clip.recipe, question, "", ()) for clip in plan.probed]
    return _units(plan, "pitch", "", jobs, ledger)


def lens_units(plan: MechanismPlan, ledger: Ledger) -> list[MechanismUnit]:
    """Return the clips that are not read layer by layer yet."""
    units = []
    for spec in plan.speech_llms:
        jobs = [
            ClipJob(plan.lens_key(spec, clip), clip.recipe, clip.item.question, clip.gold, clip.item.aliases)
            for clip in (*plan.behaviour.clips, *plan.noisy)
        ]
        units += _units(plan, "lens", spec.key, jobs, ledger)
    return units


def sufficiency_units(plan: MechanismPlan, ledger: Ledger) -> list[ReadUnit]:
    """Return the prompts of the implicit cascade that its LLM has not answered yet; readings must be done."""
    units: list[ReadUnit] = []
    for spec in plan.speech_llms:
        prompts = {
            prompt.key: prompt
            for clip in plan.behaviour.clips
            for prompt in implicit_prompts(plan, spec, clip, ledger).values()
            if not ledger.is_done(prompt.key)
        }
        backbone = plan.behaviour.backbone(spec)
        via = next(s.key for s in SYSTEMS.values() if s.kind == "text_llm" and s.folder == backbone)
        ordered = sorted(
            prompts.values(),
            key=lambda p: (len(p.question.labels), len(p.question.instruction + p.heard), p.key),
        )
        for start in range(0, len(ordered), PROMPTS_IN_UNIT):
            part = tuple(ordered[start : start + PROMPTS_IN_UNIT])
            units.append(ReadUnit(via, backbone, part, plan.models))
    return units


def implicit_prompts(plan: MechanismPlan, spec: SystemSpec, clip: Clip, ledger: Ledger) -> dict[int, Prompt]:
    """Return layer -> the prompt that hands the layer's text to the LLM; {} while the clip is not read."""
    row = ledger.rows.get(plan.lens_key(spec, clip))
    if row is None or row.failed:
        return {}
    backbone = plan.models / plan.behaviour.backbone(spec)
    question = clip.item.question
    return {
        int(layer): Prompt(keys.read_key(text, question, backbone), text, question)
        for layer, text in json.loads(row.text)["texts"].items()
    }


def erase_units(plan: MechanismPlan, ledger: Ledger) -> list[MechanismUnit]:
    """Return the clips that are not answered under every setting of the grid yet."""
    units = []
    for spec, setting, clips in erased_clips(plan):
        jobs = [
            ClipJob(
                plan.erase_key(spec, clip, setting),
                clip.recipe,
                clip.item.question,
                clip.gold,
                clip.item.aliases,
                setting,
            )
            for clip in clips
        ]
        units += _units(plan, "erase", spec.key, jobs, ledger)
    return units


def erased_clips(plan: MechanismPlan) -> Iterator[tuple[SystemSpec, str, list[Clip]]]:
    """Yield each system that has erasers, with each setting and its clips: the first of every task."""
    by_task: dict[str, list[Clip]] = {}
    for clip in plan.behaviour.clips:
        by_task.setdefault(clip.item.task, []).append(clip)
    for spec in plan.speech_llms:
        if plan.erasers_of(spec) is not None:
            for name, setting in GRID.items():
                yield (
                    spec,
                    name,
                    [c for clips in by_task.values() for c in clips[: setting.n_items(len(clips))]],
                )


def layers_probed(plan: MechanismPlan) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield each speech LLM and the control's encoder with its layers, the input features among them."""
    for who in (*(spec.key for spec in plan.speech_llms), *([plan.ears] if plan.ears else [])):
        yield who, (INPUT, *range(plan.n_layers(who) + 1))


def layers_damaged(plan: MechanismPlan) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield each system that has erasers with the nine layers at which their damage is measured."""
    for spec in plan.speech_llms:
        if plan.erasers_of(spec) is not None:
            yield spec.key, preset_layers(plan.n_layers(spec.key))


def probe_units(plan: MechanismPlan, ledger: Ledger) -> list[MechanismUnit]:
    """Return the layers that are not probed yet; pitch must be tracked."""
    return _layer_units(plan, "probe", layers_probed(plan), ledger)


def damage_units(plan: MechanismPlan, ledger: Ledger) -> list[MechanismUnit]:
    """Return the layers at which it is not known what an erasure does to other probes; pitch must be tracked."""
    return _layer_units(plan, "damage", layers_damaged(plan), ledger)


def _layer_units(
    plan: MechanismPlan, stage: Stage, wanted: Iterable[tuple[str, Sequence[int]]], ledger: Ledger
) -> list[MechanismUnit]:
    """Return one unit a layer: states of all clips are heard once in each process and kept there."""
    known = tuple(clip for clip, _ in clips_with_pitch(plan, ledger))
    return [
        MechanismUnit(stage, who, (LayerJob(key, layer),), plan.models, known)
        for who, layers in wanted
        for layer in layers
        if not ledger.is_done(key := plan.layer_key(stage, who, layer))
    ]


def clips_with_pitch(plan: MechanismPlan, ledger: Ledger) -> list[tuple[ProbeClip, Clip]]:
    """Return the clips that probes are fitted on, in their order: those whose pitch is known."""
    tracked = (replace(clip, pitch_hz=_pitch(plan, clip, ledger)) for clip in plan.probed)
    return [(one, clip) for one, clip in zip(tracked, plan.probe_clips, strict=True) if one.pitch_hz]


def _pitch(plan: MechanismPlan, clip: ProbeClip, ledger: Ledger) -> tuple[float, ...]:
    row = ledger.rows.get(plan.pitch_key(clip))
    return () if row is None or row.failed else tuple(json.loads(row.text))


def _units(
    plan: MechanismPlan, stage: Stage, who: str, jobs: Sequence[ClipJob], ledger: Ledger
) -> list[MechanismUnit]:
    left = [job for job in dict.fromkeys(jobs) if not ledger.is_done(job.key)]
    size = CLIPS_IN_UNIT[stage]
    return [
        MechanismUnit(stage, who, tuple(left[start : start + size]), plan.models)
        for start in range(0, len(left), size)
    ]
