"""The tables of mechanism: probes, lens, implicit cascade and erasure, clip by clip and summed up.

`engine.records` lists them with the others and reads and writes them.
"""

from __future__ import annotations

from dataclasses import replace

from engine.columns import (
    CLIP,
    CLIP_COLUMNS,
    GROUP,
    HIGH,
    ITEM,
    LOW,
    N_CLIPS,
    N_GROUPS,
    N_ITEMS,
    NOISE,
    NOTE,
    SNR,
    TASK,
    count,
    ends,
    number,
    words,
)
from engine.tables import Column

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
    "damage": ("system", "condition", "target", "layer"),
}
MECHANISM_WORDS = {
    "erasure_clips": ("arm", ARMS),
    "erasure": ("arm", ARMS),
    "probes": ("target", PROBE_TARGETS),
    "probe_scores": ("target", PROBE_TARGETS),
    "lens": ("measure", LENS_MEASURES),
}
