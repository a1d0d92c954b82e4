"""What a run returns: frozen values, no tensors, no models.

`engine.run` makes these; the dashboard draws them and `precompute` writes them to tables. Numbers that
were not measured are None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from engine.hearing_verdict import HearingVerdict
from engine.proof import RunProof

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
class SpokenWord:
    """One word and when it is heard, in seconds from the start of the clip."""

    text: str
    start_s: float
    end_s: float


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


def even_ends(n_positions: int, width_s: float) -> Float[np.ndarray, "positions"]:  # noqa: F821
    """Return when each of so many positions of one width ends, in seconds."""
    return np.arange(1, n_positions + 1) * width_s


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
