"""What is wrong with a recording before any system hears it: no speech found, very short, clipped, unusable.

A flag drops nothing by itself: the tables say how many clips carry it, and `unflagged` leaves them out on request.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.audio import AudioClip, load_clip
from engine.errors import ClipError
from precompute.corpora.item import Item

VERY_SHORT_S = 0.5  # ours: about one word; no source gives a limit
_CLIPPED = "probably clipped"  # of the warning that engine.audio gives before it resamples
UNUSABLE = "unusable"
FLAGS = ("no_speech", "very_short", "clipped", UNUSABLE)


@dataclass(frozen=True)
class ClipFlags:
    """The flags of one clip.

    Attributes:
        duration_s: NaN where the clip cannot be used.
        no_speech: the voice activity detector finds none; a shout or a laugh may go unfound.
        very_short: under `VERY_SHORT_S`.
        clipped: at least a thousandth of the samples is at full scale.
        unusable: why the clip cannot be heard at all (too long, silent, damaged), "" where it can.
    """

    item_id: str
    duration_s: float
    no_speech: bool
    very_short: bool
    clipped: bool
    unusable: str

    @property
    def names(self) -> tuple[str, ...]:
        """The flags that are set."""
        return tuple(flag for flag in FLAGS if getattr(self, flag))

    @property
    def is_flagged(self) -> bool:
        """Whether any flag is set."""
        return bool(self.names)


def flags_of(item_id: str, clip: AudioClip) -> ClipFlags:
    """Return the flags of a clip that could be loaded."""
    from engine.hearing import speech_s  # torch: whoever reads flags alone does without

    return ClipFlags(
        item_id=item_id,
        duration_s=clip.duration_s,
        no_speech=speech_s(clip) == 0.0,
        very_short=clip.duration_s < VERY_SHORT_S,
        clipped=any(_CLIPPED in warning for warning in clip.warnings),
        unusable="",
    )


def flag_recordings(items: Iterable[Item], folder: Path) -> tuple[ClipFlags, ...]:
    """Return the flags of every item's recording below the folder; one that cannot be used says why."""
    return tuple(_flag(item, folder) for item in items)


def describe(flags: Sequence[ClipFlags]) -> tuple[str, ...]:
    """Return one sentence for each flag that any clip carries, with number and share."""
    words = {
        "no_speech": "hold no speech that a voice activity detector finds",
        "very_short": f"are shorter than {VERY_SHORT_S:g} s",
        "clipped": "are clipped",
        "unusable": "cannot be heard at all and fail",
    }
    counts = {flag: sum(bool(getattr(one, flag)) for one in flags) for flag in FLAGS}
    return tuple(
        f"{counts[flag]:,} of {len(flags):,} clips ({counts[flag] / len(flags):.1%}) {words[flag]}."
        for flag in FLAGS
        if counts[flag]
    )


def unflagged(items: Iterable[Item], flags: Iterable[ClipFlags]) -> tuple[Item, ...]:
    """Return the items without any flag; an item whose flags are not known stays."""
    bad = {one.item_id for one in flags if one.is_flagged}
    return tuple(item for item in items if item.item_id not in bad)


def _flag(item: Item, folder: Path) -> ClipFlags:
    try:
        clip = load_clip(folder / item.file, item.item_id, whole=True)
    except ClipError as error:
        return ClipFlags(item.item_id, float("nan"), False, False, False, str(error))
    return flags_of(item.item_id, clip)
