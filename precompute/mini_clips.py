"""The clips of the mini world: how many items, in which voices, under which noise.

Nothing is rendered here; `precompute.plan` calls this.
"""

from __future__ import annotations

from precompute.clips import FULL_NOISE, QUICK_NOISE, Clip, spoken_clips
from precompute.corpora.mini_world import WORDS_TASKS, count_items, mini_items
from precompute.mini.voices import Voice, test_voices

FULL_ITEMS, QUICK_ITEMS = 300, 20
NOISY_VOICES = 2
# Unseen in every training, women and men in turn; who speaks needs as many men as women.
VOICES = ("en-us+f3", "en-us+m4", "en-gb+belinda", "en-gb-x-rp+m7")
N_VOICES = {"speaker": 4}
N_VOICES_ELSE = 3
FESTIVAL = (
    "Voices are espeak-ng's, unseen in training. Festival is not in the plan: it is a system package that "
    "few have; python -m precompute evaluate measures it."
)


def mini_clips(task: str, limit: int | None, *, quick: bool, notes: list[str]) -> list[Clip]:
    """Return a task's clips; `notes` gains a sentence where the world has too few items.

    Args:
        task: one of the mini world's.
        limit: items at most; None for the profile's own number.
        quick: few items, one voice, clean and at one ratio.
        notes: what a reader should know.
    """
    n_items = limit or (QUICK_ITEMS if quick else FULL_ITEMS)
    items = mini_items(task, n_items)
    if len(items) < n_items:
        notes.append(f"{task} has {count_items(task)} test items, not {n_items}: all are taken.")
    noises = FULL_NOISE if task in WORDS_TASKS else ()
    if not quick:
        return list(spoken_clips(items, _voices(N_VOICES.get(task, N_VOICES_ELSE)), NOISY_VOICES, noises))
    # One voice; who speaks would have one answer only, so a woman and a man take turns there.
    one_noise = QUICK_NOISE if noises else ()
    turns = [(voice,) for voice in _voices(2 if task == "speaker" else 1)]
    return [
        clip
        for index, item in enumerate(items)
        for clip in spoken_clips([item], turns[index % len(turns)], 1, one_noise)
    ]


def _voices(count: int) -> tuple[Voice, ...]:
    known = {voice.name: voice for voice in test_voices()}
    return tuple(known[name] for name in VOICES[:count])
