"""What every published family must do, by one loader, in float32 and in bfloat16, on the CPU and beside it.

That logits are the published ones, and that no other tensors load, is in each family's own tests.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.checks import LAST_LAYER, ORDER, Finding, check_adapter
from engine.erasure import match_changes, random_subspace
from engine.generate import _Padding, run_arms, run_prompts
from engine.hooks import GROUPS, Projection, RowEdits
from engine.lens import read_lens, track
from engine.request import preset_layers
from engine.systems.base import Prepared, SpeechLLM
from engine.systems.loading import load_speech_llm
from engine.systems.profiles import PROFILES, profile_in_use, use_profile
from engine.systems.text_llm import TextLLM
from engine.words import SpokenWord
from tests.engine.families import FAMILIES, Family
from tests.engine.published import DURATIONS_S, N_NEW, QUESTION, edits, without_cache
from tests.engine.second_device import DEVICE, OnDevice, second_device
from tests.engine.tiny_systems import sound

WORDS = (SpokenWord("the", 0.0, 0.5), SpokenWord("queen", 0.5, 1.2))


@contextmanager
def placed(**where: Any) -> Iterator[None]:
    before = profile_in_use()
    use_profile(replace(PROFILES["mini"], **where))
    try:
        yield
    finally:
        use_profile(before)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def models(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    family.write(folder)
    return folder


def load(family: Family, models: Path, name: str, **where: Any) -> SpeechLLM:
    """Load what another setting has loaded already: the same folder by another way."""
    way = models.parent / f"{models.name}-{name}"
    if not way.exists():
        way.symlink_to(models)
    with placed(**where):
        return load_speech_llm(family.key, way)


@pytest.fixture(scope="module")
def exact(family: Family, models: Path) -> SpeechLLM:
    return load(family, models, "float32", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def half(family: Family, models: Path) -> SpeechLLM:
    """As a published model runs where nothing else is said."""
    return load(family, models, "bfloat16", device="cpu")


@pytest.fixture(params=["float32", "bfloat16"])
def system(request: pytest.FixtureRequest, exact: SpeechLLM, half: SpeechLLM) -> SpeechLLM:
    return exact if request.param == "float32" else half


def failures(system: SpeechLLM) -> list[Finding]:
    return [finding for finding in check_adapter(system) if not finding.passed]


@pytest.mark.parametrize("duration_s", DURATIONS_S)
def test_the_token_counts_are_the_published_ones(exact: SpeechLLM, family: Family, duration_s: float) -> None:
    expected = family.n_positions(round(duration_s * 16_000))
    assert len(exact.hear(sound(duration_s)).embeddings) == expected
    assert expected == family.published.get(duration_s, expected)
    assert exact.hear(sound(1.0)).seconds_per_position == pytest.approx(family.position_s)


def test_every_check_of_the_adapter_passes(system: SpeechLLM) -> None:
    assert isinstance(system, SpeechLLM) and not failures(system)


def test_weights_are_in_the_precision_asked_for(exact: SpeechLLM, half: SpeechLLM) -> None:
    for system, dtype in ((exact, torch.float32), (half, torch.bfloat16)):
        for part in (system.language_model, system.ears):
            assert {weight.dtype for weight in part.parameters()} == {dtype}
            assert not any(weight.is_meta for weight in (*part.parameters(), *part.buffers()))
        assert system.hear(sound(1.0)).embeddings.dtype == dtype


def faulty(system: SpeechLLM, **changes: object) -> Any:
    """The same model behind an adapter that is wrong in one thing."""
    other = copy.copy(system)
    for name, value in changes.items():
        setattr(other, name, value)
    return other


def test_a_norm_applied_twice_or_left_out_is_found(system: SpeechLLM) -> None:
    twice = nn.Sequential(system.final_norm, system.final_norm)
    for norm in (twice, nn.Identity()):
        assert LAST_LAYER in [f.name for f in failures(faulty(system, final_norm=norm))]


@pytest.mark.parametrize("shift", [1, -1])
def test_layers_off_by_one_are_found(system: SpeechLLM, shift: int) -> None:
    layers = list(system.decoder_layers)
    rotated = nn.ModuleList([*layers[shift:], *layers[:shift]])
    assert ORDER in [f.name for f in failures(faulty(system, decoder_layers=rotated))]


def test_faults_lie_well_above_the_tolerances(half: SpeechLLM) -> None:
    """Else a tolerance that fits the precision could be one that finds nothing."""
    twice = nn.Sequential(half.final_norm, half.final_norm)
    layers = nn.ModuleList([*list(half.decoder_layers)[1:], half.decoder_layers[0]])
    right = {f.name: f for f in check_adapter(half)}
    for name, wrong in ((LAST_LAYER, {"final_norm": twice}), (ORDER, {"decoder_layers": layers})):
        fault = next(f for f in check_adapter(faulty(half, **wrong)) if f.name == name)
        assert right[name].value < fault.tolerance < fault.value / 2


def test_an_erasure_answers_alike_with_and_without_the_cache(system: SpeechLLM) -> None:
    prepared = system.prepare(system.hear(sound(1.7)), QUESTION)
    row = dict.fromkeys(range(len(system.decoder_layers) + 1), projection(prepared))
    plain, erased = (
        list(
            run_arms(system, prepared, edits=edits(prepared, one), max_new_tokens=N_NEW).decoded[0].token_ids
        )
        for one in (None, row)
    )
    assert erased == without_cache(system, prepared, row)
    assert plain == without_cache(system, prepared, None)
    assert plain != erased, "the erasure is too weak to show anything"


def projection(prepared: Prepared, seed: int = 3) -> Projection:
    width = prepared.embeddings.shape[-1]
    basis = random_subspace(width, width // 4, seed)
    return Projection(basis, basis.T)


def test_layers_norm_and_head_are_those_that_the_model_names(exact: SpeechLLM) -> None:
    model: Any = exact.language_model
    decoder = model.get_decoder()
    assert exact.decoder_layers is decoder.layers and exact.final_norm is decoder.norm
    assert exact.unembedding is model.get_output_embeddings()
    assert len(exact.decoder_layers) == decoder.config.num_hidden_layers


def whole_path(system: SpeechLLM) -> list[Any]:
    """Everything that a run does with a model, and the numbers that come of it, on the CPU."""
    clip = sound(1.7)
    prepared = system.prepare(system.hear(clip), QUESTION)
    start, stop = prepared.span
    layers = preset_layers(len(system.decoder_layers))
    one = dict.fromkeys(layers, projection(prepared))
    control = match_changes(one, dict.fromkeys(layers, dict.fromkeys(GROUPS, 0.2)))
    rows = RowEdits([None, one, control], prepared.span, prepared.embeddings.shape[1], "all")
    labels = ("positive", "negative and more")
    passed = run_arms(
        system, prepared, edits=rows, continuations=labels, record_layers=layers, max_new_tokens=3
    )
    states = {layer: recorded[0, start:stop] for layer, recorded in passed.states.items()}
    lens = read_lens(
        system,
        states,
        seconds_per_position=prepared.heard.seconds_per_position,
        words=WORDS,
        words_from="reference",
        other_transcripts=("the market fell",),
    )
    tracked = track(system, states, int(lens.top_ids[0, 0, 0]))
    heard = [prepared.heard, system.hear(sound(0.6)), words_of(system)]
    prompts = [system.prepare(one, QUESTION) for one in heard]
    replies = run_prompts(system, prompts, continuations=[labels, labels[:1], ()], max_new_tokens=3)
    return [
        *passed.decoded[0].token_ids,
        *passed.continuation_scores.flatten().tolist(),
        *passed.first_answer_scores,
        *(
            share
            for row in (1, 2)
            for shares in rows.change_by_group(row).values()
            for share in shares.values()
        ),
        *lens.entropy_nats.flatten().tolist(),
        *lens.word_rank.flatten().tolist(),
        *tracked.probabilities.flatten().tolist(),
        *(reply.decoded.log_likelihood for reply in replies),
        *(float(score) for reply in replies for score in reply.continuation_scores),
        len(system.frames(clip.samples)),
    ]


def words_of(system: Any) -> Any:
    """What a cascade gives the same language model: a transcript."""
    backbone: TextLLM = system.backbone
    return backbone.hear_text("the queen scored")


def test_the_whole_path_runs_on_a_second_device(family: Family, models: Path, half: SpeechLLM) -> None:
    """No GPU is needed: see tests/engine/second_device.py. Every number is what the CPU gives."""
    expected = whole_path(half)
    with second_device():
        there = load(family, models, "twin", device=str(DEVICE))
        for part in (there.language_model, there.ears):
            assert all(isinstance(weight, OnDevice) for weight in (*part.parameters(), *part.buffers()))
        found = whole_path(there)
        assert not failures(there)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("fault", ["ids", "eraser", "padding"])
def test_a_tensor_left_on_the_cpu_is_found(
    models: Path, family: Family, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Today's faults of old, planted again."""
    if fault == "ids":
        monkeypatch.setattr(
            TextLLM, "_embed", lambda self, ids: self.embedding(torch.tensor(ids, dtype=torch.long))
        )
    elif fault == "eraser":
        monkeypatch.setattr(Projection, "to", lambda self, device: self)
    else:
        right = _Padding.arguments
        monkeypatch.setattr(
            _Padding, "arguments", lambda *a: {name: made.cpu() for name, made in right(*a).items()}
        )
    with second_device():
        there = load(family, models, "twin", device=str(DEVICE))
        with pytest.raises(RuntimeError, match="found twin:0 and cpu"):
            whole_path(there)
