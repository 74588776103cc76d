"""Whether Linux can still watch one more folder: watches are counted per user, and running out makes no noise."""

from __future__ import annotations

import ctypes
import errno
import os
import sys

_IN_DELETE_SELF = 0x400  # inotify.h


def is_out_of_watches() -> bool:
    """True where the user's limit (``fs.inotify.max_user_watches``) is reached. Takes some microseconds.

    A recursive watch whose folders exceed the limit is set up without an error for those that got none. So a watch on
    ``/`` is asked for and given back; what cannot be asked counts as fine.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        return False
    try:
        watch = libc.inotify_add_watch(descriptor, b"/", _IN_DELETE_SELF)
        return watch < 0 and ctypes.get_errno() == errno.ENOSPC
    finally:
        os.close(descriptor)
