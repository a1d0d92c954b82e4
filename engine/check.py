"""check_adapter: does an adapter tell the truth about its model? Also `python -m engine.check NAME`.

Each check compares the adapter's modules, span and states with the model's own forward pass; each is shown in
the tests to fail on a planted fault.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.decode import run_arms
from engine.errors import EngineError
from engine.hooks import BACKBONE_LOCK, Projection, RowEdits, editing, recording
from engine.lens import unembed
from engine.systems.base import Prepared, WhiteBoxSystem
from engine.systems.catalogue import SYSTEMS, get_spec, systems

LOGIT_TOLERANCE = 1e-3
N_CACHED_TOKENS = 5
BATCH_CHECK = "a batch equals its singles"
PROBE_INSTRUCTION = "Repeat what was said."


@dataclass(frozen=True)
class Finding:
    """One check's outcome: what was measured, against which tolerance."""

    name: str
    passed: bool
    measured: str


def probe_clip(duration_s: float = 1.7) -> AudioClip:
    """Return a seeded sound (three gliding tones in faint noise): a check needs a signal, not speech."""
    time_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tones = sum(np.sin(2 * np.pi * f * time_s * (1 + 0.2 * time_s)) for f in (180, 720, 2300))
    noise = np.random.default_rng(17).standard_normal(len(time_s))
    return AudioClip((0.1 * tones + 0.01 * noise).astype(np.float32), "probe")


@torch.inference_mode()
def check_adapter(system: WhiteBoxSystem) -> list[Finding]:
    """Run every check on a loaded system; the order is that in which faults are easiest to mend."""
    heard = system.hear(probe_clip())
    prepared = system.prepare(heard, PROBE_INSTRUCTION)
    checks: tuple[Callable[[WhiteBoxSystem, Prepared], Finding], ...] = (
        _no_hooks_left,
        _shapes,
        _span,
        _last_layer,
        _layer_order,
        _idle_edit,
        _edit_reaches,
        _batch,
        _cache,
    )
    with BACKBONE_LOCK:
        return [check(system, prepared) for check in checks]


def _logits(system: WhiteBoxSystem, embeddings: torch.Tensor) -> torch.Tensor:
    return system.language_model(inputs_embeds=embeddings).logits.float()


def _no_hooks_left(system: WhiteBoxSystem, _prepared: Prepared) -> Finding:
    left = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in system.language_model.modules())
    return Finding("no hook is left on the model", left == 0, f"{left} hooks found")


def _shapes(system: WhiteBoxSystem, prepared: Prepared) -> Finding:
    n_layers = int(system.language_model.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
    width = int(cast(torch.Tensor, system.unembedding.weight).shape[1])
    found = (len(system.decoder_layers), prepared.embeddings.shape[-1])
    return Finding(
        "layers and width are the config's", found == (n_layers, width), f"{found} of {(n_layers, width)}"
    )


def _span(system: WhiteBoxSystem, prepared: Prepared) -> Finding:
    """The span lies inside the prompt and holds exactly what was heard; a longer clip makes a longer span."""
    start, stop = prepared.span
    inside = 0 < start < stop < prepared.embeddings.shape[1]
    same = inside and torch.equal(prepared.embeddings[0, start:stop], prepared.heard.embeddings)
    longer = system.prepare(system.hear(probe_clip(3.1)), PROBE_INSTRUCTION)
    growth = (longer.span[1] - longer.span[0]) - (stop - start)
    expected = len(longer.heard.embeddings) - len(prepared.heard.embeddings)
    passed = inside and same and growth == expected and longer.span[0] == start
    return Finding(
        "the span holds what was heard", passed, f"{start} to {stop} of {prepared.embeddings.shape[1]}"
    )


def _last_layer(system: WhiteBoxSystem, prepared: Prepared) -> Finding:
    """Norm and head on the last recorded residual equal the logits: catches a norm applied twice."""
    last = len(system.decoder_layers)
    with recording(system.decoder_layers, [last]) as states:
        logits = _logits(system, prepared.embeddings)
    gap = float((unembed(system, states[last][0]) - logits[0]).abs().max())
    return Finding("last-layer lens equals logits", gap < LOGIT_TOLERANCE, f"largest difference {gap:.1e}")


def _layer_order(system: WhiteBoxSystem, prepared: Prepared) -> Finding:
    """Layer 0 is the input, and block i run on layer i - 1 gives layer i: catches a layer off by one."""
    layers = range(len(system.decoder_layers) + 1)
    with recording(system.decoder_layers, layers) as states:
        _logits(system, prepared.embeddings)
    gaps = [float((states[0] - prepared.embeddings).abs().max())]
    position_ids = torch.zeros(1, 1, dtype=torch.long)
    decoder = system.language_model.get_decoder()  # type: ignore[operator]
    rotary = decoder.rotary_emb(prepared.embeddings[:, :1], position_ids)
    for layer in range(1, len(system.decoder_layers) + 1):
        # The first position sees only itself, so the block can be run on it without a mask.
        first = decoder.layers[layer - 1](
            states[layer - 1][:, :1], position_ids=position_ids, position_embeddings=rotary
        )
        first = first if torch.is_tensor(first) else first[0]
        gaps.append(float((first - states[layer][:, :1]).abs().max()))
    gap = max(gaps)
    return Finding(
        "recorded layers follow one another", gap < LOGIT_TOLERANCE, f"largest difference {gap:.1e}"
    )


def _idle_edit(system: WhiteBoxSystem, prepared: Prepared) -> Finding:
    """An edit of rank 0 changes nothing."""
    width = prepared.embeddings.shape[-1]
    nothing = Projection(torch.zeros(width, 0), torch.zeros(0, width))
    edits = _edits(system, prepared, nothing)
    plain = _logits(system, prepared.embeddings)
    with editing(system.decoder_layers, edits):
        edited = _logits(system, prepared.embeddings)
    gap = float((plain - edited).abs().max())
    return Finding(
        "an edit that changes nothing changes nothing", gap == 0.0, f"largest difference {gap:.1e}"
    )


def _edit_reaches(system: WhiteBoxSystem, prepared: Prepared) -> Finding:
    """Taking the whole state away at the clip's positions does change the logits, and leaves no trace after."""
    width = prepared.embeddings.shape[-1]
    edits = _edits(system, prepared, Projection(torch.eye(width), torch.eye(width)))
    plain = _logits(system, prepared.embeddings)
    with editing(system.decoder_layers, edits):
        edited = _logits(system, prepared.embeddings)
    after = _logits(system, prepared.embeddings)
    moved, left = float((plain - edited).abs().max()), float((plain - after).abs().max())
    return Finding(
        "an edit reaches the answer and undoes itself",
        moved > 0.01 and left == 0.0,
        f"moved {moved:.2f}, left {left:.1e}",
    )


def _batch(system: WhiteBoxSystem, prepared: Prepared) -> Finding:
    single = _logits(system, prepared.embeddings)[0]
    batched = _logits(system, prepared.embeddings.expand(3, -1, -1))[1]
    gap = float((single - batched).abs().max())
    return Finding(BATCH_CHECK, gap < LOGIT_TOLERANCE, f"largest difference {gap:.1e}")


def _cache(system: WhiteBoxSystem, prepared: Prepared) -> Finding:
    """Greedy decoding with the cache gives what recomputing the whole sequence gives."""
    answer = run_arms(system, prepared, max_new_tokens=N_CACHED_TOKENS).decoded[0].token_ids
    # The end of the answer is compared as well, so that an answer that ends at once is not taken on trust.
    with_cache = (*answer, int(system.tokenizer.eos_token_id))[:N_CACHED_TOKENS]
    embed = system.language_model.get_input_embeddings()  # type: ignore[operator]
    sequence, ids = prepared.embeddings, []
    for _ in range(len(with_cache)):
        token = int(_logits(system, sequence)[0, -1].argmax())
        ids.append(token)
        sequence = torch.cat([sequence, embed(torch.tensor([[token]]))], dim=1)
    return Finding("cached equals uncached", tuple(ids) == with_cache, f"{len(ids)} tokens compared")


def _edits(system: WhiteBoxSystem, prepared: Prepared, projection: Projection) -> RowEdits:
    layers = range(len(system.decoder_layers) + 1)
    rows = [dict.fromkeys(layers, projection)]
    return RowEdits(rows, prepared.span, prepared.embeddings.shape[1], "audio")


def main() -> int:
    """Check one system, or with --all every white-box one that is here; exit code 1 when a check fails."""
    parser = argparse.ArgumentParser(prog="python -m engine.check", description=main.__doc__)
    parser.add_argument("name", nargs="?", help=f"one of: {', '.join(SYSTEMS)}")
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    if not arguments.name and not arguments.all:
        parser.error("name a system, or use --all")
    try:
        failed = sum(_report(key) for key in (_white_box() if arguments.all else [arguments.name]))
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 1 if failed else 0


def _white_box() -> list[str]:
    """Return the systems whose states can be read, those without weights here left out and named."""
    found = [info for info in systems() if "lens" in info.capabilities]
    for info in found:
        if info.status != "ready":
            sys.stdout.write(f"left out  {info.key}: {info.reason}\n")
    return [info.key for info in found if info.status == "ready"]


def _report(key: str) -> int:
    from engine.systems.registry import load_cascade, load_speech_llm

    spec = get_spec(key)
    if spec.kind == "text_llm":
        raise EngineError(f"{spec.name} hears no audio; check the speech LLM or the cascade that uses it.")
    system = load_speech_llm(key) if spec.kind == "speech_llm" else load_cascade(key)
    findings = check_adapter(system)
    for finding in findings:
        sys.stdout.write(
            f"{'ok  ' if finding.passed else 'FAIL'}  {key}: {finding.name} ({finding.measured})\n"
        )
    return sum(not finding.passed for finding in findings)


if __name__ == "__main__":
    sys.exit(main())
