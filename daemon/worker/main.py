"""A worker process: one model, driven by frames on standard input, answering with frames on standard output.

``python -m daemon.worker.main``. Everything that a load needs is imported before the first message is read, so that a
process can be kept ready; the first ``Pulse`` says that it is. The process ends at once when its input does, so that a
daemon that was killed leaves no orphan; on Linux also inside a call of the engine, which keeps every thread of Python
waiting. Nothing of a prompt is ever printed or logged.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterable
from importlib import import_module
from typing import BinaryIO, NoReturn

from daemon.pool.failures import speaks_of_memory
from daemon.pool.framing import ProtocolError, decode, encode, frame_size
from daemon.pool.protocol import PULSE_S, Load, LoadFailed, Measure, Pulse, ToDaemon, ToWorker, UseCores
from daemon.worker.cores import Cores
from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.large_pages import LargePages, of_this_process
from daemon.worker.served import ServedModel

EXIT_OK = 0
EXIT_LOAD_FAILED = 1
EXIT_PROTOCOL = 2
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_STD_INPUT_HANDLE = -10  # winbase.h

_Inbox = queue.SimpleQueue[ToWorker]
_log = logging.getLogger("slmreg.worker")


class Output:
    """The daemon's end of the original standard output, out of reach of everything that prints.

    Writing blocks while the daemon does not read. That happens only while the daemon itself is held up, for its reader
    takes in everything at once, and while it is held up it counts nobody's silence.
    """

    def __init__(self) -> None:
        descriptor = os.dup(1)
        os.dup2(2, 1)
        _set_binary(descriptor)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._pulsed_at_s = time.monotonic()

    def send(self, messages: Iterable[ToDaemon]) -> None:
        """Write all frames at once."""
        frames = memoryview(b"".join(map(encode, messages)))
        while frames:
            frames = frames[self._file.write(frames) or 0 :]

    @property
    def pulse_left_s(self) -> float:
        """Until the next sign of life is due; 0 when it is."""
        return max(0.0, self._pulsed_at_s + PULSE_S - time.monotonic())

    def keep_pulse(self, engine: ServedModel) -> None:
        """Say that the worker lives, and what its requests take, if that was not said for ``PULSE_S``."""
        if self.pulse_left_s == 0.0:
            self._pulsed_at_s = time.monotonic()
            self.send([engine.pulse()])


def main() -> int:
    """Load one model and serve it until the input ends; an exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the daemon's to decide about
    _end_with_parent()
    output = Output()
    inbox = _Inbox()
    threading.Thread(target=_read_frames, args=(_take_input(), inbox), name="input", daemon=True).start()
    _import_ahead()
    try:
        output.send([Pulse()])
        first = inbox.get()
        if not isinstance(first, Load):
            _log.error("the first message must be Load, not %s", type(first).__name__)
            return EXIT_PROTOCOL
        cores = Cores()
        engine = _load(first, cores, output)
        pages = of_this_process()
        while engine:
            turn(engine, cores, pages, inbox, output)
    except OSError:  # nobody reads the answers any more
        return EXIT_OK
    return EXIT_LOAD_FAILED


def _end_with_parent() -> None:
    """Linux: have the system kill this process when the thread that started it ends, which is the daemon's loop."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _import_ahead() -> None:
    """What a load needs, while there is time. What cannot be imported is told when there is a load to fail."""
    # numpy only samples here, and its library for linear algebra would hold a thread for every core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError):  # the C library asks for it when a thread ends, and aborts without it
            ctypes.CDLL("libgcc_s.so.1")
    try:
        import_module("daemon.worker.loading")
    except Exception as error:
        _log.warning("import failed: %s", error)


def _load(load: Load, cores: Cores, output: Output) -> ServedModel | None:
    """The engine, or None after telling why there is none."""
    cores.use(load.cores)
    try:
        from daemon.worker.loading import load_engine

        engine, ready = load_engine(load)
    except LoadError as error:
        output.send([LoadFailed(error.code, error.message)])
        return None
    except Exception as error:
        _log.exception("load failed")
        reason = str(error) or type(error).__name__
        output.send([LoadFailed(_code_of(error, reason), f"{load.path} cannot be loaded: {reason}")])
        return None
    cores.use([])  # threads that were made while loading, too
    output.send([ready])
    return engine


def _code_of(error: Exception, reason: str) -> LoadCode:
    """Of an error that is none of the engine's: the libraries themselves may not fit, or not be there."""
    if speaks_of_memory(reason):
        return LoadCode.OUT_OF_MEMORY
    return LoadCode.PROVIDER_MISSING if isinstance(error, ImportError) else LoadCode.FAILED


def turn(engine: ServedModel, cores: Cores, pages: LargePages, inbox: _Inbox, output: Output) -> None:
    """Take in what has arrived, waiting for something if there is nothing to do, and advance by one step.

    The signs of life come from here and not from a thread of their own: that would go on while this loop hangs.
    """
    output.keep_pulse(engine)
    pages.go_on()
    has_worked = not engine.is_idle
    if engine.is_idle:
        with contextlib.suppress(queue.Empty):
            wait_s = min(output.pulse_left_s, pages.wait_s)
            output.send(_answered(engine, cores, pages, inbox.get(timeout=wait_s)))
    while not inbox.empty():
        output.send(_answered(engine, cores, pages, inbox.get()))
    has_worked = has_worked or not engine.is_idle  # a cancel may have ended the last request, as a step may
    events = engine.step()
    if engine.is_idle and has_worked:
        events = [*events, engine.pulse()]  # or its rows would seem in use for a while
    output.send(events)


def _answered(engine: ServedModel, cores: Cores, pages: LargePages, message: ToWorker) -> list[ToDaemon]:
    if isinstance(message, UseCores):
        cores.use(message.cores)
        return []
    if isinstance(message, Measure):
        pages.finish()  # what is measured is to hold from now on
    return engine.handle(message)


def _take_input() -> int:
    """A descriptor of the original standard input, in whose place there is nothing to read from now on.

    Windows does one thing at a time with a pipe. Libraries ask what the standard input is when they are loaded, numpy's
    OpenBLAS among them (numpy issue 24290), and would wait there for as long as we wait for the next message.
    """
    descriptor = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _set_binary(descriptor)
    if sys.platform == "win32":  # for libraries with a C runtime of their own; pythonw.exe does not do it by itself
        import ctypes
        import msvcrt

        ctypes.windll.kernel32.SetStdHandle(_STD_INPUT_HANDLE, ctypes.c_void_p(msvcrt.get_osfhandle(0)))
    return descriptor


def _read_frames(descriptor: int, inbox: _Inbox) -> NoReturn:
    """Put every message into ``inbox``; at the end of the input end the process, whatever it is doing."""
    code = EXIT_OK
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
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
