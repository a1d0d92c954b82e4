"""The self-check goes through every system that is here and says in one sentence, and by exit code, what fails."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import checks
from engine.checks import (
    BatchFinding,
    Checked,
    Finding,
    check_all,
    check_system,
    main,
    missing_members,
    sentence_of,
)
from engine.systems.base import Heard
from engine.systems.catalogue import MINI_SYSTEMS, SYSTEMS, get_spec

SPEECH = "mini-ultravox"
WHOLE = ("spec", "fingerprint", "ears", "features", "frames_per_position", "seconds_per_position", "frames")
FAULT = Finding(checks.LAST_LAYER, "largest difference 3.0e+00", 3.0, 1e-3)


def names(checked: Checked) -> list[str]:
    return [finding.name for finding in checked.findings]


@pytest.fixture(scope="module")
def everything(models_with_erasers: Path) -> dict[str, Checked]:
    steps: list[tuple[float, str]] = []
    checked = check_all(lambda share, what: steps.append((share, what)), models_with_erasers)
    shares = [share for share, _ in steps]
    assert shares == sorted(shares) and shares[-1] == 1.0 and all(what for _, what in steps)
    return {one.key: one for one in checked}


def test_every_system_is_checked_or_named_with_the_reason(everything: dict[str, Checked]) -> None:
    assert set(everything) == set(SYSTEMS)
    checked = {key for key, one in everything.items() if one.findings}
    assert checked == {"mini-ultravox", "mini-llama"}
    left_out = [one.notes[0] for key, one in everything.items() if key not in checked]
    assert all(re.search("missing|set .* in the environment", note) for note in left_out)
    # Random ears hear nothing of what is said. Their 24 clips hardly vary in some directions of layer 0, so that an
    # eraser there is a projection of norm 2e6 (shipped ones: below 30): float32 keeps it to 2e6 x 6e-8 = .1 only.
    loose = {checks.IDEMPOTENT, checks.OWN_CLIP, checks.PAGE}
    failed = {f.name for one in everything.values() for f in one.findings if not f.passed}
    assert failed <= loose


def test_what_applies_is_run(everything: dict[str, Checked]) -> None:
    """Only what has erasers is asked whether they fit."""
    speech, reads = names(everything[SPEECH]), names(everything["mini-llama"])
    assert checks.PADDED in reads and not {checks.FIT, checks.COUNT, checks.OWN_CLIP} & set(reads)
    assert speech[: len(reads)] == reads and {checks.FIT, checks.COUNT, checks.OWN_CLIP} <= set(speech)


def test_a_system_without_erasers_says_so(qwen_models: Path) -> None:
    found = check_system("mini-qwen2-audio", qwen_models)
    assert {one.name for one in found.findings if not one.passed} <= {checks.OWN_CLIP}  # its ears are random
    assert found.notes == ("no eraser is fitted for it, so none was checked",)


def test_weights_that_do_not_load_are_a_failure(models: Path, tmp_path: Path) -> None:
    found = check_system("mini-llama", tmp_path)
    assert not found.passed and names(found) == ["its weights load"]


def test_missing_weights_are_named_with_their_size(tmp_path: Path) -> None:
    found = check_system("voxtral-mini-3b-2507", tmp_path).findings[0]
    assert found.measured == "weights are missing: voxtral-mini-3b-2507 (9.4 GB to fetch)"


class Half:
    """An adapter as it is being written."""

    tokenizer = language_model = decoder_layers = final_norm = unembedding = None

    def hear(self, clip: object) -> Heard:
        del clip
        return Heard(torch.zeros(2, 4), 0.1, "", (), 0.0)


def test_an_adapter_that_is_not_whole_is_told_member_by_member() -> None:
    assert missing_members(Half(), "cascade") == ("spec", "fingerprint", "prepare")
    assert missing_members(Half(), "text_llm") == ("spec", "fingerprint", "prepare")
    beyond = ("ears", "features", "frames")
    assert missing_members(Half(), "speech_llm") == ("spec", "fingerprint", "prepare", *beyond)


@pytest.mark.parametrize("kind", ["speech_llm", "text_llm"])
def test_those_that_are_here_are_whole(ultravox: Any, text_llm: Any, kind: Any) -> None:
    assert missing_members(ultravox if kind == "speech_llm" else text_llm, kind) == ()


def fails(*_: object) -> None:
    raise AttributeError("no such thing\nand a second line")


@pytest.mark.parametrize(
    ("loaded", "name", "measured"),
    [
        (fails, "its adapter loads", "AttributeError: no such thing"),
        (lambda *_: Half(), "it fills the protocol", "it lacks spec, fingerprint, prepare, ears"),
        (
            lambda *_: type("Whole", (Half,), dict.fromkeys(WHOLE, get_spec(SPEECH)) | {"prepare": fails})(),
            "it hears and prepares",
            "AttributeError: no such thing",
        ),
    ],
)
def test_what_an_adapter_lacks_is_a_finding_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, loaded: Any, name: str, measured: str
) -> None:
    monkeypatch.setattr(checks, "_load", loaded)
    found = check_system("mini-ultravox")
    assert not found.passed and [finding.name for finding in found.findings] == [name]
    assert found.findings[0].measured.startswith(measured)


def test_padding_that_changes_an_answer_is_a_failure(
    models_with_erasers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal scores do not excuse another answer."""
    monkeypatch.setattr(checks, "check_batches", lambda *_: BatchFinding(False, 0.0, 2, 1))
    found = check_system("mini-llama", models_with_erasers)
    assert [f.name for f in found.findings if not f.passed] == [checks.PADDED]


def test_one_sentence_says_how_it_went() -> None:
    good = Checked("a", "A", (Finding("x", "m", 0, 0), Finding("y", "m", 0, 0)))
    bad = Checked("b", "B", (FAULT,))
    assert sentence_of([good]) == "All 2 checks of 1 system pass."
    said = sentence_of([good, bad])
    assert said.startswith("1 of 3 checks of 2 systems failed, first for B: the lens is the model's own")
    assert "at most 0.001" in said and "3.0e+00" in said
    assert "nothing was checked" in sentence_of([Checked("c", "C", (), ("weights are missing",))])


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["engine.checks", *arguments])
    return main()


def test_the_command_reports_each_check_and_fails_when_one_does(
    models_with_erasers: Path,
    everything: dict[str, Checked],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(checks, "check_system", partial(check_system, models=models_with_erasers))
    assert command(monkeypatch, "mini-llama") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(everything["mini-llama"].findings) + 1 and "pass" in lines[-1]
    assert all(line.startswith("ok") for line in lines[:-1])
    away = Checked("away", "Away", (), ("weights are missing: x",))
    bad = Checked("b", "B", (FAULT,))
    monkeypatch.setattr(checks, "check_all", lambda: (everything["mini-llama"], bad, away))
    assert command(monkeypatch, "--all") == 1
    shown = capsys.readouterr()
    assert shown.out.count("FAIL") == 1 and "left out  away: weights are missing: x\n" in shown.out
    assert shown.err.count("\n") == 1 and "failed, first for B" in shown.err


def test_the_command_says_in_a_sentence_what_it_cannot_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "nonsense") == 2
    sentence = capsys.readouterr().err
    assert all(key in sentence for key in MINI_SYSTEMS)
    with pytest.raises(SystemExit):
        command(monkeypatch)
    assert "name a system" in capsys.readouterr().err


def test_a_service_is_named_and_not_checked() -> None:
    checked = check_system("gemini")
    assert checked.findings == () and "a service answers" in checked.notes[0]
