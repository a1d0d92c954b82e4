"""The door to the measurements of mechanism, by stage; libraries are loaded when a stage is first met."""

from __future__ import annotations

from precompute.mechanism.units import MechanismUnit
from precompute.units import Outcome


def measure(unit: MechanismUnit) -> Outcome:
    """Return the unit's rows; raises whatever its work raises."""
    if unit.stage == "pitch":
        from precompute.mechanism.pitch import track_pitch

        return track_pitch(unit)
    if unit.stage == "lens":
        from precompute.mechanism.reading import read_layers

        return read_layers(unit)
    if unit.stage == "erase":
        from precompute.mechanism.erasing import erase

        return erase(unit)
    if unit.stage == "probe":
        from precompute.mechanism.probing import probe

        return probe(unit)
    from precompute.mechanism.damage import measure_damage

    return measure_damage(unit)
