"""WAV files: samples out of them, and windows of samples into new ones.

The standard library's ``wave`` knows no floating point before Python 3.15 and no extensible headers before 3.12, and
recorders write both.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.errors import InvalidRequest

Samples = npt.NDArray[np.float32]

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_TYPES = {(_PCM, 16): "<i2", (_PCM, 32): "<i4", (_FLOAT, 32): "<f4", (_FLOAT, 64): "<f8"}
_MAX_RATE = 384_000
_MAX_CHANNELS = 64


def read_wav(content: bytes) -> tuple[Samples, int]:
    """Samples between -1 and 1, channels mixed, and their rate in Hz. Raises InvalidRequest."""
    chunks = dict(_chunks(content))
    header, data = chunks.get(b"fmt "), chunks.get(b"data")
    if header is None or data is None or len(header) < 16:
        raise _unusable("it is cut off")
    kind, channels, rate, _bytes_per_s, _align, bits = struct.unpack("<HHIIHH", header[:16])
    if kind == _EXTENSIBLE and len(header) >= 26:
        kind = int.from_bytes(header[24:26], "little")
    if not (1 <= channels <= _MAX_CHANNELS and 1 <= rate <= _MAX_RATE):
        raise _unusable(f"it says that it has {channels} channels and {rate} samples a second")
    samples = _decoded(data, kind, bits)
    mixed: Samples = samples[: len(samples) // channels * channels].reshape(-1, channels).mean(axis=1, dtype=np.float32)
    if not len(mixed):
        raise InvalidRequest("The audio file holds no sound.", param="file")
    return np.nan_to_num(mixed, copy=False, nan=0.0, posinf=1.0, neginf=-1.0), rate


def write_wav(samples: Samples, rate: int) -> bytes:
    """One channel of 16 bits."""
    data = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, _PCM, 1, rate, 2 * rate, 2, 16)
    body = b"WAVE" + header + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """What a stream's recorder left open counts as far as it goes: such files say 0 or 2^32 - 1 as a size."""
    place = 12
    while place + 8 <= len(content):
        name, size = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        is_open = name == b"data" and (size == 0 or place + 8 + size > len(content))
        yield name, content[place + 8 :] if is_open else content[place + 8 : place + 8 + size]
        if is_open:
            return
        place += 8 + size + size % 2


def _decoded(data: bytes, kind: int, bits: int) -> Samples:
    whole = data[: len(data) // max(1, bits // 8) * max(1, bits // 8)]
    if (kind, bits) == (_PCM, 8):
        return _scaled(np.frombuffer(whole, np.uint8).astype(np.float32) - 128, 8)
    if (kind, bits) == (_PCM, 24):
        # The three bytes are the upper ones of a number of four.
        padded = np.zeros((len(whole) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(whole, np.uint8).reshape(-1, 3)
        return _scaled(padded.view("<i4")[:, 0], 32)
    element = _TYPES.get((kind, bits))
    if element is None:
        raise _unusable(f"its samples have {bits} bits in the format {kind}, which is not known")
    samples = np.frombuffer(whole, element)
    return _scaled(samples, bits) if kind == _PCM else samples.astype(np.float32)


def _scaled(samples: npt.NDArray[Any], bits: int) -> Samples:
    """Whole numbers with a sign to between -1 and 1."""
    return samples.astype(np.float32) * np.float32(2.0 ** (1 - bits))


def _unusable(why: str) -> InvalidRequest:
    return InvalidRequest(f"The WAV file cannot be used: {why}. Save it as PCM with 16 bits.", param="file")
