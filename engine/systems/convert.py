"""Weights of another format as the folder that transformers reads: `python -m engine.systems.convert KIND FROM TO`.

A process of its own: it takes a gigabyte for seconds, and two threads that import transformers at once can find its
modules half made. What goes wrong is one sentence on stderr, with status 1.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(kind: str, source: str, target: str) -> int:
    """Convert and return the exit status.

    Args:
        kind: "gguf" with its file as `source`, or "whisper" with the folder of a CTranslate2 Whisper.
        source: what is read.
        target: an existing folder.
    """
    from safetensors import SafetensorError

    from engine.errors import EngineError
    from engine.systems import gguf_folder, whisper_weights

    write = {
        "gguf": gguf_folder.write_transformers_folder,
        "whisper": whisper_weights.write_transformers_folder,
    }[kind]
    try:
        write(Path(source), Path(target))
    except (EngineError, OSError, SafetensorError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - read by the process that started this one
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
