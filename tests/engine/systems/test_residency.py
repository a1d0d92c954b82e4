"""Under a budget the least recently used goes, what is in use stays, and a lack of memory is one sentence."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import answers
from engine.answers import answer_arms
from engine.errors import PlacementError, is_out_of_memory
from engine.request import RunRequest
from engine.run import run
from engine.systems import cascade, loading, profiles
from engine.systems.loading import GIB, LOADED, Residency, total_bytes, using
from engine.systems.profiles import Settings
from tests.engine.tiny_systems import FromFolder, sound


class Weights:
    """What a part's loading gives."""


def part(resident: Residency, name: str, n_bytes: int = 40, needs: tuple[str, ...] = ()) -> Weights:
    return resident.get(name, Weights, name=name, size=lambda: n_bytes, needs=needs)


@pytest.fixture
def resident() -> Residency:
    return Residency(lambda held: 100)


def test_a_part_is_loaded_once(resident: Residency) -> None:
    assert part(resident, "a") is part(resident, "a") and resident.held_bytes == 40


def test_the_least_recently_used_makes_room(resident: Residency) -> None:
    part(resident, "a"), part(resident, "b"), part(resident, "a")
    part(resident, "c")
    assert resident.loaded == ("a", "c") and resident.held_bytes == 80


def test_what_is_unloaded_is_gone_from_memory(resident: Residency) -> None:
    """Modules refer to themselves: counting references would not free them."""
    first = part(resident, "a")
    first.itself = first  # type: ignore[attr-defined]
    seen = weakref.ref(first)
    del first
    part(resident, "b"), part(resident, "c")
    assert resident.loaded == ("b", "c") and seen() is None


def test_without_a_limit_everything_stays() -> None:
    resident = Residency(lambda held: float("inf"))
    for name in "abcdef":
        part(resident, name, 10**12)
    assert resident.loaded == tuple("abcdef")


def test_a_shared_part_is_counted_once_and_goes_after_what_holds_on_to_it(resident: Residency) -> None:
    part(resident, "llm", 60)
    part(resident, "ears", 20, ("llm",)), part(resident, "cascade", 0, ("llm",))
    assert resident.held_bytes == 80
    part(resident, "other", 90)
    assert resident.loaded == ("other",), "ears without their language model would be left"


def test_a_part_never_pushes_out_what_it_needs(resident: Residency) -> None:
    part(resident, "llm", 60), part(resident, "old", 30)
    part(resident, "ears", 40, ("llm",))
    assert resident.loaded == ("llm", "ears")


def test_what_is_in_use_is_never_unloaded(resident: Residency) -> None:
    with resident.lease():
        part(resident, "a"), part(resident, "b")
        with resident.lease():  # part of the outer one
            part(resident, "a")
        with pytest.raises(PlacementError, match=r"^c needs about .* beside what is in use \(b, a\): choose"):
            part(resident, "c")
    part(resident, "c")
    assert resident.loaded == ("a", "c")


def test_what_a_part_needs_is_in_use_with_it(resident: Residency) -> None:
    part(resident, "llm", 60), part(resident, "ears", 20, ("llm",))
    with resident.lease():
        part(resident, "ears", 20, ("llm",))
        with pytest.raises(PlacementError, match="beside what is in use"):
            part(resident, "other", 50)


def test_another_threads_use_counts(resident: Residency) -> None:
    with resident.lease():
        part(resident, "a", 60)
        with ThreadPoolExecutor(1) as pool, pytest.raises(PlacementError, match="in use"):
            pool.submit(part, resident, "b", 60).result()


def test_what_can_never_fit_is_refused_and_nothing_is_unloaded_for_it(resident: Residency) -> None:
    part(resident, "a")
    with pytest.raises(PlacementError, match=r"big needs about 3.0 GiB and 0.0 GiB may be used: choose a sm"):
        part(resident, "big", 3 * GIB)
    assert resident.loaded == ("a",)


def test_a_loading_that_fails_leaves_nothing(resident: Residency) -> None:
    def broken() -> Weights:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        resident.get("a", broken, size=lambda: 40)
    assert resident.loaded == () and resident.held_bytes == 0


@pytest.fixture
def settings() -> Iterator[Callable[[Settings], None]]:
    before = profiles.settings_in_use()
    yield profiles.use
    profiles.use(before)


def test_the_budget_is_what_is_set_else_what_the_gpu_has_free(
    settings: Callable[[Settings], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(Settings(memory_gib=1.5))
    assert total_bytes(0) == total_bytes(GIB) == 1.5 * GIB
    settings(Settings())
    assert total_bytes(0) == float("inf"), "without a GPU nothing is limited"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * GIB, 80 * GIB))
    assert total_bytes(0) == 8 * GIB and total_bytes(5 * GIB) == 13 * GIB
    settings(Settings(device="cpu"))
    assert total_bytes(0) == float("inf")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("not enough memory: you tried to allocate 8589934592 bytes"), True),
        (RuntimeError("CUDA failed with error out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("expected all tensors on one device"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error: Exception, told: bool) -> None:
    assert is_out_of_memory(error) is told
    wanted = PlacementError if told else type(error)
    with pytest.raises(wanted) as caught, using(Residency(lambda held: 100)):
        raise error
    if told:
        assert "set --memory-gib" in str(caught.value) and "\n" not in str(caught.value)


def test_a_real_lack_of_memory_is_told() -> None:
    with pytest.raises(PlacementError, match="did not suffice"), using(Residency(lambda held: 100)):
        torch.empty(2**60, dtype=torch.uint8)


def test_what_the_failed_run_held_is_freed(resident: Residency) -> None:
    seen: list[Any] = []

    def work() -> None:
        weights, states = part(resident, "a"), Weights()
        seen.extend((weakref.ref(weights), weakref.ref(states)))
        raise MemoryError

    with pytest.raises(PlacementError), using(resident):
        work()
    assert resident.loaded == () and [one() for one in seen] == [None, None]


REQUEST = RunRequest(sound(1.7), "topic", pair="mini-ultravox", reference="the queen scored")


def test_the_run_after_one_that_ran_out_of_memory_works(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(REQUEST)
    right = answer_arms

    def too_large(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    monkeypatch.setattr(answers, "answer_arms", too_large)
    with pytest.raises(
        PlacementError, match="The memory did not suffice for this run: choose a smaller model"
    ):
        run(REQUEST)
    assert not [key for key in LOADED.loaded if tiny_models in key]
    monkeypatch.setattr(answers, "answer_arms", right)
    again = run(REQUEST)
    assert again.lanes[0].answer.text == expected.lanes[0].answer.text


def test_systems_that_share_a_backbone_are_loaded_and_unloaded_together(
    models: Path, qwen_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry's own parts, under a budget of bytes: one pair at a time."""
    for name, source in (("mini-llama", models), ("mini-ultravox", models), ("mini-qwen2", qwen_models)):
        shutil.copytree(source / name, tmp_path / name, ignore=shutil.ignore_patterns("erasers"))
    (tmp_path / "mini-whisper").mkdir()
    monkeypatch.setattr(cascade, "Transcriber", FromFolder)
    sizes = {name: loading._text_bytes(name, tmp_path) for name in ("mini-llama", "mini-qwen2")}
    speech_bytes = sum(file.stat().st_size for file in (tmp_path / "mini-ultravox").glob("*.safetensors"))
    resident = Residency(lambda held: sizes["mini-llama"] + speech_bytes)
    monkeypatch.setattr(loading, "LOADED", resident)
    speech = loading.load_speech_llm("mini-ultravox", tmp_path)
    told = loading.load_cascade("mini-cascade", tmp_path)
    assert told.language_model is speech.language_model
    header = 0.1 * speech_bytes
    assert resident.held_bytes == pytest.approx(sizes["mini-llama"] + speech_bytes, abs=header)
    seen = weakref.ref(speech.language_model)
    del speech, told
    loading.load_text_llm("mini-qwen2", tmp_path)
    gc.collect()
    assert seen() is None, "what made room is still in memory"
    assert resident.held_bytes == sizes["mini-qwen2"] and "mini-qwen2" in str(resident.loaded)
