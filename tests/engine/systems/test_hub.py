"""Fetching from a hub on this machine: what is had, what is not fetched twice, and one sentence where it fails."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from engine.errors import ModelFilesError
from engine.systems import fetching
from engine.systems.catalogue import revision_in, systems
from engine.systems.fetching import _fetch_from_hub as fetch
from engine.systems.fetching import _hub_obstacle as obstacle
from engine.systems.weights import CHECKPOINTS, HOME_VARIABLE, folder_of, missing_weights, weights_home
from tests.engine.fake_hub import BRANCH_LEADS_TO, TOKEN, FakeHub, running_hub, stand_in

QWEN, LLAMA, ULTRAVOX, PHI = (
    "qwen2-7b-instruct",
    "llama-3.1-8b-instruct",
    "ultravox-v0_6-llama-3_1-8b",
    "phi-4-multimodal",
)
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
Usage = namedtuple("Usage", "total used free")


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


def refusal(name: str, hub: FakeHub) -> str:
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
    message = refusal(QWEN, hub)
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
    message = refusal(LLAMA, hub)
    assert message == obstacle(LLAMA) and "accept its licence on its page, then set HF_TOKEN" in message
    assert {path for _, path, _ in hub.asked} == {"/"} and not weights_home().exists()


def test_gated_with_a_token_that_may_not_is_a_sentence(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.gated.add(CHECKPOINTS[LLAMA].repository)
    assert obstacle(LLAMA) == ""
    assert "is gated, and this token may not read it: accept its licence" in refusal(LLAMA, hub)
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
    assert words in refusal(ULTRAVOX, hub)
    assert missing_weights([ULTRAVOX]) == (ULTRAVOX,)


def test_a_full_disk_is_said_before_anything_is_fetched(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for the weights and the spare, and not a byte less."""
    need = CHECKPOINTS[QWEN].gb + fetching.SPARE_GB
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, int((need - 0.1) * 1e9)))
    message = refusal(QWEN, hub)
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
        message = refusal(name, hub)
        assert (
            "is not here and the hub does not answer: connect to the network" in message and name in message
        )
    assert time.monotonic() - started < 5


def test_offline_by_wish_is_the_same(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "the hub does not answer" in refusal(QWEN, hub) and not hub.asked


def test_a_network_that_swallows_everything_costs_one_wait(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "HUB_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(
            huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}"
        )
        refusal(QWEN, hub)
        started = time.monotonic()
        refusal(ULTRAVOX, hub)
        assert time.monotonic() - started < 0.25
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(fetching, "_SILENT_UNTIL", [time.monotonic() - 0.001])
        fetch(QWEN)


def test_a_folder_of_ones_own_that_lacks_files_is_not_fetched_over(hub: FakeHub) -> None:
    """The sixteen gigabytes would lie where nobody looks."""
    own = weights_home() / QWEN
    own.mkdir(parents=True)
    (own / "config.json").write_text("{}", encoding="utf-8")
    assert "a folder of your own that lacks files" in refusal(QWEN, hub)
    assert not hub.got() and own.is_dir() and not own.is_symlink()


def test_weights_that_cannot_be_linked_are_a_sentence(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a file").write_text("", encoding="utf-8")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "a file"))
    assert f"{HOME_VARIABLE} cannot take a link to it" in refusal(QWEN, hub)


def test_the_token_reaches_no_log(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with caplog.at_level(logging.DEBUG):
        fetch(LLAMA)
        hub.gated.add(CHECKPOINTS[QWEN].repository)
        refusal(QWEN, hub)
    assert TOKEN not in caplog.text
