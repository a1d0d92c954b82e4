"""What stands in the clip's place while the LLM is taught: exact embeddings, and what speech LLMs send instead.

The speech LLMs of the laptop pair send expectations of the LLM's own input embeddings under a posterior: sharp and in
written English (the bridge), or over words that sound alike, in lower case and without punctuation (Ultravox with CTC,
where about three words in ten are wrong). Neither is needed here: posteriors over tokens that are spelt or used alike
are drawn, at the temperatures that the bridge offers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from torch import Tensor
from transformers import PreTrainedTokenizerBase

Kind = Literal["exact", "plain", "misspelt", "noisy", "sharp", "confused"]
# Shares of the examples. "plain" is lower case without punctuation, and so are half of misspelt and all confused ones.
KINDS: dict[Kind, float] = {
    "exact": 0.28,
    "plain": 0.12,
    "misspelt": 0.08,
    "noisy": 0.06,
    "sharp": 0.20,
    "confused": 0.26,
}
SPELT_ALIKE, USED_ALIKE, BY_CHANCE = 24, 8, 4
TEMPERATURES = (1.0, 0.5, 0.25)
# Other spellings of one sound: what is compared is closer to how a word sounds than its letters.
_SOUNDS = (
    (r"ph", "f"),
    (r"ck|q|c(?=[aoulrk]|$)", "k"),
    (r"c(?=[eiy])|z", "s"),
    (r"[ei]gh?t", "ait"),
    (r"gh|(?<=m)b$|^k(?=n)|^w(?=r)", ""),
    (r"ie|ee|ea|y", "i"),
    (r"ou|oo|ew|w", "u"),
    (r"(.)\1", r"\1"),
    (r"(?<=[^aeiou])e$", ""),
)


@dataclass(frozen=True)
class Disturbed:
    """One clip's place.

    Attributes:
        vectors: float32, what stands there.
        text: what was written there; the answer to "repeat" is this, in its case and punctuation.
    """

    vectors: Float[Tensor, "positions d_model"]
    text: str


class Confusables:
    """For each token that texts use, the tokens that could be taken for it.

    Attributes:
        tokens: int64 [vocabulary, candidates], the token itself first; rows of tokens not asked for are 0.
        likeness: float32, how alike each is, 0 to 1; the token itself has 1.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, embedding: Tensor, used: Sequence[int]) -> None:
        spelt = [str(tokenizer.decode([token])) for token in range(embedding.shape[0])]
        words = np.array([token for token, text in enumerate(spelt) if re.fullmatch(r" ?[a-z']+", text)])
        sounds = [sound_of(spelt[token]) for token in words]
        unit = torch.nn.functional.normalize(embedding.float(), dim=-1)
        width = 1 + SPELT_ALIKE + USED_ALIKE + BY_CHANCE
        self.tokens = torch.zeros(embedding.shape[0], width, dtype=torch.long)
        self.likeness = torch.zeros(embedding.shape[0], width)
        generator = torch.Generator().manual_seed(0)
        for start in range(0, len(used), 500):
            rows = torch.tensor(used[start : start + 500])
            alike = cdist(
                [sound_of(spelt[row]) for row in rows],
                sounds,
                scorer=Levenshtein.normalized_similarity,
                dtype=np.float32,
            )
            alike[rows.numpy()[:, None] == words[None]] = -1
            near = np.argpartition(-alike, SPELT_ALIKE, axis=1)[:, :SPELT_ALIKE]
            cosine = unit[rows] @ unit.T
            cosine[torch.arange(len(rows)), rows] = -1
            close, places = cosine.topk(USED_ALIKE, dim=-1)
            chance = torch.from_numpy(words)[
                torch.randint(len(words), (len(rows), BY_CHANCE), generator=generator)
            ]
            self.tokens[rows] = torch.cat([rows[:, None], torch.from_numpy(words[near]), places, chance], 1)
            self.likeness[rows] = torch.cat(
                [
                    torch.ones(len(rows), 1),
                    torch.from_numpy(np.take_along_axis(alike, near, 1)),
                    close,
                    torch.zeros(len(rows), BY_CHANCE),
                ],
                1,
            )


def sound_of(text: str) -> str:
    """Return roughly how letters sound, lower case; a leading space stays, for it says where a word begins."""
    sound = text.lower()
    for pattern, plain in _SOUNDS:
        sound = re.sub(pattern, plain, sound)
    return sound


def plain_words(text: str) -> str:
    """Return a text as an audio encoder writes it: lower case, letters, digits and apostrophes only."""
    return " ".join(re.sub(r"[^a-z0-9' ]+", " ", text.lower()).split())


def misspell(text: str, share: float, rng: random.Random) -> str:
    """Return the text with this share of its words spelt wrong by one letter left out, doubled, swapped or changed."""
    return " ".join(_misspelt(word, rng) if rng.random() < share else word for word in text.split())


def _misspelt(word: str, rng: random.Random) -> str:
    if len(word) < 3 or not word.isalpha():
        return word
    at = rng.randrange(1, len(word) - 1)
    letter = rng.choice("aeioubcdfghklmnprstvwy")
    return rng.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + letter + word[at + 1 :],
            word[:at] + letter + word[at:],
        )
    )


class Disturber:
    """Fills the clip's place for one example; holds no state between examples."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        embedding: Float[Tensor, "vocab d_model"],
        alike: Confusables,
    ) -> None:
        self._tokenizer, self._embedding, self._alike = tokenizer, embedding, alike
        self._scale = float(embedding.float().std())
        self._pieces: dict[str, int] = tokenizer.get_vocab()

    def draw(self, text: str, rng: random.Random, kind: Kind | None = None) -> Disturbed:
        """Return a clip's place for a text, of this kind or of a drawn one."""
        kind = kind or rng.choices(list(KINDS), list(KINDS.values()))[0]
        if kind in ("plain", "confused") or (kind == "misspelt" and rng.random() < 0.5):
            text = plain_words(text) or text.lower()
        written = misspell(text, rng.uniform(0.05, 0.3), rng) if kind == "misspelt" else text
        # A transcript begins without a space; a posterior's first word with one.
        leads = rng.random() < (0.3 if kind in ("exact", "misspelt") else 0.9)
        written = f" {written}" if leads else written
        ids = self._tokenizer.encode(written, add_special_tokens=False)
        if kind in ("plain", "confused") and rng.random() < 0.35:
            ids = self._in_pieces(written, rng)
        tokens = torch.tensor(ids)
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        if kind in ("sharp", "confused"):
            return Disturbed(self._mixed(tokens, kind, rng, generator), text)
        vectors = self._embedding[tokens].float()
        if kind == "noisy":
            noise = torch.randn(vectors.shape, generator=generator)
            vectors = vectors + rng.uniform(0.1, 0.7) * self._scale * noise
        return Disturbed(vectors, text)

    def _in_pieces(self, text: str, rng: random.Random) -> list[int]:
        """Return ids of a text whose words are cut anywhere, as where an encoder writes rare words in pieces."""
        ids: list[int] = []
        for word in re.findall(r" ?\S+", text):
            ids += (
                self._cut(word, rng)
                if rng.random() < 0.3
                else self._tokenizer.encode(word, add_special_tokens=False)
            )
        return ids

    def _cut(self, word: str, rng: random.Random) -> list[int]:
        spelt = word.replace(" ", "Ġ")
        ids: list[int] = []
        while spelt:
            lengths = [n for n in range(1, min(5, len(spelt)) + 1) if spelt[:n] in self._pieces]
            if not lengths:
                return list(self._tokenizer.encode(word, add_special_tokens=False))
            length = rng.choice(lengths[-3:])
            ids.append(self._pieces[spelt[:length]])
            spelt = spelt[length:]
        return ids

    def _mixed(
        self, tokens: Tensor, kind: Kind, rng: random.Random, generator: torch.Generator
    ) -> Float[Tensor, "positions d_model"]:
        candidates, likeness = self._alike.tokens[tokens], self._alike.likeness[tokens]
        own = rng.uniform(8.0, 14.0) if kind == "sharp" else rng.uniform(4.5, 9.0)
        scores = 4.0 * likeness + 1.3 * torch.randn(likeness.shape, generator=generator)
        scores[:, 0] = own + 1.6 * torch.randn(len(tokens), generator=generator)
        weights = (scores / rng.choice(TEMPERATURES)).softmax(-1)
        # Signs, digits and rare pieces have no candidates: they stay themselves.
        weights[likeness[:, 0] == 0] = 0.0
        mixed = torch.einsum("pc,pcd->pd", weights, self._embedding[candidates].float())
        lone = likeness[:, 0] == 0
        mixed[lone] = self._embedding[tokens[lone]].float()
        return mixed
