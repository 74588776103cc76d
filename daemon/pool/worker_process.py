"""One worker process as the daemon sees it: talk to it, notice its end, stop it for certain.

Invariant: every request given to ``generate`` ends, with its last event or with WorkerDied, whatever the process does;
and ``stop`` returns only when the process is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncGenerator, Sequence

from daemon.pool.child import LAST_WORDS_S, Child
from daemon.pool.failures import Ending, FailureKind, WorkerFailure, ending_of, kind_of_load
from daemon.pool.framing import ProtocolError, decode, encode, frame_size
from daemon.pool.last_words import LastWords
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
    Measure,
    Measured,
    Pulse,
    Ready,
    ToWorker,
    Transcribe,
    UseCores,
)
from daemon.pool.silence import Silence
from registry.errors import DaemonStopping, SlmregError, WorkerDied

log = logging.getLogger("slmreg.worker")

# What a loaded model can be asked, and what comes back; the last event of a request is one of ``LAST``.
Ask = Generate | Embed | Transcribe
Event = Accepted | Delta | Finished | Embedded | Measured | Failed
LAST = Finished | Embedded | Measured | Failed
PIPE_BYTES = 4096  # read at a time
STOP_GRACE_S = 3.0


class WorkerProcess:
    """A real worker process. Belongs to one event loop.

    One that is loaded and says nothing for ``hang_timeout_s`` is ended. How long a load may take, its caller decides.
    """

    def __init__(self, child: Child, *, hang_timeout_s: float) -> None:
        self._child = child
        self._requests: dict[str, asyncio.Queue[Event | None]] = {}
        loop = asyncio.get_running_loop()
        self._prepared: asyncio.Future[None] = loop.create_future()
        self._loaded: asyncio.Future[Ready | LoadFailed | None] = loop.create_future()
        self._last_words = LastWords(child.pid)
        self._silence = Silence(hang_timeout_s)
        self._pulse = Pulse()
        self._was_told_to_load = False
        self._is_stopping = False
        self._verdict: Ending | None = None  # why the daemon ended it
        self._ending: Ending | None = None
        # What the process says later is not said in the name of the request that it was started for.
        self._life: asyncio.Task[Ending] = asyncio.create_task(
            self._live(), name=f"worker-{child.pid}", context=contextvars.Context()
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def pulse(self) -> Pulse:
        """The latest."""
        return self._pulse

    @property
    def has_exited(self) -> bool:
        """Whether the process has ended, also if nothing has been heard of that yet."""
        return self._child.has_exited

    async def prepared(self) -> None:
        """Return when it has imported what a load needs, or has ended."""
        await asyncio.shield(self._prepared)

    async def settled(self) -> None:
        """Return when its load has succeeded or failed, or it has ended."""
        await asyncio.shield(self._loaded)

    async def load(self, message: Load) -> Ready:
        self._was_told_to_load = True
        self._last_words.model_id = message.model_id
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

    async def generate(self, request: Ask | Measure) -> AsyncGenerator[Event, None]:
        # Not bounded: whoever reads slowly must hold up neither the other requests nor the worker, and an answer is
        # bounded by its tokens.
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
        if self._was_told_to_load:  # before that, ``Load`` is to say it
            self._send(UseCores(list(cores)))

    async def wait(self) -> Ending:
        return await asyncio.shield(self._life)

    async def stop(self, *, at_once: bool = False) -> None:
        self._is_stopping = True
        self._child.close_input()
        if at_once:
            self._child.kill()
        for last_resort in (self._child.terminate, self._child.kill):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_GRACE_S):
                    await asyncio.shield(self._life)
                return
            last_resort()
        await asyncio.shield(self._life)

    def _end(self, words: str, kind: FailureKind = FailureKind.OTHER) -> None:
        """Kill it for a reason that is better known here than to who looks at its exit code."""
        if self._verdict is None and not self._is_stopping:
            self._verdict = Ending(f"{words} and was ended", kind)
        self._child.kill()

    def _send(self, message: ToWorker) -> None:
        """Write without waiting: a chat is small, and an image or a recording is in the daemon's memory already. A dead
        worker is noticed by its reader."""
        self._child.write(encode(message))

    async def _live(self) -> Ending:
        """Read until the process ends, then let everybody who waits know."""
        readers = [asyncio.create_task(self._listen()), asyncio.create_task(self._keep_last_words())]
        code = await self._child.exit_code(tick_s=self._silence.tick_s, on_tick=self._end_if_hung)
        await asyncio.wait(readers, timeout=LAST_WORDS_S)  # what it said at last is still to be taken in
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        ending = self._ending = self._how_it_ended(code)
        if code != 0 and not self._is_stopping:
            log.warning(
                "worker.died model=%s pid=%d how=%r last_words=%r",
                self._last_words.model_id,
                self.pid,
                ending.words,
                self._last_words.lines[-3:],
            )
        if not self._loaded.done():
            self._loaded.set_result(None)
        if not self._prepared.done():
            self._prepared.set_result(None)
        for events in self._requests.values():
            events.put_nowait(None)
        return ending

    def _end_if_hung(self) -> None:
        is_loaded = self._loaded.done() and isinstance(self._loaded.result(), Ready)
        if is_loaded and self._silence.tick():
            self._end(f"said nothing for {self._silence.limit_s:g} s", FailureKind.HUNG)

    def _how_it_ended(self, code: int) -> Ending:
        if self._verdict is not None:
            return self._verdict
        if self._is_stopping:
            return Ending("was stopped")
        is_loading = self._was_told_to_load and not self._loaded.done()
        return ending_of(code, self._last_words.lines, was_working=is_loading or bool(self._requests))

    async def _listen(self) -> None:
        stdout = self._child.stdout
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            try:
                while True:
                    header = await stdout.readexactly(4)
                    self._dispatch(decode(await stdout.readexactly(frame_size(header))))
            except ProtocolError as error:
                log.error("worker.garbled pid=%d error=%s", self.pid, error)
                self._end("sent what is no message,")
                while await stdout.read(PIPE_BYTES):  # asyncio sees no end of a pipe that nobody reads
                    pass

    def _dispatch(self, message: object) -> None:
        self._silence.heard()
        if isinstance(message, Ready | LoadFailed):
            if not self._loaded.done():
                self._loaded.set_result(message)
        elif isinstance(message, Pulse):
            self._pulse = message
            if not self._prepared.done():
                self._prepared.set_result(None)
        elif isinstance(message, Event):
            events = self._requests.get(message.request_id)
            if events is not None:  # else: the client has left, and its Cancel is on the way
                events.put_nowait(message)
        else:
            raise ProtocolError(f"a worker does not send {type(message).__name__}")

    async def _keep_last_words(self) -> None:
        try:
            while chunk := await self._child.stderr.read(PIPE_BYTES):
                self._last_words.feed(chunk)
        finally:
            self._last_words.end()

    def _died(self, ending: Ending) -> SlmregError:
        if self._is_stopping:
            return DaemonStopping(
                "The model was stopped before the answer was finished: it was unloaded, or the daemon stops. Ask again."
            )
        return WorkerDied(
            f"The process that ran this model {ending.words} in the middle of the answer. Ask again: it is loaded "
            "afresh, unless it keeps dying."
        )

    def _quote_stderr(self) -> str:
        return f" It said: {self._last_words.lines[-1]}" if self._last_words.lines else ""
