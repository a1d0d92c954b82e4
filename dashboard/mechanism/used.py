"""Encoded against used: how well a probe reads a concept at a layer, and what erasing it there does to the answer.

A concept can be readable and yet play no part. Each layer stands beside random directions of equal rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dashboard.components.benchmark_marks import between, figure, signed
from dashboard.figures.charts import GRID, TEXT
from dashboard.mechanism.charts import CONTROL_COLOUR, Cell, dressed, interval_bars, note_html, points_table
from dashboard.mechanism.effects import MEASURES, OLDER, Effect, Measure, effects_of
from dashboard.mechanism.erased_list import listed_erasure
from dashboard.mechanism.erasure_sweep import effects_by_place
from dashboard.mechanism.measured import measured_table, picked, system_option
from dashboard.mechanism.points import parts_of, point_key
from dashboard.mechanism.section import Drawn, Listed, Option, Section
from dashboard.names import name_of
from dashboard.tables import SOURCES
from engine.columns import ALL_TASKS
from engine.request import CONDITIONS

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_HEIGHT = 320
# Told apart by all eyes and in grey print, dark for the first layer.
_DEPTHS = "Cividis"
_PROBES = {
    "text": ("text", "Text: decodability, 1 − CER", "text decodability, 1 − CER"),
    "letters": ("text", "Text: letters, R2", "letters, R2"),
    "pitch": ("acoustic", "Acoustic: pitch, R2", "pitch, R2"),
    "energy": ("acoustic", "Acoustic: energy, R2", "energy, R2"),
}
_MEASURE = Option(
    "measure",
    "Effect of erasing",
    {"plain_answer": "Log-likelihood of the plain answer", "accuracy": "Right answers, generated"},
)


@dataclass(frozen=True)
class _Layer:
    """One layer: the probe of a concept, the effect of erasing it, of random directions, and the difference."""

    layer: int
    score: Effect
    shuffled: float
    erased: Effect
    random: Effect
    beyond: Effect
    n_clips: int
    key: str

    @property
    def is_encoded(self) -> bool:
        return self.score.low > self.shuffled


def _options(source: str) -> tuple[Option, ...]:
    systems = system_option(source, "erasure")
    if not systems:
        return ()
    found = set(measured_table(source, "probes")["target"])
    probes = {key: words for key, (_, words, _) in _PROBES.items() if key in found}
    return (*systems, *((Option("probe", "Concept", probes),) if probes else ()), _MEASURE)


def _draw(source: str, chosen: Mapping[str, str]) -> Drawn:
    options = _options(source)
    system, probe = picked(options, chosen, "system"), picked(options, chosen, "probe")
    if not probe:
        words = "The paper has no such figure" if source == "published" else "This run has no probes"
        return Drawn(None, "", note_html([f"{words}: encoded and used cannot be set side by side."]))
    measure = MEASURES[picked(options, chosen, "measure")]
    condition, _, axis = _PROBES[probe]
    rows = measured_table(source, "erasure")
    rows = rows[(rows["system"] == system) & (rows["condition"] == condition) & (rows["method"] == "linear")]
    rows = rows[(rows["scope"] == "all") & rows["layers"].str.match(r"layer \d+$")]
    if not len(rows):
        return Drawn(None, "", note_html(["This run has no erasures at single layers of this system."]))
    effects = effects_of(source, system, rows)
    if effects is None:
        return Drawn(None, "", note_html([OLDER]))
    read = measured_table(source, "probes")
    read = read[(read["system"] == system) & (read["target"] == probe) & read["score"].notna()]
    layers = _layers(system, rows, read, effects, measure)
    if not layers:
        return Drawn(None, "", note_html(["No layer was both probed and erased in this run."]))
    title = f"{SOURCES[source]}: {name_of(source, system)}, {CONDITIONS[condition].name}"
    drawn = _figure(layers, measure, axis, title)
    return Drawn(drawn, _table(layers, measure), note_html(_notes(rows, layers, condition, measure)))


def _layers(
    system: str, rows: pd.DataFrame, read: pd.DataFrame, found_effects: pd.DataFrame, measure: Measure
) -> list[_Layer]:
    """Return the layers that were both probed and erased, from below."""
    effects = effects_by_place(found_effects, rows, measure)
    condition = str(rows["condition"].iloc[0])
    n_clips = rows[rows["arm"] == "erased"].groupby("layers")["n_clips"].sum()
    found = []
    for row in read.sort_values("layer").to_dict("records"):
        place = f"layer {int(row['layer'])}"
        pooled = [effects[kind].get(place, {}).get(ALL_TASKS) for kind in ("erased", "random", "beyond")]
        if any(one is None for one in pooled):
            continue
        erased, random, beyond = (one for one in pooled if one is not None)
        score = Effect(row["score"], row["low"], row["high"], int(row["n_clips"]), "")
        key = point_key(system, ALL_TASKS, "linear", "all", place, condition)
        found.append(
            _Layer(
                int(row["layer"]),
                score,
                float(row["shuffled"]),
                erased,
                random,
                beyond,
                int(n_clips.get(place, 0)),
                key,
            )
        )
    return found


def _figure(layers: Sequence[_Layer], measure: Measure, axis: str, title: str) -> go.Figure:
    import plotly.graph_objects as go

    scores = [one.score.value for one in layers]
    erased, random = (
        [measure.scale * getattr(one, name).value for one in layers] for name in ("erased", "random")
    )
    drawn = go.Figure().update_layout(height=_HEIGHT)
    drawn.add_hline(y=0, line={"color": TEXT, "width": 1.2})
    drawn.add_scatter(
        x=[x for score in scores for x in (score, score, None)],
        y=[y for pair in zip(erased, random, strict=True) for y in (*pair, None)],
        mode="lines",
        line={"color": CONTROL_COLOUR, "width": 1, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    drawn.add_scatter(
        x=scores,
        y=random,
        mode="markers",
        name="random directions at equal rank, same layer",
        customdata=[one.key for one in layers],
        marker={"symbol": "circle-open", "size": 9, "color": CONTROL_COLOUR, "line": {"width": 1.5}},
        text=[f"layer {one.layer}" for one in layers],
        hovertemplate=f"%{{text}}: %{{y:+.2f}} {measure.unit}<extra>random directions</extra>",
    )
    ends = {end: [measure.scale * getattr(one.erased, end) for one in layers] for end in ("low", "high")}
    drawn.add_scatter(
        x=scores,
        y=erased,
        error_x=interval_bars(
            scores, [one.score.low for one in layers], [one.score.high for one in layers], GRID
        ),
        error_y=interval_bars(erased, ends["low"], ends["high"], TEXT),
        mode="markers+text",
        name="erased at this layer, with 95 % intervals",
        customdata=[one.key for one in layers],
        marker=_depths([one.layer for one in layers]),
        text=[str(one.layer) for one in layers],
        # By turns on both sides: neighbouring layers often lie close together.
        textposition=["top right" if at % 2 else "bottom left" for at in range(len(layers))],
        textfont={"size": 12, "color": TEXT},
        hovertemplate=f"layer %{{text}}: probe %{{x:.2f}}, %{{y:+.2f}} {measure.unit}<extra>erased</extra>",
    )
    drawn.update_xaxes(title={"text": f"encoded: {axis}", "standoff": 4})
    drawn.update_yaxes(title={"text": f"used: change, {measure.difference}", "standoff": 4})
    return dressed(drawn, legend_title=title, n_legend=2, left=54)


def _depths(layers: Sequence[int]) -> dict[str, Any]:
    return {
        "size": 11,
        "color": list(layers),
        "colorscale": _DEPTHS,
        "cmin": min(layers),
        "cmax": max(layers),
        "line": {"color": TEXT, "width": 1},
        "colorbar": {
            "title": {"text": "layer", "font": {"size": 11}},
            "thickness": 9,
            "outlinewidth": 0,
            "tickvals": sorted({min(layers), max(layers)}),
        },
    }


def _table(layers: Sequence[_Layer], measure: Measure) -> str:
    headers = (
        *("Layer", "Probe", "95 % interval", "Shuffled labels", f"Erased, {measure.unit}", "95 % interval"),
        *("Random, equal rank", "Erased minus random", "95 % interval", "Groups of items", "Clips"),
    )
    digits, scale = 2, measure.scale
    return points_table(
        headers,
        [
            [
                Cell(str(one.layer), one.key),
                figure(one.score.value),
                between(one.score.low, one.score.high),
                figure(one.shuffled),
                signed(scale * one.erased.value, digits),
                between(scale * one.erased.low, scale * one.erased.high, digits),
                signed(scale * one.random.value, digits),
                signed(scale * one.beyond.value, digits),
                between(scale * one.beyond.low, scale * one.beyond.high, digits),
                f"{one.beyond.n:,}",
                f"{one.n_clips:,}",
            ]
            for one in layers
        ],
    )


def _notes(rows: pd.DataFrame, layers: Sequence[_Layer], condition: str, measure: Measure) -> list[str]:
    n_tasks = rows["task"].nunique()
    n_groups, n_clips = max(one.beyond.n for one in layers), max(one.n_clips for one in layers)
    said = [
        _reading(layers),
        "Encoded: the probe's interval lies above shuffled labels. Used: erasing at this one layer does more harm than "
        "random directions of equal rank do, and the interval of that difference excludes 0. What is not told from "
        "random directions may still be used a little.",
        f"{n_clips:,} clips of {n_groups:,} groups of items in {n_tasks} task{'s' * (n_tasks > 1)}, each clip once; "
        "10,000 resamples of groups. Other layers stay as they are, and later ones can bring a concept back.",
    ]
    if condition == "text":
        said.append(
            f"The text eraser takes out {CONDITIONS['text'].what}. The probe reads more than that, so text may be "
            "used beyond what is erased."
        )
    return [*said, "The paper has no such figure."]


def _reading(layers: Sequence[_Layer]) -> str:
    """Return in words which layers encode and use the concept, as far as the intervals say."""
    verdicts = {one.layer: one.beyond.verdict for one in layers}
    known = [one for one in layers if verdicts[one.layer] != "too few groups"]
    unread = [one.layer for one in layers if not np.isfinite(one.score.low)]
    groups = {
        "encoded and used": [
            one.layer for one in known if one.is_encoded and verdicts[one.layer] == "exceeds"
        ],
        "encoded, use not told from random directions": [
            one.layer for one in known if one.is_encoded and verdicts[one.layer] != "exceeds"
        ],
        "used, though this probe does not read it": [
            one.layer
            for one in known
            if not one.is_encoded and one.layer not in unread and verdicts[one.layer] == "exceeds"
        ],
        "neither": [
            one.layer
            for one in known
            if not one.is_encoded and one.layer not in unread and verdicts[one.layer] != "exceeds"
        ],
        "not to be said, for too few items": [one.layer for one in layers if one not in known],
    }
    parts = [f"{words}: {', '.join(map(str, found))}" for words, found in groups.items() if found]
    return f"Layers {'; '.join(parts)}."


def _clips(source: str, point: str) -> Listed:
    system, task, method, scope, layers, condition = parts_of(point, 6)
    return listed_erasure(source, system, task, method, scope, layers, condition)


SECTION = Section(
    key="used",
    title="Encoded against used",
    says=(
        "One point a layer: to the right, a probe reads the concept better; further from 0, erasing it there changes "
        "more. Only the distance to the hollow point, random directions at the same layer, belongs to the concept."
    ),
    tables=("probes", "erasure"),
    options=_options,
    draw=_draw,
    clips=_clips,
)
