"""Facts about fitting erasers: probes against a reference, scores by hand, LEACE's guarantee, whole files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from engine.concepts import OTHER_WORD
from engine.result import even_ends
from precompute.mini import fit_erasers as fitting
from precompute.mini.ctc_head import fit_ctc_head, position_characters
from precompute.mini.fit_erasers import (
    States,
    choose_first_words,
    fit_condition,
    fit_erasers,
    fit_probe,
    score_probe,
)
from precompute.mini.sentence import Sentence
from precompute.mini.transcriber import CHARACTERS


def states_with_a_concept(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Twelve dimensions of noise; the class of three shifts the first two of them."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(0, 3, (n,), generator=generator)
    x = torch.randn(n, 12, generator=generator, dtype=torch.float64)
    x[:, 0] += 3.0 * (classes == 1)
    x[:, 1] += 3.0 * (classes == 2)
    return x, torch.nn.functional.one_hot(classes, 3).double()


def test_a_probe_without_penalty_is_least_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "RIDGE", 1e-12)
    x, z = states_with_a_concept(200, 0)
    weight, bias = fit_probe(x, z)
    with_one = np.hstack([x.numpy(), np.ones((200, 1))])
    reference, *_ = np.linalg.lstsq(with_one, z.numpy(), rcond=None)
    np.testing.assert_allclose(weight.numpy(), reference[:-1].T, atol=1e-8)
    np.testing.assert_allclose(bias.numpy(), reference[-1], atol=1e-8)


def test_the_penalty_shrinks_the_probe() -> None:
    x, z = states_with_a_concept(200, 0)
    small = fit_probe(x, z)[0].norm()
    fitting_ridge, fitting.RIDGE = fitting.RIDGE, 10.0
    try:
        assert fit_probe(x, z)[0].norm() < 0.3 * small
    finally:
        fitting.RIDGE = fitting_ridge


def test_classes_are_scored_by_accuracy() -> None:
    z = torch.eye(3)[[0, 1, 2, 2]]
    predicted = torch.eye(3)[[0, 1, 1, 2]]
    assert score_probe(predicted, z, classes=True) == 0.75


def test_numbers_are_scored_by_r2_of_each_target() -> None:
    """Target one: residual 2 of 2 is 0; target two: residual 0 of 8 is 1; a constant target is left out."""
    z = torch.tensor([[0.0, 0.0, 5.0], [2.0, 4.0, 5.0]])
    predicted = torch.tensor([[1.0, 0.0, 9.0], [1.0, 4.0, 9.0]])
    assert score_probe(predicted, z, classes=False) == pytest.approx(0.5)


def test_a_probe_reads_the_class_before_and_is_at_chance_after() -> None:
    """LEACE's guarantee; the probe before is the positive control.

    Three classes span two directions: the library's third row, all zeros, was counted as a third, and the
    random control beside it took out one direction too many.
    """
    x, z = states_with_a_concept(3000, 0)
    held_x, held_z = states_with_a_concept(2000, 1)
    fitted = fit_condition(x, z, held_x, held_z, classes=True)
    assert fitted.right.shape[0] == 2 and fitted.chance == pytest.approx(1 / 3, abs=0.05)
    assert fitted.before > 0.8 and fitted.after == pytest.approx(fitted.chance, abs=0.05)
    erased = x - ((x - fitted.mean) @ fitted.right.T) @ fitted.left.T
    assert float(((erased - erased.mean(0)).T @ (z - z.mean(0)) / len(x)).abs().max()) < 1e-9
    assert torch.allclose(erased.mean(0), x.mean(0))


def states(n: int, seed: int) -> States:
    x, z = states_with_a_concept(n, seed)
    pitch = torch.stack([x[:, 0] + 1, x[:, 3]], dim=1)
    pitch[::5] = float("nan")  # unvoiced positions
    return States(
        by_layer={0: x.float(), 2: (2 * x).float()},
        labels={"text": z, "ctc": z, "boc": z, "acoustic": pitch},
        targets={
            "text": ("a", "b", OTHER_WORD), "ctc": ("a", "b", "c"), "boc": ("a", "b", "c"),
            "acoustic": ("pitch", "energy"),
        },
    )  # fmt: skip


def test_every_condition_is_written_with_its_record(tmp_path: Path) -> None:
    records = fit_erasers(states(600, 0), states(300, 1), "print", tmp_path, "made up")
    assert {file.name for file in tmp_path.iterdir()} == {f"{key}.safetensors" for key in records}
    for condition, record in records.items():
        with safe_open(tmp_path / f"{condition}.safetensors", framework="pt") as stored:
            metadata = stored.metadata()
            left = stored.get_tensor("left.2")
        assert metadata["fingerprint"] == "print"
        written = json.loads(metadata["record"])
        assert written["kept_rank"] == {"0": 2, "2": 2} and left.shape == (12, 2)
        assert written["fit"] == "made up" and written["layers"] == [0, 2]
        assert record["probe_before"][0] > record["probe_after"][0] + 0.2


def test_first_words_are_the_commonest_and_one_for_all_others() -> None:
    texts = ["the dog runs"] * 3 + ["a cat sits"] * 2 + ["one bird sings"]
    words = choose_first_words([Sentence("topic", text, "", "g") for text in texts])
    assert words == ("the", "a", "one", OTHER_WORD)


def test_a_positions_character_is_its_likeliest_one_that_is_not_blank() -> None:
    """Three positions of two frames: blank and a; b then the surer c; blank twice. The last has no frame."""
    logits = torch.zeros(6, 4)
    for frame, (character, sure) in enumerate([(0, 9), (1, 5), (2, 2), (3, 6), (0, 9), (0, 9)]):
        logits[frame, character] = sure
    assert position_characters(logits, even_ends(4, 0.04)).tolist() == [
        [0, 1, 0, 0],
        [0, 0, 0, 1],
        [1, 0, 0, 0],
        [1, 0, 0, 0],
    ]


def test_a_ctc_head_learns_what_is_plain_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each character has its own direction and three frames: the head reads it back, the same each time."""
    monkeypatch.setattr("precompute.mini.ctc_head.STEPS", 150)
    generator = torch.Generator().manual_seed(0)
    texts = ["ab", "ba", "abc", "cab", "bca", "acb"] * 4
    directions = torch.randn(len(CHARACTERS) + 1, 16, generator=generator)

    def sound(text: str) -> torch.Tensor:
        classes = [c for letter in text for c in (1 + CHARACTERS.index(letter),) * 3 + (0,) * 2]
        return directions[classes] + 0.05 * torch.randn(len(classes), 16, generator=generator)

    heard = [sound(text) for text in texts]
    head, again = fit_ctc_head(heard, texts), fit_ctc_head(heard, texts)
    assert torch.equal(head.weight, again.weight)
    best = head(sound("bac")).argmax(-1).tolist()
    said = [c for c, before in zip(best, [0, *best[:-1]], strict=True) if c and c != before]
    assert "".join(CHARACTERS[c - 1] for c in said) == "bac"
