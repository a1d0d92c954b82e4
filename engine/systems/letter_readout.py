"""From letters to the LLM's own tokens: what a speech LLM that was trained on letters hands to its backbone.

Its audio encoder gives at each position a posterior over letters (CTC). An LLM reads tokens, so the letters' posterior
is read as one over tokens: every token that can be spelled is scored by how well its spelling explains a stretch of
sound, times how common it is. The stretches are those of the most probable sequence of tokens; what is handed on for
each is no token but the likeliest ones with their weights, of which the backbone gets the expected embedding. Words
that no training clip held can be heard too, for they are made of the same letters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from transformers import PreTrainedTokenizerBase

LETTERS = " abcdefghijklmnopqrstuvwxyz'"
SYMBOLS = 1 + len(LETTERS)  # CTC's blank is symbol 0
SPACE = 1
_NEVER = np.float32(-1e9)


@dataclass(frozen=True)
class TokenPosterior:
    """The stretches of a clip with the tokens that each may hold.

    Attributes:
        tokens: the likeliest token ids of each stretch, most likely first.
        weights: their probabilities, each row summing to 1.
        starts, ends: first position of a stretch and the one after its last.
    """

    tokens: Int[np.ndarray, "stretches candidates"]
    weights: Float[np.ndarray, "stretches candidates"]
    starts: Int[np.ndarray, "stretches"]  # noqa: F821 - jaxtyping axis name
    ends: Int[np.ndarray, "stretches"]  # noqa: F821


class LetterReadout:
    """The spellings of a tokenizer's tokens as a tree, and the search over it.

    Args:
        tokenizer: byte-level BPE whose ids follow the order of its merges, so that a token's id tells how common it is
            (Zipf: probability about 1 / id).
        prior_scale: weight of how common a token is, against what is heard.
        token_bonus: nats for each token of the sequence; a low one joins words, a high one splits them.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, prior_scale: float = 1.0, token_bonus: float = 0.0
    ) -> None:
        spellings = _spellings(tokenizer)
        nodes: dict[str, int] = {"": 0}
        ids: list[list[int]] = [[]]
        # Breadth first, so that a node's parent stands before it and the arrays are read almost in order.
        for prefix in sorted(
            {s[:n] for s in spellings for n in range(1, len(s) + 1)}, key=lambda s: (len(s), s)
        ):
            nodes[prefix] = len(nodes)
            ids.append(spellings.get(prefix, []))
        names = list(nodes)
        self._parent = np.array([0, *(nodes[name[:-1]] for name in names[1:])], np.int32)
        self._symbol = np.array([0, *(1 + LETTERS.index(name[-1]) for name in names[1:])], np.int32)
        # CTC needs a blank between two equal letters.
        self._is_repeat = self._symbol == self._symbol[self._parent]
        self._ends = np.array([node for node, found in enumerate(ids) if found], np.int32)
        self._tokens = np.array([token for node in self._ends for token in ids[node]], np.int64)
        self._token_node = np.array([node for node in self._ends for _ in ids[node]], np.int32)
        # Spellings compete by the scaled prior; the ways to write one spelling (the, The) share its probability.
        common = 1.0 / (self._tokens + 100.0)
        first = np.concatenate([[0], np.cumsum([len(ids[node]) for node in self._ends])[:-1]])
        total = np.add.reduceat(common, first)
        self._end_prior = (prior_scale * np.log(total / total.sum()) + token_bonus).astype(np.float32)
        per_token = np.repeat(np.arange(len(first)), np.diff([*first, len(common)]))
        self._token_prior = (self._end_prior[per_token] + np.log(common / total[per_token])).astype(
            np.float32
        )

    def read(
        self,
        log_probabilities: Float[np.ndarray, "positions symbols"],
        *,
        temperature: float = 1.0,
        candidates: int = 50,
    ) -> TokenPosterior:
        """Return the tokens that letters spell.

        Args:
            log_probabilities: of blank, space, a to z and the apostrophe at each position, natural logarithm.
            temperature: below 1 sharpens a stretch's posterior towards its likeliest token.
            candidates: how many tokens of a stretch are kept.
        """
        # A clip begins with a word: a space is put before it.
        lead = np.full((1, SYMBOLS), _NEVER, np.float32)
        lead[0, SPACE] = 0.0
        scores = np.concatenate([lead, log_probabilities.astype(np.float32)])
        bounds = self._segment(scores)
        tokens, weights = [], []
        for start, end in bounds:
            node_scores = self._spelled(scores[start:end])
            found = node_scores[self._token_node] + self._token_prior
            best = np.argpartition(-found, candidates)[:candidates]
            best = best[np.argsort(-found[best])]
            share = np.exp((found[best] - found[best[0]]) / temperature)
            tokens.append(self._tokens[best])
            weights.append(share / share.sum())
        shape = (len(bounds), candidates)
        edges = np.array(bounds, np.int64).reshape(-1, 2) - 1
        return TokenPosterior(
            np.array(tokens, np.int64).reshape(shape),
            np.array(weights, np.float32).reshape(shape),
            edges[:, 0].clip(0),
            edges[:, 1],
        )

    def _step(
        self, ended: np.ndarray, blank: np.ndarray, row: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the best scores of paths that end in each node's letter, from where each came (0 stays, 1 moves)."""
        came = np.where(self._is_repeat, blank[self._parent], np.maximum(blank, ended)[self._parent])
        moves = came > ended
        return np.where(moves, came, ended) + row[self._symbol], np.maximum(blank, ended) + row[0], moves

    def _spelled(self, scores: np.ndarray) -> np.ndarray:
        """Return each node's best log-likelihood of being spelled by exactly these positions."""
        ended = np.full(len(self._parent), _NEVER, np.float32)
        blank = ended.copy()
        blank[0] = 0.0
        for row in scores:
            ended, blank, _ = self._step(ended, blank, row)
            ended[0] = _NEVER
        return np.maximum(ended, blank)

    def _segment(self, scores: np.ndarray) -> list[tuple[int, int]]:
        """Return the stretches of the most probable sequence of tokens, each as (first row, row after the last)."""
        n_nodes = len(self._parent)
        ended = np.full(n_nodes, _NEVER, np.float32)
        blank = ended.copy()
        blank[0] = 0.0
        ended_since = np.zeros(n_nodes, np.int32)
        blank_since = np.zeros(n_nodes, np.int32)
        best_end = np.full(len(scores) + 1, _NEVER, np.float32)
        came_from = np.zeros(len(scores) + 1, np.int32)
        best_end[0] = 0.0
        for place, row in enumerate(scores):
            stays_letter = ended > blank
            moved_since = np.where(
                self._is_repeat,
                blank_since[self._parent],
                np.where(stays_letter, ended_since, blank_since)[self._parent],
            )
            new_ended, new_blank, moves = self._step(ended, blank, row)
            blank_since = np.where(stays_letter, ended_since, blank_since)
            ended_since = np.where(moves, moved_since, ended_since)
            ended, blank = new_ended, new_blank
            ended[0] = _NEVER
            in_letter, in_blank = ended[self._ends] + self._end_prior, blank[self._ends] + self._end_prior
            # A next token starts at the root as after a blank; the space that leads most tokens parts equal letters.
            total = np.maximum(in_letter, in_blank)
            winner = int(total.argmax())
            node = self._ends[winner]
            best_end[place + 1] = total[winner]
            came_from[place + 1] = (ended_since if in_letter[winner] >= in_blank[winner] else blank_since)[
                node
            ]
            blank[0], blank_since[0] = best_end[place + 1], place + 1
        bounds = []
        place = len(scores)
        while place > 0:
            bounds.append((int(came_from[place]), place))
            place = int(came_from[place])
        return bounds[::-1]


def _spellings(tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    """Return the tokens of each spelling in lower case: letters and apostrophes, a space before or not."""
    found: dict[str, list[int]] = {}
    for token in range(len(tokenizer)):
        text = str(tokenizer.decode([token])).lower()
        if (
            text.strip()
            and len(text.strip()) + 1 >= len(text)
            and set(text) <= set(LETTERS)
            and not text.endswith(" ")
        ):
            found.setdefault(text, []).append(token)
    return found
