"""check_adapter: does an adapter tell the truth about its model? Also `python -m engine.check NAME` or `--all`.

Each check compares the adapter's modules, span and states with the model's own forward pass; each is shown in
the tests to fail on a planted fault, in float32 and in bfloat16 (`engine.precision` counts the tolerances).
`engine.self_check` adds batches and erasers and goes through all systems.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.decode import run_arms
from engine.erasure import random_subspace
from engine.errors import EngineError
from engine.hooks import BACKBONE_LOCK, Projection, RowEdits, editing, recording
from engine.lens import unembed
from engine.precision import HEAD_ROUNDINGS, logit_tolerance, pass_roundings, relative_gap, state_tolerance
from engine.systems.base import Heard, Prepared, WhiteBoxModel, WhiteBoxSystem, end_ids

LEAST_EFFECT = 0.01  # of a logit: taking the whole clip away must move it more than rounding could
ROUND_TRIP_RANK = 4
ROUND_TRIP_SEED = 5
N_CACHED_TOKENS = 5
BATCH_CHECK = "a batch equals its singles"
PROBE_INSTRUCTION = "Repeat what was said."


@dataclass(frozen=True)
class Finding:
    """One check's outcome: what was measured, against which tolerance.

    Attributes:
        name: what must hold.
        measured: what was measured, in words.
        value: the number that is judged; NaN, where it could not be measured, never passes.
        tolerance: the most that `value` may be, or the least where `at_least`.
    """

    name: str
    measured: str
    value: float
    tolerance: float
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """Whether the value keeps to its tolerance."""
        return self.value >= self.tolerance if self.at_least else self.value <= self.tolerance

    @property
    def bound(self) -> str:
        """The tolerance in words, such as "at most 0.001"."""
        if self.tolerance == 0 and not self.at_least:
            return "exactly 0"
        return f"at {'least' if self.at_least else 'most'} {self.tolerance:g}"


def probe_clip(duration_s: float = 1.7) -> AudioClip:
    """Return a seeded sound (three gliding tones in faint noise): a check needs a signal, not speech."""
    time_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tones = sum(np.sin(2 * np.pi * f * time_s * (1 + 0.2 * time_s)) for f in (180, 720, 2300))
    noise = np.random.default_rng(17).standard_normal(len(time_s))
    return AudioClip((0.1 * tones + 0.01 * noise).astype(np.float32), "probe")


@torch.inference_mode()
def check_adapter(system: WhiteBoxModel, heard: Sequence[Heard] = ()) -> list[Finding]:
    """Run every check on a loaded system; the order is that in which faults are easiest to mend.

    Args:
        system: with ears, or with `heard` given one that reads.
        heard: two clips or transcripts to ask about; by default seeded sounds of two lengths.
    """
    if not heard:
        assert isinstance(system, WhiteBoxSystem)
        heard = [system.hear(probe_clip()), system.hear(probe_clip(3.1))]
    prepared, other = (system.prepare(one, PROBE_INSTRUCTION) for one in heard[:2])
    checks: tuple[Callable[[WhiteBoxModel, Prepared], Finding], ...] = (
        _no_hooks_left,
        _shapes,
        lambda system, prepared: _span(prepared, other),
        _hooks_off,
        _last_layer,
        _layer_order,
        _idle_edit,
        _edit_reaches,
        _edit_undone,
        _erased_twice,
        _batch,
        _cache,
    )
    with BACKBONE_LOCK:
        return [check(system, prepared) for check in checks]


def _logits(system: WhiteBoxModel, embeddings: torch.Tensor) -> torch.Tensor:
    return system.language_model(inputs_embeds=embeddings).logits.float()


def _gap(name: str, a: torch.Tensor, b: torch.Tensor, tolerance: float) -> Finding:
    gap = float((a - b).abs().max())
    return Finding(name, f"largest difference {gap:.1e}", gap, tolerance)


def _dtype(system: WhiteBoxModel) -> torch.dtype:
    return cast(torch.Tensor, system.unembedding.weight).dtype


def _rounding(system: WhiteBoxModel, logits: torch.Tensor, roundings: float = 0.0) -> float:
    """Return how far two passes may lie apart, or what lies `roundings` behind one pass."""
    roundings = roundings or pass_roundings(len(system.decoder_layers))
    return logit_tolerance(logits, _dtype(system), roundings)


def _no_hooks_left(system: WhiteBoxModel, _prepared: Prepared) -> Finding:
    left = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in system.language_model.modules())
    return Finding("no hook is left on the model", f"{left} hooks found", left, 0)


def _shapes(system: WhiteBoxModel, prepared: Prepared) -> Finding:
    n_layers = int(system.language_model.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
    width = int(cast(torch.Tensor, system.unembedding.weight).shape[1])
    found, wanted = (len(system.decoder_layers), prepared.embeddings.shape[-1]), (n_layers, width)
    off = sum(abs(a - b) for a, b in zip(found, wanted, strict=True))
    return Finding("layers and width are the config's", f"{found} of {wanted}", off, 0)


def _span(prepared: Prepared, other: Prepared) -> Finding:
    """The span lies inside the prompt and holds exactly what was heard; another clip makes another span."""
    start, stop = prepared.span
    inside = 0 < start < stop < prepared.embeddings.shape[1]
    same = inside and torch.equal(prepared.embeddings[0, start:stop], prepared.heard.embeddings)
    growth = (other.span[1] - other.span[0]) - (stop - start)
    expected = len(other.heard.embeddings) - len(prepared.heard.embeddings)
    wrong = sum((not inside, not same, growth != expected, other.span[0] != start))
    measured = f"{start} to {stop} of {prepared.embeddings.shape[1]}, {wrong} of 4 conditions broken"
    return Finding("the span holds what was heard", measured, wrong, 0)


def _hooks_off(system: WhiteBoxModel, prepared: Prepared) -> Finding:
    """What the page runs, every layer recorded and the cache on, gives the logits of the bare model."""
    layers = range(len(system.decoder_layers) + 1)
    ours = run_arms(system, prepared, record_layers=layers, max_new_tokens=1).prompt_logits[0]
    bare = _logits(system, prepared.embeddings)[0, -1]
    return _gap("hooks off equals vanilla", ours, bare, _rounding(system, bare))


def _last_layer(system: WhiteBoxModel, prepared: Prepared) -> Finding:
    """Norm and head on the last recorded residual equal the logits: catches a norm applied twice."""
    last = len(system.decoder_layers)
    with recording(system.decoder_layers, [last]) as states:
        logits = _logits(system, prepared.embeddings)
    read = unembed(system, states[last][0])
    # One pass: only norm and head are computed twice, by the model and by the lens.
    return _gap("last-layer lens equals logits", read, logits[0], _rounding(system, logits, HEAD_ROUNDINGS))


def _layer_order(system: WhiteBoxModel, prepared: Prepared) -> Finding:
    """Layer 0 is the input, and block i run on layer i - 1 gives layer i: catches a layer off by one."""
    layers = range(len(system.decoder_layers) + 1)
    with recording(system.decoder_layers, layers) as states:
        _logits(system, prepared.embeddings)
    gaps = [relative_gap(prepared.embeddings[0, 0].float(), states[0][0, 0])]
    position_ids = torch.zeros(1, 1, dtype=torch.long, device=prepared.embeddings.device)
    decoder = system.language_model.get_decoder()  # type: ignore[operator]
    rotary = decoder.rotary_emb(prepared.embeddings[:, :1], position_ids)
    for layer in range(1, len(system.decoder_layers) + 1):
        # The first position sees only itself, so the block can be run on it without a mask.
        before = states[layer - 1][:, :1].to(prepared.embeddings.dtype)
        first = decoder.layers[layer - 1](before, position_ids=position_ids, position_embeddings=rotary)
        first = first if torch.is_tensor(first) else first[0]
        gaps.append(relative_gap(first[0, 0].float(), states[layer][0, 0]))
    measured = f"largest relative difference {max(gaps):.1e}"
    return Finding("recorded layers follow one another", measured, max(gaps), state_tolerance(_dtype(system)))


def _idle_edit(system: WhiteBoxModel, prepared: Prepared) -> Finding:
    """An edit of rank 0 changes nothing."""
    width, device = prepared.embeddings.shape[-1], prepared.embeddings.device
    nothing = Projection(torch.zeros(width, 0, device=device), torch.zeros(0, width, device=device))
    plain = _logits(system, prepared.embeddings)
    edited = _edited(system, prepared, nothing)
    return _gap("an edit that changes nothing changes nothing", plain, edited, 0.0)


def _edit_reaches(system: WhiteBoxModel, prepared: Prepared) -> Finding:
    """Taking the whole state away at the clip's positions does change the logits."""
    plain = _logits(system, prepared.embeddings)
    moved = float((plain - _edited(system, prepared, _everything(prepared))).abs().max())
    least = max(LEAST_EFFECT, _rounding(system, plain))
    return Finding("an edit reaches the answer", f"moved {moved:.2f}", moved, least, at_least=True)


def _edit_undone(system: WhiteBoxModel, prepared: Prepared) -> Finding:
    """On and off again: the logits after an edit are bit for bit those before it."""
    plain = _logits(system, prepared.embeddings)
    _edited(system, prepared, _everything(prepared))
    return _gap("an edit that is over leaves no trace", plain, _logits(system, prepared.embeddings), 0.0)


def _erased_twice(system: WhiteBoxModel, prepared: Prepared) -> Finding:
    """A second erasure of the same directions finds nothing left to take: an erasure is idempotent."""
    basis = random_subspace(prepared.embeddings.shape[-1], ROUND_TRIP_RANK, ROUND_TRIP_SEED)
    erase = Projection(basis, basis.T)
    once, twice = _edited(system, prepared, erase), _edited(system, prepared, erase, erase)
    return _gap("erasing twice equals erasing once", once, twice, _rounding(system, once))


def _batch(system: WhiteBoxModel, prepared: Prepared) -> Finding:
    single = _logits(system, prepared.embeddings)[0]
    batched = _logits(system, prepared.embeddings.expand(3, -1, -1))[1]
    return _gap(BATCH_CHECK, single, batched, _rounding(system, single))


def _cache(system: WhiteBoxModel, prepared: Prepared) -> Finding:
    """Greedy decoding with the cache gives what recomputing the whole sequence gives, ties of rounding aside."""
    decoded = run_arms(system, prepared, max_new_tokens=N_CACHED_TOKENS).decoded[0]
    # The end of the answer is compared as well, so that an answer that ends at once is not taken on trust.
    end = end_ids(system)[0] if decoded.end_id is None else decoded.end_id
    with_cache = (*decoded.token_ids, end)[:N_CACHED_TOKENS]
    embed = system.language_model.get_input_embeddings()  # type: ignore[operator]
    sequence, n_other = prepared.embeddings, 0
    for cached in with_cache:
        logits = _logits(system, sequence)[0, -1]
        n_other += float(logits.max() - logits[cached]) > _rounding(system, logits)
        following = embed(torch.tensor([[cached]], device=sequence.device))
        sequence = torch.cat([sequence, following], dim=1)
    measured = f"{n_other} of {len(with_cache)} tokens differ"
    return Finding("cached equals uncached", measured, n_other, 0)


def _everything(prepared: Prepared) -> Projection:
    identity = torch.eye(prepared.embeddings.shape[-1], device=prepared.embeddings.device)
    return Projection(identity, identity)


def _edited(system: WhiteBoxModel, prepared: Prepared, *projections: Projection) -> torch.Tensor:
    """Return the logits with these projections, one after the other, at all layers of the clip's positions."""
    layers = range(len(system.decoder_layers) + 1)
    with ExitStack() as stack:
        for projection in projections:
            rows = [dict.fromkeys(layers, projection)]
            edits = RowEdits(rows, prepared.span, prepared.embeddings.shape[1], "audio")
            stack.enter_context(editing(system.decoder_layers, edits))
        return _logits(system, prepared.embeddings)


def main() -> int:
    """Check one system, or with --all every one that is here; exit code 1 when a check fails."""
    from engine.self_check import check_all, check_system, sentence_of

    parser = argparse.ArgumentParser(prog="python -m engine.check", description=main.__doc__)
    parser.add_argument("name", nargs="?", help="key of a system; --all lists them")
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    if not arguments.name and not arguments.all:
        parser.error("name a system, or use --all")
    try:
        checked = check_all() if arguments.all else (check_system(arguments.name),)
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for one in checked:
        for finding in one.findings:
            verdict = "ok  " if finding.passed else "FAIL"
            sys.stdout.write(f"{verdict}  {one.key}: {finding.name} ({finding.measured}; {finding.bound})\n")
        for note in one.notes:
            sys.stdout.write(f"left out  {one.key}: {note}\n")
    passed = all(one.passed for one in checked)
    (sys.stdout if passed else sys.stderr).write(f"{sentence_of(checked)}\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
