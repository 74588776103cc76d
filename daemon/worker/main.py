"""A worker process: one model, driven by frames on standard input, answering with frames on standard output.

``python -m daemon.worker.main``. The process ends at once when its input does, so that a daemon that was killed leaves
no orphan. Nothing of a prompt is ever printed or logged.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterable
from typing import BinaryIO, NoReturn

# Brings numpy along, which ends the whole process where it lacks memory: that is not to happen in a load.
import daemon.worker.engine  # noqa: F401
from daemon.pool.failures import speaks_of_memory
from daemon.pool.protocol import Load, LoadFailed, ProtocolError, ToDaemon, ToWorker, decode, encode, frame_size
from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.served import ServedModel

EXIT_OK = 0
EXIT_LOAD_FAILED = 1
EXIT_PROTOCOL = 2

_Inbox = queue.SimpleQueue[ToWorker]
_log = logging.getLogger("slmreg.worker")


class Output:
    """The daemon's end of the original standard output, out of reach of everything that prints."""

    def __init__(self) -> None:
        descriptor = os.dup(1)
        os.dup2(2, 1)
        _set_binary(descriptor)
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def send(self, messages: Iterable[ToDaemon]) -> None:
        """Write all frames at once. Blocks while the daemon does not read."""
        frames = memoryview(b"".join(map(encode, messages)))
        while frames:
            frames = frames[self._file.write(frames) or 0 :]


def main() -> int:
    """Load one model and serve it until the input ends; an exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the daemon's to decide about
    output = Output()
    inbox = _Inbox()
    threading.Thread(target=_read_frames, args=(inbox,), name="input", daemon=True).start()
    first = inbox.get()
    if not isinstance(first, Load):
        _log.error("the first message must be Load, not %s", type(first).__name__)
        return EXIT_PROTOCOL
    try:
        engine = _load(first, output)
        while engine:
            _turn(engine, inbox, output)
    except OSError:  # nobody reads the answers any more
        return EXIT_OK
    return EXIT_LOAD_FAILED


def _load(load: Load, output: Output) -> ServedModel | None:
    """The engine, or None after telling why there is none."""
    try:
        from daemon.worker.loading import load_engine

        engine, ready = load_engine(load)
    except LoadError as error:
        output.send([LoadFailed(error.code, error.message)])
        return None
    except Exception as error:
        _log.exception("load failed")
        reason = str(error) or type(error).__name__
        # The libraries themselves may not fit.
        code = LoadCode.OUT_OF_MEMORY if speaks_of_memory(reason) else LoadCode.FAILED
        output.send([LoadFailed(code, f"{load.path} cannot be loaded: {reason}")])
        return None
    output.send([ready])
    return engine


def _turn(engine: ServedModel, inbox: _Inbox, output: Output) -> None:
    """Take in what has arrived, waiting for something if there is nothing to do, and advance by one step."""
    if engine.is_idle:
        output.send(engine.handle(inbox.get()))
    while not inbox.empty():
        output.send(engine.handle(inbox.get()))
    output.send(engine.step())


def _read_frames(inbox: _Inbox) -> NoReturn:
    """Put every message into ``inbox``; at the end of the input end the process, whatever it is doing."""
    _set_binary(0)
    code = EXIT_OK
    try:
        with os.fdopen(0, "rb", closefd=False) as file:
            while (header := _read_exactly(file, 4)) and (body := _read_exactly(file, frame_size(header))):
                inbox.put(_to_worker(body))
    except ProtocolError as error:
        _log.error("broken input: %s", error)
        code = EXIT_PROTOCOL
    except OSError as error:
        _log.error("input cannot be read: %s", error)
    finally:
        os._exit(code)


def _to_worker(body: bytes) -> ToWorker:
    message = decode(body)
    if not isinstance(message, ToWorker):
        raise ProtocolError(f"{type(message).__name__} is not for a worker")
    return message


def _read_exactly(file: BinaryIO, size: int) -> bytes | None:
    """``size`` bytes, or None where the input ends before."""
    data = file.read(size)
    return data if len(data) == size else None


def _set_binary(descriptor: int) -> None:
    """Windows translates line ends in what is written to a descriptor unless told not to."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(descriptor, os.O_BINARY)


if __name__ == "__main__":
    # os._exit: the interpreter's own shutdown would wait for the lock of the input that the reader thread holds.
    os._exit(main())
