"""Pictures for tests, as files."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

from PIL import Image


def png(color: tuple[int, int, int], *, width: int = 20, height: int = 10) -> bytes:
    """A PNG file of one color."""
    return _png(width, height, zlib.compress((b"\0" + bytes(color) * width) * height))


def claimed(width: int, height: int) -> bytes:
    """A PNG file that says it is so large, and holds nothing."""
    return _png(width, height, zlib.compress(b""))


def _png(width: int, height: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def picture(color: tuple[int, int, int], kind: str, *, turned: bool = False) -> bytes:
    """A file of 20 x 10 pixels of one color; ``turned``: its camera was held upright."""
    image = Image.new("RGB", (20, 10), color)
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    file = io.BytesIO()
    more: dict[str, Any] = {"exif": exif} if turned else {}
    image.save(file, kind, **more)
    return file.getvalue()


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
