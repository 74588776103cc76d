"""A small client of our own OpenAI endpoint: a streamed answer, piece by piece."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from daemon.cli.backend import HTTP_TIMEOUT_S, DaemonRefused, error_message
from daemon.cli.daemon_link import RunningDaemon


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the answer, or of the reasoning before it."""

    text: str
    is_reasoning: bool = False


@dataclass(slots=True)
class StreamedAnswer:
    """Iterate once, for the text or for all ``pieces``; the other fields are filled as the answer arrives."""

    daemon: RunningDaemon
    body: dict[str, Any]
    model: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[str]:
        """The text of the answer, without its reasoning. Raises as ``pieces`` does."""
        return (piece.text for piece in self.pieces() if not piece.is_reasoning)

    def pieces(self) -> Generator[Piece, None, None]:
        """Raises DaemonRefused with the daemon's message. Closing the generator stops the answer."""
        import httpx

        body = {**self.body, "stream": True, "stream_options": {"include_usage": True}}
        try:
            with (
                self.daemon.client(HTTP_TIMEOUT_S) as client,
                client.stream("POST", "/v1/chat/completions", json=body) as response,
            ):
                if not response.is_success:
                    response.read()
                    raise DaemonRefused(error_message(response.text, response.status_code))
                for line in response.iter_lines():
                    if line.startswith("data: ") and line != "data: [DONE]":
                        yield from self._take(json.loads(line.removeprefix("data: ")))
        except httpx.HTTPError as error:
            raise DaemonRefused(f"The connection to the daemon at {self.daemon.url} broke: {error}.") from error

    def _take(self, chunk: dict[str, Any]) -> Iterator[Piece]:
        if "error" in chunk:
            raise DaemonRefused(str(chunk["error"]["message"]))
        self.model = chunk["model"]
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk["choices"]:
            self.finish_reason = choice["finish_reason"] or self.finish_reason
            if reasoning := choice["delta"].get("reasoning_content"):
                yield Piece(reasoning, is_reasoning=True)
            if text := choice["delta"].get("content"):
                yield Piece(text)
