"""Rows of the small models that ship."""

from __future__ import annotations

from engine.systems.spec import READS, SPEAKS, WRITES, Pair, SystemSpec, pair_of

_OWN = "mini-Qwen2-Audio's LLM"
# Folder of a cascade's transcriber -> its name.
MINI_TRANSCRIBERS = {"mini-whisper": "mini-Whisper", "mini-whisper-weak": "weak mini-Whisper"}


def _speech_llm(key: str, name: str, family: str, backbone: str, parameters_m: float) -> SystemSpec:
    return SystemSpec(key, name, "speech_llm", family, key, backbone, None, SPEAKS, parameters_m, "MIT")


def _cascade(key: str, ears: str, reader: str, backbone: str, parameters_m: float) -> SystemSpec:
    name = f"{MINI_TRANSCRIBERS[ears]} -> {reader}"
    return SystemSpec(key, name, "cascade", "cascade", None, backbone, ears, WRITES, parameters_m, "MIT")


def _oracle(key: str, name: str, folder: str, parameters_m: float) -> SystemSpec:
    name = f"{name}, true transcript"
    return SystemSpec(key, name, "text_llm", "text_llm", folder, folder, None, READS, parameters_m, "MIT")


MINI_SYSTEMS: dict[str, SystemSpec] = {
    spec.key: spec
    for spec in (
        _speech_llm("mini-ultravox", "mini-Ultravox", "ultravox", "mini-llama", 15.9),
        _cascade("mini-cascade", "mini-whisper", "mini-Llama", "mini-llama", 16.3),
        _oracle("mini-llama", "mini-Llama", "mini-llama", 10.0),
        _speech_llm("mini-qwen2-audio", "mini-Qwen2-Audio", "qwen2_audio", "mini-qwen2-audio", 8.2),
        _cascade("mini-cascade-qwen2", "mini-whisper", "mini-Qwen2", "mini-qwen2", 10.9),
        _cascade("mini-cascade-self", "mini-whisper", _OWN, "mini-qwen2-audio", 10.9),
        _cascade("mini-cascade-weak", "mini-whisper-weak", "mini-Llama", "mini-llama", 11.8),
        _oracle("mini-qwen2", "mini-Qwen2", "mini-qwen2", 4.5),
        _oracle("mini-qwen2-audio-llm", _OWN, "mini-qwen2-audio", 4.5),
    )
}


def _pair(key: str, speech_llm: str, cascade: str, words: str) -> Pair:
    return pair_of(MINI_SYSTEMS, key, speech_llm, cascade, words)


MINI_PAIRS: dict[str, Pair] = {
    pair.key: pair
    for pair in (
        _pair("mini-ultravox", "mini-ultravox", "mini-cascade", "its cascade"),
        _pair("mini-ultravox-weak", "mini-ultravox", "mini-cascade-weak", "a cascade with weak ears"),
        _pair("mini-ultravox-other", "mini-ultravox", "mini-cascade-qwen2", "another backbone's cascade"),
        _pair("mini-qwen2-audio", "mini-qwen2-audio", "mini-cascade-qwen2", "its ancestor's cascade"),
        _pair("mini-qwen2-audio-self", "mini-qwen2-audio", "mini-cascade-self", "a cascade into its own LLM"),
        _pair("mini-qwen2-audio-other", "mini-qwen2-audio", "mini-cascade", "another backbone's cascade"),
    )
}
