"""What a sound file's own container says of its end: whether bytes are missing, and how many samples it counts.

FFmpeg reads whatever there is up to the end of a file, so it cannot tell half a file from a whole one. Sizes
that a program left open while it wrote to a pipe are no promise, and neither are durations and time stamps;
only what the container closes when it is finished counts here. Nothing is decoded.
"""

from __future__ import annotations

import os
import string
from dataclasses import dataclass
from typing import BinaryIO

# Programs that write to a pipe leave 0, 1 to 4 GiB, or a guess of theirs as the size of what is to come.
OPEN_BYTES = 2**28 - 4096
# Some programs count their own header into the size of the sound.
_SLACK_BYTES = 64
# More than this behind a WAV's sound, and no chunk, is sound.
_RUBBISH_BYTES = 4096
_TAG_LETTERS = frozenset((string.ascii_letters + string.digits + " -_.()\0\xa9").encode("latin-1"))

_W64_RIFF = b"riff\x2e\x91\xcf\x11"
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_OGG_FIRST, _OGG_LAST = 2, 4  # flags of a page: begins, ends its stream
_MP3_SEARCHED_BYTES = 4096
_ID3_HEADER_BYTES = 10


@dataclass(frozen=True)
class Ending:
    """What a container says of its end.

    Attributes:
        is_missing: the file ends before the container does.
        reads_on: a WAV's sound goes on behind the size that its header gives, as a recorder that crashed leaves it.
        n_samples: per channel, as the header counts them; None where it does not.
        slack_samples: how many fewer may come out of a whole file (an encoder's padding).
    """

    is_missing: bool = False
    n_samples: int | None = None
    slack_samples: int = 0
    reads_on: bool = False


def ending_of(location: str) -> Ending:
    """Return what the file's container says of its end; nothing is claimed of containers that do not say.

    Raises:
        OSError: the file cannot be read.
    """
    n_bytes = os.path.getsize(location)
    with open(location, "rb") as file:
        head = file.read(64)
        if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM"):
            return _chunks_ending(file, n_bytes, "big" if head[:4] in (b"RIFX", b"FORM") else "little")
        if head[:4] == b"caff":
            return Ending(_caf_missing(file, n_bytes))
        if head[:8] == _W64_RIFF:
            return Ending(_w64_missing(file, n_bytes))
        if head[:4] == b"OggS":
            return Ending(_ogg_missing(file, n_bytes))
        if int.from_bytes(head[:4], "big") == _EBML:
            return Ending(_matroska_missing(file, n_bytes))
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"):
            return Ending(_mp4_missing(file, n_bytes))
        if head[:4] == b"fLaC":
            # STREAMINFO: the last 36 bits before the checksum count the samples; 0 means unknown.
            return Ending(n_samples=(int.from_bytes(head[21:26], "big") & (2**36 - 1)) or None)
        return _mp3_ending(file)


def _chunks_ending(file: BinaryIO, n_bytes: int, order: str) -> Ending:
    """RIFF (WAV) and FORM (AIFF): only the chunk of the sound counts, the outer size is seldom kept right."""
    position, size_64 = 12, None
    while True:
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            return Ending()
        tag, size = head[:4], int.from_bytes(head[4:8], order)  # type: ignore[arg-type]
        body = position + 8
        if tag == b"ds64":  # of RF64: the sizes that need more than 32 bits, the sound's second
            file.seek(body + 8)
            size_64 = int.from_bytes(file.read(8), "little")
        if tag in (b"data", b"SSND"):
            promised = size_64 if size == 0xFFFFFFFF and size_64 is not None else size
            file.seek(min(body + promised + promised % 2, n_bytes))
            after = file.read(4)
            goes_on = tag == b"data" and promised and n_bytes - body - promised > _RUBBISH_BYTES
            return Ending(
                _is_missing(promised, n_bytes - body),
                reads_on=bool(goes_on and not _TAG_LETTERS.issuperset(after)),
            )
        if body + size > n_bytes or not _TAG_LETTERS.issuperset(tag):
            return (
                Ending()
            )  # no sound was begun: whether this is a sound file at all is for the decoder to say
        position = body + size + size % 2


def _is_missing(promised: int, found: int) -> bool:
    return found + _SLACK_BYTES < promised < OPEN_BYTES


def _caf_missing(file: BinaryIO, n_bytes: int) -> bool:
    position = 8
    while position < n_bytes:
        file.seek(position)
        head = file.read(12)
        size = int.from_bytes(head[4:], "big", signed=True)
        if head[:4] == b"data" or size < 0:
            return _is_missing(size, n_bytes - position - 12)  # -1: up to the end of the file
        position += 12 + size
    return False


def _w64_missing(file: BinaryIO, n_bytes: int) -> bool:
    position = 40
    while position < n_bytes:
        file.seek(position)
        head = file.read(24)
        size = int.from_bytes(head[16:], "little")  # with its own 24 bytes
        if size < 24:
            return False
        if head[:4] == b"data":
            return _is_missing(size, n_bytes - position)
        position += -(-size // 8) * 8
    return False


def _mp4_missing(file: BinaryIO, n_bytes: int) -> bool:
    position = 0
    while position < n_bytes:
        file.seek(position)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8 or not _TAG_LETTERS.issuperset(head[4:8]):
            return False  # 0: up to the end of the file; else no box, such as bytes that fill up a sector
        position += size
    return position > n_bytes


def _matroska_missing(file: BinaryIO, n_bytes: int) -> bool:
    """Walk the elements; a browser's recorder leaves the sizes of segment and clusters unknown."""
    position = 0
    while position < n_bytes:
        file.seek(position)
        head = file.read(12)
        id_bytes = _leading_zeros(head[0]) + 1
        if id_bytes > 4:
            return False
        if len(head) <= id_bytes:
            return True
        size_bytes = _leading_zeros(head[id_bytes]) + 1
        if size_bytes > 8 or len(head) < id_bytes + size_bytes:
            return size_bytes <= 8
        element = int.from_bytes(head[:id_bytes], "big")
        largest = 2 ** (7 * size_bytes) - 1
        size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & largest
        position += id_bytes + size_bytes
        if size != largest:
            position += size
        elif element not in (_SEGMENT, _CLUSTER):
            return False
    return position > n_bytes


def _leading_zeros(byte: int) -> int:
    return 8 - byte.bit_length()


def _ogg_missing(file: BinaryIO, n_bytes: int) -> bool:
    """Walk the pages: the last of a stream says so."""
    position, begun = 0, set()
    while position < n_bytes:
        file.seek(position)
        head = file.read(27)
        if head[:4] != b"OggS"[: len(head)]:
            return False
        lacing = file.read(head[26]) if len(head) == 27 else b""
        if len(head) < 27 or len(lacing) < head[26]:
            return True
        position += 27 + len(lacing) + sum(lacing)
        stream = head[14:18]
        if head[5] & _OGG_FIRST:
            begun.add(stream)
        if head[5] & _OGG_LAST:
            begun.discard(stream)
    return position > n_bytes or bool(begun)


def _mp3_ending(file: BinaryIO) -> Ending:
    """Read the count of frames in an MP3's first frame (Xing, Info or VBRI), where its encoder left one."""
    position = 0
    while True:
        file.seek(position)
        head = file.read(_ID3_HEADER_BYTES)
        if head[:3] != b"ID3" or len(head) < _ID3_HEADER_BYTES:
            break
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        position += _ID3_HEADER_BYTES + size + (_ID3_HEADER_BYTES if head[5] & 0x10 else 0)
    file.seek(position)
    data = file.read(_MP3_SEARCHED_BYTES)
    start = next((at for at in range(len(data) - 3) if _is_layer_3(data[at : at + 4])), None)
    if start is None:
        return Ending()
    is_mpeg_1, is_mono = data[start + 1] & 0x08 != 0, data[start + 3] >> 6 == 3
    side_bytes = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}[
        is_mpeg_1, is_mono
    ]
    tag = data[start + 4 + side_bytes :]
    n_frames = 0
    if tag[:4] in (b"Xing", b"Info") and tag[7:8] and tag[7] & 1:
        n_frames = int.from_bytes(tag[8:12], "big")
    elif data[start + 36 : start + 40] == b"VBRI":
        n_frames = int.from_bytes(data[start + 50 : start + 54], "big")
    frame = 1152 if is_mpeg_1 else 576
    return Ending(n_samples=n_frames * frame or None, slack_samples=4 * frame)


def _is_layer_3(head: bytes) -> bool:
    """Whether these four bytes can begin a frame of MPEG audio, layer III."""
    return (
        head[0] == 0xFF
        and head[1] & 0xE6 == 0xE2  # sync and layer
        and head[1] & 0x18 != 0x08  # reserved version
        and head[2] & 0xF0 not in (0x00, 0xF0)  # free or bad bit rate
        and head[2] & 0x0C != 0x0C  # reserved sample rate
    )
