"""Whether a concept is gone from erased states: what a fresh linear probe reads there that was never shown the fit.

On the eraser's own rows a linear probe is at chance by theorem, whatever the eraser does elsewhere, so those rows
prove nothing. Here the probe is fitted and scored on other clips, by folds of their sentences, on states recorded
inside runs that were erased as the run shown is; beside it stand the same probe on plain states, on states without
random directions of the same rank, and chance. Removal is claimed only where the plain probe reads and this one does
not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Verdict = Literal["not found", "still read", "cannot be said"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
SINGLE = "each layer alone"


@dataclass(frozen=True)
class LayerProof:
    """What probes read of a concept at one layer; scores as `Proof.measure` says.

    Attributes:
        plain: before any erasure; erased: after it, with the probe fitted anew; each with its 95 % interval over
            sentences.
        random: after as many random directions were taken out in the same places.
        chance: of the best guess that is the same at every position.
    """

    plain: float
    plain_low: float
    plain_high: float
    erased: float
    low: float
    high: float
    random: float
    chance: float

    @property
    def verdict(self) -> Verdict:
        """What may be said: nothing where the probe does not read the plain states either."""
        if not self.plain_low > self.chance:
            return "cannot be said"
        return "still read" if not self.low <= self.chance else "not found"


@dataclass(frozen=True)
class Proof:
    """One condition's proof under every way of erasing that was measured.

    Attributes:
        measure: what the scores are, in words.
        clips: which clips the probes saw, in words; none of them, nor of their sentences, was in the eraser's fit.
        n_clips, n_groups: of the probes; a group's sentences are never on both sides of a fold.
        settings: `setting_name` -> layer -> what is read there.
    """

    measure: str
    clips: str
    n_clips: int
    n_groups: int
    settings: Mapping[str, Mapping[int, LayerProof]]

    def to_json(self) -> dict[str, Any]:
        """Return the proof as JSON holds it."""
        settings = {
            name: {str(layer): asdict(found) for layer, found in layers.items()}
            for name, layers in self.settings.items()
        }
        return asdict(self) | {"settings": settings}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Proof:
        """Return the proof that `to_json` wrote."""
        settings = {
            name: {int(layer): LayerProof(**found) for layer, found in layers.items()}
            for name, layers in record["settings"].items()
        }
        return cls(**{**record, "settings": settings})

    def of_run(self, layers: Sequence[int], method: str, scope: str) -> RunProof | None:
        """Return the proof of a run that erases these layers at once, None where none was measured.

        One layer alone holds the same at its own positions whatever the method and scope. Of several, a layer's
        states depend on those erased below it only: the lowest of the layers measured together are measured, too.
        """
        if len(layers) == 1:
            measured = self.settings.get(SINGLE, {})
        else:
            measured = self.settings.get(setting_name(method, scope), {})
            if tuple(layers) != tuple(sorted(measured))[: len(layers)]:
                return None
        if any(layer not in measured for layer in layers):
            return None
        return RunProof(self.measure, self.clips, self.n_clips, {layer: measured[layer] for layer in layers})


@dataclass(frozen=True)
class RunProof:
    """The proof of one way of erasing, at its layers.

    Attributes:
        measure, clips, n_clips: as in `Proof`.
        layers: layer -> what is read there.
    """

    measure: str
    clips: str
    n_clips: int
    layers: Mapping[int, LayerProof]

    @property
    def verdict(self) -> Verdict:
        """Return "not found" only if no layer's probe reads it and every layer's could have."""
        verdicts = {one.verdict for one in self.layers.values()}
        order: tuple[Verdict, ...] = ("still read", "cannot be said", "not found")
        return next(one for one in order if one in verdicts)

    @property
    def worst(self) -> int:
        """Return the layer behind the verdict where most is left above chance; NaN is worse than any number."""
        left = {
            layer: one.erased - one.chance
            for layer, one in self.layers.items()
            if one.verdict == self.verdict
        }
        return max(left, key=lambda layer: (math.isnan(left[layer]), left[layer]))

    @property
    def sentence(self) -> str:
        """What the page says."""
        layer = self.worst
        one = self.layers[layer]
        where = f" at layer {layer}, where it reads most" if len(self.layers) > 1 else f" at layer {layer}"
        said = {
            "still read": "so it is not all gone",
            "not found": "so it is not found again",
            "cannot be said": "but it reads too little of the plain states for that to prove a removal",
        }[self.verdict]
        return (
            f"A fresh probe on {self.n_clips:,} other clips that were erased in this way, at full strength, reads "
            f"{one.erased:.2f} [{one.low:.2f}, {one.high:.2f}]{where} (plain {one.plain:.2f}, random directions "
            f"{one.random:.2f}, chance {one.chance:.2f}; {self.measure}): {said}."
        )


def setting_name(method: str, scope: str) -> str:
    """Return the name of a way of erasing several layers: at a clip's positions the prompt's scope is that of all."""
    return f"{method}, {'audio' if scope == 'audio' else 'all'}"
