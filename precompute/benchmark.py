"""Working through a plan: sound first, then prompts, then memory, then the tables.

Every unit that comes back is in the ledger before the next is counted: a run that is stopped by anything
goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from precompute.executors import Executor
from precompute.ledger import Ledger
from precompute.plan import Plan, listen_units, memory_units, read_units
from precompute.progress import Progress
from precompute.stages.assemble import write_results
from precompute.units import Unit

LEDGER = "ledger"


@dataclass(frozen=True)
class Report:
    """What a run did: results made now, rows in the answers, rows that failed."""

    n_made: int
    n_rows: int
    n_failed: int


def ledger_of(out: Path) -> Ledger:
    """Return the ledger of a results folder; reads it, changes nothing."""
    return Ledger(out / LEDGER)


def run_plan(plan: Plan, out: Path, executor: Executor, stream: TextIO) -> Report:
    """Do what is not done and write answers.parquet, clips.parquet and run.json.

    Raises:
        LedgerError: the disk is full, or another run has the folder.
        EngineError: weights are missing; workers cannot be started.
    """
    with ledger_of(out).writing() as ledger, executor:
        if ledger.n_damaged:
            stream.write(
                f"{ledger.n_damaged} damaged part(s) of the ledger were set aside; what they held is made again.\n"
            )
        findings: dict[str, str] = {}
        n_before = len(ledger.rows)
        # Prompts of cascades are known only when the transcripts are: a stage waits for the one before.
        work_through("clips heard", listen_units(plan, ledger), ledger, executor, findings, stream)
        work_through("prompts answered", read_units(plan, ledger), ledger, executor, findings, stream)
        work_through("memory measured", memory_units(plan, ledger), ledger, executor, findings, stream)
        n_rows, n_failed = write_results(plan, ledger, out, findings)
        return Report(len(ledger.rows) - n_before, n_rows, n_failed)


def work_through(
    stage: str,
    units: Sequence[Unit],
    ledger: Ledger,
    executor: Executor,
    findings: dict[str, str],
    stream: TextIO,
) -> None:
    """Do these units, each outcome into the ledger as it comes; `findings` gains what was found about batches."""
    progress = Progress(stream, stage, sum(len(unit.keys) for unit in units))
    for outcome in executor.run(units):
        ledger.add(outcome.rows)
        for who, sentence in outcome.findings.items():
            if findings.get(who) != sentence:
                stream.write(f"{who}: {sentence}.\n")
            findings[who] = sentence
        progress.add(len(outcome.rows), sum(row.failed for row in outcome.rows))
    progress.finish()
