"""check_adapter passes on a true adapter, and each check fails on a fault planted for it.

The self-check goes through every system that is here and says in one sentence, and by exit code, what fails.

Erasers that fit pass; each way in which one can fail to fit is found, and only that.
"""

from __future__ import annotations

import copy
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import checks
from engine.checks import (
    BATCH_CHECK,
    FIT,
    GONE,
    IDEMPOTENT,
    PROVEN,
    RANKS,
    REACHES,
    UNDONE,
    BatchFinding,
    Checked,
    Finding,
    check_adapter,
    check_all,
    check_erasers,
    check_system,
    main,
    missing_members,
    probe_clip,
    sentence_of,
)
from engine.erasure import Eraser, Factors, load_eraser, random_subspace
from engine.hooks import Projection
from engine.results import LayerProof
from engine.systems.base import Heard, Prepared
from engine.systems.catalogue import MINI_SYSTEMS, SYSTEMS, get_spec
from engine.systems.qwen2_audio import Qwen2Audio
from engine.systems.text_llm import TextLLM
from engine.systems.ultravox import Ultravox
from tests.engine.test_generate import ending_with

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


PAIR = "mini-ultravox"
ALGEBRA = (RANKS, IDEMPOTENT, PROVEN, GONE)


def failures_of_eraser_check(system: Ultravox, prepared: Prepared, models: Path) -> set[str]:
    found = check_erasers(system, prepared, PAIR, models, names=ALGEBRA)
    return {one.name for one in found if not one.passed}


def exact(eraser: Eraser) -> Eraser:
    """The same with orthonormal factors: a fit on 24 clips of random ears is looser."""
    bases = {layer: random_subspace(32, eraser.kept_rank[layer], layer) for layer in eraser.layers}
    transposed = {layer: basis.T.contiguous() for layer, basis in bases.items()}
    chained = {method: Factors(bases, transposed, eraser.mean) for method in eraser.chained}
    return replace(eraser, left=bases, right=transposed, chained=chained)


def longer(eraser: Eraser) -> Eraser:
    """The same with one layer's factors too long."""
    left, right = at_one_layer(eraser.left, 1.01), at_one_layer(eraser.right, 1.01)
    return replace(eraser, left=left, right=right, chained={})


def with_reading(eraser: Eraser, setting: str, layer: int, reading: LayerProof | None) -> Eraser:
    """The same with one reading of its proof in place of the measured one, or without it."""
    assert eraser.proof is not None
    at = {one: found for one, found in eraser.proof.settings[setting].items() if one != layer}
    at |= {layer: reading} if reading else {}
    return replace(eraser, proof=replace(eraser.proof, settings={**eraser.proof.settings, setting: at}))


def spoil(monkeypatch: pytest.MonkeyPatch, change: Callable[[Eraser], Eraser]) -> None:
    """Hand over every eraser exact but for this change."""
    monkeypatch.setattr(checks, "load_eraser", lambda *of: change(exact(load_eraser(*of))))


def at_one_layer(values: Mapping[int, Tensor], factor: float) -> dict[int, Tensor]:
    return {layer: factor * value if layer == 2 else value for layer, value in values.items()}


def test_erasers_of_this_model_pass(
    ultravox: Ultravox, prepared: Prepared, models_with_erasers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda eraser: eraser)
    findings = check_erasers(ultravox, prepared, PAIR, models_with_erasers, names=ALGEBRA)
    assert [one.name for one in findings] == [FIT, *ALGEBRA]
    assert all(one.passed for one in findings), findings
    assert findings[0].measured == "4 of 4 fitted on these weights"


def test_a_system_without_erasers_has_nothing_to_check(
    ultravox: Ultravox, prepared: Prepared, tmp_path: Path
) -> None:
    assert check_erasers(ultravox, prepared, PAIR, tmp_path) == []


def test_erasers_of_other_weights_are_found(
    ultravox: Ultravox, prepared: Prepared, models_with_erasers: Path
) -> None:
    other = copy.copy(ultravox)
    other.fingerprint = "0" * 64
    findings = check_erasers(other, prepared, PAIR, models_with_erasers)
    assert [(one.name, one.passed, one.value) for one in findings] == [(FIT, False, 4)]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda e: replace(e, kept_rank={**e.kept_rank, 1: e.kept_rank[1] + 1}), RANKS),
        (longer, IDEMPOTENT),
        (lambda e: with_reading(e, "each layer alone", 3, None), PROVEN),
        (lambda e: with_reading(e, "linear, all", 0, LayerProof(*[math.nan] * 8)), PROVEN),
    ],
    ids=["rank", "not idempotent", "a layer without a reading", "a reading that is no number"],
)
def test_an_eraser_that_does_not_do_its_work_is_found(
    ultravox: Ultravox,
    prepared: Prepared,
    models_with_erasers: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Eraser], Eraser],
    found: str,
) -> None:
    spoil(monkeypatch, change)
    # What does not take a direction out once does not find it gone either.
    expected = {found, GONE} if found == IDEMPOTENT else {found}
    assert failures_of_eraser_check(ultravox, prepared, models_with_erasers) == expected


def test_directions_that_an_edit_leaves_behind_are_found(
    ultravox: Ultravox, prepared: Prepared, models_with_erasers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A projection that is right on disk and never reaches the states."""
    spoil(monkeypatch, lambda eraser: eraser)
    idle = Projection(torch.zeros(32, 0), torch.zeros(0, 32))
    monkeypatch.setattr(Eraser, "projections", lambda self, layers, method: dict.fromkeys(layers, idle))
    assert failures_of_eraser_check(ultravox, prepared, models_with_erasers) == {GONE}


def test_an_eraser_without_a_proof_claims_nothing_and_one_that_leaves_something_says_so(
    ultravox: Ultravox, prepared: Prepared, models_with_erasers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe at chance on the fit's own rows was taken for a proof, and no eraser could fail it."""
    spoil(monkeypatch, lambda eraser: replace(eraser, proof=None))
    found = {one.name: one for one in check_erasers(ultravox, prepared, PAIR, models_with_erasers)}
    assert (
        found[PROVEN].passed and "4 of 4 erasers carry no proof and claim nothing" in found[PROVEN].measured
    )
    leaves = LayerProof(0.9, 0.85, 0.95, 0.6, 0.55, 0.65, 0.9, 0.2)
    spoil(monkeypatch, lambda eraser: with_reading(eraser, "each layer alone", 2, leaves))
    found = {one.name: one for one in check_erasers(ultravox, prepared, PAIR, models_with_erasers)}
    assert "still read" in found[PROVEN].measured and " 0 still read" not in found[PROVEN].measured
