"""The one door by which a unit is worked on: executors name it, workers import it.

Model libraries are loaded when the first unit comes.
"""

from __future__ import annotations

from engine.systems.loading import using
from precompute.interleaved.units import InterleavedUnit
from precompute.mechanism.units import MechanismUnit
from precompute.units import ListenUnit, MemoryUnit, Outcome, ReadUnit, Unit

PERFORM = "precompute.stages.perform:perform"


@using()
def perform(unit: Unit) -> Outcome:
    """Return the unit's rows; raises whatever its work raises."""
    if isinstance(unit, ListenUnit):
        from precompute.stages.listen import listen

        return listen(unit)
    if isinstance(unit, ReadUnit):
        from precompute.stages.read import read

        return read(unit)
    if isinstance(unit, MechanismUnit):
        from precompute.mechanism.perform import measure as measure_mechanism

        return measure_mechanism(unit)
    if isinstance(unit, InterleavedUnit):
        from precompute.interleaved.perform import measure as measure_interleaved

        return measure_interleaved(unit)
    from precompute.stages.memory import measure

    assert isinstance(unit, MemoryUnit)
    return measure(unit)
