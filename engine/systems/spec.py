"""What a catalogue row says: systems, pairs and their state on this machine. No model library is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from engine.matching import MatchKind
from engine.systems.pinned_files import STANDS_ON

SystemKind = Literal["speech_llm", "cascade", "text_llm", "unit_lm"]
BYTES_IN_BF16 = 2


@dataclass(frozen=True)
class SystemSpec:
    """One system.

    Attributes:
        family: names the adapter that loads it.
        folder: of its own weights (`engine.systems.weights` says where that is); None when it only combines others
            or answers over a network.
        backbone: folder of the text LLM it runs on; "" where a service answers.
        transcriber: folder of the CTranslate2 transcriber, for a cascade.
        capabilities: what the page may offer: answer, forced_choice, lens, erasure, transcript.
        parameters_m: millions of parameters that run for an answer: ears or transcriber, and the backbone; NaN
            where a service does not say.
        audio_base: folder of the Whisper that a published Ultravox names, or of the encoder that makes a unit
            model's units; "" where its own folder has all.
        service: "gemini" or "endpoint" where somebody else's machine answers, else "".
        temperature: of a bridge's posterior; None for all others.
        variables: where the service's address, model and key stand in the environment: their common prefix.
    """

    key: str
    name: str
    kind: SystemKind
    family: str
    folder: str | None
    backbone: str
    transcriber: str | None
    capabilities: tuple[str, ...]
    parameters_m: float
    licence: str
    audio_base: str = ""
    service: str = ""
    variables: str = ""
    temperature: float | None = None

    @property
    def is_remote(self) -> bool:
        """Whether somebody else's machine gives the answer."""
        return bool(self.service)

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the model folders that it is made of, its own first, and last what its backbone is a change of."""
        names = (self.folder, self.transcriber, self.backbone, self.audio_base, STANDS_ON.get(self.backbone))
        return tuple(dict.fromkeys(name for name in names if name))

    @property
    def bf16_gb(self) -> float:
        """Memory of its weights in bf16, in gigabytes of 10^9 bytes."""
        return self.parameters_m * BYTES_IN_BF16 / 1e3


@dataclass(frozen=True)
class Pair:
    """A speech LLM beside its cascade and the text oracle on the same backbone."""

    key: str
    name: str
    speech_llm: str
    cascade: str
    text_oracle: str

    @property
    def systems(self) -> tuple[str, str, str]:
        """Keys of the three."""
        return self.speech_llm, self.cascade, self.text_oracle


@dataclass(frozen=True)
class SystemInfo:
    """What `/systems` lists: a row with its state on this machine.

    Attributes:
        match: the closest of its pairs.
        parameters_m: millions of parameters that run for an answer; None where a service does not say.
        bf16_gb: memory of its weights in bf16, in 10^9 bytes.
        pinned: model folder -> the hub's id and the revision that is fetched, for weights that do not ship.
        gated: some of them want an agreement with their owner first.
    """

    key: str
    name: str
    kind: SystemKind
    backbone: str
    match: MatchKind
    capabilities: tuple[str, ...]
    status: Literal["ready", "unavailable"]
    reason: str
    revision: str
    parameters_m: float | None
    bf16_gb: float | None
    licence: str
    pinned: Mapping[str, str]
    gated: bool


SPEAKS = ("answer", "forced_choice", "lens", "erasure")
WRITES = ("answer", "forced_choice", "transcript")
READS = ("answer", "forced_choice")


def pair_of(systems: dict[str, SystemSpec], key: str, speech_llm: str, cascade: str, words: str) -> Pair:
    """Return a pair; the oracle is the cascade's own text LLM on the true transcript."""
    told = systems[cascade]
    same = (told.backbone, told.service)
    oracle = next(
        spec.key
        for spec in systems.values()
        if spec.kind == "text_llm" and (spec.backbone, spec.service) == same
    )
    return Pair(key, f"{systems[speech_llm].name} and {words}", speech_llm, cascade, oracle)
