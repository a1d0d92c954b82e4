"""Is the latent text used? What erasing the current word does, beside random cuts, and what a patched word does.

A column an outcome: above what an arm changes against the plain model, below what erasing changes beyond its controls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dashboard.figures.charts import CONTROL
from dashboard.figures.table import Pressed, table_html
from dashboard.interleaved.clips import FOLLOWS, clips_of_arm
from dashboard.interleaved.dots import (
    DotPanel,
    Drawing,
    Marks,
    Shares,
    beside,
    dots,
    figure_of,
    fitted,
    legend_only,
    without_zero,
)
from dashboard.interleaved.measured import (
    CURRENT_COLOUR,
    KNOWLEDGE_COLOUR,
    NEXT_COLOUR,
    UNIT_COLOUR,
    Row,
    ends_of,
    in_model_order,
    model_name,
    models_of,
    notes_by,
    number,
    rows_of,
    span,
    why_none,
    with_span,
)
from dashboard.mechanism.charts import note_html
from dashboard.mechanism.points import point_key
from dashboard.mechanism.section import Drawn, Section
from engine.columns import CAUSAL_ARMS

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

PLAIN, ERASED, RANK, CHANGE, PATCHED, SAME_WORD, UNRELATED = CAUSAL_ARMS
NAMES = {
    ERASED: "erased",
    RANK: "random, equal rank",
    CHANGE: "random, equal change",
    PATCHED: "patched",
    SAME_WORD: "control: same word",
    UNRELATED: "control: unrelated word",
}
BEYOND = "filled: the interval excludes 0"
FIRST, SECOND = "Change against plain", "Minus its controls"


class Outcome(NamedTuple):
    """What is measured: its unit, what is counted, its colour."""

    unit: str
    noun: str
    colour: str


OUTCOMES = {
    "current word": Outcome("R", "words", CURRENT_COLOUR),
    "next word": Outcome("R", "words", NEXT_COLOUR),
    "next unit": Outcome("nats", "units", UNIT_COLOUR),
    "spoken knowledge": Outcome("share", "facts", KNOWLEDGE_COLOUR),
    FOLLOWS: Outcome("nats", "patches", NEXT_COLOUR),
}
_OTHER = Outcome("", "scored", CONTROL)
_SYMBOLS = {ERASED: "circle", PATCHED: "circle", RANK: "diamond", CHANGE: "square"}
_SYMBOLS |= {SAME_WORD: "diamond", UNRELATED: "square"}
_CONTROLS = {RANK: "vs_rank_matched", CHANGE: "vs_change_matched"}
_ERASING, _PATCHING = (ERASED, RANK, CHANGE), (PATCHED, SAME_WORD, UNRELATED)
# Name of the row, arm, column of the table, symbol.
_AGAINST = (
    ("erased − equal rank", ERASED, _CONTROLS[RANK], _SYMBOLS[RANK]),
    ("erased − equal change", ERASED, _CONTROLS[CHANGE], _SYMBOLS[CHANGE]),
)
_BEYOND_PATCH = (("patched − unrelated", PATCHED, "change", _SYMBOLS[UNRELATED]),)
_ROW, _ABOVE, _BETWEEN, _BANDS, _LEFT = 34, 66, 52, 90, 158  # in pixels
_GAP, _PATCH_GAP = 0.03, 0.165  # shares of the width; the patches have rows of their own names
MEANING = (
    "Left of the dotted line at 0 an arm lowers the outcome. Erased: the current word's direction, at the layers named "
    "in the table. Its controls take out random directions, as many as erased or until the states move as far. Bars: "
    "95 %, resampled over groups of clips."
)


def draw(source: str, chosen: Mapping[str, str]) -> Drawn:
    """Return all arms, their table and what must be known of them; k is the tables' own, as their notes say.

    Raises:
        TableError: the table is damaged.
    """
    del chosen
    rows = rows_of(source, "phase_causal")
    if rows is None:
        return Drawn(None, "", note_html([why_none(source, "phase_causal")]))
    said = [MEANING, *_conditions(rows), *notes_by(rows.to_dict("records"), "outcome")]
    return Drawn(_figure(rows), _table(rows), note_html(said))


def _conditions(rows: pd.DataFrame) -> list[str]:
    """Return where each model was edited, how many directions, and how many draws its controls have."""
    said = []
    for model, name in models_of(rows).items():
        here = rows[rows["model"] == model]
        layers = ", ".join(dict.fromkeys(here["layers"]))
        said.append(
            f"{name} ({model}): edited at {layers}; {int(here['kept_rank'].max())} directions erased, "
            f"{int(here['n_seeds'].max())} draws of each random control."
        )
    return said


def _figure(rows: pd.DataFrame) -> go.Figure:
    models = models_of(rows)
    band = _ROW * (len(_ERASING) + len(_AGAINST)) + _BETWEEN
    height = len(models) * band + (len(models) - 1) * _BANDS
    drawings: list[Drawing] = []
    for place, (model, name) in enumerate(models.items()):
        top = place * (band + _BANDS)
        above = (top / height, (top + _ROW * len(_ERASING)) / height)
        below = (above[1] + _BETWEEN / height, (top + band) / height)
        here = rows[rows["model"] == model]
        found = _band(here, (above, below), 1 + len(drawings))
        found[0].texts.extend((_head(FIRST, above), _head(SECOND, below), _head(f"<b>{name}</b>", above, 36)))
        drawings += found
    keys = [legend_only(BEYOND, "circle")]
    return figure_of(drawings, height=height, above=_ABOVE, left=_LEFT, keys=keys)


def _head(html: str, down: Shares, shift: int = 0) -> dict[str, Any]:
    """Return a line over the names of rows."""
    place = {"x": 0, "xshift": 8 - _LEFT, "xanchor": "left", "y": 1 - down[0], "yref": "paper"}
    return beside(html, **place, yanchor="bottom", yshift=shift)


def _band(rows: pd.DataFrame, down: tuple[Shares, Shares], number: int) -> list[Drawing]:
    """Return the panels of one model, two a column: one outcome each, the patches last."""
    outcomes = _outcomes_of(rows)
    panels: list[DotPanel] = []
    for outcome, across in zip(outcomes, _columns(outcomes), strict=True):
        arms = {row["arm"]: row for row in rows[rows["outcome"] == outcome].to_dict("records")}
        panels += _column(outcome, arms, across, down, named=outcome in (outcomes[0], FOLLOWS))
    return [dots(panel, at) for at, panel in enumerate(panels, number)]


def _outcomes_of(rows: pd.DataFrame) -> list[str]:
    """Return the outcomes that the rows have: those known here in their order, then others as they stood."""
    found = dict.fromkeys(rows["outcome"])
    known = [*OUTCOMES, *found]
    return sorted(found, key=known.index)


def _columns(outcomes: Sequence[str]) -> list[Shares]:
    """Return where each column stands, as shares of the width."""
    gaps = [0.0, *(_PATCH_GAP if outcome == FOLLOWS else _GAP for outcome in outcomes[1:])]
    width = (1 - sum(gaps)) / len(outcomes)
    lefts = [place * width + sum(gaps[: place + 1]) for place in range(len(outcomes))]
    return [(left, min(1.0, left + width)) for left in lefts]


def _column(
    outcome: str, arms: Mapping[str, Row], across: Shares, down: tuple[Shares, Shares], *, named: bool
) -> tuple[DotPanel, DotPanel]:
    """Return what the arms of an outcome change, and below it what lies beyond the controls; both on one range."""
    about = OUTCOMES.get(outcome, _OTHER)
    shown, beyond = (_PATCHING, _BEYOND_PATCH) if outcome == FOLLOWS else (_ERASING, _AGAINST)
    value = "value" if outcome == FOLLOWS else "change"
    above = [(NAMES[arm], arm, value, _SYMBOLS[arm]) for arm in shown]
    all_ends = [
        end
        for _, arm, name, _ in (*above, *beyond)
        if arm in arms
        for end in (arms[arm][name], *ends_of(arms[arm], name))
    ]
    titles = (f"{outcome}, {about.unit}".removesuffix(", "), _plain(arms, about))
    panels = []
    for listed, head, place, axis in ((above, titles, down[0], ""), (beyond, (), down[1], about.unit)):
        panels.append(
            DotPanel(
                titles=head,
                rows=tuple(row if named else "" for row, *_ in listed),
                marks=tuple(_mark(at, *one[1:], arms, about) for at, one in enumerate(listed)),
                across=across,
                down=place,
                x_range=fitted(all_ends, 0.0),
                x_title=axis,
                line=0.0,
            )
        )
    return panels[0], panels[1]


def _plain(arms: Mapping[str, Row], about: Outcome) -> str:
    """Return the second line over a column: what the changes are against, and how much was scored."""
    first = arms.get(PLAIN) or next(iter(arms.values()))
    size = f"n = {int(first['n']):,} {about.noun}"
    return f"plain {number(arms[PLAIN]['value'])}; {size}" if PLAIN in arms else size


def _mark(at: int, arm: str, name: str, symbol: str, arms: Mapping[str, Row], about: Outcome) -> Marks:
    row = arms.get(arm)
    if row is None:
        return Marks("", CONTROL, [], [])
    low, high = ends_of(row, name)
    is_effect = arm in (ERASED, PATCHED)
    return Marks(
        "",
        about.colour if is_effect else CONTROL,
        [at],
        [row[name]],
        [low],
        [high],
        symbol=symbol,
        told=[without_zero(low, high)],
        keys=[_key(row)],
        words=[f"{NAMES[arm]}: {with_span(row, name)} {about.unit}".strip()],
    )


def _key(row: Row) -> str:
    return point_key(row["model"], row["step"], row["arm"], row["outcome"])


def _table(rows: pd.DataFrame) -> str:
    headers = (
        *("Model", "Key", "Outcome", "Arm", "Layers", "Value", "95 %", "Change", "95 %"),
        *("Against equal rank", "95 %", "Against equal change", "95 %", "n", "Groups"),
    )
    known = _outcomes_of(rows)
    in_order = sorted(
        in_model_order(rows), key=lambda row: (known.index(row["outcome"]), CAUSAL_ARMS.index(row["arm"]))
    )
    return table_html("As a table", headers, [_cells(row) for row in in_order])


def _cells(row: Row) -> tuple[object, ...]:
    value = number(row["value"])
    pairs = [(number(row[name]), span(*ends_of(row, name))) for name in ("change", *_CONTROLS.values())]
    return (
        *(model_name(row), row["model"], row["outcome"], row["arm"].replace("_", " "), row["layers"]),
        value if math.isnan(row["value"]) else Pressed(value, "point", _key(row)),
        span(row["low"], row["high"]),
        *(cell for pair in pairs for cell in pair),
        f"{int(row['n']):,}",
        f"{int(row['n_groups']):,}",
    )


SECTION = Section(
    key="causal",
    title="Is the latent text used?",
    says="If the words that the lens reads carry weight, erasing the current one must cost more than random cuts do, "
    "and a patched word must pull what follows further than an unrelated one.",
    tables=("phase_causal", "causal_clips"),
    options=lambda source: (),
    draw=draw,
    clips=clips_of_arm,
)
