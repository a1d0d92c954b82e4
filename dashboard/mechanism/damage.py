"""Damage: what an eraser takes along of other concepts, layer by layer, and proof that its own is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dashboard.components.benchmark_marks import between, figure
from dashboard.figures.noise_curves import COLOURS
from dashboard.mechanism.charts import (
    CONDITION_COLOURS,
    CONTROL_COLOUR,
    Cell,
    Line,
    add_line,
    dressed,
    layer_axis,
    note_html,
    panels,
    place_of,
    points_table,
)
from dashboard.mechanism.clip_tables import mechanism_clips
from dashboard.mechanism.measured import measured_table, picked, system_option
from dashboard.mechanism.points import layer_of, parts_of, point_key
from dashboard.mechanism.section import Drawn, Listed, ListedClip, Option, Section
from dashboard.names import name_of
from dashboard.tables import SOURCES, clips_of
from engine.request import CONDITIONS

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS, _PANEL_HEIGHT = 2, 140
TARGETS = {
    "text": "text, 1 − CER",
    "letters": "letters, R2",
    "pitch": "pitch, R2",
    "energy": "energy, R2",
}
# What an eraser was fitted to take out, where a probe here reads that very thing; and what is akin to it.
_OWN = {"boc": ("letters",), "acoustic": ("pitch", "energy")}
_AKIN = {"text": ("text", "letters"), "ctc": ("text", "letters"), "boc": ("text",)}
_PLAIN_COLOUR = COLOURS[6]
_LOWEST = -0.5  # of an axis: R2 has no floor, and one wild probe would flatten all others


def _options(source: str) -> tuple[Option, ...]:
    rows = measured_table(source, "damage")
    found = [key for key in CONDITIONS if (rows["condition"] == key).any()]
    # The question of the section first: what the acoustic eraser does to text.
    found.sort(key=lambda key: key != "acoustic")
    erased = (Option("condition", "Erased", {key: CONDITIONS[key].name for key in found}),) if found else ()
    return (*system_option(source, "damage"), *erased)


def _draw(source: str, chosen: Mapping[str, str]) -> Drawn:
    options = _options(source)
    rows = measured_table(source, "damage")
    condition = picked(options, chosen, "condition")
    rows = rows[(rows["system"] == picked(options, chosen, "system")) & (rows["condition"] == condition)]
    if not len(rows):
        return Drawn(None, "", note_html([_nothing(source)]))
    targets = _in_order(condition, rows)
    drawn = panels(
        [_title(condition, target) for target in targets], columns=_COLUMNS, row_height=_PANEL_HEIGHT
    )
    for number, target in enumerate(targets):
        of_target = rows[rows["target"] == target].sort_values("layer")
        place = place_of(number, min(_COLUMNS, len(targets)))
        for line in _lines(of_target, condition):
            add_line(drawn, line, named=number == 0, hover="layer %{x}: %{y:.2f}", **place)
        layer_axis(drawn, of_target["layer"].astype(int), **place)
    drawn.update_yaxes(title={"text": "probe score", "standoff": 4}, col=1)
    drawn.update_yaxes(range=_range(rows))
    system = name_of(source, str(rows["system"].iloc[0]))
    title = f"{SOURCES[source]}: {system}, {CONDITIONS[condition].name} erased"
    return Drawn(
        dressed(drawn, legend_title=title, n_legend=3), _table(rows), note_html(_notes(rows, condition))
    )


def _nothing(source: str) -> str:
    if source != "published":
        return "This run has no measurement of damage."
    return (
        "The paper gives one number in its text only: its acoustic eraser lowers the CTC decodability of "
        "Qwen2-Audio by up to 0.25 (layer 8), that of Ultravox by less than 0.03 (arXiv 2602.17598, section 5.4)."
    )


def _in_order(condition: str, rows: pd.DataFrame) -> list[str]:
    """Return the measured concepts: those that should be left alone first, then what is akin, then its own."""
    own, akin = _OWN.get(condition, ()), _AKIN.get(condition, ())
    known = [target for target in TARGETS if (rows["target"] == target).any()]
    return sorted(known, key=lambda target: (target in own, target in akin))


def _title(condition: str, target: str) -> str:
    if target in _OWN.get(condition, ()):
        return f"{TARGETS[target]} (its own)"
    return TARGETS[target] + (" (akin)" if target in _AKIN.get(condition, ()) else "")


def _range(rows: pd.DataFrame) -> list[float]:
    """Return the axis of all panels: as far as the scores, but not below a floor where they mean nothing more."""
    ends = rows[["plain_low", "low", "plain", "erased", "random"]].min(axis=None)
    tops = rows[["plain_high", "high", "plain", "erased", "random"]].max(axis=None)
    return [max(_LOWEST, float(ends)) - 0.03, max(float(tops), 0.1) + 0.03]


def _lines(rows: pd.DataFrame, condition: str) -> list[Line]:
    layers = rows["layer"].astype(int).tolist()
    keys = [
        point_key(row["system"], condition, row["target"], int(row["layer"]))
        for row in rows.to_dict("records")
    ]
    spread = rows["random_spread"].fillna(0.0)
    values = {name: rows[name].astype(float).tolist() for name in ("plain", "random", "erased")}
    ends = {
        "plain": (rows["plain_low"].tolist(), rows["plain_high"].tolist()),
        "random": ((rows["random"] - spread).tolist(), (rows["random"] + spread).tolist()),
        "erased": (rows["low"].tolist(), rows["high"].tolist()),
    }
    looks = {
        "plain": ("plain, nothing erased", _PLAIN_COLOUR, "dash"),
        "random": ("random directions at equal rank, spread over seeds", CONTROL_COLOUR, "dot"),
        "erased": (f"{CONDITIONS[condition].name} erased", CONDITION_COLOURS[condition], "solid"),
    }
    return [
        Line(name, colour, layers, values[arm], *ends[arm], keys=keys, dash=dash, marked=arm == "erased")
        for arm, (name, colour, dash) in looks.items()
    ]


def _table(rows: pd.DataFrame) -> str:
    headers = (
        *("Concept", "Layer", "Plain", "95 % interval", "Erased", "95 % interval", "Random, equal rank"),
        *("Spread over seeds", "Unit", "Directions", "Seeds", "Clips", "Positions", "Note"),
    )
    order = list(TARGETS)
    listed = sorted(rows.to_dict("records"), key=lambda row: (order.index(row["target"]), int(row["layer"])))
    return points_table(headers, [_cells(row) for row in listed])


def _cells(row: Mapping[str, Any]) -> list[str | Cell]:
    layer = int(row["layer"])
    return [
        TARGETS[row["target"]].split(",")[0],
        Cell(str(layer), point_key(row["system"], row["condition"], row["target"], layer)),
        figure(row["plain"]),
        between(row["plain_low"], row["plain_high"]),
        figure(row["erased"]),
        between(row["low"], row["high"]),
        figure(row["random"]),
        figure(row["random_spread"], 3),
        str(row["unit"]),
        f"{row['kept_rank']:.0f}",
        f"{row['n_seeds']:.0f}",
        f"{row['n_clips']:,.0f}",
        f"{row['n_frames']:,.0f}",
        str(row["note"]),
    ]


def _notes(rows: pd.DataFrame, condition: str) -> list[str]:
    name = CONDITIONS[condition].name
    said = [_reading(rows[rows["target"] == target], name, target) for target in _in_order(condition, rows)]
    if condition not in _OWN:
        said.append(
            f"What {name} takes out itself is {CONDITIONS[condition].what}. The proof that it is gone, a probe "
            "before and after, stands under Erasure."
        )
    least, most = int(rows["n_clips"].min()), int(rows["n_clips"].max())
    clips = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    said.append(
        f"{clips} clips; a probe is fitted anew after each erasure and scored on sentences and voices it was not "
        "fitted on. Bands are 95 % intervals over groups of clips; those of random directions are one standard "
        "deviation over seeds."
    )
    shown = rows[["plain", "erased", "random"]].min(axis=None)
    if shown < _LOWEST:
        said.append(f"Scores below {figure(_LOWEST, 1)} are cut off in the chart and stand in the table.")
    return said


def _reading(rows: pd.DataFrame, name: str, target: str) -> str:
    """Return in words at which layers a concept suffers more than under random directions, as intervals allow."""
    if not len(rows):
        return ""
    what = TARGETS[target].split(",")[0]
    readable = rows[rows["plain_low"] > 0]
    if not len(readable):
        return f"{what.capitalize()}: at no layer told from 0 before erasing, so nothing can be lost."
    spread = readable["random_spread"].fillna(0.0)
    lost = readable[
        (readable["high"] < readable["random"] - spread) & (readable["high"] < readable["plain_low"])
    ]
    gap = lost["random"] - lost["erased"]
    if not len(lost):
        return (
            f"{what.capitalize()}: at none of {len(readable)} layers where it is readable does erasing {name} lower it "
            "beyond random directions (the intervals overlap)."
        )
    layers = ", ".join(str(int(layer)) for layer in sorted(lost["layer"]))
    return (
        f"{what.capitalize()}: erasing {name} lowers it beyond random directions at layer{'s' * (len(lost) > 1)} "
        f"{layers} of {len(readable)} where it is readable, by up to {gap.max():.2f}."
    )


def _clips(source: str, point: str) -> Listed:
    system, condition, target, layer = parts_of(point, 4)
    rows = mechanism_clips(
        source,
        "probe_scores",
        [("system", (system,)), ("target", (target,)), ("layer", (layer_of(layer),))],
        ("clip_id", "score"),
    )
    known = clips_of(source, tuple(map(str, rows["clip_id"])))
    name = CONDITIONS[condition].name if condition in CONDITIONS else condition
    return Listed(
        f"{name_of(source, system)}, probe of {target} at layer {layer}, before {name} is erased; lowest score first. "
        "After an erasure only the score of all clips together was kept",
        ("Said", "Score of this clip"),
        tuple(
            ListedClip(clip, (str(known.get(clip, {}).get("reference") or ""), figure(score)))
            for score, clip in sorted(zip(rows["score"], rows["clip_id"].astype(str), strict=True))
        ),
    )


SECTION = Section(
    key="damage",
    title="Damage",
    says=(
        "What an eraser takes along: the acoustic one of text, the text one of pitch and energy. Its own concept must "
        "fall to chance; the others should stay where random directions of equal rank leave them."
    ),
    tables=("damage",),
    options=_options,
    draw=_draw,
    clips=_clips,
)
