"""How often a transcriber mishears: word errors on unseen sentences in unseen voices, told after training."""

from __future__ import annotations

from pathlib import Path

from engine.stats.scores import pooled_word_error_rate
from engine.systems.cascade import Transcriber
from precompute.mini.held_out import held_out_items, say_item
from precompute.mini.transcriber import MAX_TARGET_POSITIONS
from precompute.mini.voices import test_voices


def word_error_rate(folder: Path, n_clips: int) -> float:
    """Return errors over words said, all clips together; the clips are those of the evaluation's word errors.

    Args:
        folder: of a CTranslate2 transcriber.
        n_clips: how many clips, each a sentence of its own.
    """
    transcriber = Transcriber(folder, max_tokens=MAX_TARGET_POSITIONS)
    said, heard = [], []
    for item in held_out_items("speaker", n_clips):
        clip, _, _ = say_item(item, test_voices())
        said.append(item.sentence.text)
        heard.append(transcriber.transcribe(clip)[0])
    return pooled_word_error_rate(said, heard)
