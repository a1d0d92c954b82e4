"""One cell in which a claim is tried, the pooled estimate of its cells, and what that says of the claim.

A cell holds where its 95 % interval lies on the claim's side of the line, fails where it lies on the other and
is open where it includes the line, or where an end lies so near the line that other resamples could turn it. A claim
says one thing or several: its parts. Of each the cells are pooled to their mean, and the interval of that mean
decides. The claim holds where every part does, does not hold where one fails, and else cannot be said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from engine.columns import SIDES
from engine.stats.intervals import Estimate, Resampled, mean_of
from engine.stats.significance import Needed, n_needed

GROUPS = "groups of related items"
BOOTSTRAP = "bootstrap of groups"
NO_LINE = "The line that it would be held against is not defined."
NO_INTERVAL = "It has no interval."
NO_WIDTH = "All are alike, so its interval has no width and says nothing of chance."
FEW = "Below 20 the interval is too narrow."
TOO_FEW = "Fewer than 20 groups do not decide a claim."
NEAR = "An end of its interval lies within the Monte-Carlo error of the line: other resamples could turn it."
LEFT_OUT = "{n} of {k} cells have no figure, or fewer than 20 groups, and are not in the mean."
FEWEST = 20
PUBLISHED_SIDES = {"holds": "holds", "fails": "does not hold", "undefined": "cannot be said"}


@dataclass(frozen=True)
class Trial:
    """One cell, or the mean of several.

    Attributes:
        system: what is tried; `other` is what it is held against, "" where it stands alone.
        task: key of the task, "" for all of them.
        detail: which figure: a layer, a control, a noise.
        figure: with its interval and, where they are at hand, its resamples; `n` counts what `n_of` names.
        line: what the interval must exclude.
        wanted: the side of the line on which the claim has it.
        part: which of the claim's statements it is of; "" where there is one.
    """

    system: str
    other: str
    task: str
    detail: str
    figure: Resampled
    line: float = 0.0
    wanted: Literal["above", "below"] = "above"
    n_of: str = GROUPS
    note: str = ""
    part: str = ""

    @property
    def seen(self) -> Estimate:
        return self.figure.seen

    @property
    def place(self) -> tuple[str, str, str, str]:
        return self.system, self.other, self.task, self.detail

    @cached_property
    def margin(self) -> Resampled:
        """How far it lies on the claim's side of the line."""
        above = self.figure.shifted(-self.line)
        return above if self.wanted == "above" else above.turned()

    @property
    def side(self) -> str:
        """One of SIDES."""
        seen = self.margin.seen
        if math.isnan(seen.low) or math.isnan(seen.high) or seen.low == seen.high:
            return "undefined"
        error = seen.mc_error if seen.mc_error == seen.mc_error else 0.0
        return "holds" if seen.low > error else "fails" if seen.high < -error else "open"

    @property
    def side_of_value(self) -> str:
        """The side of a value without an interval, as published ones are: holds, fails or undefined."""
        return "undefined" if math.isnan(self.margin.value) else "holds" if self.margin.value > 0 else "fails"

    @property
    def lead(self) -> float:
        """How far on the claim's side it is, in halves of its interval: above 1 it holds, below -1 it fails."""
        seen = self.margin.seen
        half = seen.value - seen.low if seen.value > 0 else seen.high - seen.value
        return seen.value / half if half > 0 else math.copysign(math.inf, seen.value) if seen.value else 0.0

    @property
    def needed(self) -> Needed:
        """What it would take to settle an open cell."""
        if self.side != "open":
            return Needed(math.nan)
        return n_needed(self.seen.value, self.seen.low, self.seen.high, self.line, self.seen.n)

    @property
    def why(self) -> str:
        """What else to know: why there is no figure, how it came about, and what would help."""
        few = FEW if self.seen.n < FEWEST and self.side != "undefined" else ""
        seen = self.margin.seen
        near = NEAR if self.side == "open" and (seen.low > 0 or seen.high < 0) else ""
        return " ".join(dict.fromkeys(filter(None, (self.note, self._missing, near, self.needed.note, few))))

    @property
    def _missing(self) -> str:
        if self.side != "undefined":
            return self.seen.note
        if math.isnan(self.line):
            return NO_LINE
        return NO_WIDTH if self.seen.low == self.seen.high else self.seen.note or NO_INTERVAL


def parts_of(trials: Iterable[Trial]) -> list[Trial]:
    """Return the pooled estimate of each of the claim's parts, in the order of their first cells."""
    trials = list(trials)
    names = dict.fromkeys(trial.part for trial in trials)
    return [pooled([trial for trial in trials if trial.part == name]) for name in names]


def pooled(trials: Sequence[Trial]) -> Trial:
    """Return the mean of cells, each weighing alike; of one cell, the cell itself.

    Cells with one line and one side are averaged as they are; others by how far they lie on the claim's side of
    their own line. Cells without a figure are left out and counted; so are, where there are others, those without an
    interval and those with fewer than 20 groups, whose interval is too narrow.
    """
    known = [trial for trial in trials if not math.isnan(trial.margin.value)]
    with_ends = [trial for trial in known if not math.isnan(trial.margin.seen.low)]
    enough = [trial for trial in with_ends if not _is_thin(trial)]
    used = enough or with_ends or known
    if len(trials) == 1 or not used:
        return trials[0]
    lost = LEFT_OUT.format(n=len(trials) - len(used), k=len(trials)) if len(used) < len(trials) else ""
    first = used[0]
    alike = len({(trial.line, trial.wanted) for trial in used}) == 1
    figures = [trial.figure if alike else trial.margin for trial in used]
    of = "mean of" if alike else "mean distance from their lines, on the claim's side, of"
    system, other, task = (
        _common([getattr(trial, name) for trial in used]) for name in ("system", "other", "task")
    )
    return Trial(
        system,
        other,
        task,
        detail=f"{of} {len(used)} cells",
        figure=mean_of(figures),
        line=first.line if alike else 0.0,
        wanted=first.wanted if alike else "above",
        n_of=first.n_of,
        note=lost,
        part=first.part,
    )


def _is_thin(trial: Trial) -> bool:
    return trial.seen.n < FEWEST and trial.n_of == GROUPS


def _common(values: Sequence[str]) -> str:
    return values[0] if len(set(values)) == 1 else ""


def part_side(part: Trial) -> str:
    """Return the side of a part; fewer than 20 groups of related items leave it open."""
    return "open" if _is_thin(part) and part.side in ("holds", "fails") else part.side


def verdict_of(trials: Iterable[Trial]) -> str:
    """Return holds, does not hold, cannot be said, or not measured where there is no cell."""
    sides = {part_side(part) for part in parts_of(trials)}
    if not sides:
        return "not measured"
    if "fails" in sides:
        return "does not hold"
    return "cannot be said" if sides & {"open", "undefined"} else "holds"


def deciding(trials: Sequence[Trial]) -> Trial | None:
    """Return the part that is least on the claim's side, an undefined one only where there is no other."""
    return min(
        parts_of(trials),
        key=lambda part: (
            part.side == "undefined",
            0.0 if part.side == "undefined" else part.lead,
            part.place,
        ),
        default=None,
    )


def published_verdict(trials: Sequence[Trial]) -> tuple[str, str]:
    """Return what the rule says of published values, and how, in words: values alone, for few have intervals."""
    if not trials:
        return "not published", "The paper prints no figure that this rule could be tried on."
    parts = parts_of(trials)
    sides = [part.side_of_value for part in parts]
    verdict = "fails" if "fails" in sides else "undefined" if "undefined" in sides else "holds"
    told = [trial for trial in trials if trial.side_of_value != "undefined"]
    n_holds = sum(trial.side_of_value == "holds" for trial in told)
    said = "; ".join(_in_words(part) for part in parts)
    cells = f" {n_holds} of {len(told)} cells lie on the claim's side." if len(trials) > 1 else ""
    return PUBLISHED_SIDES[verdict], f"{said}.{cells} Values only."


def _in_words(part: Trial, side: str = "") -> str:
    """Return "kept: mean of 4 cells 0.12 [0.10, 0.14], to lie above 0: holds" of a part."""
    seen = part.seen
    named = ": ".join(dict.fromkeys(filter(None, (part.part, part.detail))))
    if math.isnan(seen.value):
        return f"{named or 'the figure'} is not defined".strip()
    digits = 3 if round(part.line, 2) in [round(end, 2) for end in (seen.value, seen.low, seen.high)] else 2
    ends = "" if math.isnan(seen.low) else f" [{seen.low:.{digits}f}, {seen.high:.{digits}f}]"
    line = "a line not known" if math.isnan(part.line) else f"{part.line:.2f}"
    return f"{named} {seen.value:.{digits}f}{ends}, to lie {part.wanted} {line}".strip() + (
        f": {side}" if side else ""
    )


def cell_row(trial: Trial) -> dict[str, Any]:
    """Return a cell as a row of claim_cells.csv, without the key of its claim."""
    return {
        **_place_of(trial),
        "part": trial.part,
        "value": trial.seen.value,
        "low": trial.seen.low,
        "high": trial.seen.high,
        "line": trial.line,
        "wanted": trial.wanted,
        "n": trial.seen.n,
        "n_of": trial.n_of,
        "method": BOOTSTRAP if trial.seen.method.startswith("percentile bootstrap") else trial.seen.method,
        "side": trial.side,
        "n_needed": trial.needed.n,
        "note": trial.why,
    }


def claim_figures(trials: Sequence[Trial], missing: str) -> dict[str, Any]:
    """Return the measured part of a row of claims.csv.

    Args:
        trials: the claim's cells.
        missing: what to say where there are none.
    """
    one = deciding(trials)
    counts = {side: sum(trial.side == side for trial in trials) for side in SIDES}
    if one is None:
        empty = {"system": "", "other": "", "task": "", "detail": "", "wanted": "", "n": 0, "n_of": ""}
        numbers = dict.fromkeys(("measured", "low", "high", "line", "n_needed"), math.nan)
        return {"verdict": verdict_of(trials), **empty, **numbers, **counts, "note": missing}
    parts = parts_of(trials)
    said = "; ".join(_in_words(part, part_side(part)) for part in parts) if len(parts) > 1 else ""
    too_few = TOO_FEW if any(part_side(part) != part.side for part in parts) else ""
    row = cell_row(one)
    named = replace(one, detail=": ".join(dict.fromkeys(filter(None, (one.part, one.detail)))))
    return {
        "verdict": verdict_of(trials),
        **_place_of(named),
        "measured": one.seen.value,
        **{name: row[name] for name in ("low", "high", "line", "wanted", "n", "n_of", "n_needed")},
        **counts,
        "note": " ".join(filter(None, (f"Its parts: {said}." if said else "", one.why, too_few))),
    }


def _place_of(trial: Trial) -> dict[str, str]:
    return dict(zip(("system", "other", "task", "detail"), trial.place, strict=True))
