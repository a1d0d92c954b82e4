"""Clips of a benchmark, made again from their recipes and opened on the clip page.

The clean clip is made to the same samples as in the run; noise is added live, with the run's seed. A room and
MUSAN's babble have no switch on the clip page, so they are already in the sound that is opened.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dashboard.tables import SOURCES, answers_of, clip_of, folder_of
from engine import voice
from engine.errors import ClipError, EngineError
from engine.noise import MISSING, MUSAN, ROOM, musan_folder
from engine.systems.profiles import offered_pairs
from engine.tasks import asked_task

if TYPE_CHECKING:
    from engine.examples import Example

MARK = "~"
MOST_KEPT = 200
MAX_KEY_CHARACTERS = 300
MAX_NAME_CHARACTERS = 100
_UNSAFE = re.compile(r"[^\w.-]+", re.ASCII)
LIVE_NOISES = ("babble", "white")
_ADDED = {ROOM: "The reverberant room", MUSAN: "The MUSAN babble"}


@dataclass(frozen=True)
class Opened:
    """A clip of a benchmark, ready for the clip page.

    Attributes:
        key: source and clip, as in links.
        example: clip and question, as the gallery has them; its file holds the exact samples.
        noise: "none", "babble" or "white"; `snr_db` is its ratio, None without noise.
        seed: of the noise.
        note: what is in the sound already, "" for nothing.
        answers: the rows of the systems' stored answers to it, see `engine.tables`.
    """

    key: str
    example: Example
    noise: str
    snr_db: float | None
    seed: int
    note: str
    answers: tuple[Mapping[str, Any], ...]


class _Kept:
    """Opened clips by the digest of their file, so that a run of one knows its gold and its seed."""

    def __init__(self) -> None:
        self._by_digest: OrderedDict[str, Opened] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, digest: str, opened: Opened) -> None:
        with self._lock:
            self._by_digest[digest] = opened
            while len(self._by_digest) > MOST_KEPT:
                self._by_digest.popitem(last=False)

    def get(self, digest: str) -> Opened | None:
        with self._lock:
            return self._by_digest.get(digest)


_KEPT = _Kept()


def opened_of_digest(digest: str) -> Opened | None:
    """Return the opened clip whose file has this sha256, None where there is none."""
    return _KEPT.get(digest)


def key_of(source: str, clip_id: str) -> str:
    """Return what a link says for this clip."""
    return f"{source}{MARK}{clip_id}"


def obstacle_of(clip: Mapping[str, Any]) -> str:
    """Return why a clip cannot be opened here, "" when it can; makes no sound."""
    from engine.voice import recipe_of

    try:
        recipe = recipe_of(str(clip.get("recipe") or ""))
    except EngineError:
        return "Not opened: this run kept no recipe of the clip."
    if asked_task(str(clip.get("task"))) is None:
        return "Not opened: the clip page does not know this task."
    if recipe.file:
        return "Not opened: a run keeps no recordings; upload the file on the clip page."
    if recipe.noise == MUSAN and musan_folder() is None:
        return MISSING
    return "" if voice.is_available() else "Not opened: no synthesiser is installed here to say it again."


def open_clip(key: str) -> Opened:
    """Return the clip of this key, made again.

    Raises:
        EngineError: there is no such clip, or it cannot be made again here; the sentence says why.
    """
    from engine.voice import recipe_of, say_recipe, spoil

    source, _, clip_id = key.partition(MARK)
    row = clip_of(source, clip_id) if source in SOURCES and folder_of(source) else None
    if row is None:
        raise ClipError("This copy has no such clip of a benchmark; open it from the benchmark page.")
    obstacle = obstacle_of(row)
    if obstacle:
        raise ClipError(obstacle)
    recipe = recipe_of(row["recipe"])
    spoken = say_recipe(recipe)
    live = recipe.noise in LIVE_NOISES
    ready = None if live else spoil(spoken.clip, recipe)
    samples = spoken.clip.samples if ready is None else ready.clip.samples
    opened = Opened(
        key=key,
        example=_example(source, row, samples, spoken.words),
        noise=recipe.noise if live else "none",
        snr_db=recipe.snr_db if live else None,
        seed=recipe.seed,
        note="" if ready is None else f"{_ADDED[recipe.noise]} of the benchmark is already in this sound.",
        answers=tuple(answers_of(source, clip_id)),
    )
    _KEPT.put(hashlib.sha256(opened.example.file.read_bytes()).hexdigest(), opened)
    return opened


def _example(source: str, row: Mapping[str, Any], samples: Any, words: Any) -> Example:
    from dashboard.served_files import write_exact_wav
    from engine.examples import Example

    answer = next(iter(answers_of(source, str(row["clip_id"]))), {})
    task = asked_task(str(row["task"]))
    assert task is not None, "obstacle_of was asked"
    return Example(
        key=str(row["clip_id"]),
        title=str(row["reference"]),
        file=write_exact_wav(samples, f"{_UNSAFE.sub('_', str(row['clip_id']))[:MAX_NAME_CHARACTERS]}.wav"),
        task=task.key,
        prompt=str(row["prompt"] or ""),
        reference=str(row["reference"] or ""),
        words=tuple(words),
        gold=str(row["gold"]),
        aliases=tuple(filter(None, str(answer.get("aliases") or "").split("|"))),
        voice=str(row["voice"]),
    )


def pair_for(systems: tuple[str, ...]) -> str | None:
    """Return the clip page's pair that runs most of these systems, None where it runs none of them."""
    pairs = offered_pairs()

    def shared(key: str) -> int:
        pair = pairs[key]
        return len({pair.speech_llm, pair.cascade, pair.text_oracle} & set(systems))

    best = max(pairs, key=shared)
    return best if shared(best) else None
