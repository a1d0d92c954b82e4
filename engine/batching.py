"""Whether a system's batches equal its singles on this machine: asked before a batch is ever trusted.

Prompts of different lengths are answered one by one and as rows of one padded batch. Same answers and the
same scores within a tolerance, or the benchmark goes one by one and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch

from engine.check import probe_clip
from engine.decode import run_arms, run_prompts
from engine.precision import LOGIT_TOLERANCE, logit_tolerance, pass_roundings
from engine.systems.base import Heard, WhiteBoxModel, WhiteBoxSystem
from engine.systems.text_llm import TextLLM
from engine.tasks import TASKS, instruction_for

BATCH_SIZE = 16  # fastest for the minis on one core; 64 is slower than 16
PROBE_DURATIONS_S = (0.6, 3.1, 1.1, 2.4, 0.9, 1.7)


@dataclass(frozen=True)
class BatchFinding:
    """What the comparison found.

    Attributes:
        exact: batches may be used.
        largest_gap: largest difference of a logit or a score, in natural log units.
        n_prompts: how many prompts were compared.
        n_other_answers: how many were answered differently.
        tolerance: of the gap: rounding in the precision of the weights (`engine.precision`).
    """

    exact: bool
    largest_gap: float
    n_prompts: int
    n_other_answers: int
    tolerance: float = LOGIT_TOLERANCE

    @property
    def batch_size(self) -> int:
        """Prompts to a pass."""
        return BATCH_SIZE if self.exact else 1

    @property
    def sentence(self) -> str:
        """The finding in words."""
        how = f"{self.n_prompts} prompts compared, largest difference {self.largest_gap:.1e}"
        if self.n_other_answers:
            how += f", {self.n_other_answers} answered differently"
        verdict = f"batches of {BATCH_SIZE} equal singles" if self.exact else "batches differ, so one by one"
        return f"{verdict} ({how}; tolerance {self.tolerance:.2g})"


def check_batches(system: WhiteBoxModel, heard: Sequence[Heard] | None = None) -> BatchFinding:
    """Compare a padded batch with its singles, over probes of different lengths.

    Args:
        system: a speech LLM, a cascade or a text LLM.
        heard: what to ask about; by default gliding tones of several lengths, or sentences for a text LLM.
    """
    tasks = (TASKS["topic"], TASKS["emotion"], TASKS["trivia"])
    given = list(heard) if heard is not None else _probes(system)
    asked = [tasks[index % len(tasks)] for index in range(len(given))]
    prompts = [system.prepare(one, instruction_for(task)) for one, task in zip(given, asked, strict=True)]
    labels = [task.labels for task in asked]
    gaps, tolerances, n_other = [0.0], [], 0
    dtype, n_layers = cast(torch.Tensor, system.unembedding.weight).dtype, len(system.decoder_layers)
    replies = run_prompts(system, prompts, continuations=labels)
    for prompt, texts, reply in zip(prompts, labels, replies, strict=True):
        alone = run_arms(system, prompt, continuations=texts)
        gaps.append(_gap(alone.prompt_logits[0], reply.prompt_logits))
        tolerances.append(logit_tolerance(alone.prompt_logits, dtype, pass_roundings(n_layers)))
        gaps.append(_gap(alone.continuation_scores[0], reply.continuation_scores))
        n_other += alone.decoded[0].token_ids != reply.decoded.token_ids
    # A gap that is no number must not pass for a small one.
    worst = float("inf") if any(gap != gap for gap in gaps) else max(gaps)
    tolerance = min(tolerances, default=LOGIT_TOLERANCE)
    return BatchFinding(not n_other and worst < tolerance, worst, len(prompts), n_other, tolerance)


def _gap(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max()) if a.numel() else 0.0


def _probes(system: WhiteBoxModel) -> list[Heard]:
    if isinstance(system, TextLLM):
        return [system.hear_text(task.help.lower()) for task in TASKS.values()]
    assert isinstance(system, WhiteBoxSystem)
    return [system.hear(probe_clip(duration_s)) for duration_s in PROBE_DURATIONS_S]
