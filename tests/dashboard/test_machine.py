"""What a machine may lack when the page starts: each is worked around, or said in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

import engine
from dashboard.machine import UPLOADS, take_upload_folder, without_proxies
from engine.compiled import CACHE, LOCK, import_librosa
from engine.systems.weights import HOME_VARIABLE, weights_home


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(UPLOADS, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_gradios_own_folder_is_kept_where_it_can_be_written(temporary: Path) -> None:
    assert take_upload_folder() == "" and UPLOADS not in os.environ and (temporary / "gradio").is_dir()


def test_a_folder_of_somebody_else_is_not_used(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in its place cannot be written into either, whoever runs this test."""
    monkeypatch.setenv(UPLOADS, "")
    (temporary / "gradio").touch()
    assert take_upload_folder() == ""
    own = Path(os.environ[UPLOADS])
    assert own.is_dir() and own.parent == temporary and own.name != "gradio"
    assert own.stat().st_mode & 0o077 == 0, "uploads are nobody else's business"


def test_a_named_folder_that_cannot_be_written_is_said(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (temporary / "file").touch()
    monkeypatch.setenv(UPLOADS, str(temporary / "file" / "inside"))
    assert UPLOADS in take_upload_folder()


def test_without_any_temporary_folder_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError

    monkeypatch.delenv(UPLOADS, raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert "TMPDIR" in take_upload_folder()


def test_proxies_are_hidden_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "nonsense://")
    with pytest.raises(ZeroDivisionError), without_proxies():
        assert not {"HTTP_PROXY", "https_proxy", "ALL_PROXY"} & os.environ.keys()
        1 / 0  # noqa: B018
    assert os.environ["HTTP_PROXY"] == os.environ["https_proxy"] == os.environ["ALL_PROXY"] == "nonsense://"


@pytest.mark.parametrize("can_write", [True, False])
def test_what_librosa_compiles_is_kept_where_something_can_be_kept(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, can_write: bool
) -> None:
    """Its import fails where it can keep its compiled functions neither beside itself nor in a home."""
    home = temporary / "home"
    monkeypatch.setenv("HOME", str(home) if can_write else "/proc/none")
    monkeypatch.setenv(CACHE, "")
    monkeypatch.delenv(CACHE)
    assert callable(import_librosa().pyin)
    kept = Path(os.environ[CACHE])
    assert kept.is_relative_to(home) if can_write else kept.parent == temporary


def test_one_process_at_a_time_compiles_librosa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once left files behind with which every later process crashed, pitch erasers and probes among them."""
    monkeypatch.setenv(CACHE, str(tmp_path))
    import_librosa()  # loaded now, so that waiting below is for the lock alone
    with ThreadPoolExecutor(1) as pool:
        with FileLock(tmp_path / LOCK):
            waiting = pool.submit(import_librosa)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
        assert callable(waiting.result().pyin)


@pytest.mark.slow
def test_processes_that_compile_librosa_together_leave_what_the_next_can_load(tmp_path: Path) -> None:
    track = (
        "import numpy as np; from precompute.pitch import track_pitch_hz; "
        "print(track_pitch_hz(np.sin(np.arange(16000) * 0.05).astype(np.float32), 0.02).max())"
    )
    for at_once in (3, 1):
        started = [
            subprocess.Popen([sys.executable, "-c", track], env={**os.environ, CACHE: str(tmp_path)})
            for _ in range(at_once)
        ]
        assert [process.wait() for process in started] == [0] * at_once


def test_weights_have_a_place_where_the_machine_knows_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert weights_home().is_absolute() and weights_home().is_relative_to(Path(engine.__file__).parents[1])
