"""SIGHUP: the settings are read anew, as administrators expect of a daemon, unless it says that a terminal is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable

from registry.errors import SettingsError


def reload_on_hangup(reload: Callable[[], object]) -> None:
    """From now on. ``reload`` runs in a thread: what a signal has interrupted may hold its lock. Not on Windows.

    Whoever closes the terminal that the daemon was started in means to stop it.
    """
    if sys.platform == "win32":
        return
    had_terminal = _has_terminal()

    def read() -> None:
        with contextlib.suppress(SettingsError):  # the log says it, and the old settings stay
            reload()

    def hung_up(*_: object) -> None:
        if had_terminal and not _has_terminal():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            threading.Thread(target=read, name="settings").start()

    signal.signal(signal.SIGHUP, hung_up)


def _has_terminal() -> bool:
    if sys.platform == "win32":
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
