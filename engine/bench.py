"""The erasure bench: arms as rows of one batch, and their outcomes side by side.

Row 0 is plain; each condition owns two rows, erased and the random control of the same kept rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.conditions import Method
from engine.decode import Pass
from engine.erasure import Eraser
from engine.hooks import RowEdits, Scope
from engine.result import Answer, ArmResult, ErasureOutcome

NO_PROOF = (
    "Whether it is gone was not measured: the erasers on disk carry no proof (python -m precompute erasers)."
)
NO_PROOF_HERE = (
    "Whether it is gone was not measured for these layers together: it is for each layer alone, and for the lowest "
    "of the nine."
)


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


def outcomes(
    bench: Bench,
    passed: Pass,
    edits: RowEdits | None,
    answers: Sequence[Answer],
    right_scores: Sequence[float | None],
) -> tuple[ErasureOutcome, ...]:
    """Return one outcome for each condition.

    Args:
        bench: what was asked.
        passed: the batch's results; row 0 plain.
        edits: the rows' edits, with the changes they made; None where every arm is the plain row.
        answers: the parsed answer of every row.
        right_scores: log-probability of the right answer in every row, None where it is not known.
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
            )
            for row in rows
        ]
        proof = eraser.proof.of_run(bench.layers, bench.method, bench.scope) if eraser.proof else None
        results.append(
            ErasureOutcome(
                condition=condition,
                kept_rank=eraser.rank(bench.layers, bench.method),
                layers=bench.layers,
                scope=bench.scope,
                method=bench.method,
                strength=bench.strength,
                plain=arms[0],
                erased=arms[1],
                random_control=arms[2],
                fitted_on=eraser.fitted_on(bench.layers, bench.method),
                proof=proof,
                proof_missing="" if proof else NO_PROOF_HERE if eraser.proof else NO_PROOF,
            )
        )
    return tuple(results)


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
