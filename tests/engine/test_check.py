"""check_adapter passes on a true adapter, and each check fails on a fault planted for it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.check import BATCH_CHECK, check_adapter, main, probe_clip
from engine.systems.base import Heard, Prepared
from engine.systems.catalogue import SYSTEMS
from engine.systems.ultravox import Ultravox
from tests.engine.test_decode import ending_with

SPAN_CHECK = "the span holds what was heard"
CHECKS = (
    "no hook is left on the model",
    "layers and width are the config's",
    SPAN_CHECK,
    "last-layer lens equals logits",
    "recorded layers follow one another",
    "an edit that changes nothing changes nothing",
    "an edit reaches the answer and undoes itself",
    BATCH_CHECK,
    "cached equals uncached",
)


def failures(system: Ultravox) -> set[str]:
    return {finding.name for finding in check_adapter(system) if not finding.passed}


def adapter(system: Ultravox, **changes: object) -> Ultravox:
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


def test_a_true_adapter_passes_every_check(ultravox: Ultravox) -> None:
    findings = check_adapter(ultravox)
    assert [finding.name for finding in findings] == list(CHECKS)
    assert all(finding.passed and finding.measured for finding in findings)


def test_the_probe_is_a_sound_that_is_the_same_each_time() -> None:
    assert probe_clip().fingerprint == probe_clip().fingerprint
    assert probe_clip().duration_s == 1.7 and 0.1 < probe_clip().peak < 1.0


def test_a_norm_applied_twice_is_found(ultravox: Ultravox) -> None:
    twice = nn.Sequential(ultravox.final_norm, ultravox.final_norm)
    assert failures(adapter(ultravox, final_norm=twice)) == {"last-layer lens equals logits"}


def test_a_norm_left_out_is_found(ultravox: Ultravox) -> None:
    assert failures(adapter(ultravox, final_norm=nn.Identity())) == {"last-layer lens equals logits"}


@pytest.mark.parametrize("shift", [1, -1])
def test_layers_off_by_one_are_found(ultravox: Ultravox, shift: int) -> None:
    layers = list(ultravox.decoder_layers)
    rotated = nn.ModuleList([*layers[shift:], *layers[:shift]])
    assert "recorded layers follow one another" in failures(adapter(ultravox, decoder_layers=rotated))


def test_a_layer_that_is_missing_is_found(ultravox: Ultravox) -> None:
    short = nn.ModuleList(list(ultravox.decoder_layers)[:-1])
    found = failures(adapter(ultravox, decoder_layers=short))
    assert {"layers and width are the config's", "last-layer lens equals logits"} <= found


def test_a_hook_left_behind_is_found(ultravox: Ultravox) -> None:
    with hooked(ultravox.decoder_layers[1], lambda *_: None):
        assert failures(ultravox) == {"no hook is left on the model"}
    assert failures(ultravox) == set()


class ShiftedSpan(Ultravox):
    """Says that the clip lies one position later than it does."""

    def prepare(self, heard: Heard, instruction: str) -> Prepared:
        right = super().prepare(heard, instruction)
        return replace(right, span=(right.span[0] + 1, right.span[1] + 1))


class StretchedSpan(Ultravox):
    """Gives one position of the question to the clip."""

    def prepare(self, heard: Heard, instruction: str) -> Prepared:
        right = super().prepare(heard, instruction)
        return replace(right, span=(right.span[0], right.span[1] + 1))


@pytest.mark.parametrize("kind", [ShiftedSpan, StretchedSpan])
def test_a_wrong_span_is_found(ultravox: Ultravox, kind: type[Ultravox]) -> None:
    faulty = adapter(ultravox)
    faulty.__class__ = kind
    assert failures(faulty) == {SPAN_CHECK}


def test_a_wrong_width_is_found(ultravox: Ultravox) -> None:
    """An unembedding that is wider than what is fed to the model cannot be the model's own."""
    wide = nn.Linear(33, len(ultravox.tokenizer), bias=False)
    narrow = nn.Sequential(ultravox.final_norm, nn.ConstantPad1d((0, 1), 0.0))
    found = failures(adapter(ultravox, unembedding=wide, final_norm=narrow))
    assert "layers and width are the config's" in found


def test_an_edit_that_reaches_nothing_is_found(ultravox: Ultravox) -> None:
    """A model that answers whatever it is told about the clip."""
    with hooked(ultravox.unembedding, lambda _m, _a, logits: torch.ones_like(logits)):
        assert "an edit reaches the answer and undoes itself" in failures(ultravox)


def test_an_edit_path_that_moves_states_is_found(ultravox: Ultravox) -> None:
    """The logits drift from call to call, so even an idle edit seems to change them."""
    calls = iter(range(10_000))
    with hooked(ultravox.unembedding, lambda _m, _a, logits: logits + next(calls)):
        found = failures(ultravox)
    assert {
        "an edit that changes nothing changes nothing",
        "an edit reaches the answer and undoes itself",
    } <= found


def test_a_batch_whose_rows_disturb_each_other_is_found(ultravox: Ultravox) -> None:
    def leak(_module: nn.Module, _args: object, logits: Tensor) -> Tensor:
        return logits + 0.1 * torch.arange(len(logits))[:, None, None]

    with hooked(ultravox.unembedding, leak):
        assert BATCH_CHECK in failures(ultravox)


def favour(ids: list[int]) -> Callable[[nn.Module, object, Tensor], Tensor]:
    """Favour one token after a whole sequence and another after a single new one."""

    def hook(_module: nn.Module, _args: object, logits: Tensor) -> Tensor:
        changed = logits.clone()
        changed[..., ids[logits.shape[1] > 1]] += 1000.0
        return changed

    return hook


def test_a_cache_that_changes_the_answer_is_found(ultravox: Ultravox) -> None:
    with hooked(ultravox.unembedding, favour([5, 6])):
        assert "cached equals uncached" in failures(ultravox)


def test_a_cache_that_ends_the_answer_early_is_found(ultravox: Ultravox) -> None:
    """The cached answer ends after one token, the uncached one goes on."""
    end = int(ultravox.tokenizer.eos_token_id)
    with hooked(ultravox.unembedding, favour([end, 6])):
        assert "cached equals uncached" in failures(ultravox)


def test_an_answer_that_ends_at_once_is_compared_too(ultravox: Ultravox) -> None:
    silent = ending_with(ultravox, 5)
    with hooked(ultravox.unembedding, favour([5, 5])):
        cached = next(f for f in check_adapter(silent) if f.name == "cached equals uncached")
    assert cached.passed and cached.measured == "1 tokens compared"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["engine.check", *arguments])
    return main()


def test_the_command_reports_each_check_and_fails_when_one_does(
    ultravox: Ultravox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    systems = {"mini-ultravox": ultravox}
    monkeypatch.setattr("engine.systems.registry.load_speech_llm", systems.get)
    assert command(monkeypatch, "mini-ultravox") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS) and all(line.startswith("ok") for line in lines)
    systems["mini-ultravox"] = adapter(ultravox, final_norm=nn.Identity())
    assert command(monkeypatch, "--all") == 1
    assert capsys.readouterr().out.count("FAIL") == 1


def test_the_command_says_in_a_sentence_what_it_cannot_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "nonsense") == 2
    sentence = capsys.readouterr().err
    assert all(key in sentence for key in SYSTEMS)
    assert command(monkeypatch, "mini-llama") == 2
    assert "hears no audio" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command(monkeypatch)
    assert "name a system" in capsys.readouterr().err
