"""What the benchmark's sharing and batching are worth: the same answers by a plain script, and by its stages.

The script does what anyone would write first: for each system and clip it says the sentence, adds the noise,
listens and answers. The stages say and hear each clip once, answer each prompt once, and in batches.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from engine.answers import answer_all
from engine.systems.catalogue import SystemSpec
from engine.systems.loading import load_cascade, load_speech_llm, load_text_llm
from engine.voice import say_recipe, spoil
from precompute.clips import Clip
from precompute.jobs import PERFORM
from precompute.plan import Plan, listen_batches, make_plan, read_batches
from precompute.settings import Settings
from precompute.store import Store
from precompute.workers import InlineWorkers

ITEMS_A_TASK = 3


def benchmark_arms() -> tuple[dict[str, Callable[[], object]], int]:
    """Return "plain" and "stages", each of which makes every answer once, and how many answers that is.

    Both work in this process with models that are loaded; neither measures memory nor writes tables.
    """
    plan = make_plan(Settings(quick=True, limit=ITEMS_A_TASK))
    n_answers = sum(1 for _ in plan.cells())
    return {"plain": lambda: answer_one_by_one(plan), "stages": lambda: answer_in_stages(plan)}, n_answers


def answer_one_by_one(plan: Plan) -> dict[tuple[str, str], str]:
    """Return (system, clip) -> the text it answered, made one after the other with nothing shared."""
    return {(spec.key, clip.clip_id): _answer(spec, clip, plan) for spec, clip in plan.cells()}


def _answer(spec: SystemSpec, clip: Clip, plan: Plan) -> str:
    models, question = plan.settings.models, clip.item.question
    if spec.kind == "text_llm":
        oracle = load_text_llm(spec.key, models)
        return answer_all(oracle, [oracle.hear_text(clip.item.text)], [question])[0].text
    clean = say_recipe(clip.recipe, plan.folder_of_task(clip.item.task)).clip
    noisy = spoil(clean, clip.recipe, plan.musan)
    load = load_speech_llm if spec.kind == "speech_llm" else load_cascade
    system = load(spec.key, models)
    return answer_all(system, [system.hear(noisy.clip if noisy else clean)], [question])[0].text


def answer_in_stages(plan: Plan) -> dict[tuple[str, str], str]:
    """Return the same by the benchmark's own stages, in a store that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        store, workers = Store(Path(folder)), InlineWorkers(PERFORM)
        with store.writing() as writing, workers:
            # Prompts of cascades are known only when the transcripts are.
            for batches in (listen_batches, read_batches):
                for outcome in workers.run(batches(plan, writing)):
                    writing.add(outcome.rows)
            return {
                (spec.key, clip.clip_id): _stored(spec, clip, plan, writing) for spec, clip in plan.cells()
            }


def _stored(spec: SystemSpec, clip: Clip, plan: Plan, store: Store) -> str:
    if spec.kind == "speech_llm":
        return store.rows[plan.listen_key(spec, clip)].text
    heard = plan.heard(spec, clip, store)
    assert isinstance(heard, str)
    return store.rows[plan.read_key(spec, clip, heard)].text
