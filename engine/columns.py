"""Columns that several tables share, and the short ways of declaring one; `engine.records` lists the tables."""

from __future__ import annotations

from engine.tables import Column


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
