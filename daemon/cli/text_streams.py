"""UTF-8 in and out, whatever the locale says: names of models and answers hold any character."""

from __future__ import annotations

import codecs
import io
import os
import sys


def speak_utf8() -> None:
    """Nothing that is printed can fail from now on, and nothing that is piped in.

    Where file names are not UTF-8, as with ``PYTHONUTF8=0`` and the locale C, or with a locale of Latin-1, the program
    is started over in Python's UTF-8 mode: in any other, folders would have other names than they have for the daemon.
    """
    if os.name == "posix" and not sys.flags.utf8_mode and not is_utf8(sys.getfilesystemencoding()):
        command = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONUTF8": "1"})  # noqa: S606 - itself, without a shell
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            _repair(stream, errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        _repair(sys.stdin, errors="surrogateescape")


def _repair(stream: io.TextIOWrapper, *, errors: str) -> None:
    """ASCII is never meant, only what is left where nobody said anything; any other encoding stays."""
    encoding = "utf-8" if codecs.lookup(stream.encoding).name == "ascii" else stream.encoding
    stream.reconfigure(encoding=encoding, errors=errors)


def is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "utf-8"
