"""How messages travel between the daemon and a worker process: as frames on the worker's standard streams.

A frame is a 4-byte big-endian length and that many bytes of UTF-8 JSON with the message's ``type``. The worker keeps
its own copy of the original standard output for frames and points descriptor 1 at standard error before it loads any
native library, so that nothing a library prints can get between two frames. The worker ends when its standard input
does: a killed daemon leaves no orphan.
"""

from __future__ import annotations

import json
from typing import Any, get_args

from daemon.pool.protocol import Delta, Generate, Guide, Message, Sampling, TokenLogprob, ToolCallDelta

MAX_FRAME_BYTES = 64 * 1024 * 1024

_TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in get_args(Message)}


class ProtocolError(Exception):
    """The bytes are not a message of this protocol."""


def encode(message: Message) -> bytes:
    """One whole frame."""
    text = json.dumps({"type": type(message).__name__, **_fields(message)}, ensure_ascii=False, default=_fields)
    # JSON from a client may hold half a surrogate pair; json.loads takes it back in the same way.
    body = text.encode("utf-8", "surrogatepass")
    return len(body).to_bytes(4, "big") + body


def _fields(value: Any) -> dict[str, Any]:
    """Of a message or a value in one; ``dataclasses.asdict`` would copy everything first, once for every token."""
    return {name: getattr(value, name) for name in value.__slots__}


def frame_size(header: bytes) -> int:
    """Length of the body announced by a 4-byte ``header``. Raises ProtocolError if it is beyond ``MAX_FRAME_BYTES``."""
    size = int.from_bytes(header, "big")
    if size > MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {size} bytes is over the limit of {MAX_FRAME_BYTES}")
    return size


def decode(body: bytes) -> Message:
    """The message in one frame's body. Raises ProtocolError."""
    try:
        fields = json.loads(body)
        cls = _TYPES[fields.pop("type")]
        if cls is Generate:
            fields["sampling"] = Sampling(**fields["sampling"])
            fields["guide"] = Guide(**fields["guide"]) if fields.get("guide") is not None else None
        if cls is Delta:
            fields["tool_calls"] = [ToolCallDelta(**call) for call in fields["tool_calls"]]
            fields["logprobs"] = [_logprob(each) for each in fields["logprobs"]]
        message: Message = cls(**fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"not a message: {error}") from error
    return message


def _logprob(fields: dict[str, Any]) -> TokenLogprob:
    return TokenLogprob(**{**fields, "top": [_logprob(each) for each in fields["top"]]})
