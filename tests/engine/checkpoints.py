"""Folders of checkpoints with weights of a few bytes, for what is told from configs and headers alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file


def write_checkpoint(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Sequence[float]],
    name: str = "model.safetensors",
) -> Path:
    """Write a config and one file of weights; without a revision, which would otherwise be believed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "revision.txt").unlink(missing_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({key: np.array(values, np.float32) for key, values in tensors.items()}, folder / name)
    return folder
