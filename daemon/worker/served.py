"""What the worker's main loop knows of a loaded model, of whatever kind."""

from __future__ import annotations

from typing import Protocol

from daemon.pool.protocol import Embed, Failed, Generate, Measure, Pulse, ToDaemon, ToWorker, Transcribe
from registry.errors import ContextLengthExceeded, InvalidRequest, SlmregError


class ServedModel(Protocol):
    """Messages in, messages out. Every call returns soon: one call of a native library at most."""

    @property
    def is_idle(self) -> bool:
        """True when a step would do nothing."""
        ...

    def handle(self, message: ToWorker) -> list[ToDaemon]:
        """What to answer at once. A model is loaded only once: a second Load is ignored."""
        ...

    def pulse(self) -> Pulse:
        """A sign of life, with what its requests take."""
        ...

    def step(self) -> list[ToDaemon]:
        """Advance what was asked by one step."""
        ...


def refused(message: ToWorker, does: str) -> list[ToDaemon]:
    """Of a request for another kind of model, why it fails; nothing of what is no request. ``does``: this model's."""
    if not isinstance(message, Generate | Embed | Transcribe | Measure):
        return []
    error = InvalidRequest(f"This model {does}, and can do nothing else. Ask another one.", param="model")
    return [failed(message.request_id, error)]


def failed(request_id: str, error: SlmregError) -> Failed:
    """What to tell of a request that ended with ``error``."""
    too_long = error if isinstance(error, ContextLengthExceeded) else None
    return Failed(
        request_id=request_id,
        code=error.code,
        message=error.message,
        param=getattr(error, "param", None),
        prompt_tokens=too_long.prompt_tokens if too_long is not None else None,
        context_tokens=too_long.context_tokens if too_long is not None else None,
    )
