"""The pictures in a chat: out of its messages, decoded from their data URLs, and within bounds.

Invariant: nothing is ever fetched, from the network or from the disk.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from registry.errors import InvalidRequest

MAX_IMAGES = 16
MAX_IMAGE_BYTES = 20 * 1024 * 1024
IMAGE_PART: Mapping[str, Any] = {"type": "image"}
"""What a chat template knows a picture as."""

_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)


def take_images(messages: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The messages with IMAGE_PART in the place of each picture, and the pictures, as PNG files, in order.

    Raises InvalidRequest.
    """
    images: list[bytes] = []
    taken = [{**message, "content": _taken(message.get("content"), images)} for message in messages]
    return taken, images


def _taken(content: Any, images: list[bytes]) -> Any:
    if not isinstance(content, list):
        return content
    return [_part(part, images) for part in content]


def _part(part: Mapping[str, Any], images: list[bytes]) -> dict[str, Any]:
    if part.get("type") == "text":
        return {"type": "text", "text": str(part.get("text", ""))}
    if part.get("type") != "image_url":
        raise _refused(f"A content part of the type {part.get('type')!r:.40} is not supported")
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, Mapping) else given
    if len(images) >= MAX_IMAGES:
        raise _refused(f"There are more than {MAX_IMAGES} images in this chat")
    images.append(_image(url if isinstance(url, str) else ""))
    return dict(IMAGE_PART)


def _image(url: str) -> bytes:
    prefix = _DATA_URL.match(url)
    if prefix is None:
        raise _refused("An image must be a data URL (data:image/png;base64,...): slmreg fetches nothing")
    if len(url) > MAX_IMAGE_BYTES * 4 // 3 + 100:
        raise _refused(f"An image has more than {MAX_IMAGE_BYTES} bytes")
    try:
        content = base64.b64decode(url[prefix.end() :], validate=True)
    except binascii.Error as error:
        raise _refused("The base64 of an image's data URL is broken") from error
    # Here, as most models take no pictures: the library takes a while to import.
    from daemon.worker.vision.pictures import as_png

    return as_png(content)


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"{why}.", param="messages")
