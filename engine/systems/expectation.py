"""From a table of likely tokens to what a text LLM is given: expectations of its own input embeddings.

Both speech LLMs of the laptop profile end here, the bridge with a decoder's posterior and Ultravox with a CTC head's.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def likeliest(
    logits: Float[Tensor, "positions vocab"], n: int, temperature: float
) -> tuple[Int[Tensor, "positions n"], Float[Tensor, "positions n"]]:
    """Return the likeliest tokens at each position and their weights, which sum to 1.

    Args:
        logits: of a posterior; -inf for tokens that cannot be.
        n: how many are kept; all where there are fewer.
        temperature: above 0; logits are divided by it, so that below 1 the posterior is sharper.
    """
    top = logits.float().topk(min(n, logits.shape[-1]), dim=-1)
    return top.indices, (top.values / temperature).softmax(-1)


def expected_embeddings(
    embedding: Float[Tensor, "vocab d_model"],
    tokens: Int[Tensor, "positions n"],
    weights: Float[Tensor, "positions n"],
) -> Float[Tensor, "positions d_model"]:
    """Return at each position the sum over its tokens of weight x embedding.

    Args:
        embedding: an LLM's input embeddings, or any table with a row for each token named.
        tokens: rows of the table.
        weights: at least 0, summing to 1 at each position.
    """
    expected: Tensor = torch.nn.functional.embedding_bag(
        tokens, embedding, per_sample_weights=weights.to(embedding.dtype), mode="sum"
    )
    return expected
