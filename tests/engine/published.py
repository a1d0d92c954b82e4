"""What every published white-box system must do, whatever its layout: used by the tests of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.errors import ModelFilesError
from engine.hooks import Projection, RowEdits, editing
from engine.systems.base import Prepared, SpeechLLM

TOLERANCE = 1e-5  # of a logit
DURATIONS_S = (0.01, 0.03, 0.16, 0.161, 0.5, 1.0, 1.234, 3.0, 6.0, 29.99, 30.0, 31.0, 35.0)
QUESTION = "Is this positive or negative?"
N_NEW = 6


def edits(prepared: Prepared, row: dict[int, Projection] | None) -> RowEdits:
    return RowEdits([row], prepared.span, prepared.embeddings.shape[1], "all")


@torch.inference_mode()
def without_cache(system: SpeechLLM, prepared: Prepared, row: dict[int, Projection] | None) -> list[int]:
    """Slow reference: the whole sequence anew for every token, generated positions edited as well."""
    model: Any = system.language_model
    sequence, ids = prepared.embeddings, []
    for _ in range(N_NEW):
        if row is None:
            logits = model(inputs_embeds=sequence, use_cache=False).logits
        else:
            with editing(system.decoder_layers, edits(prepared, row)):
                logits = model(inputs_embeds=sequence, use_cache=False).logits
        token = int(logits[0, -1].argmax())
        if token == system.tokenizer.eos_token_id:
            break
        ids.append(token)
        sequence = torch.cat([sequence, model.get_input_embeddings()(torch.tensor([[token]]))], dim=1)
    return ids


def change_tensors(
    folder: Path, change: dict[str, Tensor | None], renamed: tuple[str, str] = ("", "")
) -> None:
    """Take tensors away, put others in their place or in beside, or rename one, in whichever file it lies."""
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        tensors: dict[str, Any] = load_file(file)
        here = {name: tensor for name, tensor in change.items() if name in tensors}
        tensors |= here if file != files[-1] else change
        if renamed[0] in tensors:
            tensors[renamed[1]] = tensors.pop(renamed[0])
        kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        save_file(kept, file, metadata={"format": "pt"})


def sentence_of_refusal(folder: Path, load: Any) -> str:
    """Return the one sentence with which loading is refused; it names no path."""
    with pytest.raises(ModelFilesError) as caught:
        load()
    message = str(caught.value)
    assert str(folder.parent) not in message and "\n" not in message
    return message


@torch.no_grad()
def spread(model: nn.Module, seed: int, std: float = 0.1) -> None:
    """Draw every weight anew: norms are not 1, biases not 0, and logits about 1, so that rounding stays small."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            weight.copy_(torch.randn(weight.shape, generator=generator) * std)
        elif name.endswith("bias"):
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
        else:
            weight.copy_(torch.rand(weight.shape, generator=generator) + 0.5)
