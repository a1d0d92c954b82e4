"""The truth page's tables as HTML: the self-check, "Did it hear?", and the planted truths; everything escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from dashboard.components.benchmark_marks import ABSENT, between, count, figure, is_number

if TYPE_CHECKING:
    from engine.checks import Checked, Finding
    from engine.hearing import Hearing
    from engine.planted import Judgement
    from engine.results import Answer
    from engine.stats.intervals import Estimate

_CHECK_HEADS = ("Check", "Measured", "Must be", "Outcome")
_HEARING_HEADS = (
    "In the clip's place",
    "Answer",
    "Another answer",
    "Forced choice moved (0 to 1)",
    "A logit moved (most)",
    "KL of the first token (nats)",
)
# A figure and, where it has one, the control that it stands beside.
MOST_SHOWN = 5
_PAIRS = (
    ("cascade", "cascade_control"),
    ("lens", "lens_control"),
    ("text", "text_control"),
    ("pitch", "pitch_control"),
    ("linear", None),
    ("linear_after", None),
    ("quadratic_after", None),
)


def checks_html(checked: Sequence[Checked], sentence: str, cannot_find: Sequence[str] = ()) -> str:
    """Return the self-check: one sentence, then a table for each system; the first and every failing one open.

    Args:
        checked: what was found.
        sentence: the outcome.
        cannot_find: kinds of fault that no check finds; they stand below, folded.
    """
    here = [one for one in checked if one.findings]
    tables = "".join(_system(one, is_open=not row or not one.passed) for row, one in enumerate(here))
    left_out = _left_out("Not checked", here) + _left_out(
        "Systems that are not here", [one for one in checked if not one.findings]
    )
    passed = all(one.passed for one in checked)
    blind = "".join(f"<li>{escape(kind)}</li>" for kind in cannot_find)
    if blind:
        left_out += (
            f"<details><summary>What no check can find ({len(cannot_find)})</summary>"
            f'<ul class="small">{blind}</ul></details>'
        )
    return f"{_verdict(sentence, passed)}{tables}{left_out}"


def _left_out(title: str, checked: Sequence[Checked]) -> str:
    """Return what was not checked and why, folded where the list is long."""
    notes = [f"<li>{_name(one)}: {escape(note)}</li>" for one in checked for note in one.notes]
    if not notes:
        return ""
    is_open = " open" if len(notes) <= MOST_SHOWN else ""
    rows = "".join(notes)
    return (
        f'<details{is_open}><summary>{title} ({len(notes)})</summary><ul class="small">{rows}</ul></details>'
    )


def _system(one: Checked, *, is_open: bool) -> str:
    n_passed = sum(finding.passed for finding in one.findings)
    rows = "".join(_finding(finding) for finding in one.findings)
    return (
        f"<details{' open' if is_open else ''}><summary><b>{_name(one)}</b> "
        f"{n_passed} of {len(one.findings)} pass</summary>{_table(_CHECK_HEADS, rows, one.name)}</details>"
    )


def _name(one: Checked) -> str:
    return escape(one.name.replace("->", "→"))


def _finding(finding: Finding) -> str:
    outcome = _mark("passes", True) if finding.passed else _mark("fails", False)
    cells = (escape(finding.measured), escape(finding.bound), outcome)
    return _row(escape(finding.name), cells)


def hearing_html(found: Hearing) -> str:
    """Return the verdict, the clip's own answer and each control's, with what they moved."""
    own = _row(f"the clip itself: {escape(found.clip_name)}", (_answer(found.answer), *[ABSENT] * 4))
    controls = "".join(
        _row(
            f"{escape(one.name)} <small>{escape(one.given)}</small>",
            (
                _answer(one.answer),
                "yes" if one.answer_changed else "no",
                figure(one.total_variation, 3),
                figure(one.logit_change, 3),
                figure(one.divergence_nats, 3),
            ),
        )
        for one in found.controls
    )
    shorter = [one.name for one in found.controls if not one.same_length]
    note = (
        f'Asked: "{found.instruction}" One clip (n = 1), so no interval. A logit that moves by more than '
        f"{found.tolerance:g} moves by more than rounding. Silence and the other clip are as long as the clip. "
        f"{' and '.join(shorter).capitalize()} shortens the prompt, which alone moves the logits of a deaf model: "
        "it is shown and does not count."
    )
    table = _table(_HEARING_HEADS, own + controls, "What each control changes")
    return f'{_verdict(found.verdict, found.heard)}{table}<p class="small">{escape(note)}</p>'


def _answer(answer: Answer) -> str:
    said = f'"{escape(answer.text)}"' if answer.text else "nothing"
    return said if answer.status == "parsed" else f"{said} <small>({escape(answer.status)})</small>"


def truths_html(found: Sequence[Judgement], measures: Mapping[str, str]) -> str:
    """Return a card for each planted network: truth beside verdict, the figures with their controls, the limit.

    Args:
        found: the judgements.
        measures: what each figure is called.
    """
    return f'<div class="truth-plants">{"".join(_plant(one, measures) for one in found)}</div>'


def _plant(one: Judgement, measures: Mapping[str, str]) -> str:
    rows = "".join(
        _row(
            escape(measures[key]),
            (_estimate(one.measured[key]), _estimate(one.measured[control]) if control else ""),
        )
        for key, control in _PAIRS
    )
    n = max(estimate.n for estimate in one.measured.values())
    ranks = ", ".join(f"{key} {rank}" for key, rank in one.kept_rank.items())
    notes = " ".join(dict.fromkeys(estimate.note for estimate in one.measured.values() if estimate.note))
    limit = f'<p class="truth-limit"><b>Limit.</b> {escape(one.limit)}</p>' if one.limit else ""
    agrees = _mark("agrees", True) if one.agrees else _mark("does not agree", False)
    return (
        f'<section class="card"><h3>{escape(one.name)}</h3>'
        f"<dl><dt>Truth</dt><dd>{escape(one.truth)}</dd>"
        f"<dt>Verdict</dt><dd>{escape(one.verdict)} {agrees}</dd></dl>{limit}"
        f"{_table(('Figure', 'Value', 'Its control'), rows, one.name)}"
        f'<p class="small">{count(n, "clip")}; 95 % intervals over clips. Kept rank: {escape(ranks)}.</p>'
        f'<details class="small"><summary>Notes on these figures</summary><p>{escape(notes)}</p></details></section>'
    )


def _estimate(it: Estimate) -> str:
    interval = between(it.low, it.high)
    shown = figure(it.value) if is_number(it.value) else f"not defined: {escape(it.note)}"
    return f'{shown} <small class="truth-interval">{interval}</small>'


def _verdict(sentence: str, good: bool) -> str:
    return f'<p class="truth-verdict{"" if good else " problem"}">{escape(sentence)}</p>'


def _mark(word: str, good: bool) -> str:
    """Return an outcome in words and a sign; colour only repeats it."""
    return f'<span class="truth-mark {"good" if good else "bad"}">{"✓" if good else "✗"} {word}</span>'


def _row(head: str, cells: Sequence[str]) -> str:
    return f'<tr><th scope="row">{head}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _table(heads: Sequence[str], rows: str, label: str) -> str:
    """Return a table of rows that are HTML already; it scrolls sideways by itself, with the keyboard too."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    return (
        f'<div class="truth-scroll" role="region" aria-label="{escape(label)}" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
