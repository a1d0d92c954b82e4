"""What the paper published of a pair that a run measured on the same corpus: one sentence to stand beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dashboard.names import name_of
from dashboard.published import published
from engine.systems.profiles import PAPER_SYSTEMS
from engine.tasks import CORPUS_TASKS
from engine.voice import CLEAN

if TYPE_CHECKING:
    import pandas as pd

_OURS = {ours: papers for papers, ours in PAPER_SYSTEMS.items()}
NOT_ALIKE = "Its items, voices and prompts are not published, so neither is like for like."


def paper_sentence(row: dict[str, Any]) -> str:
    """Return the paper's kappa and accuracies of a measured pair on clean speech; "" where it has no such pair.

    Args:
        row: of a run's agreement table.
    """
    systems = [_OURS.get(str(row[side]), "") for side in ("system_a", "system_b")]
    if row["task"] not in CORPUS_TASKS or row["noise"] != CLEAN or not all(systems):
        return ""
    accuracies = ", ".join(
        f"{name_of('published', system)} {_accuracy(system, str(row['task']))}" for system in systems
    )
    return f"The paper: {_kappa(systems, str(row['task']))}; accuracy (Table 2): {accuracies}. {NOT_ALIKE}"


def _kappa(systems: list[str], task: str) -> str:
    frame = published("agreement")
    of_pair = (frame["system_a"].isin(systems)) & (frame["system_b"].isin(systems))
    found = _clean(frame[of_pair], task)
    if found is None or math.isnan(found["kappa"]):
        return "no kappa of this pair"
    has_interval = not math.isnan(found["low"])
    interval = f" [{found['low']:.2f}, {found['high']:.2f}]" if has_interval else ", no interval"
    return f"kappa {found['kappa']:.2f}{interval} ({found['place']})"


def _accuracy(system: str, task: str) -> str:
    frame = published("accuracy")
    found = _clean(frame[frame["system"] == system], task)
    return "not published" if found is None else f"{100 * found['accuracy']:.1f} %"


def _clean(frame: pd.DataFrame, task: str) -> dict[str, Any] | None:
    rows = frame[(frame["task"] == task) & (frame["noise"] == CLEAN)]
    return dict(rows.iloc[0]) if len(rows) else None
