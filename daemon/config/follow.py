"""Notices that ``config.toml`` was changed, and has it read."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from registry.errors import SettingsError

log = logging.getLogger("slmreg.settings")

# How often the file is looked at, which costs one system call. It counts as written when two looks find it the same.
LOOK_S = 1.0

Stamp = tuple[int, int, int] | None
_NEVER: Stamp = (-1, -1, -1)


async def follow_file(path: Path, reload: Callable[[], object], *, look_s: float = LOOK_S) -> None:
    """Call ``reload`` each time that the file has changed, come or gone, until this is cancelled.

    And once at the beginning: it may have changed since somebody read it.
    """
    read_at = _NEVER
    last = await asyncio.to_thread(_stamp, path)
    while True:
        await asyncio.sleep(look_s)
        now = await asyncio.to_thread(_stamp, path)
        if now == last and now != read_at:
            read_at = now
            with contextlib.suppress(SettingsError):  # the log says it, and the old settings stay
                await asyncio.to_thread(reload)
        last = now


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
