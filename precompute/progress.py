"""How far a run is, on standard error: one line that moves on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TextIO

from precompute.estimate import duration

LINE_EVERY_S = 15.0
MOVE_EVERY_S = 0.5


class Progress:
    """Counts results of one stage and says when it will be done."""

    def __init__(self, stream: TextIO, stage: str, total: int) -> None:
        self._stream = stream
        self._stage = stage
        self._total = total
        self._done = 0
        self._failed = 0
        self._started = self._said = time.monotonic()
        self._moves = stream.isatty()

    def add(self, n_done: int, n_failed: int) -> None:
        """Count results; say so when it is time."""
        self._done += n_done
        self._failed += n_failed
        now = time.monotonic()
        if now - self._said >= (MOVE_EVERY_S if self._moves else LINE_EVERY_S):
            self._said = now
            self._write(self.sentence(now - self._started))

    def finish(self) -> None:
        """Say how the stage ended."""
        if self._total:
            took = time.monotonic() - self._started
            self._write(f"{self._counts()}, done in {duration(took)}", last=True)

    def sentence(self, elapsed_s: float) -> str:
        """Return how far it is, how fast, and how long it will still take."""
        rate = self._done / elapsed_s if elapsed_s > 0 else 0.0
        left = f", about {duration((self._total - self._done) / rate)} left" if rate else ""
        return f"{self._counts()}, {rate:.1f}/s{left}"

    def _counts(self) -> str:
        failed = f", {self._failed:,} failed" if self._failed else ""
        return f"{self._stage}: {self._done:,} of {self._total:,}{failed}"

    def _write(self, text: str, last: bool = False) -> None:
        if self._moves:
            self._stream.write(f"\r\x1b[K{text}" + ("\n" if last else ""))
        else:
            self._stream.write(text + "\n")
        self._stream.flush()
