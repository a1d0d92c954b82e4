"""Rules of the claims about answers: agreement, shared errors, accuracy, noise."""

from __future__ import annotations

import math
from collections.abc import Iterator

from engine.stats.intervals import mean_of
from precompute.claims.measured import (
    TRAINED_ON,
    Measured,
    given_answers,
    needs_voice,
    words_decide,
    words_only,
)
from precompute.claims.verdict import Trial

ALMOST_PERFECT = 0.8  # kappa; Landis and Koch (1977)
AS_ACCURATE = -0.02  # two points, ours: "at least as accurate" must allow for chance
NEWS = ("topic", "ag_news")  # the paper counted transcripts on AG News; in the mini world topics stand for it


def near_equivalence(run: Measured) -> Iterator[Trial]:
    """Kappa of a frozen-backbone model with its cascade."""
    for pairing in run.pairings("exact"):
        for task in run.tasks(words_only):
            kappa = run.kappa(pairing.speech, pairing.cascade, task)
            if kappa is not None:
                tops = [run.kappa(*pair, task) for pair in run.ceilings(pairing)]
                said = ", ".join(f"{top.value:.2f}" for top in tops if top is not None)
                note = f"Two cascades on one LLM: {said}." if said else ""
                yield Trial(pairing.speech, pairing.cascade, task, "", kappa, ALMOST_PERFECT, note=note)


def divergence(run: Measured) -> Iterator[Trial]:
    """Kappa of a model trained further on audio with each close cascade, minus that of a frozen one with its own."""
    for pairing in run.pairings(*TRAINED_ON):
        for rival in run.pairings("exact") if pairing.speech in run.trained_on else ():
            for task in run.tasks(words_only):
                kappa = run.kappa(pairing.speech, pairing.cascade, task)
                theirs = run.kappa(rival.speech, rival.cascade, task)
                if kappa is not None and theirs is not None:
                    note = f"Kappa {kappa.value:.2f} ({pairing.match} match) against {theirs.value:.2f}."
                    detail = f"against {rival.speech} with {rival.cascade}"
                    yield Trial(
                        pairing.speech, pairing.cascade, task, detail, kappa - theirs, 0.0, "below", note=note
                    )


def backbone(run: Measured) -> Iterator[Trial]:
    """Kappa with a matched cascade minus kappa with a mismatched one, on the same clips."""
    for pairing in run.pairings():
        for other in run.mismatched(pairing):
            for task in run.tasks(given_answers):
                mine = run.kappa(pairing.speech, pairing.cascade, task)
                theirs = run.kappa(pairing.speech, other, task)
                if mine is not None and theirs is not None:
                    note = f"Kappa {mine.value:.2f} matched, {theirs.value:.2f} mismatched."
                    detail = f"{pairing.match} match, against {other}"
                    yield Trial(pairing.speech, pairing.cascade, task, detail, mine - theirs, note=note)


def voice(run: Measured) -> Iterator[Trial]:
    """Mean kappa over words-only tasks minus kappa on each task that the voice decides, same pair."""
    for pairing in run.pairings():
        found = [run.kappa(pairing.speech, pairing.cascade, task) for task in run.tasks(words_only)]
        words = [kappa for kappa in found if kappa is not None and not math.isnan(kappa.value)]
        for task in run.tasks(needs_voice) if words else ():
            kappa = run.kappa(pairing.speech, pairing.cascade, task)
            if kappa is not None:
                mean = mean_of(words)
                note = f"Kappa {mean.value:.2f} on words-only tasks, {kappa.value:.2f} on this one."
                yield Trial(
                    pairing.speech, pairing.cascade, task, f"{pairing.match} match", mean - kappa, note=note
                )


def as_accurate(run: Measured) -> Iterator[Trial]:
    """Accuracy of the closest cascade minus that of the speech LLM, on tasks that the words decide."""
    for pairing in run.closest():
        for task in run.tasks(words_decide):
            found = run.accuracy_lead(pairing.cascade, pairing.speech, task)
            if found is not None:
                lead, note = found
                detail = f"{pairing.match} match"
                yield Trial(pairing.cascade, pairing.speech, task, detail, lead, AS_ACCURATE, note=note)


def shared_errors(run: Measured) -> Iterator[Trial]:
    """P(same wrong label | both wrong) against blind guessing."""
    yield from _overlap(run, "chance")


def shared_errors_null(run: Measured) -> Iterator[Trial]:
    """P(same wrong label | both wrong) against the wrong answers of the second system dealt anew."""
    yield from _overlap(run, "dealt")


def _overlap(run: Measured, against: str) -> Iterator[Trial]:
    for pairing in run.pairings():
        for task in run.tasks(given_answers):
            found = run.overlap(pairing.speech, pairing.cascade, task)
            line = math.nan if found is None else float(getattr(found, against))
            if found is not None and not math.isnan(line):  # open answers have no chance
                note = f"{found.n_joint:,} clips on which both are wrong." if found.n_joint else ""
                detail = f"{pairing.match} match"
                yield Trial(pairing.speech, pairing.cascade, task, detail, found.share, line, note=note)


def matched_overlap(run: Measured) -> Iterator[Trial]:
    """Error overlap with a matched cascade minus that with a mismatched one."""
    for pairing in run.pairings():
        for other in run.mismatched(pairing):
            for task in run.tasks(given_answers):
                mine = run.overlap(pairing.speech, pairing.cascade, task)
                theirs = run.overlap(pairing.speech, other, task)
                if mine is not None and theirs is not None:
                    note = f"Overlap {mine.share.value:.2f} matched, {theirs.share.value:.2f} mismatched."
                    detail = f"{pairing.match} match, against {other}"
                    lead = mine.share - theirs.share
                    yield Trial(pairing.speech, pairing.cascade, task, detail, lead, note=note)


def reasoning_errors(run: Measured) -> Iterator[Trial]:
    """Right transcripts among the wrong answers that a frozen model shares with its cascade, minus among all clips."""
    for pairing in run.pairings("exact"):
        for task in run.tasks(NEWS.__contains__):
            found = run.heard_rightly(pairing, task)
            if found is not None:
                errors, everywhere, n = found
                note = f"{errors.value:.2f} of {n:,} shared errors; {everywhere.value:.2f} of all clips."
                note = note if n else f"{errors.value:.2f} of shared errors; not printed for all clips."
                yield Trial(pairing.speech, pairing.cascade, task, "", errors - everywhere, note=note)


def robustness(run: Measured) -> Iterator[Trial]:
    """Accuracy that the speech LLM loses from clean to the loudest babble, minus what its cascade loses."""
    for pairing in run.pairings():
        for task in run.tasks(words_only):
            found = run.extra_loss(pairing, task)
            if found is not None:
                loss, detail = found
                yield Trial(pairing.speech, pairing.cascade, task, detail, loss)
