"""Results of the examples that ship, stored for pairs whose weights may not be here when the page is opened.

Called by `python -m precompute examples --pair KEY`; each is what Run gives on the page with its default settings.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from engine.audio import load_clip
from engine.errors import UnknownKeyError
from engine.examples import EXAMPLES, Example, stored_file, write_stored
from engine.request import RunRequest
from engine.run import run
from engine.systems.catalogue import get_pair

logger = logging.getLogger(__name__)


def write_results(folder: Path, pairs: Sequence[str], examples: Sequence[str] = ()) -> int:
    """Run the examples by these pairs, write one file each, and return how many.

    Args:
        folder: where they go.
        pairs: keys.
        examples: keys; all that ship where none is named.

    Raises:
        UnknownKeyError: there is no such pair or example.
        EngineError: a pair cannot run here, or a result does not fit.
    """
    known = {example.key: example for example in EXAMPLES}
    unknown = [key for key in examples if key not in known]
    if unknown:
        raise UnknownKeyError(f'There is no example "{unknown[0][:40]}". Choose from: {", ".join(known)}.')
    for pair in pairs:
        get_pair(pair)
    today = datetime.now(UTC).date().isoformat()
    written = 0
    for pair in pairs:
        for example in [known[key] for key in examples] or EXAMPLES:
            file = stored_file(folder, example.key, pair)
            size = write_stored(file, run(request_of(example, pair)), today)
            logger.info("%s: %d bytes", file.name, size)
            written += 1
    return written


def request_of(example: Example, pair: str) -> RunRequest:
    """Return what Run asks on the page when an example was chosen and nothing else."""
    return RunRequest(
        clip=load_clip(example.file),
        task=example.task,
        pair=pair,
        prompt=example.prompt,
        reference=example.reference,
        reference_words=example.words,
        gold=example.gold,
        aliases=example.aliases,
    )
