from __future__ import annotations

import subprocess
import sys

CODE = """
import os
from daemon.worker.main import _take_input
descriptor = _take_input()
print(os.read(0, 10), os.read(descriptor, 10))
"""


def test_libraries_find_nothing_to_wait_for_in_the_standard_input_and_messages_come_through() -> None:
    """On Windows, a library that looks at a pipe which is being read would wait for the next message."""
    done = subprocess.run([sys.executable, "-c", CODE], input=b"a\r\nb", capture_output=True, timeout=60, check=True)
    assert done.stdout.split(b"\n")[0].strip() == rb"b'' b'a\r\nb'"
