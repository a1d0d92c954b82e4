"""Whether the speech LLM and its cascade agree, as one class and one sentence."""

from __future__ import annotations

from engine.result import Agreement, AnyAnswer
from engine.scoring import is_right
from engine.spelling import normalise
from engine.tasks import Task

_WHY_UNREAD = {
    "unparsed": "answered with none of the allowed words",
    "refused": "refused to answer",
    "empty": "gave no answer",
}


def compare(
    task: Task, speech: AnyAnswer, cascade: AnyAnswer, gold: str | None, aliases: tuple[str, ...] = ()
) -> Agreement:
    """Return the agreement class of two answers; answers that were not parsed are never counted as alike."""
    unread = [
        f"the {name} {_WHY_UNREAD[answer.status]}"
        for name, answer in (("speech LLM", speech), ("cascade", cascade))
        if answer.label is None
    ]
    if unread:
        return Agreement("not comparable", f"Not comparable: {' and '.join(unread)}.")
    assert speech.label is not None and cascade.label is not None
    same = normalise(speech.label) == normalise(cascade.label)
    if gold is None:
        kind_same = (
            "The speech LLM and its cascade give the same answer; whether it is right is not known here."
        )
        kind_other = "The speech LLM and its cascade answer differently; which is right is not known here."
        return Agreement("same answer", kind_same) if same else Agreement("different answers", kind_other)
    speech_right = is_right(task, speech.label, gold, aliases, text=speech.text)
    cascade_right = is_right(task, cascade.label, gold, aliases, text=cascade.text)
    if speech_right and cascade_right:
        return Agreement("both right", "The speech LLM and its cascade both give the right answer.")
    if speech_right:
        return Agreement(
            "only the speech LLM right", f'Only the speech LLM is right; the answer is "{gold}".'
        )
    if cascade_right:
        return Agreement("only the cascade right", f'Only the cascade is right; the answer is "{gold}".')
    if same:
        return Agreement(
            "both wrong, same answer", f'Both are wrong in the same way; the answer is "{gold}".'
        )
    return Agreement(
        "both wrong, different answers", f'Both are wrong, each in its way; the answer is "{gold}".'
    )
