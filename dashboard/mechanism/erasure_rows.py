"""The erasure bench at nine layers: a row a task, a band of panels a condition, controls and paper beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dashboard.components.benchmark_marks import figure
from dashboard.mechanism.charts import note_html
from dashboard.mechanism.effects import (
    MEASURES,
    OLDER,
    Differences,
    Measure,
    against_controls,
    compared,
    effects_of,
    harsher_controls,
)
from dashboard.mechanism.erasure_figure import bands_figure
from dashboard.mechanism.erasure_marks import Band, Mark
from dashboard.mechanism.erasure_table import erasure_table
from dashboard.mechanism.measured import PAPERS_TASKS, counted, papers_system, tasks_of
from dashboard.mechanism.points import point_key
from dashboard.mechanism.section import Drawn
from dashboard.names import name_of, task_name
from dashboard.published import published_as_declared
from dashboard.tables import SOURCES
from engine.columns import ALL_TASKS, CONTROLS, LEVEL
from engine.request import CONDITIONS

if TYPE_CHECKING:
    import pandas as pd

ARMS = ("erased", *CONTROLS)
NOT_MEASURED = "not measured"
_PROVEN = {
    "not found": "a fresh probe on other clips, erased in the same run, does not find it again.",
    "still read": "a fresh probe on other clips, erased in the same run, still reads it: it is not all gone.",
    "cannot be said": "a probe reads too little of the plain states for its silence to prove anything.",
    NOT_MEASURED: "whether it is gone was not measured in this run.",
}
_SPREADS = {"accuracy": "spread", "forced_choice_accuracy": "forced_choice_spread"}
_PAPERS_CONTROL = (
    "Published: Table 7 of arXiv 2602.17598. Its one random control has 159 directions, as its text eraser: it is "
    "of equal rank for text only, so it stands with text only, and nothing there is of equal change."
)


def draw_nine_layers(
    source: str, system: str, rows: pd.DataFrame, plain: pd.DataFrame, measure: Measure
) -> Drawn:
    """Return the section for one way of erasing at nine layers at once.

    Args:
        source: a run, or published.
        system: key of the speech LLM in that source.
        rows: of erasure, this way of erasing; none for the published figures.
        plain: the plain rows of the same system.
        measure: what is drawn.
    """
    effects = effects_of(source, system, rows) if len(rows) else None
    tasks = tasks_of(rows)
    pooled = effects is not None and len(tasks) > 1
    bands = [
        _band(system, rows[rows["condition"] == condition], plain, effects, measure)
        for condition in CONDITIONS
        if (rows["condition"] == condition).any()
    ]
    paper = _paper(source, system, rows, measure)
    if not bands and not len(paper):
        return Drawn(None, "", note_html(["Nothing was published of this system."]))
    if not bands:
        tasks = tasks_of(paper)
        bands = [Band(condition, {}, {}, "") for condition in CONDITIONS]
    shown = [*tasks, *([ALL_TASKS] if pooled else [])]
    published = {band.condition: _published(paper, band.condition, tasks) for band in bands}
    said = SOURCES[source] + f": {name_of(source, system)}"
    drawn = bands_figure(bands, published if len(paper) else {}, shown, measure, legend_title=said)
    return Drawn(
        drawn, erasure_table(rows, plain, paper), note_html(_notes(rows, bands, effects, paper, measure))
    )


def _band(
    system: str, rows: pd.DataFrame, plain: pd.DataFrame, effects: pd.DataFrame | None, measure: Measure
) -> Band:
    first = rows.iloc[0]
    condition, method, scope = str(first["condition"]), str(first["method"]), str(first["scope"])
    mine = None if effects is None else effects[effects["condition"] == condition]

    def key_of(task: str) -> str:
        return point_key(system, task, method, scope, "nine layers", condition)

    marks: dict[str, dict[str, Mark]] = {arm: {} for arm in ("plain", *ARMS)}
    for row in rows.to_dict("records"):
        task = str(row["task"])
        marks[str(row["arm"])][task] = _mark(row, measure, key_of(task))
    marks["plain"] = _plain_marks(list(marks["erased"]), plain, mine, measure, key_of)
    against: dict[str, Differences] = {control: {} for control in CONTROLS}
    if mine is not None:
        against = {control: compared(mine, measure, "erased", control) for control in CONTROLS}
        for arm in ARMS:
            levels, unlabelled = (compared(mine, one, arm, LEVEL) for one in (measure, MEASURES["unparsed"]))
            if whole := levels.get(ALL_TASKS):
                ends = (whole.low, whole.high) if arm == "erased" else (math.nan, math.nan)
                no_label = unlabelled[ALL_TASKS].value
                marks[arm][ALL_TASKS] = Mark(whole.value, *ends, no_label, key_of(ALL_TASKS))
    return Band(condition, marks, against, _proof(rows))


def _mark(row: Mapping[str, Any], measure: Measure, key: str) -> Mark:
    """Return a row's value with what reaches from it: the eraser's interval, a control's spread over seeds."""
    value = float(row[measure.of_table])
    low = high = math.nan
    if row["arm"] == "erased" and measure.of_table == "accuracy":
        low, high = float(row["low"]), float(row["high"])
    elif row["arm"] != "erased" and measure.of_table in _SPREADS:
        spread = float(row[_SPREADS[measure.of_table]])
        low, high = value - spread, value + spread
    return Mark(value, low, high, float(row["unparsed_rate"]), key)


def _plain_marks(
    tasks: Sequence[str],
    plain: pd.DataFrame,
    effects: pd.DataFrame | None,
    measure: Measure,
    key_of: Callable[[str], str],
) -> dict[str, Mark]:
    """Return the plain system on the very clips that were erased, for some settings run on a part of them."""
    if effects is None:
        by_task = plain.set_index("task")[measure.of_table]
        values = {task: 0.0 if measure.of_change else float(by_task.get(task, math.nan)) for task in tasks}
    else:
        values = {task: one.value for task, one in compared(effects, measure, "plain", LEVEL).items()}
    return {task: Mark(value, math.nan, math.nan, math.nan, key_of(task)) for task, value in values.items()}


def _proof(rows: pd.DataFrame) -> str:
    """Return how far states moved and what a fresh probe reads on other clips where it reads most."""
    erased = rows[rows["arm"] == "erased"].iloc[0]
    controls = [
        f"{words} {100 * _mean_change(rows, arm):.0f} %"
        for arm, words in (("rank_matched", "equal rank"), ("change_matched", "equal change"))
        if not math.isnan(_mean_change(rows, arm))
    ]
    rank = f"{int(erased['kept_rank'])} directions"
    shift = f"states moved {100 * _mean_change(rows, 'erased'):.0f} %" + (
        f" ({', '.join(controls)})" if controls else ""
    )
    if math.isnan(erased["probe_erased"]):
        return "|".join((rank, shift, "whether it is gone: not measured"))
    probe = "probe {} → {}, random {}, chance {}: {}".format(
        *(figure(erased[name]) for name in ("probe_plain", "probe_erased", "probe_random", "probe_chance")),
        erased["probe_verdict"],
    )
    return "|".join((rank, shift, probe))


def _mean_change(rows: pd.DataFrame, arm: str) -> float:
    """Return how far an arm moved states, each clip counting once; NaN where it did not run."""
    known = rows[(rows["arm"] == arm) & rows["relative_change"].notna()]
    n_clips = known["n_clips"].sum()
    return float((known["relative_change"] * known["n_clips"]).sum() / n_clips) if n_clips else math.nan


def _moved(rows: pd.DataFrame, condition: str) -> tuple[float, float]:
    mine = rows[rows["condition"] == condition]
    return _mean_change(mine, "erased"), _mean_change(mine, "change_matched")


def _paper(source: str, system: str, rows: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Return the paper's rows to stand beside these; none where its way of erasing or its measure is another."""
    paper = published_as_declared("erasure")
    paper = paper[paper["arm"].isin(("plain", *ARMS))]
    if source == "published":
        return paper[paper["system"] == system]
    papers_way = bool((rows["method"] == "linear").all() and (rows["scope"] == "all").all())
    if measure.of_table != "accuracy" or not papers_way:
        return paper.iloc[:0]
    return paper[paper["system"] == papers_system(system)]


def _published(paper: pd.DataFrame, condition: str, tasks: Sequence[str]) -> dict[str, dict[str, Mark]]:
    """Return arm -> task -> mark, on the rows of our own tasks of the same kind."""
    found: dict[str, dict[str, Mark]] = {"plain": {}, "erased": {}, "rank_matched": {}}
    for task in tasks:
        of_task = paper[paper["task"].isin([task, PAPERS_TASKS.get(task, "")])]
        for row in of_task[of_task["condition"].isin([condition, "none"])].to_dict("records"):
            words = f"{task_name(row['task'])}: {100 * row['accuracy']:.1f} %"
            found[str(row["arm"])][task] = Mark(
                float(row["accuracy"]), math.nan, math.nan, math.nan, "", words
            )
    return found


def _notes(
    rows: pd.DataFrame,
    bands: Sequence[Band],
    effects: pd.DataFrame | None,
    paper: pd.DataFrame,
    measure: Measure,
) -> list[str]:
    if not len(rows):
        return ["No run was measured here; only the paper's own figures are shown.", _PAPERS_CONTROL]
    said = [against_controls(CONDITIONS[band.condition].name, band.against, measure) for band in bands]
    if effects is None:
        said = [OLDER]
    else:
        said.append(
            harsher_controls(
                {CONDITIONS[band.condition].name: _moved(rows, band.condition) for band in bands}
            )
        )
    said += _proofs(rows)
    # Runs made before each group of positions was matched say so in every row.
    said += sorted(
        {f"{note.split('. ')[0].rstrip('.')}." for note in rows["note"] if note.startswith("Equal change")}
    )
    said.append(
        f"{counted(rows)}. Intervals: 95 %, 10,000 resamples of groups of related items. Each stands for itself: of "
        "twenty such differences one excludes 0 by chance alone."
    )
    if measure.of_table == "accuracy":
        said.append(
            "An answer without a label is not a wrong one: 0 % right below chance means that no label was read."
        )
    if not (rows["arm"] == "change_matched").any():
        said.append("The control of equal change did not run with this way of erasing.")
    said.append(_PAPERS_CONTROL if len(paper) else "The paper gives no figures for this view.")
    return said


def _proofs(rows: pd.DataFrame) -> list[str]:
    """Return what the fresh probes allow to be said of each condition; a removal is claimed where none found it."""
    erased = rows[rows["arm"] == "erased"].drop_duplicates("condition").set_index("condition")
    found: dict[str, list[str]] = {}
    for condition, info in CONDITIONS.items():
        if condition in erased.index:
            found.setdefault(str(erased.loc[condition, "probe_verdict"]) or NOT_MEASURED, []).append(
                info.name
            )
    said = [f"{', '.join(names)}: {_PROVEN[verdict]}" for verdict, names in found.items()]
    fitted = sorted({str(one) for one in erased["fitted_on"] if one})
    return said + ([f"Erasers fitted on {' and '.join(fitted)}."] if fitted else [])
