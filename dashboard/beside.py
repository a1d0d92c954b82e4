"""What the shipped benchmark measured for the question of a live run: one sentence to stand beside the result."""

from __future__ import annotations

from typing import Any

from dashboard.tables import CLEAN, Level, at, folder_of, levels_of, manifest, table
from engine.errors import ModelFilesError, TableError
from engine.evaluation import HumanError, benchmark_line, human_errors
from engine.systems.catalogue import get_pair, get_spec, revision_of
from engine.tasks import TASKS

NOT_OF_YOURS = "Your clip is none of these: the figures do not say how well it was heard."
OTHER_WEIGHTS = (
    "The shipped benchmark is of other weights; run `python -m precompute run` and `summarize` again."
)


def beside(
    task: str, pair: str, noise: str | None, snr_db: float | None, *, is_own: bool = False
) -> str | None:
    """Return the benchmark's figures for this question, pair and noise; None where it has none.

    The sentence says of which clips they are.

    At a noise that the benchmark did not take, its figures on clean speech are given and called that. A task
    that it does not ask is looked up in the models' own evaluation. What is damaged is said, not raised: it
    must not cost the person the run.

    Args:
        task: key of the task.
        pair: key of the pair.
        noise: kind of noise, None on a clean clip.
        snr_db: its ratio.
        is_own: whether the clip is the person's own and no clip that ships.

    Raises:
        UnknownKeyError: there is no such pair.
    """
    try:
        shipped = _of_shipped_run(task, pair, Level(noise, snr_db) if noise else CLEAN)
        sentence = shipped or benchmark_line(task, pair)
    except (ModelFilesError, TableError) as error:
        return str(error)
    return f"{sentence} {NOT_OF_YOURS}" if sentence and is_own and "95 %" in sentence else sentence


def human_rates(pair: str) -> dict[str, Any] | None:
    """Return how often a pair's speech LLM mishears people, by corpus, for the clip view; None where it is not known.

    `rows` are [corpus, word error rate, low, high, clips, speakers], the mean over the corpora apart in `mean`.
    """
    key = get_pair(pair).speech_llm
    try:
        found = [row for row in human_errors(key) if row.measure == "wer" and row.system == key]
    except ModelFilesError as error:
        return {"rows": [], "mean": None, "problem": str(error)}
    if not found:
        return None
    corpora = [_human_row(row) for row in found if row.slice_kind == "corpus"]
    mean = next((_human_row(row) for row in found if row.is_mean), None)
    return {"rows": corpora, "mean": mean, "problem": ""}


def _human_row(row: HumanError) -> list[Any]:
    return [row.corpus, row.value, row.low, row.high, row.n_clips, row.n_speakers]


def _of_shipped_run(task: str, pair: str, level: Level) -> str | None:
    if folder_of("measured") is None:
        return None
    row = get_pair(pair)
    systems = (row.speech_llm, row.cascade)
    accuracy = at(table("measured", "accuracy"), task=task)
    if level not in levels_of(accuracy):
        level = CLEAN
    accuracy = at(accuracy, level=level).set_index("system")
    if not set(systems) <= set(accuracy.index):
        return None
    if not is_of_these_weights(systems):
        return OTHER_WEIGHTS
    speech, cascade = (accuracy.loc[key] for key in systems)
    together = at(table("measured", "agreement"), task=task, level=level)
    both = together[(together["system_a"] == row.speech_llm) & (together["system_b"] == row.cascade)]
    kappa = f", kappa {_figure(both.iloc[0], 'kappa')}" if len(both) and both["kappa"].notna().all() else ""
    readings = _readings(both.iloc[0]) if kappa else ""
    return (
        f"On {speech['n_items']:,} held-out {TASKS[task].name.lower()} questions {level.phrase} "
        f"({speech['n_clips']:,} clips of synthetic speech): "
        f"accuracy of the speech LLM {_figure(speech, 'accuracy')}, of the cascade "
        f"{_figure(cascade, 'accuracy')}{kappa} (95 % intervals).{readings} Precomputed with these weights."
    )


def _readings(row: Any) -> str:
    """Return kappa in the other two readings of unparsed answers, where there are any."""
    others = row["kappa_unparsed_agree"], row["kappa_both_parsed"]
    if any(value != value for value in others):
        return ""
    if {f"{value:.2f}" for value in others} == {f"{row['kappa']:.2f}"}:
        return ""
    return (
        f" Two unparsed answers never agree in kappa; if they did {others[0]:.2f}, "
        f"where both are parsed {others[1]:.2f}."
    )


def is_of_these_weights(systems: tuple[str, ...]) -> bool:
    """Return whether the shipped run measured these systems with the weights that are here."""
    about = manifest("measured").get("systems", {})
    return all(about.get(key, {}).get("revision") == revision_of(get_spec(key)) for key in systems)


def _figure(row: Any, name: str) -> str:
    return f"{row[name]:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
