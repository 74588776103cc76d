"""Files of strangers, opened without waiting: a pipe, a device or a folder in place of a file is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType

from registry.errors import InvalidModelFolder
from registry.problems import ProblemCode

# Not on every system: O_BINARY is Windows', and O_NONBLOCK keeps the opening of a pipe from waiting for its writer.
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


class OpenFile:
    """A regular file open for reading. ``size_bytes`` is that of the moment it was opened."""

    def __init__(self, path: str | Path) -> None:
        """Raises InvalidModelFolder for what is no regular file, or what the operating system refuses."""
        self._path = path
        try:
            self._descriptor = os.open(path, _FLAGS)
        except (OSError, ValueError) as error:
            raise unreadable(Path(path), error) from error
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._descriptor)
            raise InvalidModelFolder(
                ProblemCode.UNREADABLE,
                f"{Path(path).name} is not a regular file. Replace it with the file itself.",
                file=Path(path).name,
            )
        self.size_bytes = status.st_size
        self._position = 0
        # The same for two names of one file; None where the file system has no such numbers.
        self.identity = (status.st_dev, status.st_ino) if status.st_ino else None

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; fewer only at the end of the file. Raises InvalidModelFolder."""
        try:
            if offset != self._position:
                os.lseek(self._descriptor, offset, os.SEEK_SET)
            content = os.read(self._descriptor, length)
            self._position = offset + len(content)
            if len(content) == length or not content:
                return content
            return self._read_on(content, length)
        except OSError as error:
            raise unreadable(Path(self._path), error) from error

    def _read_on(self, content: bytes, length: int) -> bytes:
        parts = [content]
        missing = length - len(content)
        while missing > 0 and (more := os.read(self._descriptor, missing)):
            parts.append(more)
            missing -= len(more)
            self._position += len(more)
        return b"".join(parts)


def unreadable(path: Path, error: OSError | ValueError) -> InvalidModelFolder:
    """What to raise when the operating system refuses a file or folder."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return InvalidModelFolder(
        ProblemCode.UNREADABLE,
        f"{path.name} cannot be read: {reason}. Check its permissions and the disk.",
        file=path.name,
    )
