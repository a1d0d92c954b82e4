"""Making the shipped models smaller without changing a bit of them: shared tensors once, JSON without blanks."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from engine.systems.weights import pieces_file, put_together

# The later model and the one whose encoder it began with.
SHARE = (("mini-qwen2-audio", "mini-ultravox"),)
BLANK_JSON = ("tokenizer.json", "vocabulary.json")
LEAST_BYTES = 4_096  # a shorter run costs more to list than it frees


def slim(models: Path) -> int:
    """Store what two models share once, and JSON files without blanks; returns how many bytes that freed.

    Files that are small already are left alone, so that a second call frees nothing.
    """
    freed = 0
    for model, other in SHARE:
        for shard in sorted((models / model).glob("*.safetensors")):
            freed += sum(share(shard, lender) for lender in (models / other).glob("*.safetensors"))
    for name in BLANK_JSON:
        freed += sum(pack_json(file) for file in models.glob(f"*/{name}"))
    return freed


def pack_json(file: Path) -> int:
    """Write a JSON file anew without blanks; returns the bytes freed."""
    before = file.read_bytes()
    packed = json.dumps(json.loads(before), separators=(",", ":"), ensure_ascii=False).encode()
    if len(packed) < len(before):
        file.write_bytes(packed)
    return max(0, len(before) - len(packed))


def share(shard: Path, lender: Path) -> int:
    """Keep a safetensors file as its own bytes and those that another model's file has; returns the bytes freed.

    Args:
        shard: is replaced, if that frees anything, by its own bytes and the list of its pieces.
        lender: in another model's folder beside; it stays as it is.
    """
    if not shard.exists():
        return 0
    whole = shard.read_bytes()
    runs = shared_runs(whole, lender.read_bytes())
    if not runs:
        return 0
    own, pieces, at = bytearray(), [], 0
    own_name = f"{shard.stem}.own"
    for start, stop, there in [*runs, (len(whole), len(whole), 0)]:
        if start > at:
            pieces.append({"name": own_name, "start": len(own), "stop": len(own) + start - at})
            own += whole[at:start]
        if stop > start:
            pieces.append(
                {
                    "model": lender.parent.name,
                    "name": lender.name,
                    "start": there,
                    "stop": there + stop - start,
                }
            )
        at = stop
    shard.with_name(own_name).write_bytes(own)
    listed = json.dumps({"sha256": hashlib.sha256(whole).hexdigest(), "pieces": pieces}) + "\n"
    pieces_file(shard).write_text(listed, encoding="utf-8")
    assert put_together(shard) == whole, "the pieces must make the file"
    shard.unlink()
    return len(whole) - len(own) - len(listed)


def shared_runs(whole: bytes, other: bytes) -> list[tuple[int, int, int]]:
    """Return runs of bytes that two safetensors files share: (start, stop, start in the other), in order.

    Tensors are compared by name; neighbours in both files make one run.
    """
    there = dict(_tensors(other))
    runs: list[tuple[int, int, int]] = []
    for name, (start, stop) in _tensors(whole):
        if name not in there or whole[start:stop] != other[slice(*there[name])]:
            continue
        begin = there[name][0]
        if runs and runs[-1][1] == start and runs[-1][2] + start - runs[-1][0] == begin:
            runs[-1] = (runs[-1][0], stop, runs[-1][2])
        else:
            runs.append((start, stop, begin))
    return [run for run in runs if run[1] - run[0] >= LEAST_BYTES]


def _tensors(whole: bytes) -> list[tuple[str, tuple[int, int]]]:
    """Return each tensor's name and where its bytes lie, in the order of the file."""
    size = int.from_bytes(whole[:8], "little")
    header: dict[str, Any] = json.loads(whole[8 : 8 + size])
    places = [
        (name, tuple(8 + size + offset for offset in entry["data_offsets"]))
        for name, entry in header.items()
        if name != "__metadata__"
    ]
    return sorted(places, key=lambda place: place[1])  # type: ignore[arg-type, return-value]
