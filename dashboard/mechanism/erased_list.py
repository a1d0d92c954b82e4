"""The clips behind an erased point: answers before and after, beside a random control's, largest change first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dashboard.components.benchmark_marks import is_number, signed
from dashboard.mechanism.clip_tables import Filters, mechanism_clips
from dashboard.mechanism.measured import answer_in_words
from dashboard.mechanism.section import Listed, ListedClip
from dashboard.names import name_of, task_name
from dashboard.tables import clips_of
from engine.columns import ALL_TASKS
from engine.request import CONDITIONS

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    *("clip_id", "task", "condition", "method", "scope", "layers", "arm", "seed", "label", "label_status"),
    *("text", "log_likelihood_change"),
)
_ARMS = {
    "rank_matched": "Random, equal rank",
    "change_matched": "Random, equal change",
}


def listed_erasure(
    source: str, system: str, task: str, method: str, scope: str, layers: str, condition: str
) -> Listed:
    """Return the clips of one point; random answers are those of the first seed.

    Args:
        source: a run.
        system: key of the speech LLM.
        task: a task, or `ALL_TASKS` for all of them.
        method: linear or affine.
        scope: positions that were edited.
        layers: where it was erased, as the table has it.
        condition: what was erased.

    Raises:
        TableError: the source has no single clips.
    """
    filters: Filters = [
        ("system", (system,)),
        ("method", (method, "none")),
        ("scope", (scope, "none")),
        ("layers", (layers, "none")),
        ("condition", (condition, "none")),
        ("seed", (0,)),
        *([("task", (task,))] if task != ALL_TASKS else []),
    ]
    rows = mechanism_clips(source, "erasure_clips", filters, _COLUMNS)
    by_arm = {str(arm): found.set_index("clip_id") for arm, found in rows.groupby("arm", sort=True)}
    erased = by_arm.get("erased", rows.iloc[:0].set_index("clip_id"))
    ran = [arm for arm in _ARMS if arm in by_arm]
    order = erased["log_likelihood_change"].abs().sort_values(ascending=False, kind="stable").index
    name = CONDITIONS[condition].name if condition in CONDITIONS else condition
    where = task_name(task) if task != ALL_TASKS else "all tasks"
    return Listed(
        f"{name_of(source, system)}, {where}: {name} erased at {layers} ({method}, scope {scope}); "
        f"{len(order):,} clips, largest change first",
        ("Plain answer", "Erased", *(_ARMS[arm] for arm in ran), "Right answer", "Change, nats"),
        tuple(_rows(source, by_arm, erased.loc[order], ran)),
    )


def _rows(
    source: str, by_arm: Mapping[str, pd.DataFrame], erased: pd.DataFrame, ran: Sequence[str]
) -> Iterator[ListedClip]:
    known = clips_of(source, tuple(map(str, erased.index)))
    for clip in erased.index:
        answers = [_answer(by_arm.get(arm), clip) for arm in ("plain", "erased", *ran)]
        gold = str(known.get(str(clip), {}).get("gold") or "")
        yield ListedClip(str(clip), (*answers, gold, _change(erased.loc[clip, "log_likelihood_change"])))


def _answer(rows: pd.DataFrame | None, clip: Any) -> str:
    if rows is None or clip not in rows.index:
        return ""
    return answer_in_words(rows.loc[clip].to_dict(), "label", "label_status", "text")


def _change(value: float) -> str:
    return signed(value, 2) if is_number(value) else "not measured"
