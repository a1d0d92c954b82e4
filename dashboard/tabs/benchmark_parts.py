"""The benchmark page's parts, each drawn from a settled view alone: tables in, HTML and figures out."""

from __future__ import annotations

from html import escape
from typing import Any

from dashboard.benchmark_link import BenchmarkView, level_of
from dashboard.claims import AGAIN, claims_of, has_ledger, sentence_of
from dashboard.comparison import difference, matched_pairs
from dashboard.components.agreement_matrix import matrix_html
from dashboard.components.benchmark_marks import count, heading, nothing, plain_table, select_html
from dashboard.components.clip_list import list_html, rows_of, shown_rows
from dashboard.components.decision_card import decision_html
from dashboard.components.pair_card import class_name, counts_of, pair_html
from dashboard.components.shared_errors_card import shared_errors_html
from dashboard.figures.confound import confound_figure, confound_table
from dashboard.figures.noise_curves import (
    accuracy_figure,
    accuracy_table,
    difference_figure,
    difference_table,
)
from dashboard.names import in_order, name_of, task_name, tasks_in_order
from dashboard.opened import obstacle_of
from dashboard.published import published
from dashboard.tables import Level, answers_at, at, clips_of, levels_of, manifest, table

NO_CURVE = "The paper draws these curves without printing their points; this is what it states of them"
LABELS = {"measured": "Measured here", "published": "Published, arXiv 2602.17598", "own": "Own run"}
NO_ACCURACY = "No accuracy is counted over several tasks together; choose one of them."
NO_PAIR = "This task has no speech LLM with a matched cascade."
NO_CONFOUND = "Nothing to compare here: no speech LLM of this cell has a matched and a mismatched cascade."

Parts = dict[str, Any]


def level_at(view: BenchmarkView) -> Level:
    """Return the noise condition of a settled view."""
    return level_of(view.source, view.task, view.level)


def note(view: BenchmarkView) -> str:
    """Return where the numbers come from, and which of the paper's claims hold, as HTML."""
    if view.source == "published":
        where = (
            "Large models, figures as printed; a question mark is a doubtful cell. "
            "Nothing on this page was measured here while this source is chosen."
        )
        return f'<p class="bm-source"><b>{LABELS[view.source]}</b> {escape(where)}</p>'
    about = manifest(view.source)
    counts = about.get("counts") or {}
    facts = [
        *(count(counts.get(f"{noun}s", float("nan")), noun) for noun in ("system", "item", "clip", "answer")),
        f"on {about['hardware']}" if about.get("hardware") else "",
        str(about.get("summarized_at") or "")[:10],
    ]
    said = sentence_of(claims_of(view.source)) if has_ledger(view.source) else AGAIN.replace("`", "")
    what = (
        "Small models on synthetic speech" if view.source == "measured" else "The folder given with --results"
    )
    where = f"{what}: {', '.join(filter(None, facts))}."
    ledger = f'<a href="?tab=claims&amp;source={view.source}">The ledger of claims</a>'
    return (
        f'<p class="bm-source"><b>{LABELS[view.source]}</b> {escape(where)}</p>'
        f'<p class="bm-claims">{escape(said)} {ledger}</p>'
    )


def filters(view: BenchmarkView) -> str:
    """Return the lists of tasks and of the noise conditions of the view's task, without what is chosen in them."""
    agreement = table(view.source, "agreement")
    tasks = {key: task_name(key) for key in tasks_in_order(agreement["task"])}
    levels = {level.key: level.name for level in levels_of(at(agreement, task=view.task))}
    lists = (("on", "Task", tasks, "bm-task"), ("level", "Noise", levels, "bm-level"))
    return f'<div class="listed-choices">{"".join(select_html("benchmark", *one) for one in lists)}</div>'


def matrix(view: BenchmarkView) -> str:
    """Return the agreement matrix of the view's cell."""
    level = level_at(view)
    agreement, accuracy = (
        at(table(view.source, name), task=view.task, level=level) for name in ("agreement", "accuracy")
    )
    return matrix_html(view.source, agreement, accuracy, view.pair)


def _pair_row(view: BenchmarkView) -> dict[str, Any] | None:
    rows = at(table(view.source, "agreement"), task=view.task, level=level_at(view))
    mine = rows[(rows["system_a"] == view.pair[0]) & (rows["system_b"] == view.pair[1])]
    return {str(name): value for name, value in mine.iloc[0].items()} if len(mine) else None


def pair(view: BenchmarkView) -> str:
    """Return the card of the view's pair."""
    family = manifest(view.source).get("statistics", {}).get("mcnemar_family")
    return pair_html(view.source, _pair_row(view), family if isinstance(family, int) else None, view.kind)


def has_clips(view: BenchmarkView) -> bool:
    """Whether the view's pair has counts by class, and so lists of clips."""
    row = _pair_row(view)
    return row is not None and bool(counts_of(row))


def clips(view: BenchmarkView) -> str:
    """Return the list of the view's class, or how to get one."""
    row = _pair_row(view)
    if row is None or not view.kind:
        return nothing("Choose a class of answers above to list its clips.")
    level = level_at(view)
    answers = answers_at(view.source, view.task, level, tuple(sorted(view.pair)))
    known = clips_of(view.source, tuple(sorted(set(answers["clip_id"]))))
    rows = rows_of(answers, known, view)
    obstacles = {one.clip_id: obstacle_of(known.get(one.clip_id, {})) for one in shown_rows(view, rows)}
    return list_html(view.source, view, class_name(view.source, row, view.kind), rows, obstacles)


def colours_of(source: str) -> dict[str, int]:
    """Return the number of each system's colour: the same in every chart, task and noise condition."""
    systems = in_order(source, set(table(source, "accuracy")["system"]))
    return {system: number for number, system in enumerate(systems)}


def accuracy(view: BenchmarkView) -> Parts:
    """Return accuracy against noise of a measured view's task, its pair in front; None where nothing is known."""
    rows = at(table(view.source, "accuracy"), task=view.task)
    levels = levels_of(at(table(view.source, "agreement"), task=view.task))
    systems = in_order(view.source, set(rows["system"]))
    if not systems:
        return {"accuracy_plot": None, "accuracy_table": nothing(NO_ACCURACY)}
    title = _title(view)
    figure = accuracy_figure(view.source, rows, levels, systems, colours_of(view.source), title, view.pair)
    return {"accuracy_plot": figure, "accuracy_table": accuracy_table(view.source, rows, levels, systems)}


def _title(view: BenchmarkView) -> str:
    return f"{LABELS[view.source]}: {task_name(view.task)}"


def differences(view: BenchmarkView) -> Parts:
    """Return speech LLM minus cascade of a measured view's task; None where no pair is matched."""
    levels = levels_of(at(table(view.source, "agreement"), task=view.task))
    pairs = [(first, second) for first, second, _ in matched_pairs(view.source, view.task)]
    found = {
        (first, second): [difference(view.source, view.task, level, first, second) for level in levels]
        for first, second in pairs
    }
    if not pairs:
        return {"difference_plot": None, "difference_table": nothing(NO_PAIR)}
    figure = difference_figure(view.source, levels, found, colours_of(view.source), _title(view))
    return {"difference_plot": figure, "difference_table": difference_table(view.source, levels, found)}


def stated() -> str:
    """Return the card with what the paper states of accuracy in noise, each value with its place."""
    rows = [
        (
            name_of("published", row.system),
            ", ".join(task_name(key.strip()) for key in row.task.split(",")),
            "clean" if row.noise == "clean" else f"{row.noise}, {row.snr_db:g} dB",
            f"{100 * row.accuracy:.1f} %" if row.accuracy == row.accuracy else "–",
            "–"
            if row.drop_low != row.drop_low
            else f"{100 * row.drop_low:.1f}"
            if row.drop_low == row.drop_high
            else f"{100 * row.drop_low:.1f} to {100 * row.drop_high:.1f}",
            f"{row.status}, {row.place}",
            row.doubt,
        )
        for row in published("noise").itertuples()
    ]
    headers = ("System", "Tasks", "Noise", "Right", "Points lost", "Published", "Note")
    return heading("Accuracy in noise", NO_CURVE) + plain_table(headers, rows)


def confound(view: BenchmarkView) -> Parts:
    """Return the backbone-confound chart of the view's noise condition and its table."""
    rows = at(table(view.source, "confound"), level=level_at(view))
    title = f"{LABELS[view.source]}: {level_at(view).name}"
    if not rows["delta"].notna().any():
        return {"confound_plot": None, "confound_table": nothing(NO_CONFOUND)}
    return {
        "confound_plot": confound_figure(view.source, rows, colours_of(view.source), title),
        "confound_table": confound_table(view.source, rows),
    }


def errors(view: BenchmarkView) -> str:
    """Return the card of shared errors in the view's cell."""
    rows = at(table(view.source, "shared_errors"), task=view.task, level=level_at(view))
    return shared_errors_html(view.source, rows, view.pair)


def decision(view: BenchmarkView) -> str:
    """Return the practitioner's panel of the view's cell."""
    return decision_html(view.source, view.task, level_at(view), view.pair)
