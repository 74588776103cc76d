"""A child process in a group of its own: start it, know when it is gone, end it for certain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

# For what a process said before it ended; only a process that it started itself can hold its pipes open longer.
LAST_WORDS_S = 1.0


async def start_child(command: Sequence[str]) -> Child:
    """Raises OSError if the command cannot be run."""
    # A group of its own: Ctrl-C in the daemon's terminal must not reach it, and killing it takes its children too.
    own_group = (
        {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        if os.name == "nt"
        else {"start_new_session": True}
    )
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **own_group,
    )
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise OSError("a process was started without its pipes")
    return Child(process, process.stdin, process.stdout, process.stderr)


class Child:
    """The process and its pipes. Somebody has to read ``stdout`` and ``stderr`` to their ends."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
    ) -> None:
        self._process = process
        self._stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_exited(self) -> bool:
        """Whether the process has ended, also if nothing has been heard of that yet."""
        return self._process.returncode is not None or _is_dead(self.pid)

    def write(self, data: bytes) -> None:
        """To its standard input, without waiting; nothing once that is closed.

        What the pipe does not take at once is kept, and dropped when the process ends.
        """
        if not self._stdin.is_closing():
            self._stdin.write(data)

    def close_input(self) -> None:
        self._stdin.close()

    def terminate(self) -> None:
        """Ask it to end; it may not listen."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End it and what it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses to signal what is dead already
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self.pid, signal.SIGKILL)

    async def exit_code(self, *, tick_s: float, on_tick: Callable[[], None]) -> int:
        """Wait until the process is gone, with a call of ``on_tick`` after every ``tick_s`` in which it was not."""
        ended = asyncio.create_task(self._process.wait())
        while self._process.returncode is None:
            done, _ = await asyncio.wait({ended}, timeout=tick_s)
            if not done:
                on_tick()
        # asyncio waits for the pipes as well, and those may be held by what the process has started.
        if not (await asyncio.wait({ended}, timeout=LAST_WORDS_S))[0]:
            self.kill()
            await asyncio.wait({ended}, timeout=LAST_WORDS_S)
        ended.cancel()
        return self._process.returncode


def _is_dead(pid: int) -> bool:
    """Ask the system without taking the exit code away from asyncio. False where that cannot be asked."""
    if sys.platform == "win32" or not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True
