"""The messages between the daemon and a worker process, and how they are framed.

A frame is a 4-byte big-endian length and that many bytes of UTF-8 JSON with the message's ``type``. The worker keeps
its own copy of the original standard output for frames and points descriptor 1 at standard error before it loads any
native library, so that nothing a library prints can get between two frames. The worker ends when its standard input
does: a killed daemon leaves no orphan.

Conversation: the daemon sends one ``Load``; the worker answers ``Ready`` or ``LoadFailed``. Then any number of
``Generate`` and ``Cancel``, at once. Each ``Generate`` is answered by ``Accepted`` (the prompt has been counted and
fits), then ``Delta`` ... and ends with exactly one of ``Finished`` or ``Failed``; ``Failed`` may come without
``Accepted``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_FRAME_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Load the model folder at ``path``.

    ``context_tokens`` bounds one request's prompt and answer together, and also the key-value cache of all requests
    that run at the same time. ``threads`` is ONNX Runtime's intra-op thread count. ``max_concurrent`` bounds the
    requests that advance together. ``allowed_libraries`` are the SHA-256 digests of the custom operator libraries that
    may be run.
    """

    path: str
    execution_provider: str
    threads: int
    context_tokens: int
    max_concurrent: int
    allowed_libraries: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """``temperature`` 0 is greedy, ``top_k`` 0 is off; None is the model's own. ``seed`` None is a fresh one."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Answer a chat; ``messages`` and ``tools`` in OpenAI's shape. ``max_tokens`` None: to the end of the context.

    ``thinking``: whether the model is to reason first, where its chat template can say so; None is up to the template.
    """

    request_id: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)
    max_tokens: int | None = None
    stop: list[str] = field(default_factory=list)
    sampling: Sampling = field(default_factory=Sampling)
    thinking: bool | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a request; it ends with ``Finished(finish_reason="cancelled")``. Unknown ids are ignored."""

    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The model is loaded. ``context_tokens`` is what one request may use here, at most what ``Load`` asked for."""

    model_type: str
    device: str
    context_tokens: int
    load_s: float
    template_source: str


@dataclass(frozen=True, slots=True)
class LoadFailed:
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Accepted:
    request_id: str
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Delta:
    """Text that is safe to show: whole UTF-8 characters, no special tokens, no part of a stop string."""

    request_id: str
    text: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """``finish_reason`` is "stop" (end-of-sequence token or stop string), "length" or "cancelled". Times in seconds."""

    request_id: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    queue_s: float
    ttft_s: float
    decode_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """``code`` is that of a ``registry.errors`` class; ``context_length_exceeded`` fills both numbers."""

    request_id: str
    code: str
    message: str
    prompt_tokens: int | None = None
    context_tokens: int | None = None


ToWorker = Load | Generate | Cancel
ToDaemon = Ready | LoadFailed | Accepted | Delta | Finished | Failed
Message = ToWorker | ToDaemon

_TYPES: dict[str, type[Any]] = {
    cls.__name__: cls for cls in (Load, Generate, Cancel, Ready, LoadFailed, Accepted, Delta, Finished, Failed)
}


class ProtocolError(Exception):
    """The bytes are not a message of this protocol."""


def encode(message: Message) -> bytes:
    """One whole frame."""
    text = json.dumps({"type": type(message).__name__, **asdict(message)}, ensure_ascii=False)
    # JSON from a client may hold half a surrogate pair; json.loads takes it back in the same way.
    body = text.encode("utf-8", "surrogatepass")
    return len(body).to_bytes(4, "big") + body


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
        message: Message = cls(**fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"not a message: {error}") from error
    return message
