"""What ``run`` prints of a streamed answer; tests/e2e has it with real models and in a terminal."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner

from daemon.cli.backend import DaemonRefused
from daemon.cli.chat import _Conversation, _shown
from daemon.cli.daemon_link import RunningDaemon
from daemon.cli.openai_stream import Piece, StreamedAnswer

DELTAS: tuple[dict[str, Any], ...] = (
    {"role": "assistant", "content": ""},
    {"reasoning_content": "2 and 2"},
    {"reasoning_content": " is 4"},
    {"content": "It is "},
    {"content": "4."},
)


@contextmanager
def answering(*deltas: dict[str, Any], status: int = 200) -> Iterator[tuple[RunningDaemon, list[Any]]]:
    """A server that streams these deltas to everybody: its address, and what it was asked."""
    asked: list[Any] = []
    chunks = [{"model": "m:1", "choices": [{"delta": delta, "finish_reason": None}]} for delta in deltas]
    end = {"model": "m:1", "choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"completion_tokens": 9}}
    events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in (*chunks, end)) + "data: [DONE]\n\n"
    body = events if status == 200 else json.dumps({"error": {"message": "No such model."}})

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        serving.start()
        try:
            yield RunningDaemon(1, f"http://127.0.0.1:{server.server_port}", "0"), asked
        finally:
            server.shutdown()
            serving.join()


def test_a_stream_is_reasoning_and_text_or_the_text_alone() -> None:
    with answering(*DELTAS) as (daemon, _asked):
        answer = StreamedAnswer(daemon, {})
        assert list(answer.pieces()) == [
            Piece("2 and 2", is_reasoning=True),
            Piece(" is 4", is_reasoning=True),
            Piece("It is "),
            Piece("4."),
        ]
        assert (answer.model, answer.finish_reason, answer.usage) == ("m:1", "stop", {"completion_tokens": 9})
        assert list(StreamedAnswer(daemon, {})) == ["It is ", "4."]


def test_an_error_of_the_daemon_is_told_in_its_words() -> None:
    with answering(status=404) as (daemon, _asked), pytest.raises(DaemonRefused, match="No such model"):
        list(StreamedAnswer(daemon, {}))


def test_reasoning_is_dim_and_not_on_standard_output() -> None:
    pieces = [Piece("hm", is_reasoning=True), Piece("so", is_reasoning=True), Piece("Yes"), Piece(".")]
    with CliRunner().isolation(color=True) as (out, err, _both):
        assert list(_shown(pieces)) == ["Yes", "."]
        assert out.getvalue() == b"Yes."
        assert err.getvalue() == b"\x1b[2mhm\x1b[0m\x1b[2mso\x1b[0m\n\n"


def test_an_answer_without_reasoning_leaves_standard_error_alone() -> None:
    with CliRunner().isolation(color=True) as (out, err, _both):
        assert list(_shown([Piece("Yes")])) == ["Yes"]
        assert (out.getvalue(), err.getvalue()) == (b"Yes", b"")


def test_a_conversation_goes_on_without_its_reasoning(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(*DELTAS) as (daemon, asked):
        conversation = _Conversation({"model": "m"}, None)
        conversation.ask(daemon, "2 + 2?")
        conversation.ask(daemon, "Sure?")
    assert asked[1]["messages"] == [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "It is 4."},
        {"role": "user", "content": "Sure?"},
    ]
    assert capsys.readouterr().out == "It is 4.\nIt is 4.\n"
