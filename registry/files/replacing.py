"""Files of our own, written so that nobody ever sees half of one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PRIVATE = 0o600


def replace_file(path: Path, text: str, *, mode: int | None = PRIVATE) -> None:
    """Wholly or not at all, as UTF-8. Raises OSError; then the old file is still there.

    ``mode`` is whom it is for, whatever the umask says; None: as the old one was, or as new ones are. Never more than
    that, not even while it is written.
    """
    if mode is None and path.exists():
        mode = stat.S_IMODE(path.stat().st_mode)

    def opened(name: str, flags: int) -> int:
        return os.open(name, flags, 0o666 if mode is None else mode)

    unfinished = path.with_name(f"{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with open(unfinished, "x", encoding="utf-8", newline="\n", opener=opened) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None and mode & ~unfinished.stat().st_mode:
            unfinished.chmod(mode)  # the umask has taken some of it
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
