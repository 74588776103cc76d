"""Stands in for pywin32's: a service control manager whose controls are lines of standard input."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

_classes: list[Any] = []


def Initialize() -> None:  # noqa: N802 - pywin32's names
    """Nothing is to be done for the log of events."""


def PrepareToHostSingle(service: type) -> None:  # noqa: N802 - pywin32's names
    _classes.append(service)


def StartServiceCtrlDispatcher() -> None:  # noqa: N802 - pywin32's names
    """Returns when the one service has ended, and prints whether it failed."""
    if not sys.stdin.readline():
        raise OSError("Service controller connect failed.")
    service = _classes[0](["slmreg"])
    running = threading.Thread(target=_run, args=(service,))
    running.start()
    threading.Thread(target=_control, args=(service,), daemon=True).start()
    running.join()


def _run(service: Any) -> None:
    try:
        service.SvcRun()
        os.write(1, b"STOPPED 0\n")
    except RuntimeError:
        os.write(1, b"STOPPED 1066\n")


def _control(service: Any) -> None:
    for line in sys.stdin:
        service.ServiceCtrlHandlerEx(int(line), 0, None)
