"""Facts about fitting erasers: a fit that anyone can make again, and a proof that is kept whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from engine.erasure import load_eraser
from engine.systems.ultravox import Ultravox
from engine.voice import is_available
from precompute.mini.ctc_head import CtcHead
from precompute.mini.fit_erasers import TARGETS, choose_first_words, draw_recipes, fit_and_prove, label_clips
from precompute.mini.sentence import Sentence
from precompute.mini.transcriber import CHARACTERS
from precompute.mini.voices import train_voices
from tests.engine.tiny_systems import D_AUDIO


@pytest.mark.skipif(not is_available(), reason="no synthesiser here")
def test_the_record_lets_anyone_fit_the_same_eraser_again(
    ultravox: Ultravox, models_with_erasers: Path, tmp_path: Path
) -> None:
    """The synthesiser differs from call to call: no second fit gave the shipped text eraser."""
    texts = (
        "the queen won",
        "the bank fell",
        "my phone broke",
        "the match ended",
        "the bank won",
        "my queen fell",
    )
    sentences = [Sentence("topic", text, "", f"g{n}") for n, text in enumerate(texts)]
    voices = [voice for voice in train_voices() if voice.engine == "espeak"][:3]
    first_words = choose_first_words(sentences)
    n_characters = 1 + len(CHARACTERS)
    weight = torch.randn(n_characters, D_AUDIO, generator=torch.Generator().manual_seed(0))
    head = CtcHead(weight, torch.zeros(n_characters), torch.zeros(D_AUDIO), torch.ones(D_AUDIO))
    records, factors = [], []
    for name in ("one", "again"):
        clips, about = label_clips(ultravox, head, sentences, draw_recipes(sentences, voices, 5), first_words)
        targets = {"text": first_words, "boc": TARGETS["boc"]}
        fit_and_prove(ultravox, clips, clips, targets, tmp_path / name, ("six sentences", "the same"), about)
        with safe_open(tmp_path / name / "text.safetensors", framework="pt") as stored:
            records.append(json.loads(stored.metadata()["record"]))
            factors.append(stored.get_tensor("left.2") @ stored.get_tensor("right.2"))
    assert records[0] == records[1] and set(records[0]["clips"]) == {
        "n_clips", "recipes_sha256", "sound_sha256", "text_labels_sha256",
    }  # fmt: skip
    torch.testing.assert_close(factors[0], factors[1], atol=1e-5, rtol=0)
    _, other = label_clips(ultravox, head, sentences, draw_recipes(sentences, voices, 6), first_words)
    assert other["sound_sha256"] != records[0]["clips"]["sound_sha256"]


def test_what_is_proven_is_what_is_read_back(ultravox: Ultravox, models_with_erasers: Path) -> None:
    for condition in ("text", "acoustic"):
        eraser = load_eraser("mini-ultravox", condition, ultravox.fingerprint, models_with_erasers)
        assert eraser.proof is not None and eraser.clips == {"seed": 0}
        assert (
            eraser.proof.clips == "other tiny clips" and eraser.proof.n_clips == eraser.proof.n_groups == 12
        )
        assert set(eraser.proof.settings) == {
            "each layer alone", "linear, audio", "linear, all", "affine, audio", "affine, all",
        }  # fmt: skip
        assert all(set(layers) == {0, 1, 2, 3} for layers in eraser.proof.settings.values())
