"""The tables of interleaved models: the latent transcript, its phases, spoken knowledge, and what erasing does.

`engine.records` lists them with the others and reads and writes them.
"""

from __future__ import annotations

from engine.columns import CLIP, GROUP, HIGH, ITEM, LOW, N_CLIPS, N_GROUPS, NOTE, count, number, words
from engine.tables import Column

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
_LAYER = Column("layer", "int", "", "0 is what the first block receives, i what block i puts out.")
_MEASURE = words("measure", "recall, or text_share: of the probability on text and unit tokens.")
_K = count("k", "tokens", "Top tokens among which the word is looked for; 0 for the text share.")
_D = count("d", "words", "0 for the word being spoken, 1 for the next; 0 for the text share.")
_ARM = words(
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


def _hits(name: str, of: str) -> tuple[Column, ...]:
    return tuple(count(f"{name}_{k}", "words", f"Words with {of} among the top {k}.") for k in (1, 5, 10))


INTERLEAVED_TABLES: dict[str, tuple[Column, ...]] = {
    "interleaved_clips": (
        *(_MODEL, _STEP, _LAYER, ITEM, GROUP, CLIP, _D),
        count("n_words", "words", "Words asked for that own a position."),
        *_hits("hits", "the word asked for"),
        *_hits("control", "the word of the paired clip instead"),
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
        *(_MODEL, _STEP, _ARM, _OUTCOME, ITEM, GROUP, CLIP),
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
        *(*_WHO, _ARM, _OUTCOME),
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
