"""One clip through an interleaved model: its units, what each layer holds at each of them, and how the model goes on.

The latent transcript: does a layer hold the word being spoken, or the next one, and is it in text at all. After
"Interleaved Speech Language Models Latently Work In Text" (arXiv 2606.22473), whose full text was not at hand. From
accounts of it: the unembedding at every layer, logits max-pooled over a word's own positions, recall at k of the
current and of the next word. Ours: k = 1, 5, 10; the candidates; which positions are a word's own; the control.

    R(layer, k, d) = mean over words w of 1[some token of word w + d stands among the top k text tokens of
                     max over w's own positions of head(norm(state))] - the same for the words of a paired clip

d = 0 is the word being spoken, d = 1 the next. Only ranks and shares leave this file, and nothing of a run stays on a
model.

The model goes on greedily, in text and in speech. A sound is made of units only (`UnitVoice`: the longest runs of
them among sentences that espeak-ng said, said again and joined with short cross-fades; what is heard is never clearer
than the units are), and what the transcriber hears in it stands beside it, because units may say nothing that is
understood.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from engine.audio import SAMPLE_RATE_HZ, AudioClip, clip_from_samples
from engine.errors import EngineError, ModelFilesError, PromptError, VoiceError
from engine.generate import run_arms, span_states
from engine.hearing import judge_speech
from engine.lens import TOP_K, TOPS, best_ranks, candidate_ids, unembed
from engine.results import (
    CUT,
    ENDED,
    OTHER_KIND,
    ClipPhases,
    ClipRecall,
    Continuation,
    InterleavedResult,
    UnitLens,
)
from engine.stats.boundaries import phase_boundaries
from engine.systems.base import Heard, Prepared, Transcribes, WhiteBoxModel
from engine.systems.unit_lm import FRAME_S, Units, merge_repeats, word_positions
from engine.voice import speak
from engine.words import SpokenWord

CURRENT, NEXT = 0, 1
PAIRING_SEED = 53


@dataclass(frozen=True)
class TokenKinds:
    """Which ids of a vocabulary are text and which are speech units; others (modality tags) are neither.

    Attributes:
        text: ids of text tokens; the text model's special tokens are among them.
        units: ids of units; None for a model that hears through a continuous encoder: all its head is text.
    """

    text: range
    units: range | None


@dataclass(frozen=True)
class AskedWords:
    """What one clip's words are asked for, one entry a word; words that own no position are left out.

    Attributes:
        d: CURRENT or NEXT.
        spans: first position of the word's own and the one after the last.
        wanted: ids that the word asked for may begin with: with and without a leading space, cases folded.
        control: the same for the word at the same place of the paired clip.
    """

    d: int
    spans: tuple[tuple[int, int], ...]
    wanted: tuple[tuple[int, ...], ...]
    control: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ClipReading:
    """One clip at every layer, from the lowest.

    Attributes:
        ranks: d -> rank of the word asked for and of the control's, 1 for the top of the text tokens.
        text_share: mean over positions of the probability on text, of that on text and units; None without units.
    """

    ranks: Mapping[int, Int[np.ndarray, "layers two words"]]
    text_share: Float[np.ndarray, "layers"] | None  # noqa: F821 - jaxtyping axis name


def ask_words(
    tokenizer: PreTrainedTokenizerBase,
    words: Sequence[SpokenWord],
    spans: Sequence[tuple[int, int]],
    other: Sequence[str],
    d: int,
) -> AskedWords:
    """Return what is asked of a clip.

    A position belongs to every word that it overlaps in time. Asked for the next word, positions that the next word
    overlaps too are left out: what is heard there already would pass for a prediction.

    Args:
        tokenizer: of the model's text.
        words: of the clip, in order.
        spans: each word's positions, first and one after the last.
        other: words of the paired clip; fewer than the clip has are gone through again.
        d: CURRENT or NEXT.
    """
    asked = []
    for place in range(len(words) - d):
        start, stop = spans[place]
        if d == NEXT:
            stop = min(stop, spans[place + 1][0])
        wanted = candidate_ids(tokenizer, words[place + d].text)
        control = candidate_ids(tokenizer, other[(place + d) % len(other)])
        if start < stop and wanted and control:
            asked.append(((start, stop), wanted, control))
    spans_asked, all_wanted, all_control = zip(*asked, strict=True) if asked else ((), (), ())
    return AskedWords(d, spans_asked, all_wanted, all_control)


def pair_clips(groups: Sequence[str], seed: int = PAIRING_SEED) -> list[int]:
    """Return for each clip the clip whose words are its control: seeded, and never one of the same group.

    Raises:
        ValueError: all clips are of one group, so none has a control.
    """
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    partner = [0] * len(groups)
    for rank, clip in enumerate(order):
        later = (order[(rank + step) % len(order)] for step in range(1, len(order)))
        found = next((other for other in later if groups[other] != groups[clip]), None)
        if found is None:
            raise ValueError("all clips are of one group: none can be another's control")
        partner[clip] = found
    return partner


@torch.inference_mode()
def read_clip(
    system: WhiteBoxModel,
    states: Mapping[int, Float[Tensor, "positions d_model"]],
    kinds: TokenKinds,
    asked: Sequence[AskedWords],
) -> ClipReading:
    """Return ranks and text share at every layer of `states`, which are those at the clip's own positions."""
    ranks: dict[int, list[np.ndarray]] = {one.d: [] for one in asked}
    shares = []
    for layer in sorted(states):
        logits = unembed(system, states[layer])
        for one in asked:
            ranks[one.d].append(word_ranks(logits, kinds.text, one))
        if kinds.units is not None:
            shares.append(float(text_share(logits, kinds).mean()))
    return ClipReading(
        {d: np.stack(by_layer) for d, by_layer in ranks.items()}, np.array(shares) if shares else None
    )


def word_ranks(
    logits: Float[Tensor, "positions vocab"], text: range, asked: AskedWords
) -> Int[np.ndarray, "two words"]:
    """Return the best rank of each word's candidates, and of its control's, in the max over its own positions."""
    of_text = logits[:, text.start : text.stop]
    if not asked.spans:
        return np.zeros((2, 0), np.int32)
    pooled = torch.stack([of_text[start:stop].amax(0) for start, stop in asked.spans])
    return np.stack(
        [
            best_ranks(pooled, [[i - text.start for i in ids] for ids in candidates])
            for candidates in (asked.wanted, asked.control)
        ]
    )


def text_share(logits: Float[Tensor, "positions vocab"], kinds: TokenKinds) -> Float[Tensor, "positions"]:  # noqa: F821
    """Return the probability on text tokens over that on text and unit tokens, 0 to 1.

    Raises:
        ValueError: the vocabulary has no units.
    """
    if kinds.units is None:
        raise ValueError("without units there is no share of text")
    text, units = (logits[:, ids.start : ids.stop].float().logsumexp(-1) for ids in (kinds.text, kinds.units))
    return torch.sigmoid(text - units)


def hits_at(ranks: Int[np.ndarray, "..."], k: int) -> Int[np.ndarray, "..."]:
    """Return 1 where a word stands among the top k, else 0."""
    return (ranks <= k).astype(np.int64)


VOICE_FILE = "voice.json"
CROSS_FADE_S = 0.01
_FRAME_SAMPLES = round(FRAME_S * SAMPLE_RATE_HZ)


@dataclass(frozen=True)
class Recording:
    """One sentence that the voice says, and its units."""

    text: str
    units: Units


@dataclass(frozen=True)
class Piece:
    """A run of units of a recording: which, its first unit and the one after its last."""

    recording: int
    first: int
    stop: int


@dataclass(frozen=True)
class UnitVoice:
    """One voice's recordings.

    Attributes:
        voice: espeak-ng's name of it.
        rate_wpm: at which it speaks.
    """

    voice: str
    rate_wpm: int
    recordings: tuple[Recording, ...]

    @cached_property
    def _places(self) -> dict[int, list[tuple[int, int]]]:
        """Unit -> where it occurs: recording and index."""
        places: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for number, recording in enumerate(self.recordings):
            for index, unit in enumerate(recording.units.ids.tolist()):
                places[unit].append((number, index))
        return dict(places)

    def pieces(self, ids: Sequence[int]) -> tuple[Piece, ...]:
        """Return recorded runs that say these units in order: always the longest that goes on from here.

        Of equally long ones the first is taken whose unit before it is the one said last. Units that were never
        recorded are left out.
        """
        found: list[Piece] = []
        at = 0
        while at < len(ids):
            best = max(
                (self._run(ids, at, place) for place in self._places.get(int(ids[at]), [])),
                key=lambda run: run[0],
                default=None,
            )
            if best is None:
                at += 1
                continue
            (length, _), (number, index) = best
            found.append(Piece(number, index, index + length))
            at += length
        return tuple(found)

    def _run(
        self, ids: Sequence[int], at: int, place: tuple[int, int]
    ) -> tuple[tuple[int, bool], tuple[int, int]]:
        """Return how long a recording agrees from here on, and whether it does just before."""
        number, index = place
        recorded = self.recordings[number].units.ids
        length = 1
        while (
            at + length < len(ids)
            and index + length < len(recorded)
            and ids[at + length] == recorded[index + length]
        ):
            length += 1
        agrees = at > 0 and index > 0 and int(ids[at - 1]) == int(recorded[index - 1])
        return (length, agrees), place

    def say(self, ids: Sequence[int]) -> AudioClip:
        """Return these units as sound.

        Args:
            ids: units, 0 to k - 1, repeats merged.

        Raises:
            VoiceError: no synthesiser is installed, or none of the units was ever recorded.
        """
        pieces = self.pieces(ids)
        if not pieces:
            raise VoiceError("None of these units was recorded: there is nothing to hear.")
        said = {number: self._said(number) for number in {piece.recording for piece in pieces}}
        fade = round(CROSS_FADE_S * SAMPLE_RATE_HZ)
        joined = np.zeros(fade, np.float32)
        for piece in pieces:
            joined = cross_fade(joined, self._cut(said[piece.recording], piece, fade), fade)
        return clip_from_samples(joined, SAMPLE_RATE_HZ, "Spoken units")

    def _said(self, number: int) -> Float[np.ndarray, "samples"]:  # noqa: F821 - jaxtyping axis name
        samples, rate_hz, _ = speak(self.recordings[number].text, voice=self.voice, rate_wpm=self.rate_wpm)
        return clip_from_samples(samples, rate_hz, "recording").samples

    def _cut(
        self,
        samples: Float[np.ndarray, "samples"],  # noqa: F821
        piece: Piece,
        fade: int,
    ) -> Float[np.ndarray, "cut"]:  # noqa: F821
        """Return a piece's sound with a fade's length before it, silence where there is none."""
        ends = np.cumsum(self.recordings[piece.recording].units.durations) * _FRAME_SAMPLES
        start = int(ends[piece.first - 1]) if piece.first else 0
        padded = np.pad(samples, (fade, max(0, int(ends[-1]) - len(samples))))
        return padded[start : fade + int(ends[piece.stop - 1])]


def cross_fade(
    before: Float[np.ndarray, "a"],  # noqa: F821
    after: Float[np.ndarray, "b"],  # noqa: F821
    n_samples: int,
) -> Float[np.ndarray, "c"]:  # noqa: F821
    """Join two sounds over `n_samples`, in which one falls as the other rises, linearly."""
    rise = (np.arange(n_samples, dtype=np.float32) + 0.5) / n_samples
    overlap = before[len(before) - n_samples :] * (1 - rise) + after[:n_samples] * rise
    return np.concatenate([before[: len(before) - n_samples], overlap, after[n_samples:]]).astype(np.float32)


def read_unit_voice(file: Path) -> UnitVoice:
    """Return the voice that a file describes; its sound is made when it is asked for.

    Raises:
        ModelFilesError: the file is missing or damaged.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        recordings = tuple(
            Recording(text, merge_repeats(np.array(frames, np.int64)))
            for text, frames in stored["recordings"]
        )
        return UnitVoice(str(stored["voice"]), int(stored["rate_wpm"]), recordings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFilesError(f"{file.name} is missing or damaged; restore it.") from error


def write_unit_voice(
    file: Path,
    voice: str,
    rate_wpm: int,
    recordings: Sequence[tuple[str, Int[np.ndarray, "_"]]],  # noqa: F821
) -> None:
    """Write a voice: each text with the unit of each 40 ms."""
    listed = [[text, frames.tolist()] for text, frames in recordings]
    text = json.dumps({"voice": voice, "rate_wpm": rate_wpm, "recordings": listed}, separators=(",", ":"))
    file.write_text(text + "\n", encoding="utf-8")


MAX_TEXT_TOKENS, MAX_UNITS = 24, 80


@runtime_checkable
class UnitModel(WhiteBoxModel, Protocol):
    """What is asked of an interleaved model beside what every white-box model has.

    Attributes:
        text_ids, unit_ids: vocabulary ids of text and of units; unit u has `unit_ids[u]`.
    """

    text_ids: range
    unit_ids: range

    def encode(self, clip: AudioClip) -> Units:
        """Return a clip's units, repeats merged."""
        ...

    def hear_units(self, units: Units) -> Heard:
        """Return units as what was heard."""
        ...

    def prepare_speech(self, heard: Heard) -> Prepared:
        """Return the prompt after which the model goes on in speech."""
        ...


@runtime_checkable
class SaysUnits(Protocol):
    """Makes units audible."""

    def say(self, ids: Sequence[int]) -> AudioClip:
        """Return units, repeats merged, as sound; raises VoiceError where that cannot be."""
        ...


@dataclass(frozen=True)
class Parts:
    """An interleaved model with what makes its units audible.

    Attributes:
        voice: None where none is here; `no_voice` says why.
        ears: judges what is heard in a sound of units; None leaves that out.
    """

    system: UnitModel
    voice: SaysUnits | None = None
    no_voice: str = ""
    ears: Transcribes | None = None

    @property
    def kinds(self) -> TokenKinds:
        """Which ids are text and which are units."""
        return TokenKinds(self.system.text_ids, self.system.unit_ids)

    def states(self, units: Units) -> dict[int, Tensor]:
        """Return the states at these units, layer by layer, [positions, d_model], as the model listens."""
        return span_states(self.system, self.system.prepare_speech(self.system.hear_units(units)))


def continue_clip(
    parts: Parts,
    units: Units,
    words: Sequence[SpokenWord],
    spans: Sequence[tuple[int, int]],
    continue_after: str,
) -> Continuation:
    """Return both continuations after the whole clip, or after half of its words (of its units, without words)."""
    system = parts.system
    n_heard, n_words = len(units.ids), len(words)
    if continue_after == "half":
        n_words = len(words) // 2
        n_heard = max(1, spans[n_words - 1][1] if n_words else len(units.ids) // 2)
    begun = system.hear_units(Units(units.ids[:n_heard], units.durations[:n_heard]))
    text_ids, text_end = _go_on(system, system.prepare(begun, ""), system.text_ids, MAX_TEXT_TOKENS)
    speech, speech_end = _go_on(system, system.prepare_speech(begun), system.unit_ids, MAX_UNITS)
    said = tuple(i - system.unit_ids.start for i in speech)
    sound, no_sound, heard = _sound_of(parts, said)
    return Continuation(
        after_s=float(units.ends_s[n_heard - 1]),
        said_next=" ".join(word.text for word in words[n_words:]),
        text=str(system.tokenizer.decode(list(text_ids), skip_special_tokens=True)).strip(),
        text_end=text_end,
        units=said,
        speech_end=speech_end,
        sound=sound,
        no_sound=no_sound,
        heard=heard,
    )


def _go_on(system: UnitModel, prepared: Prepared, kind: range, most: int) -> tuple[tuple[int, ...], str]:
    """Return the greedy ids of this kind, up to the first of another, and how they end."""
    ids = run_arms(system, prepared, max_new_tokens=most).decoded[0].token_ids
    other = next((place for place, i in enumerate(ids) if i not in kind), None)
    if other is not None:
        return ids[:other], OTHER_KIND
    return ids, CUT if len(ids) == most else ENDED


def _sound_of(parts: Parts, units: tuple[int, ...]) -> tuple[np.ndarray | None, str, str | None]:
    """Return a sound of these units or why there is none, and what is heard in it."""
    if not units:
        return None, "The model said no unit, so there is nothing to hear.", None
    if parts.voice is None:
        return None, parts.no_voice, None
    try:
        clip = parts.voice.say(units)
    except EngineError as error:
        return None, str(error), None
    return clip.samples, "", parts.ears.transcribe(clip)[0] if parts.ears else None


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
