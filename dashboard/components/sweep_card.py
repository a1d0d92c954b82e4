"""A layer sweep as HTML: a small chart by layer for each likelihood that is known, and the same as a table.

The server draws it; every column of a chart can be reached by pointer, finger and Tab, and then tells its
answers. All texts are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from dashboard.figures.table import table_html
from engine.request import CONDITIONS
from engine.results import Answer, ArmResult

if TYPE_CHECKING:
    from engine.interventions import Sweep, SweepPoint

POSITIONS = {
    "audio": "audio positions",
    "prompt": "all prompt positions",
    "all": "prompt and generated positions",
}
REACHES = {"single layer": "each layer alone", "cumulative": "all of the nine up to each layer"}
Change = Callable[[ArmResult], "float | None"]


@dataclass(frozen=True)
class _Scale:
    """From nats to percent of the chart's height, 0 at its top."""

    low: float
    high: float
    step: float

    def y(self, value: float) -> float:
        return round(100 * (self.high - value) / (self.high - self.low), 2)


def sweep_html(swept: Sweep) -> str:
    """Return the sweep: what was done, charts with a column for each layer, their key, and the table."""
    charts = [_chart(swept, "the plain answer", lambda arm: arm.log_likelihood_change)]
    if swept.plain.right_log_likelihood_change is not None:
        charts.append(_chart(swept, "the right answer", lambda arm: arm.right_log_likelihood_change))
    return (
        f'<div class="sw"><p class="sw-what">{escape(_what(swept))}</p>'
        f'<div class="sw-charts">{"".join(charts)}</div>{_KEY}{_table(swept)}</div>'
    )


_KEY = (
    '<p class="sw-key"><span><i class="sw-k sw-k-erased"></i>erased</span>'
    '<span><i class="sw-k sw-k-changed"></i>erased, and the answer changed</span>'
    '<span><i class="sw-k sw-k-random"></i>random directions of the same rank: mean and range</span>'
    '<span><i class="sw-k sw-k-random sw-k-moved"></i>the same, and some answer changed</span></p>'
)


def _what(swept: Sweep) -> str:
    name = CONDITIONS[swept.condition].name
    n = len(swept.seeds)
    return (
        f"{name} erased at {REACHES[swept.reach]}: strength {swept.strength:g}, {swept.method}, "
        f"{POSITIONS[swept.scope]}. Plain answer: {said(swept.plain.answer)}. "
        f"Random controls: {n} seeds ({swept.seeds[0]} to {swept.seeds[-1]}). "
        f"One clip, so no interval. {swept.seconds:.1f} s."
    )


def said(answer: Answer) -> str:
    """Return an answer in a few words: its label, or what was said in place of one."""
    if answer.status == "parsed" and answer.label is not None:
        return answer.label
    text = answer.text.strip()
    return f"{answer.status}, said “{text}”" if text else "nothing said"


def is_changed(answer: Answer, plain: Answer) -> bool:
    """Return whether this is another answer than the plain one, letter case aside."""
    return said(answer).casefold() != said(plain).casefold()


def _chart(swept: Sweep, of: str, change: Change) -> str:
    arms = [arm for point in swept.points for arm in (point.erased, *point.controls)]
    scale = _scale([known for known in map(change, arms) if known is not None])
    lines = "".join(
        f'<i class="sw-line{" sw-zero" if value == 0 else ""}" style="top:{scale.y(value)}%"></i>'
        f'<span class="sw-tick" style="top:{scale.y(value)}%">{_signed(value, scale.step)}</span>'
        for value in _ticks(scale)
    )
    columns = "".join(_column(swept, point, change, scale) for point in swept.points)
    title = f"Log-likelihood change of {of}, nats"
    return (
        f'<figure class="sw-chart" aria-label="{escape(title)}"><figcaption>{escape(title)}</figcaption>'
        f'<div class="sw-plot" style="--sw-n:{len(swept.points)}">'
        f'<div class="sw-lines" aria-hidden="true">{lines}</div>{columns}'
        '<p class="sw-hint">Point at a layer, or tab to it, to read its answers.</p></div></figure>'
    )


def _column(swept: Sweep, point: SweepPoint, change: Change, scale: _Scale) -> str:
    """Return one layer: the controls' range and mean, the erased arm, and the words that appear on it."""
    values = [known for known in map(change, point.controls) if known is not None]
    erased = change(point.erased)
    if erased is None or not values:
        return ""
    top, bottom, mean = scale.y(max(values)), scale.y(min(values)), scale.y(sum(values) / len(values))
    moved = any(is_changed(arm.answer, swept.plain.answer) for arm in point.controls)
    changed = is_changed(point.erased.answer, swept.plain.answer)
    words = _words(swept, point, change)
    return (
        f'<div class="sw-col" tabindex="0" role="img" aria-label="{escape(words)}"><div class="sw-marks">'
        f'<i class="sw-range" style="top:{top}%;height:{max(0.0, bottom - top):.2f}%"></i>'
        f'<i class="sw-mean{" sw-moved" if moved else ""}" style="top:{mean}%"></i>'
        f'<i class="sw-dot{" sw-changed" if changed else ""}" style="top:{scale.y(erased)}%"></i></div>'
        f'<span class="sw-layer" aria-hidden="true">L{point.layer}</span>'
        f'<p class="sw-tip" aria-hidden="true">{escape(words)}</p></div>'
    )


def _words(swept: Sweep, point: SweepPoint, change: Change) -> str:
    plain = swept.plain.answer
    turned = "changed" if is_changed(point.erased.answer, plain) else "same"
    answers = "; ".join(said(arm.answer) for arm in point.controls)
    return (
        f"{_place(swept, point)}, rank {point.kept_rank}. Erased: {_nats(change(point.erased))} nats, answer "
        f"{said(point.erased.answer)} ({turned}). Random: {_mean_and_range(point, change)} nats, answers "
        f"{answers} ({_n_changed(swept, point)} changed)."
    )


def _n_changed(swept: Sweep, point: SweepPoint) -> str:
    changed = sum(is_changed(arm.answer, swept.plain.answer) for arm in point.controls)
    return f"{changed} of {len(point.controls)}"


def _place(swept: Sweep, point: SweepPoint) -> str:
    return f"Layer {point.layer}" if swept.reach == "single layer" else f"Layers up to {point.layer}"


def _mean_and_range(point: SweepPoint, change: Change) -> str:
    values = [known for known in map(change, point.controls) if known is not None]
    if not values:
        return "not known"
    return f"{_nats(sum(values) / len(values))} ({_nats(min(values))} to {_nats(max(values))})"


def _table(swept: Sweep) -> str:
    headers = ["Place", "Rank", "Erased: answer", "Erased: plain answer, nats"]
    headers += ["Random: answers", "Random: changed", "Random: plain answer, mean (range)"]
    known = swept.plain.right_log_likelihood_change is not None
    if known:
        headers += ["Erased: right answer, nats", "Random: right answer, mean (range)"]
    rows = []
    for point in swept.points:
        turned = " ≠" if is_changed(point.erased.answer, swept.plain.answer) else ""
        row = [_place(swept, point), point.kept_rank, said(point.erased.answer) + turned]
        row += [_nats(point.erased.log_likelihood_change), "; ".join(said(a.answer) for a in point.controls)]
        row += [_n_changed(swept, point), _mean_and_range(point, lambda arm: arm.log_likelihood_change)]
        if known:
            row += [_nats(point.erased.right_log_likelihood_change)]
            row += [_mean_and_range(point, lambda arm: arm.right_log_likelihood_change)]
        rows.append(row)
    return table_html("The sweep as a table (≠ marks a changed answer)", headers, rows)


def _scale(values: Sequence[float]) -> _Scale:
    """Return a scale of round steps that holds 0 and all values."""
    low, high = min(0.0, *values), max(0.0, *values)
    rough = max(high - low, 0.1) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= rough)
    top, bottom = math.ceil(high / step) * step, math.floor(low / step) * step
    return _Scale(bottom, top if top > bottom else bottom + step, step)


def _ticks(scale: _Scale) -> list[float]:
    n_steps = round((scale.high - scale.low) / scale.step)
    return [round(scale.low + step * scale.step, 6) + 0.0 for step in range(n_steps + 1)]


def _signed(value: float, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step)))
    return f"{value:+.{digits}f}".replace("-", "−") if value else "0"


def _nats(value: float | None) -> str:
    if value is None:
        return "not known"
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")
