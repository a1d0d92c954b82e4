"""Stored results of the examples: what a pair made of one, shown at once and marked, be its weights here or not."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard.form import Form, asked_of, example_of_file
from dashboard.preparing import state_of_profile
from engine.errors import ModelFilesError
from engine.examples import EXAMPLES, RESULTS, Example, StoredResult, read_stored, stored_file
from engine.systems.catalogue import get_pair, get_spec, revision_of
from engine.systems.profiles import offered_pairs, wanted_pairs

if TYPE_CHECKING:
    from engine.results import RunResult

logger = logging.getLogger(__name__)

UNKNOWN_REVISION = "unversioned"


def stored_for(form: Form, folder: Path = RESULTS) -> StoredResult | None:
    """Return what was stored for exactly this question; None where nothing was, or by weights other than those here."""
    example = example_of_file(form.audio)
    if example is None or asked_of(form) != asked_of(form_of_example(example, form)):
        return None
    return _stored(example, form.pair, folder)


def form_of_example(example: Example, form: Form) -> Form:
    """Return the form that asks an example's own question of a form's pair, all else at its default."""
    return Form(
        form.audio, example.task, example.prompt, example.reference, form.pair,
        "none", 0.0, None, (), "audio", "preset", "", "linear",
        seed=form.seed,
    )  # fmt: skip


def opening_example(folder: Path = RESULTS) -> Example | None:
    """Return the example that the page opens on: the first one that its first pair has a stored result of."""
    pair = next(iter(listed_pairs()), "")
    return next((one for one in EXAMPLES if stored_file(folder, one.key, pair).is_file()), None)


def listed_pairs(folder: Path = RESULTS) -> dict[str, str]:
    """Return the pairs of the page's list, key to name: those that can run here, the one to be chosen first.

    While the profile's weights come, its first pair stands before them where results of it are stored.
    """
    names = {key: pair.name for key, pair in offered_pairs().items()}
    state, first = state_of_profile(), next(iter(wanted_pairs()), "")
    is_stored = any(stored_file(folder, one.key, first).is_file() for one in EXAMPLES)
    if first in names or not (state and state.now and is_stored):
        return names
    return {first: f"{get_pair(first).name} (stored results: its weights are coming)", **names}


def mark_of(stored: StoredResult) -> str:
    """Return what stands beside a stored result in place of "measured live"."""
    return f"precomputed, {stored.made_on}, revision {stored.result.lanes[0].revision}"


def _stored(example: Example, pair: str, folder: Path) -> StoredResult | None:
    file = stored_file(folder, example.key, pair)
    if not file.is_file():
        return None
    try:
        found = _read(file, example.file, file.stat().st_mtime_ns)
    except ModelFilesError as error:
        # The example can be run all the same; whoever looks after the page is told.
        logger.warning("%s", error)
        return None
    return found if _is_of_these_weights(found.result, pair) else None


@lru_cache(maxsize=8)
def _read(file: Path, sound: Path, _modified: int) -> StoredResult:
    from engine.audio import load_clip

    return read_stored(file, load_clip(sound).samples)


def _is_of_these_weights(result: RunResult, pair: str) -> bool:
    """Whether the speech LLM's weights are those of the result; weights that are not here cannot be others."""
    here = revision_of(get_spec(get_pair(pair).speech_llm))
    return here in (UNKNOWN_REVISION, result.lanes[0].revision)
