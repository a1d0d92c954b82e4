"""Work on text: every different prompt to a text LLM is answered once, for cascades and oracles alike."""

from __future__ import annotations

import time

from engine.answers import answer_batch
from engine.systems.catalogue import get_spec
from precompute.stages.listen import answer_row, asked_row
from precompute.stages.loaded import batching_of, text_llm
from precompute.units import Outcome, ReadUnit, reader_name


def read(unit: ReadUnit) -> Outcome:
    """Return the rows of a unit; its prompts come sorted by length."""
    if get_spec(unit.via).is_remote:
        asked = (
            asked_row(one.key, "read", unit.backbone, unit.via, one.heard, one.question)
            for one in unit.prompts
        )
        return Outcome(tuple(asked))
    system = text_llm(unit.via, unit.models)
    finding = batching_of(unit.via, unit.models)
    rows = []
    for start in range(0, len(unit.prompts), finding.batch_size):
        prompts = unit.prompts[start : start + finding.batch_size]
        began = time.perf_counter()
        heard = [system.hear_text(prompt.heard) for prompt in prompts]
        questions = [prompt.question for prompt in prompts]
        answers = answer_batch(system, heard, questions, finding.batch_size)
        share = (time.perf_counter() - began) / len(prompts)
        rows += [
            answer_row(prompt.key, "read", unit.backbone, answer, share)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
    return Outcome(tuple(rows), {reader_name(unit.backbone): finding.sentence})
