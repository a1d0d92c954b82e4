"""The key of a point: its parts in one text, which stands in the link and is read again by the section."""

from __future__ import annotations

from engine.errors import UnknownKeyError

MARK = "~"


def point_key(*parts: object) -> str:
    """Return the key of a point."""
    return MARK.join(str(part) for part in parts)


def parts_of(point: str, n_parts: int) -> list[str]:
    """Return what a key was made of.

    Raises:
        UnknownKeyError: it was made by no chart of this kind.
    """
    parts = point.split(MARK)
    if len(parts) != n_parts or not all(parts):
        raise UnknownKeyError(
            "This link names a point that this chart does not have; choose one in the chart."
        )
    return parts


def layer_of(part: str) -> int:
    """Return the layer in a key; raises UnknownKeyError where it is no number."""
    if not (part.isascii() and part.isdigit() and len(part) < 5):
        raise UnknownKeyError("This link names a layer that is no number; choose a point in the chart.")
    return int(part)
