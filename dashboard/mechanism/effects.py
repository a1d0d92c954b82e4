"""Effects of erasing, clip by clip against a control, with intervals over groups of related items.

Every arm ran on the same clips as the eraser, so differences are taken on each clip and then averaged; pooled
over tasks, each clip counts once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dashboard.comparison import SEED
from dashboard.components.benchmark_marks import between, is_number, signed
from dashboard.mechanism.clip_tables import mechanism_clips
from dashboard.mechanism.measured import FEWEST_GROUPS
from dashboard.mechanism.section import Option
from engine.columns import ALL_TASKS
from engine.errors import TableError
from engine.stats.intervals import Estimate, bootstrap, bootstrap_mean, per_group, ratio

if TYPE_CHECKING:
    import pandas as pd

CONTROLS = {"rank_matched": "at equal rank", "change_matched": "at equal change"}
# From here on the control of equal change is called harsher than the eraser.
_HARSHER = 1.25
_COLUMNS = (
    *(
        "system",
        "task",
        "item_id",
        "group",
        "clip_id",
        "method",
        "scope",
        "layers",
        "condition",
        "arm",
        "seed",
    ),
    *("label_status", "correct", "forced_correct", "log_likelihood_change"),
    *("right_log_likelihood_change", "relative_change"),
)

Verdict = Literal["beyond", "within", "less", "few", "not run"]
# task, or ALL_TASKS -> estimate
Differences = Mapping[str, Estimate]


@dataclass(frozen=True)
class Measure:
    """What an erasure may change.

    Attributes:
        column: of erasure_clips.
        of_table: the same in erasure.
        axis: words for the axis.
        difference: words for the axis of a difference.
        unit: of a difference in a sentence.
        scale: from the table's unit to the shown one.
        harm: the sign of a difference that is harm.
    """

    column: str
    of_table: str
    axis: str
    difference: str
    unit: str
    scale: float
    harm: int

    @property
    def of_change(self) -> bool:
        """Whether it is a change already, so that the plain system stands at 0."""
        return self.scale == 1.0


MEASURES = {
    "accuracy": Measure("correct", "accuracy", "right, %", "points", "points", 100.0, -1),
    "forced": Measure(
        "forced_correct", "forced_choice_accuracy", "right by forced choice, %", "points", "points", 100.0, -1
    ),
    "unparsed": Measure("unparsed", "unparsed_rate", "no label, %", "points", "points", 100.0, 1),
    "plain_answer": Measure(
        "log_likelihood_change", "log_likelihood_change", "nats, plain answer", "nats", "nats", 1.0, -1
    ),
    "right_answer": Measure(
        "right_log_likelihood_change",
        "right_log_likelihood_change",
        "nats, right answer",
        "nats",
        "nats",
        1.0,
        -1,
    ),
}
MEASURE_OPTION = Option(
    "measure",
    "Measure",
    {
        "accuracy": "Right answers, generated",
        "forced": "Right answers, forced choice",
        "unparsed": "Answers without a label",
        "plain_answer": "Log-likelihood of the plain answer",
        "right_answer": "Log-likelihood of the right answer",
    },
)


def erased_clips(source: str, system: str, layers: tuple[str, ...]) -> pd.DataFrame | None:
    """Return a system's clips erased at these places and its plain ones; None where single clips are not here."""
    try:
        rows = mechanism_clips(
            source, "erasure_clips", [("system", (system,)), ("layers", (*layers, "none"))], _COLUMNS
        )
    except TableError:
        return None
    # As the tables have it: an item related to no other is its own group, and groups of two tasks are two.
    alone = rows["group"].isna() | (rows["group"] == "")
    return rows.assign(
        group=rows["task"] + "|" + rows["group"].where(~alone, rows["item_id"]),
        unparsed=(rows["label_status"] != "parsed").astype(float),
    )


def differences(clips: pd.DataFrame, measure: Measure, control: str) -> dict[str, Estimate]:
    """Return the eraser's measure minus a control's, of each task and of all together, in the table's unit.

    Args:
        clips: of one condition at one place; the plain ones too, where they are the control.
        measure: what is compared.
        control: plain, rank_matched or change_matched; of several seeds the mean on each clip.
    """
    erased = clips[clips["arm"] == "erased"]
    if control == "plain" and measure.of_change:
        other = np.zeros(len(erased))
    else:
        rows = clips[clips["arm"] == control]
        means = rows[measure.column].astype(float).groupby(rows["clip_id"]).mean()
        other = erased["clip_id"].map(means).to_numpy(float)
    gaps = erased[measure.column].to_numpy(float) - other
    known = ~np.isnan(gaps)
    tasks, groups = erased["task"].to_numpy(object)[known], erased["group"].to_numpy(object)[known]
    found = {}
    for task in [*dict.fromkeys(tasks), ALL_TASKS] if known.any() else []:
        chosen = np.full(len(tasks), True) if task == ALL_TASKS else tasks == task
        within = None if measure.of_change else (-1.0, 1.0)
        found[str(task)] = mean_over_groups(gaps[known][chosen], groups[chosen], within=within)
    return found


def mean_over_groups(
    values: np.ndarray, groups: np.ndarray, *, within: tuple[float, float] | None = None
) -> Estimate:
    """Return the mean over clips with its 95 % interval over groups of related items.

    Args:
        values: of the clips.
        groups: of related items, by name.
        within: the range of a share or of a difference of two, which gives Wilson's interval where all groups are
            alike; None for what has no bounds.
    """
    numbers = np.unique(groups.astype(str), return_inverse=True)[1].astype(np.int64)
    sums = per_group(numbers, np.stack([values, np.ones(len(values))], axis=1))
    if within is None:
        return bootstrap(sums, ratio, seed=SEED)
    return bootstrap_mean(sums, seed=SEED, within=within)


def at_place(clips: pd.DataFrame, method: str, scope: str, condition: str) -> pd.DataFrame:
    """Return the clips of one way of erasing one condition, the plain ones among them."""
    chosen = (clips["method"] == method) & (clips["scope"] == scope) & (clips["condition"] == condition)
    return clips[chosen | (clips["arm"] == "plain")]


def verdict_of(found: Estimate | None, measure: Measure) -> Verdict:
    """Return whether the harm exceeds a control: its interval must exclude 0, over enough groups to have one.

    An end within its Monte-Carlo error of 0 excludes nothing: other resamples could turn it.
    """
    if found is None or not is_number(found.value):
        return "not run"
    if found.n < FEWEST_GROUPS or not is_number(found.low):
        return "few"
    error = found.mc_error if is_number(found.mc_error) else 0.0
    if found.low <= error and found.high >= -error:
        return "within"
    return "beyond" if np.sign(found.value) == measure.harm else "less"


def in_words(found: Estimate, measure: Measure) -> str:
    """Return a difference with its interval and unit."""
    digits = 2 if measure.of_change else 1
    low, high = measure.scale * found.low, measure.scale * found.high
    return (
        f"{signed(measure.scale * found.value, digits)} {measure.unit} {between(low, high, digits)}".strip()
    )


def against_controls(name: str, found: Mapping[str, Differences], measure: Measure) -> str:
    """Return one sentence on whether erasing does more than its controls, pooled over tasks.

    Args:
        name: of the condition.
        found: control -> differences.
        measure: that they are of.
    """
    pooled = {control: found.get(control, {}).get(ALL_TASKS) for control in CONTROLS}
    verdicts = {control: verdict_of(one, measure) for control, one in pooled.items()}
    words = {
        "beyond": "more harm than random directions",
        "less": "less harm than random directions",
        "within": "not told from random directions",
        "not run": "the control did not run here",
    }
    parts = [
        f"{CONTROLS[control]}, {words.get(verdict, verdict)}"
        + (f" ({in_words(one, measure)})" if one is not None and verdict != "not run" else "")
        for control, verdict in verdicts.items()
        for one in [pooled[control]]
    ]
    if "few" in verdicts.values():
        return f"{name}: cannot be said, for fewer than {FEWEST_GROUPS} groups of items were measured."
    return f"{name}: {_head_of(list(verdicts.values()))}. {'; '.join(parts).capitalize()}."


def _head_of(verdicts: Sequence[Verdict]) -> str:
    ran = [verdict for verdict in verdicts if verdict != "not run"]
    n_beyond = ran.count("beyond")
    if not ran:
        return "no control ran here, so nothing can be said"
    if len(ran) == 1:
        return (
            "the effect exceeds its one control" if n_beyond else "the effect does not exceed its one control"
        )
    return (
        "the effect exceeds neither control",
        "the effect exceeds one control only",
        "the effect exceeds both controls",
    )[n_beyond]


def harsher_controls(moved: Mapping[str, tuple[float, float]]) -> str:
    """Return a sentence where the control of equal change moved states further than the eraser, "" elsewhere.

    Args:
        moved: name of a condition -> mean relative change under its eraser and under that control.
    """
    found = [
        f"{name} {100 * control:.0f} % against {100 * erased:.0f} %"
        for name, (erased, control) in moved.items()
        if control > _HARSHER * erased
    ]
    if not found:
        return ""
    return (
        f"The control of equal change moved states further than the eraser: {'; '.join(found)}. Each of its steps is "
        "as long as the eraser's on the same state, but random steps add up over layers. So it is harsher than its "
        "name, and not to exceed it says little."
    )
