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

from daemon.pool.failures import Ending, WorkerFailure, ending_of, kind_of_load
from daemon.pool.protocol import (
    Accepted,
    Cancel,
    Delta,
    Embed,
    Embedded,
    Failed,
    Finished,
    Generate,
    Load,
    LoadFailed,
    ProtocolError,
    Pulse,
    Ready,
    ToDaemon,
    ToWorker,
    Transcribe,
    UseCores,
    decode,
    encode,
    frame_size,
)
from registry.errors import DaemonStopping, SlmregError, WorkerDied

log = logging.getLogger("slmreg.worker")

# What a loaded model can be asked, and what comes back; the last event of a request is one of ``LAST``.
Ask = Generate | Embed | Transcribe
Event = Accepted | Delta | Finished | Embedded | Failed
LAST = Finished | Embedded | Failed
STDERR_LINES_KEPT = 20
STOP_GRACE_S = 3.0

# -P keeps the working directory off the import path: a folder called "daemon" there must not become our code.
WORKER_COMMAND = (sys.executable, "-P", "-m", "daemon.worker.main")


class Worker(Protocol):
    """One process with one model."""

    @property
    def pid(self) -> int: ...

    async def load(self, message: Load) -> Ready:
        """Load the model. Raises WorkerFailure if it cannot, or if the process ends first."""

    def generate(self, request: Ask) -> AsyncGenerator[Event, None]:
        """The events of one request. Closing the iterator early cancels the request. Raises WorkerDied."""

    def use_cores(self, cores: Sequence[int]) -> None:
        """Run only on these from now on, where the system can do that; empty: on all."""

    async def wait(self) -> Ending:
        """Return, when the process has ended, how it ended."""

    async def stop(self, *, at_once: bool = False) -> None:
        """End the process, politely and then not (``at_once``: not), and return when it is gone."""


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
        self._ending: Ending | None = None
        self._is_stopping = False
        self._life: asyncio.Task[Ending] = asyncio.create_task(self._live(), name=f"worker-{process.pid}")

    @property
    def pid(self) -> int:
        return self._process.pid

    async def load(self, message: Load) -> Ready:
        self._send(message)
        answer = await asyncio.shield(self._loaded)
        if isinstance(answer, Ready):
            return answer
        if answer is not None:
            raise WorkerFailure(answer.message, kind_of_load(answer))
        how = await self.wait()
        raise WorkerFailure(
            f"The worker process {how.words} while it loaded the model.{self._quote_stderr()}", how.kind
        )

    async def generate(self, request: Ask) -> AsyncGenerator[Event, None]:
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._requests[request.request_id] = events
        has_ended = False
        try:
            if self._ending is not None:
                raise self._died(self._ending)
            self._send(request)
            while not has_ended:
                event = await events.get()
                if event is None:
                    has_ended = True
                    raise self._died(await self.wait())
                has_ended = isinstance(event, LAST)
                yield event
        finally:
            del self._requests[request.request_id]
            if not has_ended:
                self._send(Cancel(request.request_id))

    def use_cores(self, cores: Sequence[int]) -> None:
        self._send(UseCores(list(cores)))

    async def wait(self) -> Ending:
        return await asyncio.shield(self._life)

    async def stop(self, *, at_once: bool = False) -> None:
        self._is_stopping = True
        if at_once:
            self._kill_group()
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

    async def _live(self) -> Ending:
        """Read until the process ends, then let everybody who waits know."""
        listener = asyncio.create_task(self._listen())
        errors = asyncio.create_task(self._keep_last_words())
        is_garbled = False
        try:
            await listener
        except ProtocolError as error:
            is_garbled = True
            log.error("worker.garbled pid=%d error=%s", self.pid, error)
            with contextlib.suppress(ProcessLookupError):
                self._kill_group()
        code = await self._process.wait()
        await errors
        ending = self._ending = self._how_it_ended(code, is_garbled=is_garbled)
        if code != 0:
            log.warning("worker.died pid=%d how=%r last_words=%r", self.pid, ending.words, list(self._last_words)[-3:])
        if not self._loaded.done():
            self._loaded.set_result(None)
        for events in self._requests.values():
            events.put_nowait(None)
        return ending

    def _how_it_ended(self, code: int, *, is_garbled: bool) -> Ending:
        if is_garbled:
            return Ending("sent what is no message, and was ended")
        was_working = not self._is_stopping and (bool(self._requests) or not self._loaded.done())
        return ending_of(code, self._last_words, was_working=was_working)

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
        elif isinstance(message, Pulse):
            pass
        elif isinstance(message, Event):
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

    def _died(self, ending: Ending) -> SlmregError:
        if self._is_stopping:
            return DaemonStopping("The daemon stopped before the answer was finished.")
        return WorkerDied(
            f"The process that ran this model {ending.words} in the middle of the answer. Ask again: it is loaded "
            "afresh, unless it keeps dying."
        )

    def _quote_stderr(self) -> str:
        return f" It said: {self._last_words[-1]}" if self._last_words else ""


__all__ = ["Event", "Launcher", "ProcessLauncher", "ToDaemon", "Worker", "WorkerProcess"]
