"""Claims of arXiv 2606.22473 about interleaved models: latent transcription, its phases, what it needs and gives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from engine.columns import RECALL, TEXT_SHARE
from engine.stats.intervals import Estimate, Resampled
from precompute.claims.measured import Measured, rows_of
from precompute.claims.verdict import BOOTSTRAP, Trial

K = 10  # of the claims that are tried at one k
TOPS = (1, 5, 10)
HALF = 0.5  # of the text share, and of the full model's R: our reading of "does not show it"
# Resampled layers are whole numbers and may all be one: a layer reaches half a layer to either side.
HALF_A_LAYER = 0.5
ONE_SIZE = "One size of interleaved model is here, and it has no other to be compared with; two are needed."
FULL = {"initialisation": "text", "data": "interleaved"}
CONTROLS = (("text", "speech only"), ("random", "interleaved"), ("random", "speech only"))
USED = ("next word", "next unit", "spoken knowledge")
_LAYERS = dict[int, Any]


def latent_transcription(run: Measured) -> Iterator[Trial]:
    """R of the current word at its best layer, against nothing, layer 0 and the last layer."""
    for model in _models(run, **FULL):
        for k in TOPS:
            layers = _recall(run, model, k, 0)
            best = _peak(layers)
            yield Trial(
                model, "", "", f"k = {k}, layer {best}", _excess(run, layers[best]), part="read at all"
            )
        for place, name in ((0, "layer 0"), (max(layers), "the last layer")):
            seen = _excess(run, layers[best]) - _excess(run, layers[place])
            yield Trial(model, "", "", f"k = {K}, layer {best} against {name}", seen, part=f"against {name}")


def three_phases(run: Measured) -> Iterator[Trial]:
    """The next word is read, after the current one, in text space; and the end is speech."""
    for model in _models(run, **FULL):
        layers = _recall(run, model, K, 1)
        best = _peak(layers)
        yield Trial(model, "", "", f"next word, layer {best}", _excess(run, layers[best]), part="next word")
        for row in rows_of(_final(run, "phases", model), k=K, boundary="current to next"):
            ends = (row.low - HALF_A_LAYER, row.high + HALF_A_LAYER)
            seen = Resampled(Estimate(row.layer, *ends, int(row.n_groups), BOOTSTRAP, row.note))
            note = f"In order in {100 * row.score:.0f} % of resamples."
            yield Trial(
                model, "", "", "layers from the current word to the next", seen, note=note, part="order"
            )
        share = {row.layer: row for row in rows_of(_final(run, "interleaved", model), measure=TEXT_SHARE)}
        for place, wanted in ((best, "above"), (max(layers), "below")):
            row = share[place]
            seen = run.of_interleaved(row, "score", "low", "high")
            detail = f"text share, layer {place}" + (", the last" if wanted == "below" else "")
            side = "above" if wanted == "above" else "below"
            yield Trial(model, "", "", detail, seen, HALF, side, part=detail)  # type: ignore[arg-type]


def both_needed(run: Measured) -> Iterator[Trial]:
    """Peak R of the full model minus that of each control; and the control's own, against half of the full one's."""
    for model in _models(run, **FULL):
        layers = _recall(run, model, K, 0)
        full = _excess(run, layers[_peak(layers)])
        for initialisation, data in CONTROLS:
            for other in _models(run, initialisation=initialisation, data=data):
                others = _recall(run, other, K, 0)
                best = _peak(others)
                theirs = _excess(run, others[best])
                note = f"R {full.value:.2f} and {theirs.value:.2f} (initialisation {initialisation}, {data})."
                name = f"{initialisation} initialisation, {data}"
                lead = full - theirs
                yield Trial(
                    model, other, "", "full model minus control", lead, note=note, part=f"above {name}"
                )
                yield Trial(
                    other, model, "", f"control alone, layer {best}", theirs, HALF * full.value, "below",
                    note=note, part=f"{name} alone",
                )  # fmt: skip


def bigger_deeper(run: Measured) -> Iterator[Trial]:
    """Nothing to compare: one cell that says so."""
    for model in _models(run, **FULL):
        nothing = Resampled(Estimate(math.nan, math.nan, math.nan, 0, "none", ONE_SIZE))
        yield Trial(model, "", "", "no other size", nothing, n_of="sizes")


def knowledge_relation(run: Measured) -> Iterator[Trial]:
    """Spearman's rho of peak R with spoken knowledge over the checkpoints of the full model's training."""
    for model in _models(run, **FULL):
        for row in rows_of(run.tables["spoken_knowledge"], model=model, measure="relation"):
            method = "Fisher's z after Bonett and Wright"
            seen = Resampled(Estimate(row.value, row.low, row.high, int(row.n), method, row.note))
            yield Trial(model, "", "", "checkpoints of one training", seen, n_of="checkpoints")


def latent_text_used(run: Measured) -> Iterator[Trial]:
    """What erasing the current word does to the three outcomes, against both controls."""
    for model in _models(run, **FULL):
        table = _final(run, "phase_causal", model)
        for outcome in USED:
            for row in rows_of(table, arm="erased", outcome=outcome):
                for control in ("rank_matched", "change_matched"):
                    seen = run.of_interleaved(row, *(f"vs_{control}{end}" for end in ("", "_low", "_high")))
                    detail = f"{outcome}, random of equal {control.split('_')[0]}"
                    yield Trial(model, "", "", detail, seen, 0.0, "below", part=detail)


def _models(run: Measured, **wanted: str) -> list[str]:
    table = run.tables["interleaved"]
    for name, value in wanted.items():
        table = table[table[name] == value]
    return sorted(set(table["model"]))


def _final(run: Measured, name: str, model: str) -> Any:
    """Return the rows of a model's last checkpoint."""
    table = run.tables[name]
    mine = table[table["model"] == model]
    return mine[mine["step"] == mine["step"].max()]


def _recall(run: Measured, model: str, k: int, d: int) -> _LAYERS:
    rows = rows_of(_final(run, "interleaved", model), measure=RECALL, k=k, d=d)
    return {int(row.layer): row for row in rows if not math.isnan(row.excess)}


def _peak(layers: _LAYERS) -> int:
    """Return the layer with the highest R, the lowest of equals."""
    return max(layers, key=lambda layer: (layers[layer].excess, -layer))


def _excess(run: Measured, row: Any) -> Resampled:
    return run.of_interleaved(row, "excess", "excess_low", "excess_high")
