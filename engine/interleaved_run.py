"""One clip through an interleaved model: its units, what each layer holds at each of them, and how the model goes on.

After arXiv 2606.22473 as far as it was at hand (see `engine.phases`, which holds the definitions). The dashboard and
its endpoint call `read_interleaved`; nothing of a run stays on a model, and no logits leave this file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engine.audio import AudioClip
from engine.errors import PromptError
from engine.hearing_verdict import judge_speech
from engine.interleaved_continue import Parts, continue_clip
from engine.interleaved_result import ClipPhases, ClipRecall, InterleavedResult, UnitLens
from engine.lens import TOP_K, best_ranks, candidate_ids, unembed
from engine.phases import CURRENT, NEXT, AskedWords, ask_words, hits_at, text_share, word_ranks
from engine.result import SpokenWord
from engine.stats.boundaries import phase_boundaries
from engine.systems.unit_lm import FRAME_S, Units, word_positions
from engine.word_recall import TOPS

N_CONTROLS = 10  # other transcripts whose words are asked for at the same places
Progress = Callable[[float, str], None]


def read_interleaved(
    parts: Parts,
    clip: AudioClip,
    words: Sequence[SpokenWord],
    words_from: str,
    other_transcripts: Sequence[str],
    *,
    continue_after: str = "half",
    progress: Progress | None = None,
) -> InterleavedResult:
    """Run one clip through an interleaved model.

    Args:
        parts: the model, and what makes its units audible.
        clip: of at least one unit.
        words: with their times, in order; may be none, and then no word is asked for.
        words_from: where they come from, in words.
        other_transcripts: of other clips; the first N_CONTROLS are the control.
        continue_after: "half" or "whole": how much of the clip the model hears before it goes on.
        progress: called with a share of 1 and what is being done.

    Raises:
        PromptError: `continue_after` is neither.
    """
    if continue_after not in ("half", "whole"):
        raise PromptError('The model can go on after "half" or "whole" of a clip; choose one of them.')
    report = progress or (lambda share, what: None)
    started = time.perf_counter()
    report(0.2, "making units of the sound")
    units, verdict = parts.system.encode(clip), judge_speech(clip)
    spans = word_positions(words, units.ends_s)
    report(0.4, "reading every layer at every unit")
    asked = _ask(parts, words, spans, controls := tuple(other_transcripts)[:N_CONTROLS])
    lens, recalls = _read(parts, parts.states(units), units, words, words_from, spans, asked)
    report(0.7, "letting the model go on")
    return InterleavedResult(
        model=parts.system.spec.key,
        fingerprint=parts.system.fingerprint,
        audio_name=clip.name,
        audio_changes=tuple(clip.changes),
        warnings=(*clip.warnings, *([verdict.sentence] if verdict.is_warning else [])),
        waveform=clip.samples,
        lens=lens,
        recalls=recalls,
        phases=tuple(_phases(recalls, lens.text_share, k) for k in TOPS),
        n_controls=len(controls),
        continuation=continue_clip(parts, units, words, spans, continue_after),
        seconds=time.perf_counter() - started,
    )


def _ask(
    parts: Parts, words: Sequence[SpokenWord], spans: Sequence[tuple[int, int]], controls: Sequence[str]
) -> dict[int, list[AskedWords]]:
    """Return what is asked for the current and for the next word, once for each control."""
    tokenizer = parts.system.tokenizer
    return {
        d: [ask_words(tokenizer, words, spans, other.split(), d) for other in controls]
        for d in (CURRENT, NEXT)
    }


@torch.inference_mode()
def _read(
    parts: Parts,
    states: dict[int, Tensor],
    units: Units,
    words: Sequence[SpokenWord],
    words_from: str,
    spans: Sequence[tuple[int, int]],
    asked: dict[int, list[AskedWords]],
) -> tuple[UnitLens, tuple[ClipRecall, ...]]:
    """Unembed each layer once and keep ranks, shares and top tokens."""
    system, kinds = parts.system, parts.kinds
    layers = tuple(sorted(states))
    spoken = words_at(spans, len(units.ids))
    candidates = [
        [i - kinds.text.start for i in candidate_ids(system.tokenizer, word.text)] for word in words
    ]
    here = [[i for w in at for i in candidates[w]] for at in spoken]
    after = [candidates[at[-1] + 1] if at and at[-1] + 1 < len(words) else [] for at in spoken]
    cells: list[tuple[np.ndarray, ...]] = []
    ranks: dict[int, list[list[np.ndarray]]] = {d: [] for d in asked}
    for layer in layers:
        logits = unembed(system, states[layer])
        of_text = logits[:, kinds.text.start : kinds.text.stop]
        log_probabilities = logits.log_softmax(-1)
        top = log_probabilities.topk(TOP_K, dim=-1)
        entropy = -(log_probabilities.exp() * log_probabilities).sum(-1)
        share = text_share(logits, kinds)
        kept = (top.indices.int(), top.values.exp(), entropy, share)
        cells.append(
            (*(one.cpu().numpy() for one in kept), best_ranks(of_text, here), best_ranks(of_text, after))
        )
        for d, each in asked.items():
            ranks[d].append([word_ranks(logits, kinds.text, one) for one in each])
    top_ids, probabilities, entropies, shares, current, following = (
        np.stack(rows) for rows in zip(*cells, strict=True)
    )
    text = {int(i): str(system.tokenizer.decode([int(i)])) for i in np.unique(top_ids)}
    lens = UnitLens(
        layers, FRAME_S, units.ends_s, units.ids, top_ids, probabilities, entropies, text, shares,
        current, following, spoken, tuple(words), words_from,
    )  # fmt: skip
    return lens, tuple(_recall(ranks[d], d, k) for k in TOPS for d in (CURRENT, NEXT))


def words_at(spans: Sequence[tuple[int, int]], n_positions: int) -> tuple[tuple[int, ...], ...]:
    """Return for each position the words whose spans hold it; a position on a border has two."""
    return tuple(
        tuple(word for word, (start, stop) in enumerate(spans) if start <= position < stop)
        for position in range(n_positions)
    )


def _recall(ranks: Sequence[Sequence[np.ndarray]], d: int, k: int) -> ClipRecall:
    """Return recall of the clip's words (row 0, alike in each control) and the mean of the controls' (row 1)."""
    n_words = ranks[0][0].shape[1] if ranks and ranks[0] else 0
    if not n_words:
        nothing = (float("nan"),) * len(ranks)
        return ClipRecall(k, d, nothing, nothing, 0)
    score = [float(hits_at(layer[0][0], k).mean()) for layer in ranks]
    control = [float(np.mean([hits_at(one[1], k).mean() for one in layer])) for layer in ranks]
    return ClipRecall(k, d, tuple(score), tuple(control), n_words)


def _phases(
    recalls: Sequence[ClipRecall], shares: Float[np.ndarray, "layers positions"], k: int
) -> ClipPhases:
    """Return the peaks of R and the return to speech, as `phase_boundaries` defines them over one clip."""
    current, following = (one for one in recalls if one.k == k)
    if not current.n_words or not following.n_words:
        return ClipPhases(k, None, None, None)
    totals = np.stack([shares.sum(1), np.full(len(shares), shares.shape[1], float)], axis=1)[None]
    found = phase_boundaries(_sums(current), _sums(following), totals, seed=0)
    peaks = [int(one.value) for one in (found.current, found.following)]
    is_read = [max(one.excess) > 0 for one in (current, following)]
    return ClipPhases(
        k,
        peaks[0] if is_read[0] else None,
        peaks[1] if is_read[1] else None,
        int(found.speech.value) if is_read[1] and not np.isnan(found.speech.value) else None,
    )


def _sums(recall: ClipRecall) -> Float[np.ndarray, "one layers three"]:
    """Return hits, control's hits and words at each layer."""
    shares = np.array([recall.score, recall.control, np.ones(len(recall.score))])
    return (shares.T * recall.n_words)[None]
