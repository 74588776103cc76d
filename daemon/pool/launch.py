"""Worker processes as the daemon sees them: start, talk, notice the end, stop for certain.

Invariant: every request given to ``Worker.generate`` ends, with its last event or with WorkerDied, whatever the process
does; and ``Worker.stop`` returns only when the process is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from daemon.pool.protocol import (
    Accepted,
    Cancel,
    Delta,
    Failed,
    Finished,
    Generate,
    Load,
    LoadFailed,
    ProtocolError,
    Ready,
    ToDaemon,
    ToWorker,
    decode,
    encode,
    frame_size,
)
from registry.errors import DaemonStopping, SlmregError, WorkerDied
from registry.errors import LoadFailed as LoadFailedError

log = logging.getLogger("slmreg.worker")

Event = Accepted | Delta | Finished | Failed
STDERR_LINES_KEPT = 20
STOP_GRACE_S = 3.0

# -P keeps the working directory off the import path: a folder called "daemon" there must not become our code.
WORKER_COMMAND = (sys.executable, "-P", "-m", "daemon.worker.main")


class Worker(Protocol):
    """One process with one model."""

    @property
    def pid(self) -> int: ...

    async def load(self, message: Load) -> Ready:
        """Load the model. Raises LoadFailed (errors) if it cannot, or if the process ends first."""

    def generate(self, request: Generate) -> AsyncGenerator[Event, None]:
        """The events of one request. Closing the iterator early cancels the request. Raises WorkerDied."""

    async def wait(self) -> str:
        """Return, when the process has ended, how it ended, in words."""

    async def stop(self) -> None:
        """End the process, politely and then not, and return when it is gone."""


class Launcher(Protocol):
    async def start(self) -> Worker:
        """A fresh worker process without a model."""


class ProcessLauncher:
    """Starts real worker processes."""

    def __init__(self, command: Sequence[str] = WORKER_COMMAND) -> None:
        self._command = tuple(command)

    async def start(self) -> WorkerProcess:
        # A group of its own: Ctrl-C in the daemon's terminal must not reach it, and killing it takes its children too.
        own_group = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if os.name == "nt"
            else {"start_new_session": True}
        )
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            **own_group,
        )
        return WorkerProcess(process)


class WorkerProcess:
    """A real worker process. Belongs to one event loop."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._requests: dict[str, asyncio.Queue[Event | None]] = {}
        self._loaded: asyncio.Future[Ready | LoadFailed | None] = asyncio.get_running_loop().create_future()
        self._last_words: deque[str] = deque(maxlen=STDERR_LINES_KEPT)
        self._ended: str | None = None
        self._is_stopping = False
        self._life = asyncio.create_task(self._live(), name=f"worker-{process.pid}")

    @property
    def pid(self) -> int:
        return self._process.pid

    async def load(self, message: Load) -> Ready:
        self._send(message)
        answer = await asyncio.shield(self._loaded)
        if isinstance(answer, Ready):
            return answer
        if answer is None:
            raise LoadFailedError(f"The worker process {self._ended} while it loaded the model.{self._quote_stderr()}")
        raise LoadFailedError(answer.message)

    async def generate(self, request: Generate) -> AsyncGenerator[Event, None]:
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._requests[request.request_id] = events
        has_ended = False
        try:
            if self._ended is not None:
                raise self._died()
            self._send(request)
            while not has_ended:
                event = await events.get()
                if event is None:
                    has_ended = True
                    raise self._died()
                has_ended = isinstance(event, Finished | Failed)
                yield event
        finally:
            del self._requests[request.request_id]
            if not has_ended:
                self._send(Cancel(request.request_id))

    async def wait(self) -> str:
        await asyncio.shield(self._life)
        return self._ended or "ended"

    async def stop(self) -> None:
        self._is_stopping = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        for last_resort in (self._process.terminate, self._kill_group):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_GRACE_S):
                    await asyncio.shield(self._life)
                return
            with contextlib.suppress(ProcessLookupError):
                last_resort()
        await asyncio.shield(self._life)

    def _kill_group(self) -> None:
        if os.name == "nt":
            self._process.kill()
        else:
            os.killpg(self._process.pid, signal.SIGKILL)

    def _send(self, message: ToWorker) -> None:
        """Write without waiting: requests are small beside the pipe, and a dead worker is noticed by its reader."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(encode(message))

    async def _live(self) -> None:
        """Read until the process ends, then let everybody who waits know."""
        listener = asyncio.create_task(self._listen())
        errors = asyncio.create_task(self._keep_last_words())
        try:
            await listener
        except ProtocolError as error:
            log.error("worker.garbled pid=%d error=%s", self.pid, error)
            with contextlib.suppress(ProcessLookupError):
                self._kill_group()
        code = await self._process.wait()
        await errors
        self._ended = _describe_exit(code)
        if code != 0:
            log.warning("worker.died pid=%d how=%r last_words=%r", self.pid, self._ended, list(self._last_words)[-3:])
        if not self._loaded.done():
            self._loaded.set_result(None)
        for events in self._requests.values():
            events.put_nowait(None)

    async def _listen(self) -> None:
        stdout = self._process.stdout
        if stdout is None:
            return
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                header = await stdout.readexactly(4)
                self._dispatch(decode(await stdout.readexactly(frame_size(header))))

    def _dispatch(self, message: object) -> None:
        if isinstance(message, Ready | LoadFailed):
            if not self._loaded.done():
                self._loaded.set_result(message)
        elif isinstance(message, Accepted | Delta | Finished | Failed):
            events = self._requests.get(message.request_id)
            if events is not None:  # else: the client has left, and its Cancel is on the way
                events.put_nowait(message)
        else:
            raise ProtocolError(f"a worker does not send {type(message).__name__}")

    async def _keep_last_words(self) -> None:
        stderr = self._process.stderr
        if stderr is None:
            return
        while chunk := await stderr.read(4096):
            for line in chunk.decode("utf-8", "replace").splitlines():
                self._last_words.append(line)
                log.debug("worker.stderr pid=%d line=%r", self.pid, line)

    def _died(self) -> SlmregError:
        if self._is_stopping:
            return DaemonStopping("The daemon stopped before the answer was finished.")
        return WorkerDied(
            f"The process that ran this model {self._ended} in the middle of the answer. Ask again: it is loaded "
            "afresh, unless it keeps dying."
        )

    def _quote_stderr(self) -> str:
        return f" It said: {self._last_words[-1]}" if self._last_words else ""


def _describe_exit(code: int) -> str:
    """ "ended with exit code 3", or the name of the signal that killed it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (often: the system was out of memory)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


__all__ = ["Event", "Launcher", "ProcessLauncher", "ToDaemon", "Worker", "WorkerProcess"]
