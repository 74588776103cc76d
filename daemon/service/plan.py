"""What a service command comes to, as values: the files to write and the commands to run, in their order.

Nothing here, and nothing in the modules that make plans, touches the machine: ``daemon.service.carry_out`` does.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

PRIVATE = 0o700
READABLE = 0o644


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """One of our own folders: a service that may write nowhere else cannot make it by itself."""

    path: Path
    mode: int = PRIVATE

    def __str__(self) -> str:
        return f"make folder {self.path}"


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Whole, in one step; a file that says the same already is left as it is."""

    path: Path
    content: bytes
    mode: int = READABLE

    def __str__(self) -> str:
        return f"write {self.path}"


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Gone afterwards, whether it was there or not."""

    path: Path

    def __str__(self) -> str:
        return f"remove {self.path}"


@dataclass(frozen=True, slots=True)
class RunCommand:
    """``may_fail``: that there was nothing to do is no failure; ``hint`` says what to look at when it fails."""

    arguments: tuple[str, ...]
    may_fail: bool = False
    hint: str | None = None

    def __str__(self) -> str:
        return f"run {shlex.join(self.arguments)}"


Step = MakeFolder | WriteFile | RemoveFile | RunCommand


@dataclass(frozen=True, slots=True)
class Plan:
    """``notes`` are for the person, after it is done."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
