"""Effects of erasing against the plain system and against random controls, as the table `effects` has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dashboard.components.benchmark_marks import between, signed
from dashboard.mechanism.behind import has_table
from dashboard.mechanism.section import Option
from dashboard.tables import table
from engine.columns import ALL_TASKS, CONTROLS, EFFECT_MEASURES, FEWEST_GROUPS

if TYPE_CHECKING:
    import pandas as pd

# From here on the control of equal change is called harsher than the eraser.
_HARSHER = 1.25
OLDER = "These tables are of an earlier version; summarize the run again to see effects pooled over tasks."
_NOT_RUN = "not run"
AT = {control: words.replace("of", "at", 1) for control, words in CONTROLS.items()}


@dataclass(frozen=True)
class Effect:
    """One figure of the table, in its unit.

    Attributes:
        value, low, high: with its 95 % interval over groups of related items.
        n: groups.
        verdict: of a difference, as the table has it.
    """

    value: float
    low: float
    high: float
    n: int
    verdict: str


# task, or ALL_TASKS -> difference
Differences = Mapping[str, Effect]


@dataclass(frozen=True)
class Measure:
    """How an effect is shown.

    Attributes:
        key: in the table of effects.
        of_table: its column in the table of erasures.
        axis: words for the axis; difference: for the axis of a difference.
    """

    key: str
    of_table: str
    axis: str
    difference: str

    @property
    def unit(self) -> str:
        """Unit of a difference in a sentence."""
        return EFFECT_MEASURES[self.key].unit

    @property
    def scale(self) -> float:
        """From the table's unit to the shown one."""
        return EFFECT_MEASURES[self.key].scale

    @property
    def of_change(self) -> bool:
        """Whether it is a change already, so that the plain system stands at 0."""
        return EFFECT_MEASURES[self.key].is_change


MEASURES = {
    measure.key: measure
    for measure in (
        Measure("accuracy", "accuracy", "right, %", "points"),
        Measure("forced_choice", "forced_choice_accuracy", "right by forced choice, %", "points"),
        Measure("unparsed", "unparsed_rate", "no label, %", "points"),
        Measure("plain_answer", "log_likelihood_change", "nats, plain answer", "nats"),
        Measure("right_answer", "right_log_likelihood_change", "nats, right answer", "nats"),
    )
}
MEASURE_OPTION = Option(
    "measure",
    "Measure",
    {
        "accuracy": "Right answers, generated",
        "forced_choice": "Right answers, forced choice",
        "unparsed": "Answers without a label",
        "plain_answer": "Log-likelihood of the plain answer",
        "right_answer": "Log-likelihood of the right answer",
    },
)


def effects_of(source: str, system: str, rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return the effects of the same erasures as some rows of the table of erasures; None where a run has none."""
    if not has_table(source, "effects"):
        return None
    found = table(source, "effects")
    keys = ["method", "scope", "layers", "condition"]
    return found[found["system"] == system].merge(rows[keys].drop_duplicates(), on=keys)


def compared(effects: pd.DataFrame, measure: Measure, arm: str, against: str) -> dict[str, Effect]:
    """Return task, or ALL_TASKS -> an arm's value of a measure minus another's, for one place of one condition."""
    rows = effects[
        (effects["measure"] == measure.key) & (effects["arm"] == arm) & (effects["against"] == against)
    ]
    return {
        str(row["task"]): Effect(row["value"], row["low"], row["high"], int(row["n_groups"]), row["verdict"])
        for row in rows.to_dict("records")
    }


def in_words(found: Effect, measure: Measure) -> str:
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
    verdicts = {control: one.verdict if one else _NOT_RUN for control, one in pooled.items()}
    words = {
        "exceeds": "more harm than random directions",
        "below": "less harm than random directions",
        "within": "not told from random directions",
        _NOT_RUN: "the control did not run here",
    }
    parts = [
        f"{AT[control]}, {words.get(verdict, verdict)}"
        + (f" ({in_words(one, measure)})" if one is not None and verdict != _NOT_RUN else "")
        for control, verdict in verdicts.items()
        for one in [pooled[control]]
    ]
    if "too few groups" in verdicts.values():
        return f"{name}: cannot be said, for fewer than {FEWEST_GROUPS} groups of items were measured."
    return f"{name}: {_head_of(list(verdicts.values()))}. {'; '.join(parts).capitalize()}."


def _head_of(verdicts: Sequence[str]) -> str:
    ran = [verdict for verdict in verdicts if verdict != _NOT_RUN]
    n_beyond = ran.count("exceeds")
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
