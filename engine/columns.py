"""The tables: every column declared once, with its unit and its meaning, a row of text a column.

Of the benchmark, of mechanism (probes, lens, implicit cascade and erasure, clip by clip and summed up), of
interleaved models (the latent transcript, its phases, spoken knowledge, and what erasing does), and the ledger of
claims: what the papers claim, what was measured, and whether it holds. `engine.tables` reads and writes them.

    [NAME, FILE] KEY ...           begins a table; FILE is left out for tables/NAME.csv. No two rows of it share the
                                   columns of its key, by which they are sorted
    COLUMN KIND UNIT: MEANING      a column; with {k} in it the three for k = 1, 5 and 10; a line that is set in goes on
    COLUMN ends: FIGURE            COLUMN_low and COLUMN_high, the interval of a further figure in a row
    COLUMN COLUMN ...              columns that several tables share (`_SHARED`); behind @ stands which of that name
    *TABLE                         all columns of another table

KIND is words, whole (a count), number (may be undefined), float (may not) or truth; with ? it may be absent, with + it
came later than the first tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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


LABEL_STATUSES = ("parsed", "unparsed", "refused", "empty", "failed")
SHARED_ERROR_KINDS = ("reasoning", "asr", "unknown")
ARMS = ("plain", "erased", "rank_matched", "change_matched")
PROBE_TARGETS = ("energy", "pitch", "letters", "text", "speaker", "emotion")
LENS_MEASURES = (
    "precision",
    "set_precision",
    *(f"{word}_{k}" for word in ("current", "next") for k in (1, 5, 10)),
)
ALL_TASKS = "all tasks"
BOUNDARIES = ("current word", "next word", "speech", "current to next")
KNOWLEDGE_MEASURES = ("preferred", "preferred by sum", "preferred, heard", "preferred, only read", "relation")
CAUSAL_ARMS = (*ARMS, "patched", "same_word", "unrelated")
PHASE_MEASURES = RECALL, TEXT_SHARE = ("recall", "text_share")
VERDICTS = ("holds", "does not hold", "cannot be said", "not measured")
SIDES = ("holds", "fails", "open", "undefined")

LEVEL = "nothing"  # what a value stands against in the table of effects that is no difference
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

_SHARED = """
item_id words: The item; its renderings in several voices share it.
group words: Items of one group are related, by their text as a rule; empty for the item alone.
clip_id words: The clip: an item in one voice under one noise condition.
task words: Key of the task.
voice words: Who speaks.
noise words: clean, babble, musan, white or room.
snr_db number dB: Signal-to-noise ratio asked for; none for clean and room.
system words: Key of the system.
gold words: The right answer.
label words?: The answer as it was read; none unless it was parsed.
correct truth: Whether the label is right; other right answers count.
audio_s float s: Length of the clip.
n_items whole items: Items behind the row; an item said in several voices counts once.
n_groups whole groups: Groups of related items behind the row: what the interval resamples.
n_clips whole clips: Clips behind the row.
low number as the figure: Lower end of the 95 % interval: 10,000 resamples of groups of related items.
high number as the figure: Upper end of the same interval.
forced_choice_accuracy number share: Clips whose most probable allowed answer is right.
note words: Why a figure of this row is not defined, and what else to know about it.
system_a words: First system: a speech LLM before a cascade before a text LLM, then by key.
system_b words: Second system.
match words: How the backbones of the two agree: exact, ancestor, self, paper or none.
system@mechanism words: Key of the speech LLM; of a transcriber where its encoder is the control.
layer whole: 0 is what the first block receives, i what block i puts out.
label_status words: parsed, unparsed, refused or empty.
method words: linear (the paper's) or affine, which keeps the training mean; none for plain.
scope words: Positions that are edited: audio (the clip's), or all, generated ones too.
layers words: Where it is erased: nine layers, layer i, up to layer i; none for plain.
condition words: What is erased: text, ctc, boc or acoustic; none for plain.
arm words: plain; erased; rank_matched: random directions, as many; change_matched: the same directions, states
    of each group of positions (clip, prompt text, answer) moved as far as the eraser moved them.
seed whole: Of the random directions; 0 for what is not random.
kept_rank whole directions: Directions taken out, the most over the layers.
log_likelihood_change number nats: Of the plain answer's own tokens; the fall in how likely they are.
right_log_likelihood_change number nats: Of the right answer's tokens.
relative_change number share: Mean of |change| / |state| over edited prompt positions.
fitted_on words+: What the erasers were fitted on: plain states, or states edited below; none for plain.
probe_erased number+ as the probe: Of a probe fitted anew on other clips that were erased alike, at the layer
    where it reads most; absent where it was not measured.
probe_low number+ as the probe: Lower end of its 95 % interval over sentences.
probe_high number+ as the probe: Upper end of its 95 % interval over sentences.
probe_plain number+ as the probe: Of the probe fitted on those clips' plain states at that layer.
probe_random number+ as the probe: The same after as many random directions were taken out.
probe_chance number+ as the probe: Of the best guess that is the same everywhere.
probe_verdict words+: not found, still read, cannot be said (plain reads too little), or not measured.
target words: energy, pitch, letters, text, speaker or emotion.
n_frames whole positions: Scored positions; 0 where a clip is read as a whole.
n_seeds whole seeds: Random draws behind the row; 1 for what is not random.
model words: Key of the model.
step whole steps: Of the training, where the checkpoint was kept; 0 is its start.
d whole words: 0 for the word being spoken, 1 for the next; 0 for the text share.
arm@interleaved words: plain, erased, rank_matched or change_matched (as in erasure.csv); patched, same_word or
    unrelated: whose states were put in the word's place.
outcome words: What is measured under this arm; see the note.
layers@interleaved words: Where the states were edited.
kept_rank@interleaved whole directions: Taken out, the most over the layers; 0 for a patch.
relative_change@interleaved number share: Mean of |change| / |state| over edited positions.
n whole as the outcome: What was scored: words, units, facts or patches.
initialisation words: text: of a trained text LM; random; untrained: drawn, never taught.
data words: interleaved, speech only, audio for a continuous encoder, or none.
k whole tokens: Top tokens among which the word is looked for; 0 for the text share.
claim words: Key of the claim.
system@claims words: The system that is tried; empty where no cell could be.
other words: What it is held against; empty where it stands alone.
detail words: How many cells the mean is of; of one cell its layer, control or noise; may be empty.
line number as measured: What the interval must exclude.
wanted words: above or below: the side of the line on which the claim has it.
n@claims whole as n_of: What the interval resamples.
n_of words: What n counts: groups of related items, items or clips.
"""

_BENCHMARK = """
[answers, answers.parquet] task item_id voice noise snr_db system clip_id
item_id group clip_id task voice noise snr_db system gold
aliases words: Other right answers, joined by |.
label
label_status words: parsed, unparsed, refused, empty or failed.
reason words: Why the row failed, else empty.
text words: The text the system generated.
heard words: The text the backbone was given; empty for a speech LLM.
correct
forced_choice words: JSON: each allowed answer with its probability; {} for open tasks.
forced_label words?: The most probable of the allowed answers.
seconds number s: Time of this row; a shared stage counts in each row that needs it.
audio_s
model_version words+: Which model answered, as a service says; else empty.
note words+: That the answer was cut off at the token limit, or why a service refused; else empty.
prompt_tokens number+ tokens: Of the prompt, as a service counts them.
answer_tokens number+ tokens: Of the answer, thoughts included.

[clips, clips.parquet] task item_id voice noise snr_db clip_id
clip_id item_id task voice noise snr_db
snr_db_achieved number dB: Signal-to-noise ratio of the samples as they were mixed.
prompt words: The choices, or the question, of this clip.
reference words: The words that are said.
gold group
seed whole: Seed of voice and noise.
recipe words: JSON: how to make the sound again.
audio_s
flags words+: What is wrong with a recording, joined by commas: no_speech, very_short, clipped or unusable;
    empty for none.

[accuracy] task noise snr_db system
system task noise snr_db n_items n_groups n_clips
accuracy number share: Clips answered rightly; an answer without a label is wrong.
low high
macro_f1 number share: Mean F1 over the right answers; an answer without a label is wrong.
forced_choice_accuracy
majority_baseline number share: Accuracy of always giving the commonest right answer.
unparsed_rate number share: Answers without a label that are not refusals.
refused_rate number share: Answers that refuse.
wer number share: Word errors of the transcript over words said, after Whisper's English normaliser; may exceed
    1.
note

[agreement] task noise snr_db system_a system_b
system_a system_b match task noise snr_db n_items n_groups n_clips
kappa number -1 to 1: Cohen's kappa; two answers without a label never agree, and choices of a clip's own count
    by their place.
low high
kappa_unparsed_agree number+ -1 to 1: Kappa if no label were a label like any other, so that two unparsed
    answers agree.
kappa_both_parsed number+ -1 to 1: Kappa of the clips on which both gave a label.
both_unparsed number+ clips: Neither gave a label.
both_right whole clips: Both gave a label and both are right; clips without both labels are in no class.
a_only whole clips: Both gave a label and only the first system is right.
b_only whole clips: Both gave a label and only the second system is right.
both_wrong_same whole clips: Both are wrong with the same label.
both_wrong_different whole clips: Both are wrong with different labels.
error_overlap number share: Same wrong label among the clips where both labels are wrong.
error_overlap_low number share: Lower end of its 95 % interval.
error_overlap_high number share: Upper end of its 95 % interval.
overlap_chance number share: Overlap of blind guessing, 1/(C-1) for C allowed answers.
overlap_null number share: Overlap if each wrong answer of the second system were one that it gave to another
    item with the same right answer.
accuracy_difference number+ share: Accuracy of the first system minus that of the second, on the clips that both
    answered.
accuracy_difference_low number+ as the figure: Lower end of the 95 % interval of accuracy_difference.
accuracy_difference_high number+ as the figure: Upper end of the 95 % interval of accuracy_difference.
accuracy_difference_mc_error number+ share: How far an end of it may lie off because the resamples are finite.
mcnemar_b whole clips: Right for the first system only; no label counts as wrong.
mcnemar_c whole clips: Right for the second system only; no label counts as wrong.
mcnemar_p number probability: McNemar's test, exact below 25 discordant pairs. It takes clips for independent:
    where an item stands in several voices p is too small; see votes_p.
mcnemar_p_bh number probability: The same after Benjamini and Hochberg over the whole table.
votes_a whole groups: The first system is right on more of the group's clips.
votes_b whole groups: The second system is right on more of the group's clips.
votes_p number probability: The same test with one vote a group, for the system that is right on more of its
    clips.
votes_p_bh number probability: The same after Benjamini and Hochberg over the whole table.
note

[shared_errors, tables/shared_errors.parquet] task noise snr_db system_a system_b item_id clip_id
task noise snr_db system_a system_b match item_id clip_id gold
wrong_label words: The wrong answer that both gave.
transcript words: What the cascade heard.
wer number share: Word errors of this transcript over words said.
kind words: reasoning: the transcript was right; asr: it was not; unknown: there is none.

[confound] task noise snr_db system matched mismatched
system words: The speech LLM.
matched words: Its cascade on a matched backbone.
mismatched words: A cascade with the same transcripts on another backbone.
task noise snr_db n_items n_groups n_clips
kappa_matched number -1 to 1: Kappa with the matched cascade.
kappa_mismatched number -1 to 1: Kappa with the mismatched cascade, on the same clips.
delta number -2 to 2: Matched minus mismatched; two answers without a label never agree.
low high
delta_unparsed_agree number+ -2 to 2: The same if two unparsed answers agree.
delta_both_parsed number+ -2 to 2: The same where both gave a label.
note

[cost] system task
system
parameters_m number millions: Parameters of everything that the system runs.
task n_clips
seconds_per_clip number s: Mean time of a clip.
real_time_factor number s per s: Time over the length of the audio.
peak_memory_mb number MB: Most memory held while it ran; none when it was not measured.
hardware words: What it ran on.
prompt_tokens_per_clip number+ tokens: Mean, as a service counts them.
answer_tokens_per_clip number+ tokens: Mean, thoughts included.
"""

_MECHANISM = """
[lens_clips, mechanism/lens_clips.parquet] system task item_id noise snr_db layer clip_id
system@mechanism layer task item_id group clip_id noise snr_db
text words: The tokens read at this layer, as a line.
precision number share: Bag-of-tokens precision against the clip's own words, as multisets.
control number share: The same against as many distinct tokens of other clips, mean.
set_precision number+ share: The paper's: positions whose token is a word's.
set_control number+ share: The same against those of other clips, mean.
n_current whole positions: Positions that ask for the word being spoken.
current_{k} whole positions: Of these, with it among the top {k}.
n_next whole positions: Positions that ask for the word that follows.
next_{k} whole positions: Of these, with it among the top {k}.
n_mismatched whole positions: Positions that ask for the word of another transcript, all of them together.
mismatched_{k} whole positions: Of these, with it among the top {k}.

[implicit_clips, mechanism/implicit_clips.parquet] system task item_id layer clip_id
system@mechanism layer task item_id group clip_id gold
choices words: The allowed answers, joined by |; empty for an open question.
heard words: The layer's text, which the LLM was given as a transcript.
label label_status correct
speech_label words?: What the speech LLM answered.
speech_correct truth: Whether that is right.
cascade_label words?: What the Whisper cascade into the same LLM answered.
cascade_correct truth: Whether that is right.

[erasure_clips, mechanism/erasure_clips.parquet] system task item_id method scope layers condition arm seed
    clip_id
system@mechanism task item_id group clip_id method scope layers condition arm seed kept_rank label label_status
text words: The first 60 characters that the system generated.
correct
forced_correct number 0 or 1: Whether the most probable allowed answer is right.
log_likelihood_change right_log_likelihood_change relative_change fitted_on probe_erased probe_low probe_high
probe_plain probe_random probe_chance probe_verdict

[probe_clips, mechanism/probe_clips.parquet] task item_id clip_id
*clips

[probe_scores, mechanism/probe_scores.parquet] system target layer clip_id
system@mechanism layer target clip_id
score number as the probe: Of this clip alone: 1 - error / variance of all, 1 - CER, or 1 or 0.

[probes] system target layer
system@mechanism layer target
unit words: What the score is: R2, 1 - CER or accuracy.
score number as unit: On sentences and voices that the probe was not fitted on.
low high
shuffled number as unit: Of the same probe fitted on labels dealt anew.
random_model number as unit: From the same model with its weights drawn anew.
input_features number as unit: From the log-mel features of the same positions.
selectivity number as unit: Score minus shuffled.
n_groups n_clips n_frames note

[lens] system task measure layer
system@mechanism task layer
measure words: precision (multisets, runs merged), set_precision (the paper's: positions whose token is a
    word's), or current_k and next_k: recall at k of the word spoken and the next.
score number share: Mean over clips for precision; over positions for recall.
low high
control number share: The same with other transcripts' words; for precision, as many distinct tokens.
n_items n_groups n_clips
n_positions whole positions: Positions that ask for a word; 0 for precision.
note

[noise_lens] system noise snr_db layer
system@mechanism noise snr_db layer
precision number share: Bag-of-tokens precision as multisets, mean over clips.
low high
control number share: The same against as many distinct tokens of other clips.
n_items n_groups n_clips note

[sufficiency] system task layer
system@mechanism task layer n_items n_groups n_clips
kappa number -1 to 1: Of the LLM that reads the layer's text with the speech LLM; two answers without a label
    never agree.
low high
kappa_unparsed_agree number+ -1 to 1: The same if two unparsed answers agree.
kappa_both_parsed number+ -1 to 1: The same where both gave a label.
kappa_cascade number -1 to 1: Of the Whisper cascade into the same LLM with the speech LLM.
cascade ends: kappa_cascade
kappa_mismatched number -1 to 1: Mean kappa over pairings with other clips' texts: chance.
agreement number share: Same label as the speech LLM; two answers without one are not the same.
accuracy number share: Of the LLM that reads the layer's text.
accuracy ends: accuracy
speech_accuracy number share: Of the speech LLM on the same clips.
cascade_accuracy number share: Of the Whisper cascade on the same clips.
note

[erasure] system task method scope layers condition arm
system@mechanism task method scope layers condition arm n_items n_groups n_clips n_seeds kept_rank
accuracy number share: Generated answers that are right; the mean over seeds.
low high
spread number share: Standard deviation of accuracy over seeds.
change number share: Accuracy minus that of the plain system on the same clips.
change ends: change
vs_rank_matched number share: Erased: accuracy minus that of the control of equal rank.
vs_rank_matched ends: vs_rank_matched
vs_change_matched number share: Erased: accuracy minus that of the control of equal change.
vs_change_matched ends: vs_change_matched
forced_choice_accuracy
forced_choice_spread number share: Its standard deviation over seeds.
unparsed_rate number share: Answers without a label.
log_likelihood_change right_log_likelihood_change relative_change fitted_on probe_erased probe_low probe_high
probe_plain probe_random probe_chance probe_verdict note

[effects, tables/effects.parquet] system task method scope layers condition measure arm against
system@mechanism task method scope layers condition
measure words: What may change: accuracy, forced_choice, unparsed, plain_answer, right_answer.
arm words: Whose value: plain, erased, rank_matched or change_matched; of several seeds the mean.
against words: Whose value is taken off, clip by clip: plain, a control, or nothing for the value itself.
value number share, or nats: Mean over clips, each counting once; of all tasks, too.
low high
mc_error number as the figure: How far an end may lie off because the resamples are finite.
n_groups n_clips
verdict words: Of a difference: exceeds (more harm, the interval excludes 0), below (less), within, or too few
    groups.
reading words: Of all tasks together: what can be said, as a sentence.
note

[damage] system condition target layer
system@mechanism layer condition
target words: What a probe is fitted for anew: energy, pitch, letters or text.
unit words: What the scores are: R2 or 1 - CER.
plain number as unit: Before any erasure.
plain ends: plain
erased number as unit: After erasing the condition at this layer.
low high
random number as unit: After erasing as many random directions; the mean over seeds.
random_spread number as unit: Standard deviation over seeds.
n_seeds kept_rank n_clips n_frames note
"""

_INTERLEAVED = """
[interleaved_clips, interleaved/interleaved_clips.parquet] model step layer d item_id clip_id
model step layer item_id group clip_id d
n_words whole words: Words asked for that own a position.
hits_{k} whole words: Words with the word asked for among the top {k}.
control_{k} whole words: Words with the word of the paired clip instead among the top {k}.
text_share number share: Mean over positions; none where the model has no units.
n_positions whole positions: Speech positions of the clip.

[knowledge_facts, interleaved/knowledge_facts.parquet] model step item_id
model step item_id group
right number nats per token: Mean log-probability of the right completion.
wrong number nats per token: Of the counterfactual one.
right_sum number nats: Log-probability of the whole right completion.
wrong_sum number nats: Of the whole counterfactual one.

[causal_clips, interleaved/causal_clips.parquet] model step arm outcome seed item_id clip_id
model step arm@interleaved outcome item_id group clip_id seed layers@interleaved kept_rank@interleaved
relative_change@interleaved
total number as the outcome: Sum over what was scored in this clip.
n

[interleaved] model step measure k d layer
model initialisation data step layer
measure words: recall, or text_share: of the probability on text and unit tokens.
k d
score number share: Recall, or the text share.
low high
control number share: Recall of the paired clip's words at the same places.
excess number share: Score minus control: R.
excess ends: excess
n_words whole words: Words asked for; positions for the text share.
n_groups n_clips note

[phases] model step k boundary
model initialisation data step k
boundary words: current word, next word, speech, or current to next: layers between the peaks.
layer number layers: Where it lies; none where there is no such layer.
low high
score number share: R there; the text share for speech; share of resamples in order.
score ends: score
undefined number share: Resamples in which there is no such layer.
n_groups n_clips note

[spoken_knowledge] model step measure
model initialisation data step
measure words: preferred (all facts, or a half of them), preferred by sum, or relation: Spearman's rho with R.
value number share: Facts whose right completion is the likelier one; rho for relation.
low high
chance number share: 0.5 for a preference, 0 for a relation.
n whole facts: Facts; checkpoints for the relation.
n_groups note

[phase_causal] model step arm outcome
model initialisation data step arm@interleaved outcome layers@interleaved kept_rank@interleaved n_seeds
relative_change@interleaved
value number as the outcome: Under this arm.
low high
change number as the outcome: Value minus that of the plain model; patched: minus that of an unrelated word.
change ends: change
vs_rank_matched number as the outcome: Erased: value minus that of the control of equal rank.
vs_rank_matched ends: vs_rank_matched
vs_change_matched number as the outcome: Erased: the same for the control of equal change.
vs_change_matched ends: vs_change_matched
n n_groups n_clips note
"""

_CLAIMS = """
[claims] place
claim
place whole: Its place in the ledger, from 1.
family words: The cells that are counted together; no correction is made for their number.
title words: The claim in a few words.
says words: The claim in a sentence of our own.
published words: The paper's figure.
source words: Where it stands in arXiv 2602.17598, where no other paper is named.
measure words: What is measured here.
rule words: When it holds.
paper_verdict words+: What this rule says of the paper's own numbers, or that it prints none.
paper_says words: How it comes to that: values alone, for few published figures have an interval.
caveat words: What to know before believing either.
shown words: Where it is measured: benchmark, a section of mechanism, or interleaved.
verdict words: holds, does not hold, cannot be said or not measured.
system@claims other
task words: Key of the task; may be empty.
detail
measured number as measure: What decides: the mean of the cells, of several statements the one least on the
    claim's side.
low number as measured: Lower end of its 95 % interval.
high number as measured: Upper end.
line wanted n@claims n_of
holds whole cells: Cells whose interval lies on the claim's side of the line; they do not decide.
fails whole cells: The interval lies on the other side.
open whole cells: The interval includes the line.
undefined whole cells: There is no interval, or no line.
n_needed number as n_of: The n at which the interval of what decides would exclude the line.
note words: Why a figure is missing, and what would help.

[claim_cells] claim system other task detail part
claim system@claims other task detail
part words+: Which of the claim's statements the cell is of; empty where there is one.
value number as measure: What was measured in this cell.
low number as value: Lower end of its 95 % interval.
high number as value: Upper end.
line wanted n@claims n_of
method words: How the interval was made.
side words: holds, fails, open or undefined.
n_needed number as n_of: The n at which an open cell's interval would exclude the line.
note words: Why a figure is missing, and what else to know.
"""

_KINDS: dict[str, tuple[DType, bool]] = {
    "words": ("str", False),
    "whole": ("int", False),
    "number": ("float", True),
    "float": ("float", False),
    "truth": ("bool", False),
}


def _lines(text: str) -> list[str]:
    return [line for line in re.sub(r"\n +", " ", text).splitlines() if line]


def _columns(line: str) -> Iterator[Column]:
    """Yield the columns that a line with a meaning declares."""
    head, meaning = line.split(": ", 1)
    name, kind, *unit = head.split()
    if kind == "ends":
        for which, end in (("low", "Lower"), ("high", "Upper")):
            meant = f"{end} end of the 95 % interval of {meaning}."
            yield Column(f"{name}_{which}", "float", "as the figure", meant, True)
        return
    dtype, optional = _KINDS[kind.rstrip("?+")]
    for k in ("1", "5", "10") if "{k}" in name else ("",):
        of_k, meant = (part.replace("{k}", k) for part in (name, meaning))
        yield Column(of_k, dtype, " ".join(unit), meant, optional or "?" in kind, "+" in kind)


_KNOWN: dict[str, Column] = {one.name: one for line in _lines(_SHARED) for one in _columns(line)}


def _tables(text: str) -> dict[str, tuple[Column, ...]]:
    """Return the tables of a text, and note where their files lie and what their keys are."""
    found: dict[str, list[Column]] = {}
    for line in _lines(text):
        if head := re.fullmatch(r"\[(\w+)(?:, (\S+))?\] (.+)", line):
            here = found.setdefault(head[1], [])
            FILES[head[1]] = head[2] or f"tables/{head[1]}.csv"
            KEYS[head[1]] = tuple(head[3].split())
        elif ": " in line:
            here += _columns(line)
        elif line.startswith("*"):
            here += TABLES[line[1:]]
        else:
            here += [replace(_KNOWN[name], name=name.partition("@")[0]) for name in line.split()]
    return {name: tuple(columns) for name, columns in found.items()}


# Rows of single clips are many: Parquet holds them in a tenth of the room. Figures stay CSV, for people.
FILES: dict[str, str] = {}
KEYS: dict[str, tuple[str, ...]] = {}
TABLES: dict[str, tuple[Column, ...]] = _tables(_BENCHMARK)
MECHANISM_TABLES, INTERLEAVED_TABLES, CLAIMS_TABLES = (
    _tables(text) for text in (_MECHANISM, _INTERLEAVED, _CLAIMS)
)
TABLES |= MECHANISM_TABLES | INTERLEAVED_TABLES | CLAIMS_TABLES
MECHANISM_CLIP_TABLES, INTERLEAVED_CLIP_TABLES = (
    tuple(name for name in tables if FILES[name].startswith(folder))
    for folder, tables in (("mechanism/", MECHANISM_TABLES), ("interleaved/", INTERLEAVED_TABLES))
)
# Columns that hold one of a few words.
ALLOWED: dict[str, tuple[str, tuple[str, ...]]] = {
    "answers": ("label_status", LABEL_STATUSES),
    "shared_errors": ("kind", SHARED_ERROR_KINDS),
    "erasure_clips": ("arm", ARMS),
    "erasure": ("arm", ARMS),
    "probes": ("target", PROBE_TARGETS),
    "probe_scores": ("target", PROBE_TARGETS),
    "lens": ("measure", LENS_MEASURES),
    "interleaved": ("measure", PHASE_MEASURES),
    "phases": ("boundary", BOUNDARIES),
    "spoken_knowledge": ("measure", KNOWLEDGE_MEASURES),
    "phase_causal": ("arm", CAUSAL_ARMS),
    "causal_clips": ("arm", CAUSAL_ARMS),
    "claims": ("verdict", VERDICTS),
    "claim_cells": ("side", SIDES),
}
# What an erasure's row says of its proof where none was measured.
NOT_PROVEN: dict[str, float | str] = {
    column.name: "not measured" if column.dtype == "str" else float("nan")
    for column in TABLES["erasure"]
    if column.name.startswith("probe_")
}
