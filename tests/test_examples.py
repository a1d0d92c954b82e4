"""What docs/api.md shows runs: the engine alone, on a file, on the pair that ships."""

from __future__ import annotations

import subprocess
import sys

from engine.examples import EXAMPLES
from tests.sizes import ROOT


def test_one_clip_prints_transcript_answers_and_words_by_layer() -> None:
    example = next(one for one in EXAMPLES if one.key == "topic-1")
    command = [sys.executable, "-m", "examples.one_clip", str(example.file), example.task]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=True)
    lines = done.stdout.splitlines()
    speech, cascade = lines[:2]
    assert speech.startswith("speech_llm, mini-Ultravox") and cascade.startswith("cascade, mini-Whisper")
    assert all(f'answers "{example.gold}' in line for line in (speech, cascade))
    assert any(word in cascade for word in example.reference.split()[1:3])
    layers = [line for line in lines if line.startswith("layer ")]
    assert [line.split(",")[0] for line in layers] == [f"layer {number}" for number in range(13)]
    spoken = max(layers, key=lambda line: float(line.split("precision ")[1].split(":")[0]))
    assert any(word in spoken for word in example.reference.lower().split())
