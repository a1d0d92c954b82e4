"""The same sentence in the same voice gives the same bytes: every call is spoken in a process of its own.

espeak-ng keeps the phase of its pitch flutter from call to call, so what `engine.voice.speak` gives depends
on what was said before. A benchmark must make a clip again from its recipe alone, in any order: a small
helper process forks a child for each sentence, and a child always speaks its first. About 5 ms a sentence.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float

from engine.errors import VoiceError
from engine.result import SpokenWord

ROOT = Path(__file__).resolve().parents[1]
BYTES_PER_SAMPLE = 4  # float32

_lock = threading.Lock()
_helper: subprocess.Popen[bytes] | None = None


def speak_afresh(
    text: str, *, voice: str, rate_wpm: int, pitch: int, pitch_range: int, volume: int
) -> tuple[Float[np.ndarray, " samples"], int, tuple[SpokenWord, ...]]:
    """Return what `engine.voice.speak` gives as the first call of a process: (samples, rate in Hz, words).

    Raises:
        VoiceError: as `speak`, or the helper process cannot be started.
    """
    settings = {"voice": voice, "rate_wpm": rate_wpm, "pitch": pitch, "pitch_range": pitch_range}
    line = json.dumps({"text": text, **settings, "volume": volume}).encode() + b"\n"
    with _lock:
        # A helper that was stopped, by whatever, is started again once.
        reply = _ask(line) or _ask(line)
    if reply is None:
        raise VoiceError("The synthesiser's helper process stopped; try again.")
    header, sound = reply
    if "error" in header:
        raise VoiceError(header["error"])
    words = tuple(SpokenWord(word, start_s, end_s) for word, start_s, end_s in header["words"])
    return np.frombuffer(sound, dtype="<f4").astype(np.float32), header["rate_hz"], words


def _ask(line: bytes) -> tuple[dict[str, Any], bytes] | None:
    """Return the helper's reply; None when it is gone, and it is then forgotten."""
    helper = _start()
    assert helper.stdin is not None and helper.stdout is not None
    with suppress(OSError, ValueError):
        helper.stdin.write(line)
        helper.stdin.flush()
        header: dict[str, Any] = json.loads(helper.stdout.readline())
        n_bytes = BYTES_PER_SAMPLE * header.get("n_samples", 0)
        sound = helper.stdout.read(n_bytes)
        if len(sound) == n_bytes:
            return header, sound
    _stop()
    return None


def _start() -> subprocess.Popen[bytes]:
    global _helper
    if _helper is None:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        _helper = subprocess.Popen(
            [sys.executable, "-m", "engine.fresh_voice"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C is for us: who asks decides when the helper ends
        )
    return _helper


def _stop() -> None:
    global _helper
    if _helper is not None:
        for pipe in (_helper.stdin, _helper.stdout):
            if pipe is not None:
                with suppress(OSError):  # unsent bytes for a helper that is gone
                    pipe.close()
        _helper.kill()
        _helper.wait()
        _helper = None


atexit.register(_stop)


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answer requests, each from a forked child; where there is no fork, one request and then the end."""
    from engine.voice import is_available

    is_available()  # starts the library, so that a child need not
    for line in requests:
        if not hasattr(os, "fork"):
            _answer(line, replies)
            return
        child = os.fork()
        if child == 0:
            try:
                _answer(line, replies)
            finally:
                os._exit(0)
        os.waitpid(child, 0)


def _answer(line: bytes, replies: IO[bytes]) -> None:
    from engine.voice import speak

    sound = b""
    try:
        samples, rate_hz, words = speak(**json.loads(line))
        sound = samples.astype("<f4").tobytes()
        header = {
            "n_samples": len(samples),
            "rate_hz": rate_hz,
            "words": [(word.text, word.start_s, word.end_s) for word in words],
        }
    except VoiceError as error:
        header = {"error": str(error)}
    replies.write(json.dumps(header).encode() + b"\n" + sound)
    replies.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
