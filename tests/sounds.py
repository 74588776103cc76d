"""Sounds for tests, as files."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import numpy.typing as npt

RATE = 16_000


def tone(hertz: float, seconds: float, rate: int = RATE) -> npt.NDArray[np.float32]:
    times = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def wav_file(samples: npt.NDArray[np.float32], rate: int = RATE, channels: int = 1) -> bytes:
    """By the standard library: 16 bits; every channel has the same."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat((samples * 32767).astype("<i2"), channels).tobytes())
    return buffer.getvalue()


def flac_header(seconds: float | None, rate: int = RATE) -> bytes:
    """The beginning of a FLAC file, with nothing behind it."""
    samples = int((seconds or 0) * rate)
    info = bytes(10) + (rate << 44 | 15 << 36 | samples).to_bytes(8, "big") + bytes(16)
    return b"fLaC" + struct.pack(">I", 0x80000000 | len(info)) + info


def mp3_file(seconds: float, *, tag_bytes: int = 0) -> bytes:
    """Frames of layer III at 128 kbit/s and 44.1 kHz that hold nothing, behind a tag of that size."""
    tag = b"ID3\x04\x00\x00" + bytes((tag_bytes >> shift) & 0x7F for shift in (21, 14, 7, 0)) + bytes(tag_bytes)
    frame = b"\xff\xfb\x90\x00" + bytes(413)
    return (tag if tag_bytes else b"") + frame * int(seconds * 44100 / 1152)
