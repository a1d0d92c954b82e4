"""The cascade: the backbone is given the transcript and nothing else; a broken transcriber says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.errors import ModelFilesError
from engine.systems.base import WhiteBoxSystem
from engine.systems.cascade import MINI_FILES as NEEDED_FILES
from engine.systems.cascade import Cascade, Transcriber
from engine.systems.catalogue import get_spec
from engine.systems.text_llm import TextLLM
from tests.engine.tiny_systems import WORDS, FixedWords, sound


@pytest.fixture
def cascade(text_llm: TextLLM) -> Cascade:
    return Cascade(get_spec("mini-cascade"), FixedWords(), text_llm)


@pytest.mark.parametrize("missing", NEEDED_FILES)
def test_a_missing_file_is_named_before_anything_is_loaded(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "mini-whisper"
    folder.mkdir()
    for name in NEEDED_FILES:
        if name != missing:
            (folder / name).touch()
    with pytest.raises(ModelFilesError) as caught:
        Transcriber(folder, max_tokens=64)
    assert str(caught.value) == f"mini-whisper lacks {missing}; restore the folder from the repository."


def test_the_backbone_hears_the_transcript_and_not_the_sound(cascade: Cascade, text_llm: TextLLM) -> None:
    heard = cascade.hear(sound(1.0, seed=1))
    assert heard.text == "the queen" and heard.words == WORDS and heard.seconds_per_position == 0.0
    assert torch.equal(heard.embeddings, text_llm.hear_text("the queen").embeddings)
    assert torch.equal(heard.embeddings, cascade.hear(sound(2.0, seed=2)).embeddings)
    question = "Repeat what was said."
    given = text_llm.prepare(text_llm.hear_text("the queen"), question)
    assert torch.equal(cascade.prepare(heard, question).embeddings, given.embeddings)


def test_a_cascade_is_white_box_through_its_backbone(cascade: Cascade, text_llm: TextLLM) -> None:
    assert isinstance(cascade, WhiteBoxSystem)
    for name in ("tokenizer", "language_model", "decoder_layers", "final_norm", "unembedding", "fingerprint"):
        assert getattr(cascade, name) is getattr(text_llm, name)
