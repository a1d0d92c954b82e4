"""The lens at a clip's positions: final norm and unembedding of the model itself, read layer by layer.

Only top tokens and the ranks of tracked tokens leave this file; a layer's logits are dropped at once
(Cascade Equivalence paper, arXiv 2602.17598, section 5; the mismatched-transcript control is ours).

The tuned lens is a low-rank affine map for each layer before them, h' = h + up (down h) + bias (Belrose et al., arXiv
2303.08112, the translator's residual form cut to a low rank). The maps are fitted by `precompute.training.tuned_lens`
and refuse to load on other weights than those they were fitted on.

Word recall is how often a layer holds the word being spoken, or the one that follows, among its top tokens. Word
times are known, so a hit counts at the word's own place; the control asks for the words of other transcripts there.

Spoken knowledge, after arXiv 2606.22473 by accounts of it: does a model find the right spoken end of a statement
likelier than a wrong one. Whether per token or in sum is not known to us: the mean log-probability per unit is ours,
because ends differ in length; the sum stands beside it.

How far two computations of one thing may lie apart is counted in the model's own precision. A check compares two
orders of the same arithmetic. In float32 their rounding is far below any fault; in bfloat16, with 8 bits to a number,
it is not, and a tolerance has to be counted: how many roundings lie between the two, each of at most half a unit in
the last place (Higham, Accuracy and Stability of Numerical Algorithms, section 2.2).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from engine.errors import LensError
from engine.request import tuned_lens_file, why_no_tuned_lens
from engine.results import LensReadout
from engine.systems.base import WhiteBoxModel, text_ids
from engine.systems.weights import MODELS
from engine.words import SpokenWord, even_ends, overlapping

FORMAT = "cascade-lens tuned lens 1"


@dataclass(frozen=True)
class Translator:
    """One layer's map.

    Attributes:
        down, up: [rank, d_model], [d_model, rank].
        bias: [d_model].
    """

    down: Float[Tensor, "rank d_model"]
    up: Float[Tensor, "d_model rank"]
    bias: Float[Tensor, "d_model"]  # noqa: F821 - jaxtyping axis name

    def apply(self, states: Float[Tensor, "positions d_model"]) -> Float[Tensor, "positions d_model"]:
        """Return the translated states, in float32."""
        states = states.float()
        down, up, bias = (part.to(states.device, torch.float32) for part in (self.down, self.up, self.bias))
        return states + states @ down.T @ up.T + bias


@dataclass(frozen=True)
class TunedLens:
    """The maps of one model by layer; the output of the last block needs none and is read as it is."""

    translators: Mapping[int, Translator]

    def apply(
        self, layer: int, states: Float[Tensor, "positions d_model"]
    ) -> Float[Tensor, "positions d_model"]:
        """Return the states of a layer as the final norm is to get them."""
        translator = self.translators.get(layer)
        return states if translator is None else translator.apply(states)


def load_tuned_lens(key: str, fingerprint: str, n_layers: int, models: Path = MODELS) -> TunedLens:
    """Return a system's tuned lens.

    Args:
        key: of the system.
        fingerprint: of the weights that are loaded.
        n_layers: blocks of its backbone; layers 0 to n_layers - 1 have maps.
        models: the models' folder.

    Raises:
        LensError: it was not fitted, is damaged, or belongs to other weights.
    """
    reason = why_no_tuned_lens(key, models)
    if reason:
        raise LensError(reason)
    file = tuned_lens_file(key, models)
    return _read(file, fingerprint, n_layers, file.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(file: Path, fingerprint: str, n_layers: int, _modified: int) -> TunedLens:
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            names = set(stored.keys())
            wanted = {_name(layer, part) for layer in range(n_layers) for part in ("down", "up", "bias")}
            if metadata.get("format") != FORMAT or not wanted <= names:
                raise LensError("The tuned lens has another layout than this version reads; fit it again.")
            if metadata.get("fingerprint") != fingerprint:
                raise LensError("The tuned lens was fitted on other weights than those loaded; fit it again.")
            return TunedLens(
                {
                    layer: Translator(
                        *(stored.get_tensor(_name(layer, part)) for part in ("down", "up", "bias"))
                    )
                    for layer in range(n_layers)
                }
            )
    except SafetensorError as error:
        raise LensError("The file of the tuned lens is damaged; fit it again.") from error


def save_tuned_lens(file: Path, translators: Sequence[Translator], fingerprint: str) -> None:
    """Write the maps of layers 0, 1, ... in float16, with the fingerprint of the weights that they belong to."""
    tensors = {
        _name(layer, part): getattr(translator, part).detach().to("cpu", torch.float16).contiguous()
        for layer, translator in enumerate(translators)
        for part in ("down", "up", "bias")
    }
    save_file(tensors, file, metadata={"format": FORMAT, "fingerprint": fingerprint})


def _name(layer: int, part: str) -> str:
    return f"layer_{layer}.{part}"


TOP_K = 10
TOP_BLOCK = 64  # tokens of the vocabulary whose maximum is taken at once
DEGENERATE_SHARE = 0.5
_NAN = float("nan")
# Of one layer: top ids, their probabilities, entropies in nats, best ranks of the wanted ids.
Read = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Reading = Callable[[int, Tensor, Sequence[Sequence[int]]], Read]
HEAD_ROWS = 16_384  # of the unembedding, widened at a time: 268 MB at a width of 4,096


@dataclass(frozen=True)
class TokenTrack:
    """One token followed through layers and positions; rank 1 is the top."""

    token_text: str
    token_id: int
    layers: tuple[int, ...]
    ranks: Int[np.ndarray, "layers positions"]
    probabilities: Float[np.ndarray, "layers positions"]


@torch.inference_mode()
def unembed(
    system: WhiteBoxModel, states: Float[Tensor, "positions d_model"]
) -> Float[Tensor, "positions vocab"]:
    """Return the model's own final norm and head over residual states that were not normed yet, in float32.

    The norms of all families compute in float32 and keep what they are given; of weights in a lower precision
    a part at a time is widened, for the whole head would take more room than any layer.
    """
    weight = cast(Tensor, system.unembedding.weight)
    normed = system.final_norm(states.float()).float()
    if weight.dtype == torch.float32:
        return torch.nn.functional.linear(normed, weight)
    parts = [torch.nn.functional.linear(normed, part.float()) for part in weight.split(HEAD_ROWS)]
    return torch.cat(parts, dim=-1)


@torch.inference_mode()
def read_lens(
    system: WhiteBoxModel,
    states: Mapping[int, Float[Tensor, "positions d_model"]],
    *,
    seconds_per_position: float,
    position_ends_s: Float[np.ndarray, "positions"] | None = None,  # noqa: F821 - jaxtyping axis name
    words: Sequence[SpokenWord],
    words_from: str,
    other_transcripts: Sequence[str],
    reading: Reading | None = None,
) -> LensReadout:
    """Reduce recorded states at audio positions to a readout.

    Args:
        system: the model the states come from.
        states: layer -> states at the audio positions, first to last.
        seconds_per_position: clock width of one position, the mean one where they differ.
        position_ends_s: when each position ends, where they are not all of one width.
        words: the words on the clock, for hits, ranks and precision.
        words_from: where these words come from.
        other_transcripts: transcripts of other clips, for the control (`as_varied_as`).
        reading: how a layer's states are read; None takes the model's own norm and head (the logit lens).
    """
    layers = tuple(sorted(states))
    n_positions = len(states[layers[0]])
    even = even_ends(n_positions, seconds_per_position)
    spoken = overlapping(words, even if position_ends_s is None else position_ends_s)
    candidates = [candidate_ids(system.tokenizer, word.text) for word in words]
    wanted = [[i for w in here for i in candidates[w]] for here in spoken]
    read_layer = reading or logit_reading(system)
    read = [read_layer(layer, states[layer], wanted) for layer in layers]
    top_ids, top_probabilities, entropies, ranks = (np.stack(rows) for rows in zip(*read, strict=True))
    text = {int(i): _token_text(system.tokenizer, int(i)) for i in np.unique(top_ids)}
    tops = [[text[int(i)] for i in row] for row in top_ids[:, :, 0]]
    own = split_tokens(system.tokenizer, " ".join(word.text for word in words))
    others = [split_tokens(system.tokenizer, transcript) for transcript in other_transcripts]
    bags = [own, *(as_varied_as(own, others, first) for first in range(len(others)))]
    multisets, sets = (
        np.array([[_NAN if bag is None else measure(row, bag) for bag in bags] for row in tops])
        for measure in (token_precision, set_precision)
    )
    return LensReadout(
        layers=layers,
        seconds_per_position=seconds_per_position,
        position_ends_s=position_ends_s,
        top_ids=top_ids,
        top_probabilities=top_probabilities.astype(np.float32),
        entropy_nats=entropies.astype(np.float32),
        token_text=text,
        spoken=spoken,
        words=tuple(words),
        words_from=words_from,
        word_rank=ranks,
        precision=tuple(multisets[:, 0].tolist()),
        control=tuple(multisets[:, 1:].mean(1).tolist()),
        set_precision=tuple(sets[:, 0].tolist()),
        set_control=tuple(sets[:, 1:].mean(1).tolist()),
        n_control_clips=len(other_transcripts),
        degenerate_layers=tuple(
            layer for layer, row in zip(layers, tops, strict=True) if _is_degenerate(row)
        ),
    )


def logit_reading(system: WhiteBoxModel, tuned: TunedLens | None = None) -> Reading:
    """Return how a layer is read by the logit lens, or by the tuned lens where there is one."""

    def read(layer: int, states: Tensor, wanted: Sequence[Sequence[int]]) -> Read:
        logits = unembed(system, states if tuned is None else tuned.apply(layer, states))
        top, highest = top_tokens(logits), logits.amax(-1, keepdim=True)
        ranks = best_ranks(logits, wanted)
        # One pass gives the sum and the entropy: log-probabilities of the whole vocabulary are never written down.
        shifted = logits.sub_(highest)
        shares = shifted.exp()
        total = shares.sum(-1, keepdim=True)
        entropies = total.log()[:, 0] - torch.linalg.vecdot(shares, shifted) / total[:, 0]
        probabilities = shares.gather(-1, top) / total
        return _on_cpu(top, probabilities, entropies.clamp(min=0), ranks)

    return read


def difference_reading(system: WhiteBoxModel, others: Mapping[int, Tensor]) -> Reading:
    """Return how a layer is read by what one condition holds more of than another, at the same positions.

    Tokens are ordered by p log(p / q), their share in KL(p || q) in nats, p from the states that are read and q
    from `others`; with it go the tokens' p and, in place of the entropy, the whole KL.
    """

    def read(layer: int, states: Tensor, wanted: Sequence[Sequence[int]]) -> Read:
        log_p, log_q = (unembed(system, one).log_softmax(-1) for one in (states, others[layer]))
        shares = log_p.exp() * (log_p - log_q)
        top = top_tokens(shares)
        return _on_cpu(
            top, log_p.gather(-1, top).exp(), shares.sum(-1).clamp(min=0), best_ranks(shares, wanted)
        )

    return read


def _on_cpu(top: Tensor, probabilities: Tensor, nats: Tensor, ranks: np.ndarray) -> Read:
    return top.cpu().numpy().astype(np.int32), probabilities.cpu().numpy(), nats.cpu().numpy(), ranks


def top_tokens(scores: Float[Tensor, "positions vocab"]) -> Int[Tensor, "positions k"]:
    """Return the ids of each position's TOP_K highest scores, highest first.

    They lie within the TOP_K blocks of the vocabulary with the highest maxima, so no more than those are sorted.
    """
    n_whole = scores.shape[-1] // TOP_BLOCK * TOP_BLOCK
    if n_whole < TOP_BLOCK * TOP_K:
        return scores.topk(TOP_K, dim=-1).indices
    blocks = scores[:, :n_whole].unflatten(-1, (-1, TOP_BLOCK))
    best = blocks.amax(-1).topk(TOP_K, dim=-1).indices
    ids = (best[..., None] * TOP_BLOCK + torch.arange(TOP_BLOCK, device=scores.device)).flatten(-2)
    rest = torch.arange(n_whole, scores.shape[-1], device=scores.device).expand(len(scores), -1)
    ids = torch.cat([ids, rest], dim=-1)
    return ids.gather(-1, scores.gather(-1, ids).topk(TOP_K, dim=-1).indices)


def candidate_ids(tokenizer: PreTrainedTokenizerBase, word: str) -> tuple[int, ...]:
    """Return the ids a word may begin with: with and without leading space, as is, lower, capitalised."""
    found = []
    for form in dict.fromkeys((word, word.lower(), word.capitalize())):
        for spelling in (f" {form}", form):
            ids = text_ids(tokenizer, spelling)
            # Byte-level tokenizers may spend a token on the space alone; it names no word.
            found += [i for i in ids[:2] if _token_text(tokenizer, i).strip()][:1]
    return tuple(dict.fromkeys(found))


def split_tokens(tokenizer: PreTrainedTokenizerBase, transcript: str) -> list[str]:
    """Return a transcript's token texts, normalised as the lens's own tokens are."""
    ids = text_ids(tokenizer, transcript.lower())
    return [t for t in (_plain(_token_text(tokenizer, i)) for i in ids) if t]


def as_varied_as(own: Sequence[str], others: Sequence[Sequence[str]], first: int) -> list[str] | None:
    """Return tokens of other transcripts that stand for one as long as the clip's own.

    Precision grows with the bag: a long clip's own bag holds more of whatever is read than one short sentence of
    another clip does. So the other sentences are taken one after another, from number `first` on and round, until
    they have as many distinct tokens as the clip's own.

    Args:
        own: tokens of the clip's transcript.
        others: tokens of each other transcript.
        first: which of them begins.

    Returns:
        The tokens, repeated ones among them; None where all others together have fewer distinct ones.
    """
    wanted, taken, known = len(set(own)), [], set[str]()
    for token in (token for other in (*others[first:], *others[:first]) for token in other):
        if len(known) == wanted and token not in known:
            break
        taken.append(token)
        known.add(token)
    return taken if len(known) == wanted else None


def token_precision(top_tokens: Iterable[str], transcript_tokens: Sequence[str]) -> float:
    """Return bag-of-tokens precision: the share of read tokens that the transcript holds, as multisets.

    Runs of one token count once (a word owns several positions), and a token counts as often as the transcript has
    it; tokens without a letter or digit are left out. Range 0 to 1; nan when no token is left.
    """
    read: list[str] = []
    previous = None
    for token in top_tokens:
        plain = _plain(token)
        if plain and plain != previous:
            read.append(plain)
        previous = plain
    if not read:
        return _NAN
    common = Counter(read) & Counter(transcript_tokens)
    return sum(common.values()) / len(read)


def set_precision(top_tokens: Iterable[str], transcript_tokens: Sequence[str]) -> float:
    """Return the share of positions whose token is among the transcript's: what stands beside the paper's figures.

    The paper says "bag-of-tokens precision" and leaves matching unstated (section 5.2); this is its plain reading:
    each position counts, one of a run as well. What is left out, range and nan: as `token_precision`.
    """
    read, bag = [plain for token in top_tokens if (plain := _plain(token))], set(transcript_tokens)
    return sum(token in bag for token in read) / len(read) if read else _NAN


def lens_text(readout: LensReadout, layer: int) -> str:
    """Return the tokens read at one layer as a line of text, runs of one token merged."""
    row = readout.top_ids[readout.layers.index(layer), :, 0]
    pieces: list[str] = []
    previous = None
    for token_id in row:
        if token_id != previous and _plain(readout.token_text[int(token_id)]):
            pieces.append(readout.token_text[int(token_id)])
        previous = token_id
    return " ".join("".join(pieces).split())


@torch.inference_mode()
def track(
    system: WhiteBoxModel, states: Mapping[int, Float[Tensor, "positions d_model"]], token_id: int
) -> TokenTrack:
    """Return rank and probability of one token at every recorded layer and position."""
    layers = tuple(sorted(states))
    ranks, probabilities = [], []
    for layer in layers:
        log_probabilities = unembed(system, states[layer]).log_softmax(-1)
        own = log_probabilities[:, token_id]
        ranks.append(1 + (log_probabilities > own[:, None]).sum(-1).cpu().numpy())
        probabilities.append(own.exp().cpu().numpy())
    text = _token_text(system.tokenizer, token_id)
    return TokenTrack(text, token_id, layers, np.stack(ranks), np.stack(probabilities))


def best_ranks(log_probabilities: Tensor, wanted: Sequence[Sequence[int]]) -> Int[np.ndarray, "positions"]:  # noqa: F821
    """Return at each position the best rank of its wanted ids, 1 for the top; 0 where none is wanted."""
    ranks = np.zeros(len(wanted), np.int32)
    asked = [position for position, ids in enumerate(wanted) if ids]
    if not asked:
        return ranks
    width = max(len(wanted[position]) for position in asked)
    # A row with fewer ids than another names its first again.
    rows = [
        [*wanted[position], *[wanted[position][0]] * (width - len(wanted[position]))] for position in asked
    ]
    here = log_probabilities[torch.tensor(asked, device=log_probabilities.device)]
    best = here.gather(1, torch.tensor(rows, device=here.device)).amax(1, keepdim=True)
    ranks[asked] = 1 + (here > best).sum(1).cpu().numpy()
    return ranks


def _plain(token: str) -> str:
    return re.sub(r"(?:[^\w']|_)+", "", token.lower()) if not token.startswith("<|") else ""


def _token_text(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    return str(tokenizer.decode([token_id]))


def _is_degenerate(row: Sequence[str]) -> bool:
    return max(Counter(row).values()) > DEGENERATE_SHARE * len(row) and len(row) > 3


TOPS = (1, 5, 10)


@dataclass(frozen=True)
class WordRanks:
    """Best rank of a word's candidate tokens at each layer and position; 0 where no word is asked for.

    Attributes:
        current: of the words being spoken.
        following: of the word after the last of them.
        control: of other transcripts' words in the same places, transcript by transcript.
    """

    current: Int[np.ndarray, "layers positions"]
    following: Int[np.ndarray, "layers positions"]
    control: Int[np.ndarray, "transcripts layers positions"]


@torch.inference_mode()
def rank_words(
    system: WhiteBoxModel,
    states: Mapping[int, Float[Tensor, "positions d_model"]],
    words: Sequence[SpokenWord],
    *,
    seconds_per_position: float,
    position_ends_s: Float[np.ndarray, "positions"] | None = None,  # noqa: F821 - jaxtyping axis name
    other_transcripts: Sequence[str],
) -> WordRanks:
    """Return the ranks at every layer, from the lowest.

    Args:
        system: the model the states come from.
        states: layer -> states at the audio positions.
        words: with their exact times.
        seconds_per_position: clock width of one position.
        position_ends_s: when each position ends, where they are not all of one width.
        other_transcripts: for the control; a short one is repeated until it is as long as the clip's words.
    """
    even = even_ends(len(states[min(states)]), seconds_per_position)
    spoken = overlapping(words, even if position_ends_s is None else position_ends_s)
    texts = [word.text for word in words]
    asked = [
        _wanted(system, texts, spoken),
        _wanted(system, [*texts[1:], ""], [here[-1:] for here in spoken]),
        *(_wanted(system, _as_long_as(other.split(), texts), spoken) for other in other_transcripts),
    ]
    by_layer = []
    for layer in sorted(states):
        log_probabilities = unembed(system, states[layer]).log_softmax(-1)
        by_layer.append(np.stack([best_ranks(log_probabilities, wanted) for wanted in asked]))
    ranks = np.stack(by_layer, axis=1)
    return WordRanks(ranks[0], ranks[1], ranks[2:])


def _wanted(system: WhiteBoxModel, texts: Sequence[str], places: Sequence[Sequence[int]]) -> list[list[int]]:
    ids = [candidate_ids(system.tokenizer, text) if text else () for text in texts]
    return [[i for word in here for i in ids[word]] for here in places]


def _as_long_as(other: Sequence[str], texts: Sequence[str]) -> list[str]:
    return [other[place % len(other)] for place in range(len(texts))]


def count_hits(ranks: Int[np.ndarray, "positions"]) -> tuple[int, ...]:  # noqa: F821 - jaxtyping axis name
    """Return the positions at which a word is asked for, then how many hold it among the top 1, 5 and 10."""
    asked = ranks > 0
    return (int(asked.sum()), *(int((asked & (ranks <= top)).sum()) for top in TOPS))


@dataclass(frozen=True)
class EndScore:
    """How likely an end is after its beginning.

    Attributes:
        log_probability: natural, summed over its units.
        n_units: of the end.
    """

    log_probability: float
    n_units: int

    @property
    def per_unit(self) -> float:
        """Mean log-probability of a unit, in nats."""
        return self.log_probability / self.n_units


@torch.inference_mode()
def log_probabilities(
    system: WhiteBoxModel,
    last_states: Float[Tensor, "positions d_model"],
    ids: Int[Tensor, "positions"],  # noqa: F821 - jaxtyping axis name
) -> Float[Tensor, "scores"]:  # noqa: F821
    """Return log p(id at position i + 1) for all but the first, over the whole vocabulary, in nats.

    Args:
        system: whose head reads.
        last_states: of the last layer, before the final norm, at these positions.
        ids: vocabulary ids that stand there.
    """
    logits = unembed(system, last_states[:-1])
    return logits.log_softmax(-1).gather(-1, ids[1:, None])[:, 0]


def score_end(scores: Float[Tensor, "scores"], n_begin: int) -> EndScore:  # noqa: F821
    """Return the score of what stands behind the first `n_begin` positions.

    Args:
        scores: of `log_probabilities`, one for each position but the first.
        n_begin: positions of the beginning, at least 1.
    """
    end = scores[n_begin - 1 :]
    return EndScore(float(end.sum()), len(end))


# Of a logit or a state's number: rounding of float32 in another order stays well below.
LOGIT_TOLERANCE = 1e-3
# The final norm rounds twice (the normed state, and that times the weight), the head once.
HEAD_ROUNDINGS = 3
# Two norms with two roundings each, queries and keys, the attention's sum, its output, the gate's product and the
# map after it, two sums into the residual stream.
BLOCK_ROUNDINGS = 12


def unit_roundoff(dtype: torch.dtype) -> float:
    """Return the largest relative error of one rounding: 2^-8 in bfloat16, 2^-24 in float32."""
    return torch.finfo(dtype).eps / 2


def pass_roundings(n_layers: int) -> float:
    """Return how many roundings two passes through all layers differ by.

    Errors of different roundings are independent and add up like a random walk; each pass has its own.
    """
    return sqrt(2 * BLOCK_ROUNDINGS * n_layers) + HEAD_ROUNDINGS


def logit_tolerance(logits: Tensor, dtype: torch.dtype, roundings: float) -> float:
    """Return how far two computations of these logits may lie apart, as an absolute difference.

    Args:
        logits: of one of them; every rounding moves a logit by at most about its share of the largest.
        dtype: of the model's weights.
        roundings: that lie between the two.
    """
    return max(LOGIT_TOLERANCE, roundings * unit_roundoff(dtype) * float(logits.abs().max()))


def relative_gap(
    found: Float[Tensor, "*positions d_model"], expected: Float[Tensor, "*positions d_model"]
) -> float:
    """Return the root mean square over a state's numbers of |difference| / (|number| + the median number), the worst.

    A few numbers of a large model's states are a thousand times the others, so that no difference is judged by the
    largest, and none by a number next to zero.
    """
    size = expected.abs()
    scale = size + size.median(-1, keepdim=True).values.clamp(min=1e-9)
    return float((((found - expected) / scale) ** 2).mean(-1).sqrt().max())


def pass_tolerance(dtype: torch.dtype, n_layers: int, width: int) -> float:
    """Return how far the states of two passes may lie apart, relative to each number as `relative_gap` has it.

    Each rounding is one of the weights' precision, and one of the float32 sum over `width` products behind it, whose
    own roundings add up like a random walk.
    """
    each = unit_roundoff(dtype) + sqrt(width) * unit_roundoff(torch.float32)
    return pass_roundings(n_layers) * each
