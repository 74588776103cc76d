from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP")

PATIENCE_S = 30
# A leader of its own session, which has the terminal that it opens first, if it is given one.
CODE = """
import os, sys, time
if sys.argv[1:]:
    os.open(sys.argv[1], os.O_RDWR)
from daemon.cli.hangup import reload_on_hangup
from registry.errors import SettingsError

def reload():
    print("read", flush=True)
    raise SettingsError("the file is wrong")

reload_on_hangup(reload)
print("ready", flush=True)
time.sleep(60)
"""


@contextmanager
def waiting(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CODE, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_without_a_terminal_it_reads_the_settings_as_often_as_it_comes() -> None:
    with waiting() as process:
        assert process.stdout is not None
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline() == "read\n"
        assert process.poll() is None


def test_in_a_terminal_it_reads_the_settings_until_the_terminal_is_closed_which_stops_it() -> None:
    ours, theirs = os.openpty()
    with waiting(os.ttyname(theirs)) as process:
        os.close(theirs)
        assert process.stdout is not None
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "read\n"
        os.close(ours)
        assert process.wait(PATIENCE_S) == -signal.SIGTERM
