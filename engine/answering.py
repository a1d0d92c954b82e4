"""From what a system heard to its answer: the one place where a generated text becomes a label.

The page asks one clip under several arms (`answer_arms`), a lane asks one clip plainly (`answer_one`), and
the benchmark asks many clips as rows of one batch (`answer_batch`); a service is asked one clip or one
transcript (`answer_behaviour`). All four read answers the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from engine.audio import AudioClip
from engine.decode import Decoded, Pass, run_arms, run_prompts
from engine.hooks import RowEdits
from engine.request import Question
from engine.result import CUT_OFF, Answer, BehaviourAnswer
from engine.systems.base import BehaviourModel, Heard, Prepared, WhiteBoxModel
from engine.systems.catalogue import UNAVAILABLE
from engine.systems.remote import Tell
from engine.tasks import parse_answer


def answer_one(system: WhiteBoxModel, heard: Heard, question: Question) -> Answer:
    """Return a system's plain answer to one question about one clip."""
    _, answers, _ = answer_arms(system, system.prepare(heard, question.instruction), question)
    return answers[0]


def answer_batch(
    system: WhiteBoxModel, heard: Sequence[Heard], questions: Sequence[Question], batch_size: int
) -> list[Answer]:
    """Return the answers that `answer_one` gives, several prompts to a forward pass.

    Args:
        system: who is asked; `engine.checks.check_batches` says whether its batches equal its singles here.
        heard: one for each question, in any order; neighbours of like length waste least.
        questions: what is asked of each.
        batch_size: prompts to a pass; 1 takes the very path of the page.
    """
    pairs = list(zip(heard, questions, strict=True))
    if batch_size == 1:
        return [answer_one(system, one, question) for one, question in pairs]
    answers: list[Answer] = []
    for start in range(0, len(pairs), batch_size):
        rows = pairs[start : start + batch_size]
        replies = run_prompts(
            system,
            [system.prepare(one, question.instruction) for one, question in rows],
            continuations=[question.labels for _, question in rows],
            max_new_tokens=[question.task.max_new_tokens for _, question in rows],
        )
        for (_, question), reply in zip(rows, replies, strict=True):
            answers.append(_read(question, reply.decoded, reply.continuation_scores.numpy()))
    return answers


def answer_behaviour(
    system: BehaviourModel, given: AudioClip | str, question: Question, tell: Tell | None = None
) -> BehaviourAnswer:
    """Return a behaviour-only system's answer to one question about a clip, or about a transcript.

    Args:
        system: who is asked.
        given: the clip, or the transcript.
        question: what is asked.
        tell: see `BehaviourModel.ask`.

    Raises:
        ServiceError: the service gave no reply; in a benchmark that is a failed row with this sentence.
    """
    reply = system.ask(given, question.instruction, tell)
    label, status = parse_answer(question.task, reply.text, question.labels)
    if reply.refusal:
        label, status = None, "refused"
    return BehaviourAnswer(
        text=reply.text,
        label=label,
        status=status,
        forced_choice=None,
        log_likelihood=None,
        not_measured=f"{UNAVAILABLE['forced_choice']} {UNAVAILABLE['log_likelihood']}",
        model_version=reply.model_version,
        note=f"Refused by the service: {reply.refusal}." if reply.refusal else reply.note,
        seconds=reply.seconds,
        prompt_tokens=reply.prompt_tokens,
        answer_tokens=reply.answer_tokens,
    )


def answer_arms(
    system: WhiteBoxModel,
    prepared: Prepared,
    question: Question,
    *,
    gold: str | None = None,
    edits: RowEdits | None = None,
    batched: bool = True,
    record: bool = True,
) -> tuple[Pass, list[Answer], list[float | None]]:
    """Answer under every arm; return the pass, the parsed answers and the right answer's scores.

    States at every layer are in the pass, for a system that hears, unless `record` is False.
    """
    scored = [*question.labels, *([gold] if gold and gold not in question.labels else [])]
    layers = all_layers(system) if record and prepared.heard.seconds_per_position else ()
    passed = run_arms(
        system,
        prepared,
        edits=edits,
        continuations=scored,
        record_layers=layers,
        max_new_tokens=question.task.max_new_tokens,
        batched=batched,
    )
    scores = passed.continuation_scores.numpy()
    answers = [_read(question, decoded, scores[row]) for row, decoded in enumerate(passed.decoded)]
    right = [float(row[scored.index(gold)]) if gold else None for row in scores]
    return passed, answers, right


def all_layers(system: WhiteBoxModel) -> tuple[int, ...]:
    """Return every layer's index: 0 is what the first block receives."""
    return tuple(range(len(system.decoder_layers) + 1))


def _read(question: Question, decoded: Decoded, scores: Float[np.ndarray, " continuations"]) -> Answer:
    """Read one row; the labels' scores come first."""
    label, status = parse_answer(question.task, decoded.text, question.labels)
    shares = _normalised(scores[: len(question.labels)])
    forced = dict(zip(question.labels, shares, strict=True))
    note = "" if decoded.end_id is not None else f"{CUT_OFF} {question.task.max_new_tokens} tokens."
    return Answer(decoded.text, label, status, forced, decoded.log_likelihood, note)


def _normalised(log_scores: Float[np.ndarray, " labels"]) -> list[float]:
    if not len(log_scores):
        return []
    shares = np.exp(log_scores - log_scores.max())
    return [float(share) for share in shares / shares.sum()]
