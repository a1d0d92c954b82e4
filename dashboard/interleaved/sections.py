"""The cards of the interleaved tab that are read from tables, in their order."""

from __future__ import annotations

from dashboard.interleaved import causal, knowledge, phases, recall
from dashboard.mechanism.section import Section

SECTIONS: tuple[Section, ...] = (recall.SECTION, phases.SECTION, knowledge.SECTION, causal.SECTION)


def section_of(key: str) -> Section | None:
    """Return the section with this key, None where there is none."""
    return next((section for section in SECTIONS if section.key == key), None)
