"""Working through the plan of interleaved models on the ledger of the benchmark: what is stopped goes on from there."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from precompute.benchmark import Report, ledger_of, work_through
from precompute.executors import Executor
from precompute.interleaved.clip_tables import write_interleaved_clips
from precompute.interleaved.plan import InterleavedPlan
from precompute.interleaved.work import erase_units, knowledge_units, patch_units, phase_units
from precompute.ledger import Ledger
from precompute.plan import listen_units, memory_units, read_units
from precompute.stages.assemble import write_results

ANSWERS = "answers.parquet"


def run_interleaved(plan: InterleavedPlan, out: Path, executor: Executor, stream: TextIO) -> Report:
    """Do what is not done and write the tables of clips below `out`/interleaved.

    A folder without answers gets those of the speech LLMs to the plan's clips, so that it can be summed up.

    Raises:
        LedgerError: the disk is full, or another run has the folder.
        EngineError: weights are missing; workers cannot be started.
    """
    behaviour = plan.behaviour
    with ledger_of(out).writing() as ledger, executor:
        findings: dict[str, str] = {}
        n_before = len(ledger.rows)
        for name, units_of in (
            ("clips read layer by layer", phase_units),
            ("facts scored", knowledge_units),
            ("words erased", erase_units),
            ("words patched", patch_units),
        ):
            work_through(name, units_of(plan, ledger), ledger, executor, findings, stream)
        if not (out / ANSWERS).exists():
            for name, units in (
                ("clips heard", listen_units(behaviour, ledger)),
                ("prompts answered", read_units(behaviour, ledger)),
                ("memory measured", memory_units(behaviour, ledger)),
            ):
                work_through(name, units, ledger, executor, findings, stream)
            write_results(behaviour, ledger, out, findings)
        n_rows, n_failed = write_interleaved_clips(plan, ledger, out)
        return Report(len(ledger.rows) - n_before, n_rows, n_failed)


def format_interleaved_plan(plan: InterleavedPlan, ledger: Ledger) -> str:
    """Return what is measured and what is left of it; interventions are counted when the phases are known."""
    names = ", ".join(dict.fromkeys(one.model for one in plan.checkpoints))
    lines = [
        f"{len(plan.clips):,} clips and {len(plan.facts):,} facts, {len(plan.checkpoints)} checkpoints of {names}.",
        *plan.notes,
    ]
    counts = [
        f"{n:,} {name}"
        for name, units_of in (
            ("clips to read", phase_units),
            ("facts to score", knowledge_units),
            ("clips and facts to erase from", erase_units),
            ("words to patch", patch_units),
        )
        if (n := sum(len(unit.keys) for unit in units_of(plan, ledger)))
    ]
    if not counts:
        return "\n".join([*lines, "Everything is done; run only writes the tables again."])
    return "\n".join([*lines, f"Left: {', '.join(counts)}; interventions follow when the clips are read."])
