"""Every measurement on the real models after two steps of training: they know nothing, and numbers agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.interleaved import CURRENT
from engine.lens import TOPS
from engine.stats.boundaries import excess_of
from engine.systems.unit_lm import Interleaved
from precompute.interleaved.plan import (
    MAIN,
    Checkpoint,
    CheckpointPlace,
    InterleavedPlan,
    Phases,
    ReadClip,
    ScoredFact,
    layer_sums,
    make_interleaved_plan,
)
from precompute.jobs import Batch, Job, perform
from precompute.measure_interleaved import kinds_of, listen, model_of
from precompute.settings import Settings

PHASES = Phases((2, 3), 3, 5)
N_CLIPS, N_FACTS = 2, 2


@pytest.fixture(scope="module")
def plan(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> InterleavedPlan:
    """Without snapshots: the shipped folder alone."""
    _, models = trained
    return make_interleaved_plan(Settings(models=models, limit=1, snapshots=tmp_path_factory.mktemp("none")))


def found_by(plan: InterleavedPlan, kind: str, about: tuple[Any, ...], who: str = MAIN) -> list[Any]:
    place = CheckpointPlace(checkpoint_of(plan, who), plan.models, PHASES, plan.fit[:12])
    batch = Batch(tuple(Job(kind, str(n), who, one) for n, one in enumerate(about)), place)
    outcome = perform(batch)
    assert tuple(row.key for row in outcome.rows) == batch.keys
    return [json.loads(row.text) for row in outcome.rows]


def clips_of(plan: InterleavedPlan) -> tuple[ReadClip, ...]:
    return tuple(ReadClip(plan.clips[n].recipe, plan.others[n]) for n in range(N_CLIPS))


def checkpoint_of(plan: InterleavedPlan, model: str) -> Checkpoint:
    return next(one for one in plan.checkpoints if one.model == model)


@pytest.mark.parametrize("who", [MAIN, "mini-ultravox", "mini-qwen2-audio"])
def test_every_layer_is_read_for_both_words(plan: InterleavedPlan, who: str) -> None:
    system = model_of(checkpoint_of(plan, who), plan.models)
    for clip, found in zip(plan.clips, found_by(plan, "phases", clips_of(plan), who), strict=False):
        n_layers = len(system.decoder_layers) + 1
        n_words = len(clip.item.text.split())
        assert 0 < found["d"]["0"]["n"] <= n_words and 0 <= found["d"]["1"]["n"] <= n_words - 1
        for read in found["d"].values():
            for hits in (*read["hits"], *read["control"]):
                assert hits == sorted(hits) and hits[-1] <= read["n"]
            assert layer_sums(read, TOPS.index(10)).shape == (n_layers, 3)
        assert excess_of(layer_sums(found["d"][str(CURRENT)], 2)).shape == (n_layers,)
        share = found["share"]
        assert share is None if who != MAIN else len(share) == n_layers and all(0 <= s <= 1 for s in share)


def test_a_clip_is_the_same_units_for_every_checkpoint(plan: InterleavedPlan) -> None:
    main = checkpoint_of(plan, MAIN)
    heard = listen(main, plan.models, plan.clips[0].recipe)
    system = model_of(main, plan.models)
    assert isinstance(system, Interleaved) and heard.ids is not None
    start, stop = heard.prepared.span
    assert len(heard.ids) == stop - start == heard.spans[-1][1] or heard.spans[-1][1] <= stop - start
    assert set(heard.ids.tolist()) <= set(system.unit_ids)
    assert torch.equal(system.embedding(heard.ids), heard.prepared.embeddings[0, start:stop])
    assert kinds_of(system).units == system.unit_ids
    ears = checkpoint_of(plan, "mini-ultravox")
    assert listen(ears, plan.models, plan.clips[0].recipe).ids is None
    assert kinds_of(model_of(ears, plan.models)).units is None


def test_a_fact_is_scored_per_unit_and_in_sum(plan: InterleavedPlan) -> None:
    facts = tuple(ScoredFact(fact.key) for fact in plan.facts[:N_FACTS])
    for found in found_by(plan, "knowledge", facts):
        for end in ("right", "wrong"):
            n_units = found[f"{end}_sum"] / found[end]
            assert found[end] < 0 and n_units == pytest.approx(round(n_units), abs=1e-3) and n_units >= 1


def test_every_arm_of_the_erasure_is_measured(plan: InterleavedPlan) -> None:
    asked = (*clips_of(plan), ScoredFact(plan.facts[0].key, erased=True))
    *clips, fact = found_by(plan, "erase_word", asked)
    arms = ["plain", "erased", *["rank_matched"] * 3, *["change_matched"] * 3]
    for found in (*clips, fact):
        assert [arm["arm"] for arm in found] == arms
        erased = found[1]
        assert erased["kept_rank"] > 0 and erased["relative_change"] > 0
        for arm in found[-3:]:
            assert arm["relative_change"] == pytest.approx(erased["relative_change"], rel=0.05)
    plain_units = [arm["outcomes"]["next unit"][0] for arm in clips[0]]
    assert len(set(np.round(plain_units, 4))) > 1, "an erasure changes something"
    assert {name for arm in fact for name in arm["outcomes"]} == {"spoken knowledge"}
    (read,) = found_by(plan, "phases", clips_of(plan)[:1])
    sums = layer_sums(read["d"]["0"], TOPS.index(10))[PHASES.current]
    assert clips[0][0]["outcomes"]["current word"] == [sums[0] - sums[1], sums[2]], "plain is what was read"


def test_a_patch_is_measured_for_each_donor(plan: InterleavedPlan) -> None:
    words = tuple(job.payload for job in plan.patches(checkpoint_of(plan, MAIN), PHASES))[:2]
    assert words
    for word, found in zip(words, found_by(plan, "patch_word", words), strict=True):
        assert [one["arm"] for one in found] in ([arm for arm, _ in word.donors], [])
