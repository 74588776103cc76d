"""``slmreg run`` in a terminal, driven through a pseudo-terminal as a person would."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Home, put

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are a POSIX thing")

CTRL_C = b"\x03"


class Terminal:
    """The other end of a pseudo-terminal that a command runs in."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._master, slave = os.openpty()
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            # The command becomes the terminal's foreground process, so that Ctrl-C reaches it as SIGINT.
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509  # no threads run in the tests at this moment
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: bytes) -> None:
        os.write(self._master, text)

    def until(self, text: str, timeout_s: float = 60) -> str:
        """Read until ``text`` has come; what came since the last time."""
        os.set_blocking(self._master, False)
        deadline_s = time.monotonic() + timeout_s
        while text not in self.seen:
            assert time.monotonic() < deadline_s, f"{text!r} did not come; there was: {self.seen!r}"
            try:
                self.seen += os.read(self._master, 4096).decode("utf-8", "replace")
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:  # Linux's way to say that the command has ended
                assert text in self.seen, f"the command ended; there was: {self.seen!r}"
        came, _, self.seen = self.seen.partition(text)
        return came

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_ctrl_c_stops_the_answer_and_not_the_chat(home: Home, slow: Path) -> None:
    put(slow, home.models / "slow")
    served = home.start()
    terminal = Terminal(
        [sys.executable, "-m", "daemon.cli", "run", "slow", "--temperature", "0", "--max-tokens", "8000"],
        home.environment,
    )
    try:
        terminal.until(">>> ")
        terminal.type(b"Tell me everything\r")
        terminal.until(" B")  # the random model's words
        assert served.sessions()["slow:0"]["active"] == 1
        terminal.type(CTRL_C)
        terminal.until("(stopped)")
        terminal.until(">>> ")
        assert terminal.process.poll() is None
        terminal.type(b"/clear\r")
        terminal.until(">>> ")
        terminal.type(b"/bye\r")
        assert terminal.process.wait(10) == 0
    finally:
        terminal.close()


def test_an_error_in_the_chat_is_told_and_the_chat_goes_on(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    home.start()
    terminal = Terminal([sys.executable, "-m", "daemon.cli", "run", "tiny"], home.environment)
    try:
        terminal.until(">>> ")
        # A terminal takes at most 4,096 characters a line; with its specials this is beyond 2,048 tokens of context.
        terminal.type(b"# " * 1500 + b"\r")
        terminal.until("Error: The prompt has")
        terminal.until(">>> ")
        terminal.type(b"\x04")
        assert terminal.process.wait(10) == 0
    finally:
        terminal.close()
