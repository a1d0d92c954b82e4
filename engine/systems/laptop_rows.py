"""Rows of the laptop profile: real models that hear a real person on a CPU."""

from __future__ import annotations

from engine.systems.spec import READS, SystemSpec

LAPTOP_SYSTEMS: dict[str, SystemSpec] = {
    spec.key: spec
    for spec in (
        SystemSpec("smollm2", "SmolLM2-135M-Instruct, true transcript", "text_llm", "text_llm", "smollm2-135m-instruct", "smollm2-135m-instruct", None, READS, 135.0, "Apache-2.0"),
    )
}
