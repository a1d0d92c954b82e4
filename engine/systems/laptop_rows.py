"""Rows of the laptop profile: real models that hear a real person on a CPU, in seconds.

One backbone for all, SmolLM2 with a low-rank update that was taught on text only: speech LLMs, cascades and the oracle
run on the very same weights. The bridge is known to be a cascade and stands here as the positive control; at a lower
temperature it comes closer to its cascade, which is the dose-response control.
"""

from __future__ import annotations

from engine.systems.spec import READS, SPEAKS, WRITES, Pair, SystemSpec, pair_of

TUNED, PUBLISHED = "smollm2-135m-tuned", "smollm2-135m-instruct"
BASE, TINY = "faster-whisper-base", "faster-whisper-tiny.en"
WHISPER = "whisper-base-transformers"
POSITIVE_CONTROL = "positive control: a cascade with real weights, known to be one"
# Folder of a cascade's transcriber -> its name.
LAPTOP_TRANSCRIBERS = {BASE: "Whisper base", TINY: "Whisper tiny.en"}
_MILLIONS = {BASE: 72.6, TINY: 37.8, TUNED: 134.5, PUBLISHED: 134.5}
_READERS = {TUNED: "SmolLM2 tuned on text", PUBLISHED: "SmolLM2 as published"}
_LICENCE = "MIT and Apache-2.0"


def _bridge(key: str, name: str, temperature: float) -> SystemSpec:
    return SystemSpec(
        key,
        f"{name} ({POSITIVE_CONTROL})",
        "speech_llm",
        "bridge",
        None,
        TUNED,
        None,
        SPEAKS,
        _MILLIONS[BASE] + _MILLIONS[TUNED],
        _LICENCE,
        audio_base=WHISPER,
        temperature=temperature,
    )


def _cascade(key: str, ears: str, reader: str) -> SystemSpec:
    return SystemSpec(
        key,
        f"{LAPTOP_TRANSCRIBERS[ears]} -> {_READERS[reader]}",
        "cascade",
        "cascade",
        None,
        reader,
        ears,
        WRITES,
        _MILLIONS[ears] + _MILLIONS[reader],
        _LICENCE,
    )


def _oracle(key: str, reader: str) -> SystemSpec:
    return SystemSpec(
        key,
        f"{_READERS[reader]}, true transcript",
        "text_llm",
        "text_llm",
        reader,
        reader,
        None,
        READS,
        _MILLIONS[reader],
        "Apache-2.0",
    )


LAPTOP_SYSTEMS: dict[str, SystemSpec] = {
    spec.key: spec
    for spec in (
        SystemSpec(
            "ultravox-smollm2",
            "Ultravox on SmolLM2",
            "speech_llm",
            "ultravox",
            "ultravox-smollm2",
            TUNED,
            None,
            SPEAKS,
            _MILLIONS[TUNED] + 25.0,
            _LICENCE,
            audio_base=WHISPER,
        ),
        _bridge("bridge-smollm2", "Bridge, temperature .5", 0.5),
        _bridge("bridge-smollm2-soft", "Bridge, temperature 1", 1.0),
        _bridge("bridge-smollm2-hard", "Bridge, temperature .25", 0.25),
        _cascade("cascade-whisper-base", BASE, TUNED),
        _cascade("cascade-whisper-tiny", TINY, TUNED),
        _cascade("cascade-other", BASE, PUBLISHED),
        _oracle("smollm2-tuned", TUNED),
        _oracle("smollm2", PUBLISHED),
    )
}


def _pair(key: str, speech_llm: str, cascade: str, words: str) -> Pair:
    return pair_of(LAPTOP_SYSTEMS, key, speech_llm, cascade, words)


_OWN, _WEAK, _OTHER = "its cascade", "a cascade with weak ears", "a cascade into SmolLM2 as published"
LAPTOP_PAIRS: dict[str, Pair] = {
    pair.key: pair
    for pair in (
        _pair("ultravox-smollm2", "ultravox-smollm2", "cascade-whisper-base", _OWN),
        _pair("ultravox-smollm2-weak", "ultravox-smollm2", "cascade-whisper-tiny", _WEAK),
        _pair("ultravox-smollm2-other", "ultravox-smollm2", "cascade-other", _OTHER),
        _pair("bridge-smollm2", "bridge-smollm2", "cascade-whisper-base", _OWN),
        _pair("bridge-smollm2-soft", "bridge-smollm2-soft", "cascade-whisper-base", _OWN),
        _pair("bridge-smollm2-hard", "bridge-smollm2-hard", "cascade-whisper-base", _OWN),
        _pair("bridge-smollm2-weak", "bridge-smollm2", "cascade-whisper-tiny", _WEAK),
        _pair("bridge-smollm2-other", "bridge-smollm2", "cascade-other", _OTHER),
    )
}
