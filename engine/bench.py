"""The erasure bench: arms as rows of one batch, and their outcomes side by side.

Row 0 is plain; each condition owns two rows, erased and the random control of the same kept rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engine.concepts import LIVE_MEASURES, concept_score
from engine.conditions import Method
from engine.decode import Pass
from engine.erasure import Eraser
from engine.hooks import RowEdits, Scope
from engine.result import Answer, ArmResult, ErasureOutcome, SpokenWord


@dataclass(frozen=True)
class Bench:
    """The erasures of one run.

    Attributes:
        erasers: condition -> its eraser, in the order asked for.
        layers: edited layers.
        scope, method: as in `RunRequest`.
        seed: of the random control.
        strength: of erasers and controls alike, 0 to 1.
    """

    erasers: Mapping[str, Eraser]
    layers: tuple[int, ...]
    scope: Scope
    method: Method
    seed: int
    strength: float = 1.0

    def edits(self, span: tuple[int, int], n_prompt: int) -> RowEdits | None:
        """Return the rows' projections for a prompt of this length; None when nothing is erased.

        At strength 0 nothing is: another row of a batch would differ from the plain one by its rounding.
        """
        if not self.erasers or self.strength == 0:
            return None
        rows: list[dict | None] = [None]
        for eraser in self.erasers.values():
            rows.append(eraser.projections(self.layers, self.method, self.strength))
            rows.append(eraser.random_control(self.layers, self.method, self.seed, self.strength))
        return RowEdits(rows, span, n_prompt, self.scope)


@dataclass(frozen=True)
class ClipFacts:
    """What a probe's reading is compared with: the clip's words, sound, and when each position ends."""

    words: tuple[SpokenWord, ...]
    samples: Float[np.ndarray, "samples"]  # noqa: F821 - jaxtyping axis name
    ends_s: Float[np.ndarray, "positions"]  # noqa: F821
    span: tuple[int, int]


def outcomes(
    bench: Bench,
    passed: Pass,
    edits: RowEdits | None,
    answers: Sequence[Answer],
    right_scores: Sequence[float | None],
    facts: ClipFacts,
) -> tuple[ErasureOutcome, ...]:
    """Return one outcome for each condition.

    Args:
        bench: what was asked.
        passed: the batch's results; row 0 plain.
        edits: the rows' edits, with the changes they made; None where every arm is the plain row.
        answers: the parsed answer of every row.
        right_scores: log-probability of the right answer in every row, None where it is not known.
        facts: of the clip.
    """
    results = []
    for index, (condition, eraser) in enumerate(bench.erasers.items()):
        rows = (0, 0, 0) if edits is None else (0, 1 + 2 * index, 2 + 2 * index)
        arms = [
            ArmResult(
                answer=answers[row],
                log_likelihood_change=passed.first_answer_scores[row] - passed.first_answer_scores[0],
                right_log_likelihood_change=_difference(right_scores[row], right_scores[0]),
                relative_change_of_state=edits.relative_change(row) if edits else 0.0,
                concept_score=_live_score(bench, eraser, passed, row, facts),
            )
            for row in rows
        ]
        results.append(
            ErasureOutcome(
                condition=condition,
                kept_rank=max(eraser.kept_rank[layer] for layer in bench.layers),
                layers=bench.layers,
                scope=bench.scope,
                method=bench.method,
                strength=bench.strength,
                plain=arms[0],
                erased=arms[1],
                random_control=arms[2],
                concept_measure=LIVE_MEASURES[condition],
                probe_before=_mean(eraser.probe_before, bench.layers),
                probe_after=_mean(eraser.probe_after, bench.layers),
                probe_chance=_mean(eraser.probe_chance, bench.layers),
            )
        )
    return tuple(results)


def _live_score(bench: Bench, eraser: Eraser, passed: Pass, row: int, facts: ClipFacts) -> float | None:
    scores = []
    start, stop = facts.span
    for layer in bench.layers:
        states = passed.states[layer][row, start:stop].cpu()
        predicted = states @ eraser.probe_weight[layer].T + eraser.probe_bias[layer]
        scores.append(
            concept_score(
                eraser.condition,
                predicted.numpy(),
                targets=eraser.targets,
                words=facts.words,
                samples=facts.samples,
                ends_s=facts.ends_s,
            )
        )
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if known else None


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _mean(by_layer: Mapping[int, float], layers: Sequence[int]) -> float:
    return float(np.mean([by_layer[layer] for layer in layers]))
