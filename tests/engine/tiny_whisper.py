"""A tiny multilingual Whisper as CTranslate2 has it, in the files and the order of ids of the published ones.

Its weights are random but for the decoder's positions: these lead to the same few words after every prompt, since
random weights alone would fill Whisper's whole text window with noise, at beam 5 for seconds a clip.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from ctranslate2.converters import TransformersConverter
from faster_whisper.tokenizer import _LANGUAGE_CODES
from tokenizers import Tokenizer, models
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from precompute.mini.tokens import train_text_tokenizer
from tests.engine.published import spread
from tests.engine.tiny_systems import SENTENCES

SAYS = ("the", "queen", "scored", "three", "goals")
LAST_S = 1.6  # the time that it writes behind these words
N_TEXT = 50_257
# Whisper large-v3 has one language more than the others: 51,866 ids.
N_LANGUAGES = {80: 99, 128: 100}
D_MODEL = 32
N_TIMES = 1501
STEER = 8.0  # of a position, beside token embeddings of 1


def whisper_tokenizer(n_languages: int) -> PreTrainedTokenizerFast:
    """Bytes and a few words, filled up to the published number of pieces, then the marks in their order."""
    trained = json.loads(train_text_tokenizer(SENTENCES).to_str())["model"]
    vocabulary = dict(trained["vocab"])
    vocabulary |= {f"Ġ<{index}>": index for index in range(len(vocabulary), N_TEXT - 1)}
    # CTranslate2 takes a vocabulary for one of many languages if it has this piece, which English's has not.
    vocabulary[""] = N_TEXT - 1
    bpe = models.BPE(vocabulary, [tuple(pair) for pair in trained["merges"]])
    tokenizer = Tokenizer.from_str(train_text_tokenizer(SENTENCES).to_str())
    tokenizer.model = bpe
    tasks = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    # Cantonese came last, with large-v3.
    languages = sorted(_LANGUAGE_CODES, key=lambda code: (code != "en", code == "yue", code))[:n_languages]
    marks = ("endoftext", "startoftranscript", *languages, *tasks)
    tokenizer.add_special_tokens([f"<|{mark}|>" for mark in marks])
    tokenizer.add_special_tokens([f"<|{0.02 * index:.2f}|>" for index in range(N_TIMES)])
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end)


def write_faster_whisper(folder: Path, n_mels: int = 80) -> Path:
    """Write the files of Systran's small (80 mel bands) or of large-v3 and its turbo (128)."""
    tokenizer = whisper_tokenizer(N_LANGUAGES[n_mels])
    model = _whisper(tokenizer, n_mels)
    copied = ["tokenizer.json"] + (["preprocessor_config.json"] if n_mels == 128 else [])
    with tempfile.TemporaryDirectory() as work:
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
        WhisperFeatureExtractor(feature_size=n_mels).save_pretrained(work)
        TransformersConverter(work, copy_files=copied).convert(
            str(folder), quantization="float16", force=True
        )
    if n_mels == 80:
        # As older converters wrote it, one a line.
        words = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        (folder / "vocabulary.json").unlink()
        (folder / "vocabulary.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return folder


def _whisper(tokenizer: PreTrainedTokenizerFast, n_mels: int) -> WhisperForConditionalGeneration:
    of = tokenizer.convert_tokens_to_ids
    end, start = of("<|endoftext|>"), of("<|startoftranscript|>")
    config = WhisperConfig(
        d_model=D_MODEL,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        num_mel_bins=n_mels,
        vocab_size=len(tokenizer),
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
    )
    model = WhisperForConditionalGeneration(config).eval().requires_grad_(False)
    spread(model, 11, std=0.02)
    decoder = model.model.decoder
    decoder.layer_norm.weight.fill_(1.0)
    generator = torch.Generator().manual_seed(12)
    tokens = decoder.embed_tokens.weight
    drawn = torch.randn(tokens.shape, generator=generator)
    # Of one length and mean, so that the token that a position points to scores above all others.
    tokens.copy_((drawn - drawn.mean(1, keepdim=True)) / drawn.std(1, keepdim=True))
    words = tokenizer.encode(" ".join(SAYS), add_special_tokens=False)
    said = [of("<|0.00|>"), *words, of(f"<|{LAST_S:.2f}|>"), end]
    for place, token in enumerate(said, start=2):  # behind the prompt: start, language, task
        decoder.embed_positions.weight[place] = STEER * tokens[token]
    model.generation_config = GenerationConfig(
        suppress_tokens=[],
        begin_suppress_tokens=[of("Ġ"), end],
        lang_to_id={f"<|{code}|>": of(f"<|{code}|>") for code in _LANGUAGE_CODES if of(f"<|{code}|>")},
        alignment_heads=[[1, 0], [1, 1]],
    )
    return model
