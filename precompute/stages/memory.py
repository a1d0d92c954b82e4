"""The most memory a system holds while it answers: measured in a process that does nothing else.

`python -m precompute.stages.memory SYSTEM MODELS` prints megabytes; the interpreter and its libraries count.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from precompute.ledger import LedgerRow
from precompute.units import MemoryUnit, Outcome

BYTES_PER_MB = 1_000_000
TIME_LIMIT_S = 1800


def measure(unit: MemoryUnit) -> Outcome:
    """Return the row of one system."""
    command = [sys.executable, "-m", "precompute.stages.memory", unit.system, str(unit.models)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIME_LIMIT_S)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RuntimeError(f"the measuring process ended with {done.returncode}: {said[-1]}")
    return Outcome((LedgerRow(unit.key, "memory", unit.system, peak_memory_mb=float(done.stdout)),))


def main() -> int:
    """Load one system, answer the probes one by one and in a batch, and print the peak."""
    from engine.checks import check_batches
    from engine.systems.catalogue import get_spec
    from engine.systems.loading import load_cascade
    from precompute.stages.loaded import batching_of

    key, models = sys.argv[1], Path(sys.argv[2])
    if get_spec(key).kind == "cascade":
        check_batches(load_cascade(key, models))
    else:
        batching_of(key, models)
    sys.stdout.write(f"{peak_memory_mb_here():.1f}\n")
    return 0


def peak_memory_mb_here() -> float:
    """Return the most memory this process has held."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would count the parent's memory too: Linux carries its peak over an exec.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / BYTES_PER_MB
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / BYTES_PER_MB  # bytes on macOS


if __name__ == "__main__":
    sys.exit(main())
