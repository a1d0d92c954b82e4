"""What a plan would take, said before anything runs: cells, what is done, time and disk.

Seconds are means of what is done already; a stage of which nothing is done is guessed, and marked as such.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from engine.systems.catalogue import PUBLISHED_SYSTEMS, is_service
from precompute import keys
from precompute.clips import Clip
from precompute.ledger import Ledger
from precompute.load import GPUS, PART_BYTES, guessed_s
from precompute.plan import Plan, listen_units, memory_units, wanted_prompts

# Seconds on one core of a common machine, for the minis; published models are guessed as on this GPU.
GUESSED_GPU = "h200"
GUESSED_S = {"render": 0.02, "transcribe": 0.05, "listen": 0.05, "read": 0.015, "memory": 10.0}
GUESSED_BYTES = 200  # of a ledger row
TABLE_BYTES = 120  # of a row of the answers
NEW_PROMPTS_SHARE = 0.7  # of transcripts that are not done yet: the rest will repeat a prompt
START_S = 12.0  # loading libraries and models, once


@dataclass(frozen=True)
class Estimate:
    """What is left.

    Attributes:
        n_left: stage -> results to be made.
        guessed: stages whose seconds are a guess.
        seconds: with all workers.
        n_bytes: that --out will grow by.
    """

    n_left: dict[str, int]
    guessed: tuple[str, ...]
    seconds: float
    n_bytes: int


def estimate(plan: Plan, ledger: Ledger, n_workers: int) -> Estimate:
    """Return what is left to do and what it will take."""
    left: Counter[tuple[str, str]] = Counter()
    for unit in listen_units(plan, ledger):
        left.update((need.stage, need.who) for work in unit.works for need in work.needs)
    for (_, backbone), prompts in wanted_prompts(plan, ledger).items():
        left["read", backbone] += len(prompts)
    for spec in plan.systems:
        if spec.transcriber:
            unheard = sum(not isinstance(plan.heard(spec, clip, ledger), str) for clip in plan.clips)
            left["read", plan.reader(spec)] += round(NEW_PROMPTS_SHARE * unheard)
    left["memory", ""] = len(memory_units(plan, ledger))
    mean_s = seconds_measured(ledger)
    seconds, guessed = 0.0, set()
    for (stage, who), count in left.items():
        if count and (stage, who) not in mean_s:
            guessed.add(stage)
        seconds += count * mean_s.get(
            (stage, who), guessed_s(stage, who, GPUS[GUESSED_GPU]) or GUESSED_S[stage]
        )
    total = {stage: sum(n for (s, _), n in left.items() if s == stage) for stage in GUESSED_S}
    n_rows = sum(total.values())
    n_replies = sum(count for (_, who), count in left.items() if is_service(who))
    n_bytes = round(
        (n_rows - n_replies) * _row_bytes(ledger)
        + n_replies * PART_BYTES
        + TABLE_BYTES * sum(1 for _ in plan.cells())
    )
    wall_s = (START_S if n_rows else 0.0) + seconds / n_workers
    return Estimate(total, tuple(sorted(guessed)), wall_s, n_bytes)


def _row_bytes(ledger: Ledger) -> float:
    """Return the size of a row that shares its part with others."""
    n_replies = sum(is_service(row.who) for row in ledger.rows.values())
    n_others = len(ledger.rows) - n_replies
    return max(0, ledger.n_bytes - n_replies * PART_BYTES) / n_others if n_others else GUESSED_BYTES


def seconds_measured(ledger: Ledger) -> dict[tuple[str, str], float]:
    """Return (stage, who) -> mean seconds of a result, of those that are done."""
    spent: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in ledger.rows.values():
        if not row.failed and row.stage != "memory":
            spent[row.stage, row.who].append(row.seconds)
    return {place: sum(seconds) / len(seconds) for place, seconds in spent.items()}


def format_plan(plan: Plan, ledger: Ledger, n_workers: int) -> str:
    """Return the plan as text: a line for each system, task and noise, then what is left."""
    width = max(18, *(len(spec.key) for spec in plan.systems)) + 2
    lines = [f"{'system':{width}}{'task':14}{'noise':14}{'voices':>7}{'items':>7}{'clips':>7}{'done':>7}"]
    for spec in plan.systems:
        cells: dict[tuple[str, str], list[Clip]] = defaultdict(list)
        for _, clip in (cell for cell in plan.cells() if cell[0] is spec):
            cells[clip.item.task, clip.condition.name].append(clip)
        is_done = _done(plan, ledger, spec.key)
        for (task, noise), clips in cells.items():
            n_voices = len({clip.voice for clip in clips})
            n_items = len({clip.item.item_id for clip in clips})
            n_done = sum(map(is_done, clips))
            lines.append(
                f"{spec.key:{width}}{task:14}{noise:14}{n_voices:7}{n_items:7}{len(clips):7}{n_done:7}"
            )
    return "\n".join([*lines, "", *plan.notes, *_left(plan, ledger, n_workers)])


def _done(plan: Plan, ledger: Ledger, system: str) -> Callable[[Clip], bool]:
    spec = next(spec for spec in plan.systems if spec.key == system)

    def is_done(clip: Clip) -> bool:
        if not ledger.is_done(keys.render_key(clip.recipe)):
            return False
        if spec.kind == "speech_llm":
            return ledger.is_done(plan.listen_key(spec, clip))
        heard = plan.heard(spec, clip, ledger)
        return isinstance(heard, str) and ledger.is_done(plan.read_key(spec, clip, heard))

    return is_done


def _left(plan: Plan, ledger: Ledger, n_workers: int) -> list[str]:
    found = estimate(plan, ledger, n_workers)
    n_rows = sum(1 for _ in plan.cells())
    lines = [f"{n_rows:,} answers of {len(plan.systems)} systems on {len(plan.clips):,} clips."]
    n_failed = sum(row.failed for row in ledger.rows.values())
    if n_failed:
        lines.append(f"{n_failed:,} results failed in an earlier run; a run tries them again.")
    if ledger.n_damaged:
        lines.append(
            f"{ledger.n_damaged} parts of the ledger are damaged; a run sets them aside and makes them again."
        )
    counts = [f"{n:,} to {stage}" for stage, n in found.n_left.items() if n and stage != "memory"]
    if not any(found.n_left.values()):
        return [*lines, "Everything is done; run only writes the tables again."]
    by = f"{n_workers} worker{'s' if n_workers > 1 else ''}"
    basis = f"; guessed for {', '.join(found.guessed)}" if found.guessed else ", from what is done"
    if found.guessed and any(spec.key in PUBLISHED_SYSTEMS for spec in plan.systems):
        basis += f", published models as on one {GPUS[GUESSED_GPU].name}"
    return [
        *lines,
        f"Left: {', '.join(counts) or 'memory to measure'}.",
        f"About {duration(found.seconds)} with {by}{basis}; about {found.n_bytes / 1e6:.1f} MB on disk.",
    ]


def duration(seconds: float) -> str:
    """Return a time in words fit for an estimate."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
