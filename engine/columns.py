"""The tables: every column declared once, with its unit and its meaning.

Of the benchmark, of mechanism (probes, lens, implicit cascade and erasure, clip by clip and summed up), of
interleaved models (the latent transcript, its phases, spoken knowledge, and what erasing does), and the ledger of
claims: what the papers claim, what was measured, and whether it holds. `engine.tables` reads and writes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

DType = Literal["str", "int", "float", "bool"]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        unit: "" for words; "share" is of 1; "clips" and "items" are counts.
        meaning: one sentence for the page.
        optional: may be absent: None in a column of words, NaN (empty in a CSV) in one of numbers.
        later: tables that were made before the column are without it: it reads as "" or NaN then.
    """

    name: str
    dtype: DType
    unit: str
    meaning: str
    optional: bool = False
    later: bool = False


def words(name: str, meaning: str, *, optional: bool = False, later: bool = False) -> Column:
    """Return a column of words."""
    return Column(name, "str", "", meaning, optional, later)


def count(name: str, unit: str, meaning: str) -> Column:
    """Return a column of whole numbers."""
    return Column(name, "int", unit, meaning)


def number(name: str, unit: str, meaning: str, *, later: bool = False) -> Column:
    """Return a column of numbers, each of which may be undefined."""
    return Column(name, "float", unit, meaning, True, later)


def ends(name: str, of: str, *, later: bool = False) -> tuple[Column, Column]:
    """Return the columns of a further interval in a row."""
    return (
        number(f"{name}_low", "as the figure", f"Lower end of the 95 % interval of {of}.", later=later),
        number(f"{name}_high", "as the figure", f"Upper end of the 95 % interval of {of}.", later=later),
    )


# What a service sends beside an answer; tables from before there were services lack these.
SERVED_ANSWER = (
    Column("model_version", "str", "", "Which model answered, as a service says; else empty.", later=True),
    Column(
        "note",
        "str",
        "",
        "That the answer was cut off at the token limit, or why a service refused; else empty.",
        later=True,
    ),
    Column("prompt_tokens", "float", "tokens", "Of the prompt, as a service counts them.", True, True),
    Column("answer_tokens", "float", "tokens", "Of the answer, thoughts included.", True, True),
)
SERVED_COST = (
    Column("prompt_tokens_per_clip", "float", "tokens", "Mean, as a service counts them.", True, True),
    Column("answer_tokens_per_clip", "float", "tokens", "Mean, thoughts included.", True, True),
)
TASK = words("task", "Key of the task.")
NOISE = words("noise", "clean, babble, musan, white or room.")
SNR = number("snr_db", "dB", "Signal-to-noise ratio asked for; none for clean and room.")
N_ITEMS = count("n_items", "items", "Items behind the row; an item said in several voices counts once.")
N_GROUPS = count("n_groups", "groups", "Groups of related items behind the row: what the interval resamples.")
N_CLIPS = count("n_clips", "clips", "Clips behind the row.")
ITEM = words("item_id", "The item; its renderings in several voices share it.")
GROUP = words("group", "Items of one group are related, by their text as a rule; empty for the item alone.")
CLIP = words("clip_id", "The clip: an item in one voice under one noise condition.")
VOICE = words("voice", "Who speaks.")
GOLD = words("gold", "The right answer.")
AUDIO = Column("audio_s", "float", "s", "Length of the clip.")
LOW = number(
    "low", "as the figure", "Lower end of the 95 % interval: 10,000 resamples of groups of related items."
)
HIGH = number("high", "as the figure", "Upper end of the same interval.")
NOTE = words("note", "Why a figure of this row is not defined, and what else to know about it.")
FLAGS = Column(
    "flags",
    "str",
    "",
    "What is wrong with a recording, joined by commas: no_speech, very_short, clipped or unusable; empty for none.",
    later=True,
)
CLIP_COLUMNS = (
    CLIP,
    ITEM,
    TASK,
    VOICE,
    NOISE,
    SNR,
    number("snr_db_achieved", "dB", "Signal-to-noise ratio of the samples as they were mixed."),
    words("prompt", "The choices, or the question, of this clip."),
    words("reference", "The words that are said."),
    GOLD,
    GROUP,
    Column("seed", "int", "", "Seed of voice and noise."),
    words("recipe", "JSON: how to make the sound again."),
    AUDIO,
    FLAGS,
)


ARMS = ("plain", "erased", "rank_matched", "change_matched")
PROBE_TARGETS = ("energy", "pitch", "letters", "text", "speaker", "emotion")
LENS_MEASURES = (
    "precision",
    "set_precision",
    "current_1",
    "current_5",
    "current_10",
    "next_1",
    "next_5",
    "next_10",
)
ALL_TASKS = "all tasks"
# Control -> what it is matched in.
CONTROLS = {"rank_matched": "of equal rank", "change_matched": "of equal change"}
# With fewer an interval by resampling is too narrow to rest a sentence on (engine.stats.intervals).
FEWEST_GROUPS = 20
Verdict = Literal["exceeds", "within", "below", "too few groups", ""]


@dataclass(frozen=True)
class EffectMeasure:
    """What an erasure may change.

    Attributes:
        name: in a sentence.
        column: of erasure_clips, or "unparsed": no label was read.
        unit: of a difference in a sentence.
        scale: from the table's unit to that one.
        digits: of it in a sentence.
        harm: the sign of a difference that is harm.
    """

    name: str
    column: str
    unit: str
    scale: float
    digits: int
    harm: int

    @property
    def is_change(self) -> bool:
        """Whether it is a change already, so that the plain system stands at 0."""
        return self.scale == 1.0


EFFECT_MEASURES = {
    "accuracy": EffectMeasure("right answers", "correct", "points", 100.0, 1, -1),
    "forced_choice": EffectMeasure(
        "right answers by forced choice", "forced_correct", "points", 100.0, 1, -1
    ),
    "unparsed": EffectMeasure("answers without a label", "unparsed", "points", 100.0, 1, 1),
    "plain_answer": EffectMeasure(
        "log-likelihood of the plain answer", "log_likelihood_change", "nats", 1.0, 2, -1
    ),
    "right_answer": EffectMeasure(
        "log-likelihood of the right answer", "right_log_likelihood_change", "nats", 1.0, 2, -1
    ),
}

_SYSTEM = words("system", "Key of the speech LLM; of a transcriber where its encoder is the control.")
_LAYER = Column("layer", "int", "", "0 is what the first block receives, i what block i puts out.")
_TARGET = words("target", "energy, pitch, letters, text, speaker or emotion.")
_LABEL = words("label", "The answer as it was read; none unless it was parsed.", optional=True)
_STATUS = words("label_status", "parsed, unparsed, refused or empty.")
_CORRECT = Column("correct", "bool", "", "Whether the label is right; other right answers count.")
_METHOD = words("method", "linear (the paper's) or affine, which keeps the training mean; none for plain.")
_SCOPE = words("scope", "Positions that are edited: audio (the clip's), or all, generated ones too.")
_LAYERS = words("layers", "Where it is erased: nine layers, layer i, up to layer i; none for plain.")
_CONDITION = words("condition", "What is erased: text, ctc, boc or acoustic; none for plain.")
_ARM = words(
    "arm",
    "plain; erased; rank_matched: random directions, as many; change_matched: the same directions, states "
    "of each group of positions (clip, prompt text, answer) moved as far as the eraser moved them.",
)
_RANK = count("kept_rank", "directions", "Directions taken out, the most over the layers.")
_LL = number(
    "log_likelihood_change", "nats", "Of the plain answer's own tokens; the fall in how likely they are."
)
_RIGHT_LL = number("right_log_likelihood_change", "nats", "Of the right answer's tokens.")
_RELATIVE = number("relative_change", "share", "Mean of |change| / |state| over edited prompt positions.")
# Tables from before erasures were proven on other clips lack these.
_FITTED_ON = replace(
    words(
        "fitted_on", "What the erasers were fitted on: plain states, or states edited below; none for plain."
    ),
    later=True,
)
_PROVEN = (
    number(
        "probe_erased",
        "as the probe",
        "Of a probe fitted anew on other clips that were erased alike, at the layer where it reads most; absent where "
        "it was not measured.",
    ),
    number("probe_low", "as the probe", "Lower end of its 95 % interval over sentences."),
    number("probe_high", "as the probe", "Upper end of its 95 % interval over sentences."),
    number("probe_plain", "as the probe", "Of the probe fitted on those clips' plain states at that layer."),
    number("probe_random", "as the probe", "The same after as many random directions were taken out."),
    number("probe_chance", "as the probe", "Of the best guess that is the same everywhere."),
    words(
        "probe_verdict",
        "not found, still read, cannot be said (plain reads too little), or not measured.",
    ),
)
PROOF = tuple(replace(column, later=True) for column in _PROVEN)
NOT_PROVEN: dict[str, float | str] = {
    column.name: "not measured" if column.dtype == "str" else float("nan") for column in PROOF
}
_N_SEEDS = count("n_seeds", "seeds", "Random draws behind the row; 1 for what is not random.")
_N_FRAMES = count("n_frames", "positions", "Scored positions; 0 where a clip is read as a whole.")


def _hits(name: str, of: str) -> tuple[Column, ...]:
    return (
        count(f"n_{name}", "positions", f"Positions that ask for {of}."),
        *(
            count(f"{name}_{top}", "positions", f"Of these, with it among the top {top}.")
            for top in (1, 5, 10)
        ),
    )


MECHANISM_TABLES: dict[str, tuple[Column, ...]] = {
    "lens_clips": (
        *(_SYSTEM, _LAYER, TASK, ITEM, GROUP, CLIP, NOISE, SNR),
        words("text", "The tokens read at this layer, as a line."),
        number("precision", "share", "Bag-of-tokens precision against the clip's own words, as multisets."),
        number("control", "share", "The same against as many distinct tokens of other clips, mean."),
        Column(
            "set_precision", "float", "share", "The paper's: positions whose token is a word's.", True, True
        ),
        Column("set_control", "float", "share", "The same against those of other clips, mean.", True, True),
        *_hits("current", "the word being spoken"),
        *_hits("next", "the word that follows"),
        *_hits("mismatched", "the word of another transcript, all of them together"),
    ),
    "implicit_clips": (
        *(_SYSTEM, _LAYER, TASK, ITEM, GROUP, CLIP),
        words("gold", "The right answer."),
        words("choices", "The allowed answers, joined by |; empty for an open question."),
        words("heard", "The layer's text, which the LLM was given as a transcript."),
        *(_LABEL, _STATUS, _CORRECT),
        words("speech_label", "What the speech LLM answered.", optional=True),
        Column("speech_correct", "bool", "", "Whether that is right."),
        words("cascade_label", "What the Whisper cascade into the same LLM answered.", optional=True),
        Column("cascade_correct", "bool", "", "Whether that is right."),
    ),
    "erasure_clips": (
        *(_SYSTEM, TASK, ITEM, GROUP, CLIP, _METHOD, _SCOPE, _LAYERS, _CONDITION, _ARM),
        Column("seed", "int", "", "Of the random directions; 0 for what is not random."),
        *(_RANK, _LABEL, _STATUS),
        words("text", "The first 60 characters that the system generated."),
        _CORRECT,
        number("forced_correct", "0 or 1", "Whether the most probable allowed answer is right."),
        *(_LL, _RIGHT_LL, _RELATIVE, _FITTED_ON, *PROOF),
    ),
    "probe_clips": CLIP_COLUMNS,
    "probe_scores": (
        *(_SYSTEM, _LAYER, _TARGET, CLIP),
        number(
            "score", "as the probe", "Of this clip alone: 1 - error / variance of all, 1 - CER, or 1 or 0."
        ),
    ),
    "probes": (
        *(_SYSTEM, _LAYER, _TARGET),
        words("unit", "What the score is: R2, 1 - CER or accuracy."),
        number("score", "as unit", "On sentences and voices that the probe was not fitted on."),
        *(LOW, HIGH),
        number("shuffled", "as unit", "Of the same probe fitted on labels dealt anew."),
        number("random_model", "as unit", "From the same model with its weights drawn anew."),
        number("input_features", "as unit", "From the log-mel features of the same positions."),
        number("selectivity", "as unit", "Score minus shuffled."),
        *(N_GROUPS, N_CLIPS, _N_FRAMES, NOTE),
    ),
    "lens": (
        *(_SYSTEM, TASK, _LAYER),
        words(
            "measure",
            "precision (multisets, runs merged), set_precision (the paper's: positions whose token is a word's), or "
            "current_k and next_k: recall at k of the word spoken and the next.",
        ),
        number("score", "share", "Mean over clips for precision; over positions for recall."),
        *(LOW, HIGH),
        number(
            "control",
            "share",
            "The same with other transcripts' words; for precision, as many distinct tokens.",
        ),
        *(N_ITEMS, N_GROUPS, N_CLIPS),
        count("n_positions", "positions", "Positions that ask for a word; 0 for precision."),
        NOTE,
    ),
    "noise_lens": (
        *(_SYSTEM, NOISE, SNR, _LAYER),
        number("precision", "share", "Bag-of-tokens precision as multisets, mean over clips."),
        *(LOW, HIGH),
        number("control", "share", "The same against as many distinct tokens of other clips."),
        *(N_ITEMS, N_GROUPS, N_CLIPS, NOTE),
    ),
    "sufficiency": (
        *(_SYSTEM, TASK, _LAYER, N_ITEMS, N_GROUPS, N_CLIPS),
        number(
            "kappa",
            "-1 to 1",
            "Of the LLM that reads the layer's text with the speech LLM; two answers without a label never agree.",
        ),
        *(LOW, HIGH),
        number("kappa_unparsed_agree", "-1 to 1", "The same if two unparsed answers agree.", later=True),
        number("kappa_both_parsed", "-1 to 1", "The same where both gave a label.", later=True),
        number("kappa_cascade", "-1 to 1", "Of the Whisper cascade into the same LLM with the speech LLM."),
        *ends("cascade", "kappa_cascade"),
        number("kappa_mismatched", "-1 to 1", "Mean kappa over pairings with other clips' texts: chance."),
        number(
            "agreement", "share", "Same label as the speech LLM; two answers without one are not the same."
        ),
        number("accuracy", "share", "Of the LLM that reads the layer's text."),
        *ends("accuracy", "accuracy"),
        number("speech_accuracy", "share", "Of the speech LLM on the same clips."),
        number("cascade_accuracy", "share", "Of the Whisper cascade on the same clips."),
        NOTE,
    ),
    "erasure": (
        *(_SYSTEM, TASK, _METHOD, _SCOPE, _LAYERS, _CONDITION, _ARM, N_ITEMS, N_GROUPS, N_CLIPS),
        *(_N_SEEDS, _RANK),
        number("accuracy", "share", "Generated answers that are right; the mean over seeds."),
        *(LOW, HIGH),
        number("spread", "share", "Standard deviation of accuracy over seeds."),
        number("change", "share", "Accuracy minus that of the plain system on the same clips."),
        *ends("change", "change"),
        number("vs_rank_matched", "share", "Erased: accuracy minus that of the control of equal rank."),
        *ends("vs_rank_matched", "vs_rank_matched"),
        number("vs_change_matched", "share", "Erased: accuracy minus that of the control of equal change."),
        *ends("vs_change_matched", "vs_change_matched"),
        number("forced_choice_accuracy", "share", "Clips whose most probable allowed answer is right."),
        number("forced_choice_spread", "share", "Its standard deviation over seeds."),
        number("unparsed_rate", "share", "Answers without a label."),
        *(_LL, _RIGHT_LL, _RELATIVE, _FITTED_ON, *PROOF, NOTE),
    ),
    "effects": (
        *(_SYSTEM, TASK, _METHOD, _SCOPE, _LAYERS, _CONDITION),
        words("measure", f"What may change: {', '.join(EFFECT_MEASURES)}."),
        words(
            "arm", "Whose value: plain, erased, rank_matched or change_matched; of several seeds the mean."
        ),
        words(
            "against",
            "Whose value is taken off, clip by clip: plain, a control, or nothing for the value itself.",
        ),
        number("value", "share, or nats", "Mean over clips, each counting once; of all tasks, too."),
        *(LOW, HIGH),
        number("mc_error", "as the figure", "How far an end may lie off because the resamples are finite."),
        *(N_GROUPS, N_CLIPS),
        words(
            "verdict",
            "Of a difference: exceeds (more harm, the interval excludes 0), below (less), within, or too few groups.",
        ),
        words("reading", "Of all tasks together: what can be said, as a sentence."),
        NOTE,
    ),
    "damage": (
        *(_SYSTEM, _LAYER, _CONDITION),
        words("target", "What a probe is fitted for anew: energy, pitch, letters or text."),
        words("unit", "What the scores are: R2 or 1 - CER."),
        number("plain", "as unit", "Before any erasure."),
        *ends("plain", "plain"),
        number("erased", "as unit", "After erasing the condition at this layer."),
        *(LOW, HIGH),
        number("random", "as unit", "After erasing as many random directions; the mean over seeds."),
        number("random_spread", "as unit", "Standard deviation over seeds."),
        *(_N_SEEDS, _RANK, N_CLIPS, _N_FRAMES, NOTE),
    ),
}

MECHANISM_CLIP_TABLES = ("lens_clips", "implicit_clips", "erasure_clips", "probe_clips", "probe_scores")
_ERASED = ("method", "scope", "layers", "condition", "arm")
MECHANISM_KEYS: dict[str, tuple[str, ...]] = {
    "lens_clips": ("system", "task", "item_id", "noise", "snr_db", "layer", "clip_id"),
    "implicit_clips": ("system", "task", "item_id", "layer", "clip_id"),
    "erasure_clips": ("system", "task", "item_id", *_ERASED, "seed", "clip_id"),
    "probe_clips": ("task", "item_id", "clip_id"),
    "probe_scores": ("system", "target", "layer", "clip_id"),
    "probes": ("system", "target", "layer"),
    "lens": ("system", "task", "measure", "layer"),
    "noise_lens": ("system", "noise", "snr_db", "layer"),
    "sufficiency": ("system", "task", "layer"),
    "erasure": ("system", "task", *_ERASED),
    "effects": ("system", "task", *_ERASED[:-1], "measure", "arm", "against"),
    "damage": ("system", "condition", "target", "layer"),
}
MECHANISM_WORDS = {
    "erasure_clips": ("arm", ARMS),
    "erasure": ("arm", ARMS),
    "probes": ("target", PROBE_TARGETS),
    "probe_scores": ("target", PROBE_TARGETS),
    "lens": ("measure", LENS_MEASURES),
}


INITIALISATIONS = ("text", "random", "untrained")
BOUNDARIES = ("current word", "next word", "speech", "current to next")
KNOWLEDGE_MEASURES = (
    *("preferred", "preferred by sum", "preferred, heard", "preferred, only read"),
    "relation",
)
CAUSAL_ARMS = ("plain", "erased", "rank_matched", "change_matched", "patched", "same_word", "unrelated")
RECALL, TEXT_SHARE = "recall", "text_share"
PHASE_MEASURES = (RECALL, TEXT_SHARE)

_MODEL = words("model", "Key of the model.")
_INITIALISATION = words(
    "initialisation", "text: of a trained text LM; random; untrained: drawn, never taught."
)
_DATA = words("data", "interleaved, speech only, audio for a continuous encoder, or none.")
_STEP = count("step", "steps", "Of the training, where the checkpoint was kept; 0 is its start.")
_MEASURE = words("measure", "recall, or text_share: of the probability on text and unit tokens.")
_K = count("k", "tokens", "Top tokens among which the word is looked for; 0 for the text share.")
_D = count("d", "words", "0 for the word being spoken, 1 for the next; 0 for the text share.")
_CAUSAL_ARM = words(
    "arm",
    "plain, erased, rank_matched or change_matched (as in erasure.csv); patched, same_word or unrelated: whose "
    "states were put in the word's place.",
)
_OUTCOME = words("outcome", "What is measured under this arm; see the note.")
_WHO = (_MODEL, _INITIALISATION, _DATA, _STEP)


def _interval(name: str, of: str) -> tuple[Column, Column]:
    return (
        number(f"{name}_low", "as the figure", f"Lower end of the 95 % interval of {of}."),
        number(f"{name}_high", "as the figure", f"Upper end of the 95 % interval of {of}."),
    )


def _word_hits(name: str, of: str) -> tuple[Column, ...]:
    return tuple(count(f"{name}_{k}", "words", f"Words with {of} among the top {k}.") for k in (1, 5, 10))


INTERLEAVED_TABLES: dict[str, tuple[Column, ...]] = {
    "interleaved_clips": (
        *(_MODEL, _STEP, _LAYER, ITEM, GROUP, CLIP, _D),
        count("n_words", "words", "Words asked for that own a position."),
        *_word_hits("hits", "the word asked for"),
        *_word_hits("control", "the word of the paired clip instead"),
        number("text_share", "share", "Mean over positions; none where the model has no units."),
        count("n_positions", "positions", "Speech positions of the clip."),
    ),
    "knowledge_facts": (
        *(_MODEL, _STEP, ITEM, GROUP),
        number("right", "nats per token", "Mean log-probability of the right completion."),
        number("wrong", "nats per token", "Of the counterfactual one."),
        number("right_sum", "nats", "Log-probability of the whole right completion."),
        number("wrong_sum", "nats", "Of the whole counterfactual one."),
    ),
    "causal_clips": (
        *(_MODEL, _STEP, _CAUSAL_ARM, _OUTCOME, ITEM, GROUP, CLIP),
        Column("seed", "int", "", "Of the random directions; 0 for what is not random."),
        words("layers", "Where the states were edited."),
        count("kept_rank", "directions", "Taken out, the most over the layers; 0 for a patch."),
        number("relative_change", "share", "Mean of |change| / |state| over edited positions."),
        number("total", "as the outcome", "Sum over what was scored in this clip."),
        count("n", "as the outcome", "What was scored: words, units, facts or patches."),
    ),
    "interleaved": (
        *(*_WHO, _LAYER, _MEASURE, _K, _D),
        number("score", "share", "Recall, or the text share."),
        *(LOW, HIGH),
        number("control", "share", "Recall of the paired clip's words at the same places."),
        number("excess", "share", "Score minus control: R."),
        *_interval("excess", "excess"),
        count("n_words", "words", "Words asked for; positions for the text share."),
        *(N_GROUPS, N_CLIPS, NOTE),
    ),
    "phases": (
        *(*_WHO, _K),
        words("boundary", "current word, next word, speech, or current to next: layers between the peaks."),
        number("layer", "layers", "Where it lies; none where there is no such layer."),
        *(LOW, HIGH),
        number("score", "share", "R there; the text share for speech; share of resamples in order."),
        *_interval("score", "score"),
        number("undefined", "share", "Resamples in which there is no such layer."),
        *(N_GROUPS, N_CLIPS, NOTE),
    ),
    "spoken_knowledge": (
        *_WHO,
        words(
            "measure",
            "preferred (all facts, or a half of them), preferred by sum, or relation: Spearman's rho with R.",
        ),
        number("value", "share", "Facts whose right completion is the likelier one; rho for relation."),
        *(LOW, HIGH),
        number("chance", "share", "0.5 for a preference, 0 for a relation."),
        count("n", "facts", "Facts; checkpoints for the relation."),
        *(N_GROUPS, NOTE),
    ),
    "phase_causal": (
        *(*_WHO, _CAUSAL_ARM, _OUTCOME),
        words("layers", "Where the states were edited."),
        count("kept_rank", "directions", "Taken out, the most over the layers; 0 for a patch."),
        count("n_seeds", "seeds", "Random draws behind the row; 1 for what is not random."),
        number("relative_change", "share", "Mean of |change| / |state| over edited positions."),
        number("value", "as the outcome", "Under this arm."),
        *(LOW, HIGH),
        number(
            "change",
            "as the outcome",
            "Value minus that of the plain model; patched: minus that of an unrelated word.",
        ),
        *_interval("change", "change"),
        number("vs_rank_matched", "as the outcome", "Erased: value minus that of the control of equal rank."),
        *_interval("vs_rank_matched", "vs_rank_matched"),
        number("vs_change_matched", "as the outcome", "Erased: the same for the control of equal change."),
        *_interval("vs_change_matched", "vs_change_matched"),
        count("n", "as the outcome", "What was scored: words, units, facts or patches."),
        *(N_GROUPS, N_CLIPS, NOTE),
    ),
}

INTERLEAVED_CLIP_TABLES = ("interleaved_clips", "knowledge_facts", "causal_clips")
_RUN = ("model", "step")
INTERLEAVED_KEYS: dict[str, tuple[str, ...]] = {
    "interleaved_clips": (*_RUN, "layer", "d", "item_id", "clip_id"),
    "knowledge_facts": (*_RUN, "item_id"),
    "causal_clips": (*_RUN, "arm", "outcome", "seed", "item_id", "clip_id"),
    "interleaved": (*_RUN, "measure", "k", "d", "layer"),
    "phases": (*_RUN, "k", "boundary"),
    "spoken_knowledge": (*_RUN, "measure"),
    "phase_causal": (*_RUN, "arm", "outcome"),
}
INTERLEAVED_WORDS = {
    "interleaved": ("measure", PHASE_MEASURES),
    "phases": ("boundary", BOUNDARIES),
    "spoken_knowledge": ("measure", KNOWLEDGE_MEASURES),
    "phase_causal": ("arm", CAUSAL_ARMS),
    "causal_clips": ("arm", CAUSAL_ARMS),
}


PAPER_VERDICTS = ("holds", "does not hold", "cannot be said", "not published")
VERDICTS = ("holds", "does not hold", "cannot be said", "not measured")
SIDES = ("holds", "fails", "open", "undefined")

_CLAIM = words("claim", "Key of the claim.")
_TRIED = words("system", "The system that is tried; empty where no cell could be.")
_OTHER = words("other", "What it is held against; empty where it stands alone.")
_DETAIL = words(
    "detail",
    "How many cells the mean is of; of one cell its layer, control or noise; may be empty.",
)
_PART = words("part", "Which of the claim's statements the cell is of; empty where there is one.", later=True)
_LINE = number("line", "as measured", "What the interval must exclude.")
_WANTED = words("wanted", "above or below: the side of the line on which the claim has it.")
_N = count("n", "as n_of", "What the interval resamples.")
_N_OF = words("n_of", "What n counts: groups of related items, items or clips.")
_INTERVAL_METHOD = words("method", "How the interval was made.")

CLAIMS_TABLES: dict[str, tuple[Column, ...]] = {
    "claims": (
        _CLAIM,
        count("place", "", "Its place in the ledger, from 1."),
        words("family", "The cells that are counted together; no correction is made for their number."),
        words("title", "The claim in a few words."),
        words("says", "The claim in a sentence of our own."),
        words("published", "The paper's figure."),
        words("source", "Where it stands in arXiv 2602.17598, where no other paper is named."),
        words("measure", "What is measured here."),
        words("rule", "When it holds."),
        words(
            "paper_verdict",
            "What this rule says of the paper's own numbers, or that it prints none.",
            later=True,
        ),
        words(
            "paper_says", "How it comes to that: values alone, for few published figures have an interval."
        ),
        words("caveat", "What to know before believing either."),
        words("shown", "Where it is measured: benchmark, a section of mechanism, or interleaved."),
        words("verdict", "holds, does not hold, cannot be said or not measured."),
        *(_TRIED, _OTHER, words("task", "Key of the task; may be empty."), _DETAIL),
        number(
            "measured",
            "as measure",
            "What decides: the mean of the cells, of several statements the one least on the claim's side.",
        ),
        number("low", "as measured", "Lower end of its 95 % interval."),
        number("high", "as measured", "Upper end."),
        *(_LINE, _WANTED, _N, _N_OF),
        count(
            "holds", "cells", "Cells whose interval lies on the claim's side of the line; they do not decide."
        ),
        count("fails", "cells", "The interval lies on the other side."),
        count("open", "cells", "The interval includes the line."),
        count("undefined", "cells", "There is no interval, or no line."),
        number("n_needed", "as n_of", "The n at which the interval of what decides would exclude the line."),
        words("note", "Why a figure is missing, and what would help."),
    ),
    "claim_cells": (
        _CLAIM,
        *(_TRIED, _OTHER, TASK, _DETAIL, _PART),
        number("value", "as measure", "What was measured in this cell."),
        number("low", "as value", "Lower end of its 95 % interval."),
        number("high", "as value", "Upper end."),
        *(_LINE, _WANTED, _N, _N_OF, _INTERVAL_METHOD),
        words("side", "holds, fails, open or undefined."),
        number("n_needed", "as n_of", "The n at which an open cell's interval would exclude the line."),
        words("note", "Why a figure is missing, and what else to know."),
    ),
}
CLAIMS_KEYS: dict[str, tuple[str, ...]] = {
    "claims": ("place",),
    "claim_cells": ("claim", "system", "other", "task", "detail", "part"),
}
CLAIMS_WORDS = {"claims": ("verdict", VERDICTS), "claim_cells": ("side", SIDES)}


LABEL_STATUSES = ("parsed", "unparsed", "refused", "empty", "failed")
SHARED_ERROR_KINDS = ("reasoning", "asr", "unknown")

_SYSTEM_A = words("system_a", "First system: a speech LLM before a cascade before a text LLM, then by key.")
_SYSTEM_B = words("system_b", "Second system.")
_MATCH = words("match", "How the backbones of the two agree: exact, ancestor, self, paper or none.")
_KAPPA = "Cohen's kappa; two answers without a label never agree, and choices of a clip's own count by their place."
_AGREES = "Kappa if no label were a label like any other, so that two unparsed answers agree."
_PARSED = "Kappa of the clips on which both gave a label."
_MCNEMAR = (
    "McNemar's test, exact below 25 discordant pairs. It takes clips for independent: where an item stands in "
    "several voices p is too small; see votes_p."
)
_VOTES = "The same test with one vote a group, for the system that is right on more of its clips."
_BH = "The same after Benjamini and Hochberg over the whole table."
_NULL = (
    "Overlap if each wrong answer of the second system were one that it gave to another item "
    "with the same right answer."
)

TABLES: dict[str, tuple[Column, ...]] = {
    "answers": (
        ITEM,
        GROUP,
        CLIP,
        TASK,
        VOICE,
        NOISE,
        SNR,
        words("system", "Key of the system."),
        GOLD,
        words("aliases", "Other right answers, joined by |."),
        words("label", "The answer as it was read; none unless it was parsed.", optional=True),
        words("label_status", "parsed, unparsed, refused, empty or failed."),
        words("reason", "Why the row failed, else empty."),
        words("text", "The text the system generated."),
        words("heard", "The text the backbone was given; empty for a speech LLM."),
        Column("correct", "bool", "", "Whether the label is right; other right answers count."),
        words("forced_choice", "JSON: each allowed answer with its probability; {} for open tasks."),
        words("forced_label", "The most probable of the allowed answers.", optional=True),
        number("seconds", "s", "Time of this row; a shared stage counts in each row that needs it."),
        AUDIO,
        *SERVED_ANSWER,
    ),
    "clips": CLIP_COLUMNS,
    "accuracy": (
        words("system", "Key of the system."),
        TASK,
        NOISE,
        SNR,
        N_ITEMS,
        N_GROUPS,
        N_CLIPS,
        number("accuracy", "share", "Clips answered rightly; an answer without a label is wrong."),
        LOW,
        HIGH,
        number("macro_f1", "share", "Mean F1 over the right answers; an answer without a label is wrong."),
        number("forced_choice_accuracy", "share", "Clips whose most probable allowed answer is right."),
        number("majority_baseline", "share", "Accuracy of always giving the commonest right answer."),
        number("unparsed_rate", "share", "Answers without a label that are not refusals."),
        number("refused_rate", "share", "Answers that refuse."),
        number(
            "wer",
            "share",
            "Word errors of the transcript over words said, after Whisper's English normaliser; may exceed 1.",
        ),
        NOTE,
    ),
    "agreement": (
        _SYSTEM_A,
        _SYSTEM_B,
        _MATCH,
        TASK,
        NOISE,
        SNR,
        N_ITEMS,
        N_GROUPS,
        N_CLIPS,
        number("kappa", "-1 to 1", _KAPPA),
        LOW,
        HIGH,
        number("kappa_unparsed_agree", "-1 to 1", _AGREES, later=True),
        number("kappa_both_parsed", "-1 to 1", _PARSED, later=True),
        number("both_unparsed", "clips", "Neither gave a label.", later=True),
        count(
            "both_right",
            "clips",
            "Both gave a label and both are right; clips without both labels are in no class.",
        ),
        count("a_only", "clips", "Both gave a label and only the first system is right."),
        count("b_only", "clips", "Both gave a label and only the second system is right."),
        count("both_wrong_same", "clips", "Both are wrong with the same label."),
        count("both_wrong_different", "clips", "Both are wrong with different labels."),
        number("error_overlap", "share", "Same wrong label among the clips where both labels are wrong."),
        number("error_overlap_low", "share", "Lower end of its 95 % interval."),
        number("error_overlap_high", "share", "Upper end of its 95 % interval."),
        number("overlap_chance", "share", "Overlap of blind guessing, 1/(C-1) for C allowed answers."),
        number("overlap_null", "share", _NULL),
        number(
            "accuracy_difference",
            "share",
            "Accuracy of the first system minus that of the second, on the clips that both answered.",
            later=True,
        ),
        *ends("accuracy_difference", "accuracy_difference", later=True),
        number(
            "accuracy_difference_mc_error",
            "share",
            "How far an end of it may lie off because the resamples are finite.",
            later=True,
        ),
        count("mcnemar_b", "clips", "Right for the first system only; no label counts as wrong."),
        count("mcnemar_c", "clips", "Right for the second system only; no label counts as wrong."),
        number("mcnemar_p", "probability", _MCNEMAR),
        number("mcnemar_p_bh", "probability", _BH),
        count("votes_a", "groups", "The first system is right on more of the group's clips."),
        count("votes_b", "groups", "The second system is right on more of the group's clips."),
        number("votes_p", "probability", _VOTES),
        number("votes_p_bh", "probability", _BH),
        NOTE,
    ),
    "shared_errors": (
        TASK,
        NOISE,
        SNR,
        _SYSTEM_A,
        _SYSTEM_B,
        _MATCH,
        ITEM,
        CLIP,
        GOLD,
        words("wrong_label", "The wrong answer that both gave."),
        words("transcript", "What the cascade heard."),
        number("wer", "share", "Word errors of this transcript over words said."),
        words("kind", "reasoning: the transcript was right; asr: it was not; unknown: there is none."),
    ),
    "confound": (
        words("system", "The speech LLM."),
        words("matched", "Its cascade on a matched backbone."),
        words("mismatched", "A cascade with the same transcripts on another backbone."),
        TASK,
        NOISE,
        SNR,
        N_ITEMS,
        N_GROUPS,
        N_CLIPS,
        number("kappa_matched", "-1 to 1", "Kappa with the matched cascade."),
        number("kappa_mismatched", "-1 to 1", "Kappa with the mismatched cascade, on the same clips."),
        number("delta", "-2 to 2", "Matched minus mismatched; two answers without a label never agree."),
        LOW,
        HIGH,
        number("delta_unparsed_agree", "-2 to 2", "The same if two unparsed answers agree.", later=True),
        number("delta_both_parsed", "-2 to 2", "The same where both gave a label.", later=True),
        NOTE,
    ),
    "cost": (
        words("system", "Key of the system."),
        number("parameters_m", "millions", "Parameters of everything that the system runs."),
        TASK,
        N_CLIPS,
        number("seconds_per_clip", "s", "Mean time of a clip."),
        number("real_time_factor", "s per s", "Time over the length of the audio."),
        number("peak_memory_mb", "MB", "Most memory held while it ran; none when it was not measured."),
        words("hardware", "What it ran on."),
        *SERVED_COST,
    ),
    **MECHANISM_TABLES,
    **INTERLEAVED_TABLES,
    **CLAIMS_TABLES,
}

_CELL = ("task", "noise", "snr_db")
# What no two rows of a table share, in the order by which rows are sorted.
KEYS: dict[str, tuple[str, ...]] = {
    "answers": ("task", "item_id", "voice", "noise", "snr_db", "system", "clip_id"),
    "clips": ("task", "item_id", "voice", "noise", "snr_db", "clip_id"),
    "accuracy": (*_CELL, "system"),
    "agreement": (*_CELL, "system_a", "system_b"),
    "shared_errors": (*_CELL, "system_a", "system_b", "item_id", "clip_id"),
    "confound": (*_CELL, "system", "matched", "mismatched"),
    "cost": ("system", "task"),
    **MECHANISM_KEYS,
    **INTERLEAVED_KEYS,
    **CLAIMS_KEYS,
}
_STATUS_COLUMNS = {
    "answers": ("label_status", LABEL_STATUSES),
    "shared_errors": ("kind", SHARED_ERROR_KINDS),
    **MECHANISM_WORDS,
    **INTERLEAVED_WORDS,
    **CLAIMS_WORDS,
}


# Rows of single clips are many: Parquet holds them in a tenth of the room. Figures stay CSV, for people.
_PARQUET = {
    **{name: f"{name}.parquet" for name in ("answers", "clips")},
    **{name: f"tables/{name}.parquet" for name in ("shared_errors", "effects")},
    **{name: f"mechanism/{name}.parquet" for name in MECHANISM_CLIP_TABLES},
    **{name: f"interleaved/{name}.parquet" for name in INTERLEAVED_CLIP_TABLES},
}
