"""A prompt's states at every layer, plain or edited: one pass of the backbone, and nothing is generated."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from engine.answering import all_layers
from engine.hooks import BACKBONE_LOCK, RowEdits, editing, recording
from engine.systems.base import Prepared, WhiteBoxModel


@torch.inference_mode()
def read_states(
    system: WhiteBoxModel,
    prepared: Prepared,
    edits: RowEdits | None = None,
    layers: Sequence[int] | None = None,
) -> list[dict[int, Tensor]]:
    """Return for each row of `edits` (one plain row without them) layer -> states [positions, d_model], float32.

    Blocks above the highest layer that is wanted or edited do not run, nor does the head.

    Args:
        system: whose backbone runs.
        prepared: the prompt, the same for every row.
        edits: of the residual stream; what they count is filled in.
        layers: whose states are wanted, None for all.
    """
    n_rows = len(edits.rows) if edits else 1
    wanted = all_layers(system) if layers is None else layers
    edited = edits.layers() if edits else []
    with ExitStack() as stack:
        stack.enter_context(BACKBONE_LOCK)
        if edits and edited:
            stack.enter_context(editing(system.decoder_layers, edits))
        stop = max(wanted) >= max(edited, default=0)
        with recording(system.decoder_layers, wanted, stop=stop) as states:
            system.language_model(
                inputs_embeds=prepared.embeddings.expand(n_rows, -1, -1), use_cache=False, logits_to_keep=1
            )
    return [{layer: recorded[row] for layer, recorded in states.items()} for row in range(n_rows)]


@torch.inference_mode()
def run_blocks(
    system: WhiteBoxModel, states: Float[Tensor, "rows positions d_model"], first: int, last: int
) -> Float[Tensor, "rows positions d_model"]:
    """Return what states that stand at layer `first` become at layer `last`; both in the backbone's own dtype.

    What `read_states` finds above its edits, without running the blocks below them again: whoever walks up the
    layers (fitting erasers on what those below leave) pays for each block once.

    Args:
        system: whose blocks `first` + 1 to `last` run.
        states: of whole prompts of one length, positions counted from 0.
        first: where they stand, 0 to the number of blocks.
        last: above `first`.
    """
    decoder = system.language_model.get_decoder()
    every = decoder.layers
    with BACKBONE_LOCK:
        decoder.layers = nn.ModuleList(every[first:last])
        try:
            with recording(decoder.layers, [last - first], stop=True) as found:
                system.language_model(inputs_embeds=states, use_cache=False, logits_to_keep=1)
        finally:
            decoder.layers = every
    return found[last - first].to(states.dtype)
