"""What an interleaved model makes of one clip: frozen values, no tensors, no models.

`engine.interleaved_run` makes these; the dashboard draws them without loading a model library.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from engine.result import SpokenWord
from engine.stats.boundaries import SPEECH_BELOW

NOTHING, CURRENT_WORD, NEXT_WORD = 0, 1, 2
ENDED, CUT, OTHER_KIND = "ended by itself", "cut at its limit", "then changed over"


@dataclass(frozen=True)
class UnitLens:
    """The logit lens at a clip's units; ranks are among text tokens alone, 0 where no word is asked for.

    Attributes:
        layers: 0 is the input of the first block, i the output of block i.
        frame_s: the shortest that a position can be, in seconds.
        ends_s: when each position ends, in seconds; positions are merged units, so they differ in length.
        units: which unit stands at each position.
        top_ids: ids by falling probability over the whole vocabulary; top_probabilities after its softmax.
        entropy_nats: of the full distribution.
        token_text: text of every id in `top_ids`; a unit's is its mark, such as <Un17>.
        text_share: probability on text over that on text and units, 0 to 1.
        current_rank, next_rank: best rank of a word spoken here, and of the word after the last of them.
        spoken: for each position the indices into `words` of the words that overlap it in time.
        words_from: where the words and their times come from.
    """

    layers: tuple[int, ...]
    frame_s: float
    ends_s: Float[np.ndarray, "positions"]  # noqa: F821 - jaxtyping axis name
    units: Int[np.ndarray, "positions"]  # noqa: F821
    top_ids: Int[np.ndarray, "layers positions k"]
    top_probabilities: Float[np.ndarray, "layers positions k"]
    entropy_nats: Float[np.ndarray, "layers positions"]
    token_text: dict[int, str]
    text_share: Float[np.ndarray, "layers positions"]
    current_rank: Int[np.ndarray, "layers positions"]
    next_rank: Int[np.ndarray, "layers positions"]
    spoken: tuple[tuple[int, ...], ...]
    words: tuple[SpokenWord, ...]
    words_from: str


@dataclass(frozen=True)
class ClipRecall:
    """R of one clip at one k and d, layer by layer; one clip has no interval.

    Attributes:
        score: share of the clip's words that stand among the top k of their own positions; NaN without words.
        control: the same for the words of other transcripts at the same places, mean over them.
        d: 0 for the word being spoken, 1 for the next.
        n_words: words asked for.
    """

    k: int
    d: int
    score: tuple[float, ...]
    control: tuple[float, ...]
    n_words: int

    @property
    def excess(self) -> tuple[float, ...]:
        """R: score minus control."""
        return tuple(one - other for one, other in zip(self.score, self.control, strict=True))


@dataclass(frozen=True)
class ClipPhases:
    """Where this clip's phases lie at one k; None where R is nowhere above its control, or there is no such layer."""

    k: int
    current: int | None
    following: int | None
    speech: int | None


@dataclass(frozen=True)
class Continuation:
    """How the model goes on after what it heard.

    Attributes:
        after_s: how much of the clip it heard, in seconds.
        said_next: the words of the clip that it did not hear, "" where there are none.
        text: what it writes when it is told to write, up to the first token that is none of text.
        text_end, speech_end: ENDED by the model, CUT, or OTHER_KIND: it went over to units, or to text.
        units: what it says when it goes on in speech, 0 to k - 1.
        sound: 16 kHz mono samples of them; None, and `no_sound` says why.
        heard: what the transcriber hears in that sound, "" for nothing; None where it was not asked.
    """

    after_s: float
    said_next: str
    text: str
    text_end: str
    units: tuple[int, ...]
    speech_end: str
    sound: Float[np.ndarray, "samples"] | None  # noqa: F821 - jaxtyping axis name
    no_sound: str
    heard: str | None


@dataclass(frozen=True)
class InterleavedResult:
    """Everything one clip yields.

    Attributes:
        model: key or folder of the model; `fingerprint` is that of its weights.
        recalls: for each k, the current word and then the next.
        phases: for each k.
        n_controls: other transcripts behind the controls.
        waveform: 16 kHz mono samples as the model heard them.
    """

    model: str
    fingerprint: str
    audio_name: str
    audio_changes: tuple[str, ...]
    warnings: tuple[str, ...]
    waveform: Float[np.ndarray, "samples"]  # noqa: F821
    lens: UnitLens
    recalls: tuple[ClipRecall, ...]
    phases: tuple[ClipPhases, ...]
    n_controls: int
    continuation: Continuation
    seconds: float


def phase_of_cells(lens: UnitLens, k: int) -> tuple[Int[np.ndarray, "layers positions"], np.ndarray]:
    """Return which word each cell holds at k, and whether units outweigh text in it.

    Returns:
        CURRENT_WORD or NEXT_WORD where it stands among the top k text tokens of this one position (the better rank
        where both do, the current word of equals), else NOTHING; and True where less than half of the probability on
        text and units is on text.
    """
    current = (lens.current_rank > 0) & (lens.current_rank <= k)
    following = (lens.next_rank > 0) & (lens.next_rank <= k)
    first = current & (~following | (lens.current_rank <= lens.next_rank))
    word = np.where(first, CURRENT_WORD, np.where(following, NEXT_WORD, NOTHING))
    return word, lens.text_share < SPEECH_BELOW
