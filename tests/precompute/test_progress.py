"""Facts about progress: counts, rate and time left; a moving line only where there is a terminal."""

from __future__ import annotations

import io

import pytest

from precompute.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_sentence_says_how_far_and_how_long() -> None:
    line = Progress(io.StringIO(), "clips heard", 1200)
    line.add(300, 2)
    assert line.sentence(30.0) == "clips heard: 300 of 1,200, 2 failed, 10.0/s, about 2 min left"
    assert Progress(io.StringIO(), "clips heard", 9).sentence(0.0) == "clips heard: 0 of 9, 0.0/s"


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_it_writes_now_and_then_and_at_the_end(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("precompute.progress.time.monotonic", lambda: now)
    line = Progress(stream, "prompts", 4)
    for now in (0.1, 0.2, 20.0, 20.1):  # noqa: B007 - the clock reads it
        line.add(1, 0)
    line.finish()
    shown = stream.getvalue()
    assert shown.count("prompts: ") == 2 and shown.endswith("prompts: 4 of 4, done in 20 s\n")
    assert ("\r" in shown) == stream.isatty()


def test_a_stage_with_nothing_to_do_says_nothing() -> None:
    stream = io.StringIO()
    Progress(stream, "prompts", 0).finish()
    assert stream.getvalue() == ""
