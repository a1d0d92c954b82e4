"""What a run returns: frozen values, no tensors, no models.

`engine.run` and `engine.interleaved` make these; the dashboard draws them without loading a model library, and
`precompute` writes them to tables. Numbers that were not measured are None, never 0.

A `Proof` says whether a concept is gone from erased states: what a fresh linear probe reads there that was never
shown the fit. On the eraser's own rows a linear probe is at chance by theorem, whatever the eraser does elsewhere, so
those rows prove nothing. Here the probe is fitted and scored on other clips, by folds of their sentences, on states
recorded inside runs that were erased as the run shown is; beside it stand the same probe on plain states, on states
without random directions of the same rank, and chance. Removal is claimed only where the plain probe reads and this
one does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from engine.stats.boundaries import SPEECH_BELOW
from engine.words import SpokenWord, even_ends

# In the order of their weight: where several hold, the first is the verdict.
VerdictKind = Literal[
    "no speech", "not English", "longer than trained on", "heard otherwise", "heard alike", "speech"
]


@dataclass(frozen=True)
class HearingVerdict:
    """A verdict on one clip.

    Attributes:
        kind: what holds; of several the one that weighs most.
        sentence: the same for a person, with its numbers; not escaped for HTML.
        numbers: what the verdict was reached by, each name with its unit: "speech_s" and "duration_s" of the clip
            always, whatever the verdict; what else was measured: "language_probability" and
            "english_probability", "trained_on_up_to_s", "word_error_rate", "word_errors" and "words",
            "own_transcript_s" (time that the speech LLM's transcription took).
    """

    kind: VerdictKind
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_warning(self) -> bool:
        """Whether answers to this clip are to be read with doubt."""
        return self.kind not in ("speech", "heard alike")


@dataclass(frozen=True)
class SpokenLanguage:
    """What a transcriber of several languages takes a clip for.

    Attributes:
        code: the likeliest language, as Whisper writes it, such as "de".
        probability: of this language among all that it knows, 0 to 1.
        english: probability of English among them, 0 to 1.
    """

    code: str
    probability: float
    english: float


@dataclass(frozen=True)
class OwnTranscript:
    """What a speech LLM writes when it is asked to repeat the clip.

    Attributes:
        text: as it was written.
        seconds: that asking took; 0.0 where the run's own question was this one.
        is_cut: it was stopped at the token limit.
    """

    text: str
    seconds: float = 0.0
    is_cut: bool = False


Verdict = Literal["not found", "still read", "cannot be said"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
SINGLE = "each layer alone"


@dataclass(frozen=True)
class LayerProof:
    """What probes read of a concept at one layer; scores as `Proof.measure` says.

    Attributes:
        plain: before any erasure; erased: after it, with the probe fitted anew; each with its 95 % interval over
            sentences.
        random: after as many random directions were taken out in the same places.
        chance: of the best guess that is the same at every position.
    """

    plain: float
    plain_low: float
    plain_high: float
    erased: float
    low: float
    high: float
    random: float
    chance: float

    @property
    def verdict(self) -> Verdict:
        """What may be said: nothing where the probe does not read the plain states either."""
        if not self.plain_low > self.chance:
            return "cannot be said"
        return "still read" if not self.low <= self.chance else "not found"


@dataclass(frozen=True)
class Proof:
    """One condition's proof under every way of erasing that was measured.

    Attributes:
        measure: what the scores are, in words.
        clips: which clips the probes saw, in words; none of them, nor of their sentences, was in the eraser's fit.
        n_clips, n_groups: of the probes; a group's sentences are never on both sides of a fold.
        settings: `setting_name` -> layer -> what is read there.
    """

    measure: str
    clips: str
    n_clips: int
    n_groups: int
    settings: Mapping[str, Mapping[int, LayerProof]]

    def to_json(self) -> dict[str, Any]:
        """Return the proof as JSON holds it."""
        settings = {
            name: {str(layer): asdict(found) for layer, found in layers.items()}
            for name, layers in self.settings.items()
        }
        return asdict(self) | {"settings": settings}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Proof:
        """Return the proof that `to_json` wrote."""
        settings = {
            name: {int(layer): LayerProof(**found) for layer, found in layers.items()}
            for name, layers in record["settings"].items()
        }
        return cls(**{**record, "settings": settings})

    def of_run(self, layers: Sequence[int], method: str, scope: str) -> RunProof | None:
        """Return the proof of a run that erases these layers at once, None where none was measured.

        One layer alone holds the same at its own positions whatever the method and scope. Of several, a layer's
        states depend on those erased below it only: the lowest of the layers measured together are measured, too.
        """
        if len(layers) == 1:
            measured = self.settings.get(SINGLE, {})
        else:
            measured = self.settings.get(setting_name(method, scope), {})
            if tuple(layers) != tuple(sorted(measured))[: len(layers)]:
                return None
        if any(layer not in measured for layer in layers):
            return None
        return RunProof(self.measure, self.clips, self.n_clips, {layer: measured[layer] for layer in layers})


@dataclass(frozen=True)
class RunProof:
    """The proof of one way of erasing, at its layers.

    Attributes:
        measure, clips, n_clips: as in `Proof`.
        layers: layer -> what is read there.
    """

    measure: str
    clips: str
    n_clips: int
    layers: Mapping[int, LayerProof]

    @property
    def verdict(self) -> Verdict:
        """Return "not found" only if no layer's probe reads it and every layer's could have."""
        verdicts = {one.verdict for one in self.layers.values()}
        order: tuple[Verdict, ...] = ("still read", "cannot be said", "not found")
        return next(one for one in order if one in verdicts)

    @property
    def worst(self) -> int:
        """Return the layer behind the verdict where most is left above chance; NaN is worse than any number."""
        left = {
            layer: one.erased - one.chance
            for layer, one in self.layers.items()
            if one.verdict == self.verdict
        }
        return max(left, key=lambda layer: (math.isnan(left[layer]), left[layer]))

    @property
    def sentence(self) -> str:
        """What the page says."""
        layer = self.worst
        one = self.layers[layer]
        where = f" at layer {layer}, where it reads most" if len(self.layers) > 1 else f" at layer {layer}"
        said = {
            "still read": "so it is not all gone",
            "not found": "so it is not found again",
            "cannot be said": "but it reads too little of the plain states for that to prove a removal",
        }[self.verdict]
        return (
            f"A fresh probe on {self.n_clips:,} other clips that were erased in this way, at full strength, reads "
            f"{one.erased:.2f} [{one.low:.2f}, {one.high:.2f}]{where} (plain {one.plain:.2f}, random directions "
            f"{one.random:.2f}, chance {one.chance:.2f}; {self.measure}): {said}."
        )


def setting_name(method: str, scope: str) -> str:
    """Return the name of a way of erasing several layers: at a clip's positions the prompt's scope is that of all."""
    return f"{method}, {'audio' if scope == 'audio' else 'all'}"


CUT_OFF = "Cut off at the limit of"  # how the note of an answer begins that ended at the token limit
LOGIT_LENS = "logit lens"
LabelStatus = Literal["parsed", "unparsed", "refused", "empty"]
Role = Literal["speech_llm", "cascade", "text_oracle"]
AgreementClass = Literal[
    "both right",
    "only the speech LLM right",
    "only the cascade right",
    "both wrong, same answer",
    "both wrong, different answers",
    "same answer",
    "different answers",
    "not comparable",
]


@dataclass(frozen=True)
class Answer:
    """What a system said, and how it was read.

    Attributes:
        text: the generated text, special tokens removed.
        label: the parsed answer, None unless `status` is "parsed".
        status: parsed, unparsed, refused or empty; nothing is guessed.
        forced_choice: probability of each allowed label, normalised over the labels; empty for open tasks.
        log_likelihood: natural log-probability of the generated tokens under the same condition.
        note: that the answer was cut off at the token limit (`CUT_OFF`), else "".
    """

    text: str
    label: str | None
    status: LabelStatus
    forced_choice: dict[str, float]
    log_likelihood: float
    note: str = ""


@dataclass(frozen=True)
class BehaviourAnswer:
    """What a behaviour-only system said, read as an `Answer` is; what its service does not send is None.

    Attributes:
        text: the generated text; where the service blocked it, what came before.
        label: the parsed answer, None unless `status` is "parsed".
        status: "refused" also where the service blocked the prompt or the answer.
        forced_choice, log_likelihood: None, for the reason in `not_measured`.
        model_version: which model answered, as the service says; "" where it does not say.
        note: the service's word for a refusal, or that the answer was cut off; else "".
        seconds: wall time of the request that answered, waits and failed attempts left out.
        prompt_tokens, answer_tokens: as the service counts them; None where it does not.
    """

    text: str
    label: str | None
    status: LabelStatus
    forced_choice: None
    log_likelihood: None
    not_measured: str
    model_version: str
    note: str
    seconds: float
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


AnyAnswer = Answer | BehaviourAnswer


@dataclass(frozen=True)
class Lane:
    """One system's way through the clip.

    Attributes:
        heard: the text the backbone was given (cascade, oracle), or for a speech LLM the
            text read from its own states at the layer that names `heard_from`; "" where a service
            does not say.
        heard_from: where `heard` comes from, such as "logit lens, layer 9" or "mini-Whisper".
        words: `heard` with times where the system gives them, else empty.
        seconds: wall time from the clip to the answer; encoder_seconds is the part before the backbone,
            None where a service does all.
        revision: of the weights; of a service the model that answered, as it says.
    """

    key: str
    role: Role
    name: str
    heard: str
    heard_from: str
    words: tuple[SpokenWord, ...]
    answer: AnyAnswer
    seconds: float
    encoder_seconds: float | None
    revision: str


@dataclass(frozen=True)
class LensReadout:
    """A lens at the audio positions: top tokens only, logits never leave the engine.

    Attributes:
        layers: recorded layers; 0 is the input of the first block, i the output of block i.
        seconds_per_position: width of one position on the clock, the mean one where they differ.
        position_ends_s: when each position ends, where they are not all of one width.
        top_ids: token ids by falling probability.
        top_probabilities: their probabilities after the full softmax.
        entropy_nats: entropy of the full distribution.
        token_text: text of every id that occurs in `top_ids`, leading space kept.
        spoken: for each position the indices into `words` of the words that overlap it.
        words: the words on the clock that hits are judged against.
        words_from: "reference" when the true transcript is known, else the transcriber's name.
        word_rank: best rank (1 is the top) over the spoken words' candidate tokens; 0 where nothing is spoken.
        precision: bag-of-tokens precision per layer against the clip's own words (`engine.lens.token_precision`).
        control: the same against words of other clips, as many distinct tokens as the clip's own, mean.
        degenerate_layers: layers where one token holds more than half of the positions.
        set_precision, set_control: the same by the paper's plain reading, each position counted (`engine.lens`).
        name: "logit lens", "tuned lens", or which two conditions the tokens differ between; of a difference,
            `entropy_nats` is KL(first || second), and tokens are ordered by their share in it.
        beside, beside_name: precision per layer of another readout of the same states, and what it is; () for none.
    """

    layers: tuple[int, ...]
    seconds_per_position: float
    top_ids: Int[np.ndarray, "layers positions k"]
    top_probabilities: Float[np.ndarray, "layers positions k"]
    entropy_nats: Float[np.ndarray, "layers positions"]
    token_text: dict[int, str]
    spoken: tuple[tuple[int, ...], ...]
    words: tuple[SpokenWord, ...]
    words_from: str
    word_rank: Int[np.ndarray, "layers positions"]
    precision: tuple[float, ...]
    control: tuple[float, ...]
    n_control_clips: int
    degenerate_layers: tuple[int, ...]
    position_ends_s: Float[np.ndarray, "positions"] | None = None  # noqa: F821 - jaxtyping axis name
    set_precision: tuple[float, ...] = ()
    set_control: tuple[float, ...] = ()
    name: str = LOGIT_LENS
    beside: tuple[float, ...] = ()
    beside_name: str = ""

    @property
    def centres_s(self) -> Float[np.ndarray, "positions"]:  # noqa: F821
        """The middle of each position on the clock, in seconds."""
        ends = self.position_ends_s
        if ends is None:
            ends = even_ends(self.top_ids.shape[1], self.seconds_per_position)
        return (np.array([0.0, *ends[:-1]]) + ends) / 2


@dataclass(frozen=True)
class ArmResult:
    """One cell of the erasure bench: plain, erased, or the random control.

    Attributes:
        log_likelihood_change: natural log-probability of the plain answer's tokens, this arm minus plain.
        right_log_likelihood_change: the same for the right answer's tokens; None when it is not known.
        relative_change_of_state: mean over edited layers and positions of |change| / |state|, 0 for plain.
    """

    answer: Answer
    log_likelihood_change: float
    right_log_likelihood_change: float | None
    relative_change_of_state: float


@dataclass(frozen=True)
class ErasureOutcome:
    """A chosen erasure beside its control of the same rank, both against the plain run.

    Attributes:
        condition: "text", "ctc", "boc" or "acoustic".
        kept_rank: rank that the eraser removes at each edited layer.
        layers: edited layers.
        scope: "audio", "prompt" or "all".
        method: "linear" or "affine".
        strength: how much of the directions is taken out, 0 to 1; the same for the control.
        fitted_on: what the erasers were fitted on: plain states, or states edited below.
        proof: what fresh probes read on other clips that were erased in this way, at full strength; None where it
            was not measured, and `proof_missing` says why.
    """

    condition: str
    kept_rank: int
    layers: tuple[int, ...]
    scope: str
    method: str
    plain: ArmResult
    erased: ArmResult
    random_control: ArmResult
    fitted_on: str
    proof: RunProof | None
    proof_missing: str = ""
    strength: float = 1.0


@dataclass(frozen=True)
class Agreement:
    """Whether two lanes agree, as a class and as one sentence."""

    kind: AgreementClass
    sentence: str


@dataclass(frozen=True)
class RunResult:
    """Everything one press of Run yields.

    Attributes:
        audio_changes: what decoding changed, one sentence each.
        warnings: what the listener should know (clipped, very quiet, broken off, no speech).
        snr_db_achieved: None on a clean clip.
        waveform: 16 kHz mono samples as the models heard them.
        lanes: speech LLM, matched cascade, text oracle (absent when no reference is known).
        lens: the logit lens; None for a speech LLM behind a service.
        readout: the tuned lens or the difference, where one was asked for, of the same states; else None.
        match: "exact" when both lanes run the same backbone weights, else the catalogue's word.
        erasures: one outcome per condition asked for.
        reference: the true transcript, or None.
        gold: the right answer where the clip has one, else None.
        not_measured: lens, erasure or match -> why a service does not let it be known; empty for systems here.
        hearing_verdict: of the clip before noise; None where nobody judged it.
    """

    task: str
    instruction: str
    pair: str
    match: str
    audio_name: str
    audio_changes: tuple[str, ...]
    warnings: tuple[str, ...]
    noise: str | None
    snr_db: float | None
    snr_db_achieved: float | None
    seed: int
    waveform: Float[np.ndarray, "samples"]  # noqa: F821 - jaxtyping axis name
    lanes: tuple[Lane, ...]
    agreement: Agreement
    lens: LensReadout | None
    erasures: tuple[ErasureOutcome, ...]
    reference: str | None
    gold: str | None
    seconds: float
    not_measured: Mapping[str, str] = field(default_factory=dict)
    hearing_verdict: HearingVerdict | None = None
    readout: LensReadout | None = None


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
