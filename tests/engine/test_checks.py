"""check_adapter passes on a true adapter, and each check fails on a fault planted for it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import checks
from engine.checks import BATCH_CHECK, REACHES, UNDONE, Finding, check_adapter, probe_clip
from engine.erasure import random_subspace
from engine.systems.base import Heard, Prepared
from engine.systems.qwen2_audio import Qwen2Audio
from engine.systems.text_llm import TextLLM
from engine.systems.ultravox import Ultravox
from tests.engine.test_decode import ending_with

CHECKS = (
    checks.NO_HOOK,
    checks.SHAPES,
    checks.SPAN,
    checks.PROMPT,
    checks.CLIP_FIRST,
    checks.VANILLA,
    checks.HANDS,
    checks.LAST_LAYER,
    checks.ORDER,
    checks.LENS_WORDS,
    checks.IDLE,
    REACHES,
    UNDONE,
    checks.TWICE,
    checks.ERASED,
    checks.SHARES,
    checks.SCORES,
    checks.LABELS,
    checks.ANSWERS,
    checks.CONTROLS,
    BATCH_CHECK,
)


Adapter = Ultravox | Qwen2Audio


@pytest.fixture(params=["ultravox", "qwen2_audio"])
def system(request: pytest.FixtureRequest) -> Adapter:
    """A speech LLM on a shared backbone, and one with a language model of its own."""
    found: Adapter = request.getfixturevalue(request.param)
    return found


def failures(system: Adapter) -> set[str]:
    return {finding.name for finding in check_adapter(system) if not finding.passed}


def adapter(system: Adapter, **changes: object) -> Adapter:
    """The same model behind an adapter that is wrong in one thing."""
    faulty = copy.copy(system)
    for name, value in changes.items():
        setattr(faulty, name, value)
    return faulty


@contextmanager
def hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def test_a_true_adapter_passes_every_check(system: Adapter) -> None:
    findings = check_adapter(system)
    assert [finding.name for finding in findings] == list(CHECKS)
    assert all(finding.passed and finding.measured for finding in findings)


def test_the_probe_is_a_sound_that_is_the_same_each_time() -> None:
    assert probe_clip().fingerprint == probe_clip().fingerprint
    assert probe_clip().duration_s == 1.7 and 0.1 < probe_clip().peak < 1.0


@pytest.mark.parametrize("shift", [1, -1])
def test_layers_off_by_one_are_found(system: Adapter, shift: int) -> None:
    layers = list(system.decoder_layers)
    rotated = nn.ModuleList([*layers[shift:], *layers[:shift]])
    assert checks.ORDER in failures(adapter(system, decoder_layers=rotated))


def test_a_layer_that_is_missing_is_found(system: Adapter) -> None:
    short = nn.ModuleList(list(system.decoder_layers)[:-1])
    found = failures(adapter(system, decoder_layers=short))
    assert {checks.SHAPES, checks.VANILLA} & found == {checks.SHAPES, checks.VANILLA}


def test_a_hook_left_behind_is_found(system: Adapter) -> None:
    with hooked(system.decoder_layers[1], lambda *_: None):
        assert failures(system) == {checks.NO_HOOK}
    assert failures(system) == set()


@pytest.mark.parametrize("shift", [(1, 1), (0, 1)])
def test_a_wrong_span_is_found(system: Adapter, shift: tuple[int, int]) -> None:
    """The clip is said to lie one position later than it does, or one of the question's is given to it."""

    def prepare(heard: Heard, instruction: str) -> Prepared:
        right = system.prepare(heard, instruction)
        return replace(right, span=(right.span[0] + shift[0], right.span[1] + shift[1]))

    assert checks.SPAN in failures(adapter(system, prepare=prepare))


def test_a_wrong_width_is_found(system: Adapter) -> None:
    """An unembedding that is wider than what is fed to the model cannot be the model's own."""
    wide = nn.Linear(33, len(system.tokenizer), bias=False)
    narrow = nn.Sequential(system.final_norm, nn.ConstantPad1d((0, 1), 0.0))
    found = failures(adapter(system, unembedding=wide, final_norm=narrow))
    assert checks.SHAPES in found


def test_an_edit_that_reaches_nothing_is_found(system: Adapter) -> None:
    """A model that answers whatever it is told about the clip."""
    with hooked(system.unembedding, lambda _m, _a, logits: torch.ones_like(logits)):
        assert REACHES in failures(system)


def test_an_edit_path_that_moves_states_is_found(system: Adapter) -> None:
    """The logits drift from call to call, so even an idle edit seems to change them."""
    calls = iter(range(10_000))
    with hooked(system.unembedding, lambda _m, _a, logits: logits + next(calls)):
        found = failures(system)
    assert {checks.IDLE, UNDONE} <= found


def test_a_batch_whose_rows_disturb_each_other_is_found(system: Adapter) -> None:
    def leak(_module: nn.Module, _args: object, logits: Tensor) -> Tensor:
        return logits + 0.1 * torch.arange(len(logits))[:, None, None]

    with hooked(system.unembedding, leak):
        assert BATCH_CHECK in failures(system)


def favour(ids: list[int]) -> Callable[[nn.Module, object, Tensor], Tensor]:
    """Favour one token after a whole sequence and another after a single new one."""

    def hook(_module: nn.Module, _args: object, logits: Tensor) -> Tensor:
        changed = logits.clone()
        changed[..., ids[logits.shape[1] > 1]] += 1000.0
        return changed

    return hook


def test_a_cache_that_changes_the_answer_is_found(system: Adapter) -> None:
    with hooked(system.unembedding, favour([5, 6])):
        assert checks.ANSWERS in failures(system)


def test_a_cache_that_ends_the_answer_early_is_found(system: Adapter) -> None:
    """The cached answer ends after one token, the uncached one goes on."""
    end = int(system.tokenizer.eos_token_id)
    with hooked(system.unembedding, favour([end, 6])):
        assert checks.ANSWERS in failures(system)


def test_an_answer_that_ends_at_once_is_compared_too(system: Adapter) -> None:
    end = int(system.tokenizer.eos_token_id)
    with hooked(system.unembedding, favour([end, end])):
        (_, answers) = check_adapter(system, names=[checks.ANSWERS])
    assert answers.passed and answers.value == 0.0


def test_an_answer_that_ends_elsewhere_than_the_chat_is_found(system: Adapter) -> None:
    with hooked(system.unembedding, favour([5, 5])):
        (_, answers) = check_adapter(ending_with(system, 5), names=[checks.ANSWERS])
    assert not answers.passed


def test_a_path_that_differs_from_the_bare_model_is_found(system: Adapter) -> None:
    """With the cache on, as the page runs it, the model answers otherwise than when it is called alone."""

    calls: list[bool] = []

    def cached(_module: nn.Module, _args: object, kwargs: dict[str, Any]) -> None:
        calls.append("past_key_values" in kwargs)

    handle = system.language_model.register_forward_pre_hook(cached, with_kwargs=True)
    try:
        with hooked(system.language_model, lambda m, a, out: shifted(out) if calls[-1] else out):
            assert checks.VANILLA in failures(system)
    finally:
        handle.remove()


def shifted(out: Any) -> Any:
    out.logits = out.logits + 1.0
    return out


def test_an_erasure_that_is_not_idempotent_is_found(system: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A basis that is not orthonormal takes half of the directions the first time and more the second."""
    monkeypatch.setattr("engine.erasure.random_subspace", lambda *of: 0.7 * random_subspace(*of))
    assert {checks.TWICE, checks.CONTROLS} <= failures(system)


def test_a_trace_of_an_edit_is_found(system: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit that stays on the model after its block has ended."""

    @contextmanager
    def sticky(decoder_layers: nn.ModuleList, edits: object) -> Iterator[None]:
        kept.append(decoder_layers[0].register_forward_hook(lambda _m, _a, out: 1.1 * out))
        yield

    kept: list[Any] = []
    monkeypatch.setattr("engine.checks.editing", sticky)
    try:
        assert UNDONE in failures(system)
    finally:
        for handle in kept:
            handle.remove()


@pytest.mark.parametrize(("value", "passes"), [(0.0, True), (0.1, True), (0.2, False), (math.nan, False)])
def test_a_value_is_judged_by_its_tolerance_and_no_number_never_passes(value: float, passes: bool) -> None:
    assert Finding("a", "m", value, 0.1).passed is passes
    assert Finding("a", "m", value, 0.1, at_least=True).passed is (value >= 0.1)
    assert Finding("a", "m", value, 0.1).bound == "at most 0.1"
    assert Finding("a", "m", value, 0.1, at_least=True).bound == "at least 0.1"
    assert Finding("a", "m", value, 0).bound == "exactly 0"


def test_every_finding_names_a_number_and_its_tolerance(system: Adapter) -> None:
    for finding in check_adapter(system):
        assert math.isfinite(finding.value) and math.isfinite(finding.tolerance)


def test_a_system_that_reads_is_checked_on_words(text_llm: TextLLM) -> None:
    heard = [text_llm.hear_text(text) for text in ("the queen", "the market fell today")]
    findings = check_adapter(text_llm, heard)
    assert [finding.name for finding in findings] == list(CHECKS)
    assert all(finding.passed for finding in findings)
