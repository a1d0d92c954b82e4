"""Facts about the speed job: arms take turns, ratios are of neighbours, both generations are equally long."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.erasure import load_eraser
from engine.errors import EngineError
from engine.generate import Pass, run_arms
from engine.request import RunRequest
from engine.systems.catalogue import get_spec
from engine.systems.text_llm import TextLLM
from engine.systems.ultravox import Ultravox
from engine.tasks import MAX_NEW_TOKENS
from engine.words import SpokenWord
from precompute import speed
from precompute.speed import SpeedRow, format_speed, measure_speed, ratio_row, time_in_turn
from tests.engine.tiny_systems import (
    N_LAYERS,
    ears_config,
    load_ultravox,
    sound,
    write_backbone,
    write_ears,
    write_erasers,
)

WORDS = (SpokenWord("bank", 0.0, 0.9), SpokenWord("match", 0.9, 1.7))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Ultravox]]:
    models = tmp_path_factory.mktemp("tiny")
    write_backbone(models / "mini-llama")
    write_ears(models / "mini-ultravox", ears_config())
    system = load_ultravox(models, TextLLM(get_spec("mini-llama"), models / "mini-llama"))
    write_erasers(system, models / "mini-ultravox" / "erasers")
    yield models, system


def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still unless a test moves it."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_arms_take_turns_after_one_uncounted_round(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = clock(monkeypatch), []

    def arm(name: str, seconds: float) -> Callable[[], None]:
        def run_it() -> None:
            calls.append(name)
            # The first round is slow, as a cold start is; it must not be counted.
            now[0] += seconds if len(calls) > 2 else 100.0

        return run_it

    seconds = time_in_turn({"a": arm("a", 1.0), "b": arm("b", 3.0)}, 3)
    assert calls == ["a", "b"] * 4
    assert seconds == {"a": [1.0] * 3, "b": [3.0] * 3}


def test_a_ratio_is_of_neighbours() -> None:
    """The machine halves its speed in the second repeat: the ratio does not notice."""
    row = ratio_row("name", "what", [2.0, 4.0, 2.2], [1.0, 2.0, 1.0])
    assert (row.ratio, row.low, row.high, row.n_repeats) == (2.0, 2.0, 2.2, 3)
    assert (row.measured_s, row.baseline_s) == (2.2, 1.0)


def test_both_generations_have_the_same_tokens(
    tiny: tuple[Path, Ultravox], monkeypatch: pytest.MonkeyPatch
) -> None:
    models, system = tiny
    passes: list[Pass] = []
    limits: list[int | None] = []

    def watched(*args: object, **kwargs: object) -> Pass:
        passes.append(run_arms(*args, **kwargs))  # type: ignore[arg-type]
        limits.append(kwargs.get("max_new_tokens"))  # type: ignore[arg-type]
        return passes[-1]

    monkeypatch.setattr(speed, "run_arms", watched)
    eraser = load_eraser("mini-ultravox", "boc", system.fingerprint, models)
    row = speed.generation_row(system, eraser, sound(1.7), WORDS, 2)
    bare, *rest = passes
    n_tokens = max(1, len(bare.decoded[0].token_ids))
    assert limits == [MAX_NEW_TOKENS] + [n_tokens] * 6 and f"{n_tokens} tokens" in row.compares
    for plain, instrumented in zip(rest[::2], rest[1::2], strict=True):
        assert len(plain.decoded) == 1 and not plain.states
        # Plain, erased, control; the tiny model has fewer layers than nine, so that all are recorded.
        assert len(instrumented.decoded) == 3 and set(instrumented.states) == set(range(N_LAYERS + 1))
        assert instrumented.decoded[0].token_ids == plain.decoded[0].token_ids == bare.decoded[0].token_ids
    assert row.n_repeats == 2 and row.low <= row.ratio <= row.high and row.measured_s > row.baseline_s > 0


def test_all_erasures_are_run_together_and_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain run costs 1 s here and each erasure 0.5 s more: 3 times together, 6 times one by one."""
    now, asked = clock(monkeypatch), []

    def fake_run(request: RunRequest) -> None:
        asked.append(request.erasures)
        now[0] += 1 + 0.5 * len(request.erasures)

    monkeypatch.setattr(speed, "run", fake_run)
    together, one_by_one = speed.erasure_rows(sound(1.0), 2)
    four = ("text", "ctc", "boc", "acoustic")
    assert asked == [(), four, *((key,) for key in four)] * 3
    assert (together.ratio, one_by_one.ratio) == (3.0, 6.0)
    assert "four erasures and their four random controls" in together.compares


def test_start_up_is_timed_in_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "PAGE_CODE", "import time; time.sleep(0.3)")
    monkeypatch.setattr(speed, "BARE_CODE", "pass")
    row = speed.start_row(1)
    assert row.ratio > 1 and row.measured_s > 0.3 and row.n_repeats == 1


def test_a_page_that_cannot_start_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "BARE_CODE", "raise SystemExit(3)")
    with pytest.raises(subprocess.CalledProcessError):
        speed.start_row(1)


def test_fewer_than_one_repeat_is_refused() -> None:
    with pytest.raises(EngineError, match="give 1 or more"):
        measure_speed(0)


def test_the_text_has_every_number() -> None:
    row = SpeedRow("page start-up", "the page against gradio", 1.21, 1.1, 1.34, 7, 5.432, 4.489)
    text = format_speed([row])
    for shown in ("page start-up", "1.21 [1.10 .. 1.34]", "7", "5.432", "4.489", "the page against gradio"):
        assert shown in text
