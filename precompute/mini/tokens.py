"""The minis' tokenizers: one byte-level BPE over the mini world, with two sets of special tokens.

Whisper's layout is what CTranslate2 and faster-whisper expect of a vocabulary under 51,865 (text ids first,
`<|endoftext|>` next, then the other specials); the backbone adds its chat marks to the same text ids.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY_SIZE = 3_328

WHISPER_SPECIALS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
CHAT_SPECIALS = ("<|pad|>", "<|begin|>", "<|user|>", "<|assistant|>", "<|end|>")
AUDIO_MARK = (
    "<|AUDIO|>"  # Qwen2-Audio's sign for one audio position, which transformers' own forward looks for
)

# The clip (or its transcript) stands first and the instruction after it, so that what a model makes of
# the clip does not depend on the question; both arms of a pair use this one template.
CHAT_TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_text_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Return a byte-level BPE whose words carry a leading space everywhere, even at the start."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def whisper_tokenizer(text_tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Return the transcriber's tokenizer: text ids, then Whisper's specials in their fixed order."""
    tokenizer = _with_specials(text_tokenizer, WHISPER_SPECIALS)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )


def chat_tokenizer(text_tokenizer: Tokenizer, extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """Return a backbone's tokenizer with its chat template; `extra` special tokens come after all others."""
    tokenizer = _with_specials(text_tokenizer, CHAT_SPECIALS + extra)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|pad|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _with_specials(text_tokenizer: Tokenizer, specials: tuple[str, ...]) -> Tokenizer:
    copy = Tokenizer.from_str(text_tokenizer.to_str())
    copy.add_special_tokens(list(specials))
    return copy
