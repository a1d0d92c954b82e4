"""The tuned lens on a tiny random model: nothing fitted is the logit lens, and a planted turn is undone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.answers import at_span
from engine.audio import AudioClip
from engine.errors import LensError
from engine.generate import run_arms
from engine.lens import (
    Translator,
    TunedLens,
    difference_reading,
    load_tuned_lens,
    logit_reading,
    read_lens,
    save_tuned_lens,
)
from engine.request import RunRequest, check_request, tuned_lens_file
from engine.results import LensReadout
from engine.run import run
from engine.systems.base import Prepared
from engine.systems.ultravox import Ultravox
from tests.engine.test_lens import OTHERS, WIDTH_S, WORDS

RANK = 2
KEY = "mini-ultravox"


@pytest.fixture(scope="module")
def states(ultravox: Ultravox, prepared: Prepared) -> dict[int, Tensor]:
    """Recorded states at the audio positions."""
    return at_span(
        run_arms(ultravox, prepared, record_layers=[0, 1, 2, 3], max_new_tokens=1).states, prepared
    )


def nothing(width: int, rank: int = RANK) -> Translator:
    """A map that changes nothing, as every one is before it is fitted."""
    return Translator(torch.randn(rank, width), torch.zeros(width, rank), torch.zeros(width))


def read(system: Ultravox, states: dict[int, Tensor], reading: object) -> LensReadout:
    return read_lens(
        system,
        states,
        seconds_per_position=WIDTH_S,
        words=WORDS,
        words_from="reference",
        other_transcripts=OTHERS,
        reading=reading,  # type: ignore[arg-type]
    )


def assert_same(one: LensReadout, other: LensReadout, tolerance: float) -> None:
    np.testing.assert_array_equal(one.top_ids, other.top_ids)
    np.testing.assert_allclose(one.top_probabilities, other.top_probabilities, atol=tolerance)
    np.testing.assert_allclose(one.entropy_nats, other.entropy_nats, atol=tolerance * 10)


def test_maps_that_change_nothing_are_the_logit_lens(ultravox: Ultravox, states: dict[int, Tensor]) -> None:
    width = states[0].shape[1]
    tuned = TunedLens({layer: nothing(width) for layer in range(3)})
    assert_same(
        read(ultravox, states, logit_reading(ultravox, tuned)),
        read(ultravox, states, logit_reading(ultravox)),
        0.0,
    )


def test_a_planted_turn_is_undone_by_the_right_map_alone(
    ultravox: Ultravox, states: dict[int, Tensor]
) -> None:
    """Layer 1 holds the last layer's states, turned in one plane by a right angle and moved."""
    plain, width = states[3], states[3].shape[1]
    plane = torch.linalg.qr(torch.randn(width, RANK, generator=torch.Generator().manual_seed(1))).Q
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    moved = torch.randn(width, generator=torch.Generator().manual_seed(2))
    turned = plain + plain @ plane @ (quarter - torch.eye(2)).T @ plane.T + moved
    # The turn back: h = R^T (h' - b), so h = h' + plane (quarter^T - 1) plane^T h' - R^T b.
    back = plane @ (quarter.T - torch.eye(2))
    right = Translator(plane.T, back, -(moved + moved @ plane @ back.T))
    planted = {0: states[0], 1: turned, 2: states[2], 3: plain}
    maps = {0: nothing(width), 1: right, 2: nothing(width)}
    tuned = read(ultravox, planted, logit_reading(ultravox, TunedLens(maps)))
    logit = read(ultravox, planted, logit_reading(ultravox))
    np.testing.assert_array_equal(tuned.top_ids[1, :, 0], logit.top_ids[3, :, 0])
    np.testing.assert_allclose(tuned.top_probabilities[1], logit.top_probabilities[3], atol=1e-4)
    assert (logit.top_ids[1, :, 0] != logit.top_ids[3, :, 0]).mean() > 0.5
    wrong = TunedLens(maps | {1: replace(right, up=right.up.flip(1))})
    assert (
        np.abs(
            read(ultravox, planted, logit_reading(ultravox, wrong)).top_probabilities[1]
            - logit.top_probabilities[3]
        ).max()
        > 1e-2
    )


def test_the_file_gives_the_maps_back_and_refuses_other_weights(tmp_path: Path) -> None:
    width, n_layers = 8, 3
    maps = [
        Translator(torch.randn(RANK, width), torch.randn(width, RANK), torch.randn(width))
        for _ in range(n_layers)
    ]
    file = tuned_lens_file(KEY, tmp_path)
    file.parent.mkdir()
    save_tuned_lens(file, maps, "right weights")
    loaded = load_tuned_lens(KEY, "right weights", n_layers, tmp_path)
    some = torch.randn(4, width)
    for layer, translator in enumerate(maps):
        torch.testing.assert_close(loaded.apply(layer, some), translator.apply(some), atol=2e-2, rtol=2e-2)
    torch.testing.assert_close(loaded.apply(n_layers, some), some)  # the last block's output is read as it is
    with pytest.raises(LensError, match="other weights"):
        load_tuned_lens(KEY, "left weights", n_layers, tmp_path)
    with pytest.raises(LensError, match="another layout"):
        load_tuned_lens(KEY, "right weights", n_layers + 1, tmp_path)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(LensError, match="damaged"):
        load_tuned_lens(KEY, "right weights", n_layers, tmp_path)


def test_thirty_layers_of_the_laptop_pair_stay_below_six_megabytes(tmp_path: Path) -> None:
    maps = [nothing(576, rank=32) for _ in range(30)]
    save_tuned_lens(tmp_path / "t.safetensors", maps, "x")
    assert (tmp_path / "t.safetensors").stat().st_size < 6e6


def test_what_a_system_or_a_run_does_not_have_is_refused_in_a_sentence() -> None:
    clip = AudioClip(np.zeros(16_000, np.float32), "zero")
    with pytest.raises(LensError, match="No tuned lens was fitted for mini-Ultravox"):
        check_request(RunRequest(clip, "topic", readout="tuned"))
    for without in ({}, {"erasures": ("text",), "strength": 0.0}, {"noise": "babble", "snr_db": None}):
        with pytest.raises(LensError, match="needs a second one"):
            check_request(RunRequest(clip, "topic", readout="difference", **without))
    check_request(RunRequest(clip, "topic", readout="difference", erasures=("text",)))


def test_a_difference_of_equal_states_is_nothing_and_of_others_their_divergence(
    ultravox: Ultravox,
    states: dict[int, Tensor],
) -> None:
    same = read(ultravox, states, difference_reading(ultravox, states))
    assert same.entropy_nats.max() < 1e-5
    others = {layer: one.roll(1, 0) for layer, one in states.items()}
    found = read(ultravox, states, difference_reading(ultravox, others))
    head = ultravox.unembedding.get_parameter("weight")
    p, q = (
        torch.nn.functional.linear(ultravox.final_norm(one[2]), head).double().log_softmax(-1)
        for one in (states, others)
    )
    kl = (p.exp() * (p - q)).sum(-1)
    np.testing.assert_allclose(found.entropy_nats[2], kl.detach().numpy(), rtol=1e-3, atol=1e-5)
    position = int(kl.argmax())
    assert found.top_ids[2, position, 0] == int((p.exp() * (p - q))[position].argmax())


@pytest.mark.parametrize("second", [{"erasures": ("text",)}, {"noise": "white", "snr_db": 0.0}])
def test_a_run_has_the_difference_beside_the_logit_lens(second: dict[str, object]) -> None:
    from engine.audio import load_clip
    from engine.examples import EXAMPLES

    result = run(RunRequest(load_clip(EXAMPLES[0].file), "topic", readout="difference", **second))  # type: ignore[arg-type]
    assert result.lens is not None and result.readout is not None
    assert result.lens.name == "logit lens" and "minus" in result.readout.name
    assert result.readout.top_ids.shape == result.lens.top_ids.shape
    assert result.readout.entropy_nats[-1].max() > 0.1
    # The erasure takes out what the lens reads, the control beside it much less.
    assert bool(result.readout.beside) == ("erasures" in second)
