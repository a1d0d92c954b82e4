"""For someone who has to choose: accuracy, robustness and cost of every system side by side, and what it means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from dashboard.comparison import Difference, accuracy_of, difference, loudest_babble, matched_pairs
from dashboard.components.benchmark_marks import (
    ABSENT,
    between,
    count,
    figure,
    heading,
    is_number,
    nothing,
    percent,
    signed,
)
from dashboard.names import in_order, kind_name, kind_of, name_of, task_name
from dashboard.tables import CLEAN, Level, at, table

NO_PAIR_KNOWN = (
    "No accuracy of a matched cascade is known here, so the difference that a choice makes cannot be said."
)


@dataclass(frozen=True)
class Choice:
    """One system in one cell; NaN where a figure was not measured."""

    system: str
    accuracy: float
    low: float
    high: float
    baseline: float
    lost: float
    seconds: float
    real_time_factor: float
    parameters_m: float
    memory_mb: float


def choices_at(source: str, task: str, level: Level) -> list[Choice]:
    """Return what is known of every system that has an accuracy in this cell."""
    rows = at(table(source, "accuracy"), task=task, level=level).set_index("system")
    costs = table(source, "cost")
    costs = costs[costs["task"] == task].set_index("system")
    loud = loudest_babble(source, task)
    found = []
    for system in in_order(source, set(rows.index)):
        row = rows.loc[system]
        clean = accuracy_of(source, task, CLEAN, system)
        lost = clean - accuracy_of(source, task, loud, system) if loud else math.nan
        cost = costs.loc[system] if system in costs.index else {}
        names = ("seconds_per_clip", "real_time_factor", "parameters_m", "peak_memory_mb")
        measured = [float(cost.get(name, math.nan)) for name in names]
        baseline = float(row["majority_baseline"])
        found.append(
            Choice(
                system,
                float(row["accuracy"]),
                float(row["low"]),
                float(row["high"]),
                baseline,
                lost,
                *measured,
            )
        )
    return found


def meaning(source: str, task: str, level: Level, pair: tuple[str, str], choices: Sequence[Choice]) -> str:
    """Return what the difference of two systems means, in one sentence with its uncertainty; plain text."""
    first, second = pair
    gap = difference(source, task, level, first, second)
    where = f"On {task_name(task)} {level.phrase}"
    if not is_number(gap.value):
        names = f"{name_of(source, first)} and {name_of(source, second)}"
        return f"{where}: {names} cannot be compared; the tables hold no difference of the two."
    ahead, behind = (first, second) if gap.value >= 0 else (second, first)
    low, high = (gap.low, gap.high) if gap.value >= 0 else (-gap.high, -gap.low)
    points = f"{100 * abs(gap.value):.1f} points"
    size = f"{name_of(source, ahead)} is right {points} more often than {name_of(source, behind)}"
    if gap.value == 0:
        size = f"{name_of(source, first)} and {name_of(source, second)} are right equally often"
    return f"{where}, {size}{_certainty(low, high, gap)}{_time(source, choices, ahead, behind)}."


def _certainty(low: float, high: float, gap: Difference) -> str:
    if not (is_number(low) and is_number(high)):
        return "; no interval is known, so this may be chance"
    interval = f" (95 % interval {signed(100 * low)} to {signed(100 * high)}, {count(gap.n, 'item group')})"
    return interval + (
        ": more than chance explains"
        if low > (gap.mc_error if is_number(gap.mc_error) else 0.0)
        else ": the interval includes zero, so either may be the better one"
    )


def _time(source: str, choices: Sequence[Choice], ahead: str, behind: str) -> str:
    seconds = {choice.system: choice.seconds for choice in choices}
    one, other = seconds.get(ahead, math.nan), seconds.get(behind, math.nan)
    if not (is_number(one) and is_number(other)) or min(one, other) <= 0:
        return ""
    ratio = one / other
    if 0.95 < ratio < 1.05:
        return ", and it takes just as long per clip"
    share = f"{figure(ratio, 1)} times as long" if ratio > 1 else f"{figure(100 * ratio, 0)} % of the time"
    return f", and it takes {share} per clip"


def decision_html(source: str, task: str, level: Level, pair: tuple[str, str]) -> str:
    """Return the card's HTML; the sentence is about `pair` where both are known, else about the closest match."""
    choices = choices_at(source, task, level)
    title = heading("For a decision", f"{task_name(task)}, {level.name}")
    if not choices:
        return title + nothing("No accuracy is known here.")
    known = {choice.system for choice in choices}
    matched = [(a, b) for a, b, _ in matched_pairs(source, task) if {a, b} <= known]
    about = pair if set(pair) <= known else next(iter(matched), None)
    sentence = meaning(source, task, level, about, choices) if about else NO_PAIR_KNOWN
    loud = loudest_babble(source, task)
    return (
        f'{title}<p class="bm-sentence">{escape(sentence)}</p>'
        + _table(source, choices, f"Lost, clean to {loud.name}" if loud else "Lost in noise")
        + f'<p class="small">{escape(_footnote(source, choices))}</p>'
    )


def _table(source: str, choices: Sequence[Choice], lost: str) -> str:
    """Return the table without the columns of which nothing is known."""
    heads = ("Right", "95 % interval", lost, "Seconds a clip", "× real time", "Parameters", "Memory")
    cells = [_cells(choice) for choice in choices]
    known = [number for number in range(len(heads)) if any(row[number] != ABSENT for row in cells)]
    head = "".join(f'<th scope="col">{escape(heads[number])}</th>' for number in known)
    body = "".join(
        _row(source, choice.system, [row[number] for number in known])
        for choice, row in zip(choices, cells, strict=True)
    )
    return (
        '<div class="bm-scroll" role="region" aria-label="Systems side by side" tabindex="0">'
        '<table class="bm-plain"><thead><tr><th scope="col">System</th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(source: str, system: str, cells: Sequence[str]) -> str:
    name, kind = escape(name_of(source, system)), escape(kind_name(kind_of(source, system)))
    listed = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{name}<small>{kind}</small></th>{listed}</tr>'


def _cells(choice: Choice) -> tuple[str, ...]:
    """Return one system's cells as escaped HTML, a dash where a figure is not known."""
    bar = f'<span class="bm-mini"><i style="width:{100 * choice.accuracy:.1f}%"></i></span>'
    seconds = figure(choice.seconds, 3) if choice.seconds < 0.1 else figure(choice.seconds)
    return (
        f"{bar}{percent(choice.accuracy, 1)}",
        between(100 * choice.low, 100 * choice.high, 1) or ABSENT,
        f"{signed(-100 * choice.lost)} points" if is_number(choice.lost) else ABSENT,
        seconds,
        figure(choice.real_time_factor, 3),
        f"{choice.parameters_m:.1f} M" if is_number(choice.parameters_m) else ABSENT,
        f"{choice.memory_mb:,.0f} MB" if is_number(choice.memory_mb) else ABSENT,
    )


def _footnote(source: str, choices: Sequence[Choice]) -> str:
    if source == "published":
        return "Published totals; the paper measured no cost. Matched cascades have no published accuracy."
    hardware = sorted({str(name) for name in table(source, "cost")["hardware"] if name})
    baseline = next((choice.baseline for choice in choices if is_number(choice.baseline)), math.nan)
    on = f"Time and memory on {'; '.join(hardware)}. " if hardware else ""
    return f"{on}Always giving the commonest answer is right on {percent(baseline, 1)}."
