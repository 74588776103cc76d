"""A person at an interactive shell: what stands in the line after TAB."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

TIMEOUT_S = 60.0
_KILL_LINE, _TAB, _ASK = b"\x15", b"\t", b"\x14"
# Ctrl-T tells what the line is; the marks are written so that their echo is not taken for an answer.
_SHELLS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        'PS1="> "; bind "set enable-bracketed-paste off"; bind "set bell-style none"; '
        'eval "$(slmreg completion bash)"; bind -x \'"\\C-t": printf "\\nlin""e[%s]end\\n" "$READLINE_LINE"\'',
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        'PS1="> "; unset zle_bracketed_paste; autoload -U compinit; compinit -u -D; eval "$(slmreg completion zsh)"; '
        'bindkey -e; ask() { print -r -- "lin""e[$BUFFER]end" }; zle -N ask; bindkey "^T" ask',
    ),
}


class Shell:
    """One that waits for a line."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal

    def after_tab(self, typed: str) -> str:
        """The line as it is then. Raises TimeoutError."""
        os.write(self._terminal, _KILL_LINE + typed.encode() + _TAB + _ASK)
        return self.read_until("]end").rpartition("line[")[2]

    def start(self, script: str) -> None:
        os.write(self._terminal, f'{script}; echo "is rea""dy"\n'.encode())
        self.read_until("is ready\n")

    def read_until(self, mark: str) -> str:
        """What is said before ``mark``, without what moves the cursor."""
        said = b""
        deadline_s = time.monotonic() + TIMEOUT_S
        while mark not in (text := _plain(said)):
            left_s = max(0.0, deadline_s - time.monotonic())
            if not select.select([self._terminal], [], [], left_s)[0]:
                raise TimeoutError(text)
            said += os.read(self._terminal, 65536)
        return text.partition(mark)[0]


@contextlib.contextmanager
def shell_at(kind: str, environment: Mapping[str, str], folder: Path) -> Iterator[Shell]:
    """``kind`` is bash or zsh; it stands in ``folder``, and has read the script that slmreg prints for it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    command, script = _SHELLS[kind]
    said = {**environment, "TERM": "xterm", "LC_ALL": "C.UTF-8", "HOME": str(folder)}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=said, cwd=folder, start_new_session=True
    )
    os.close(theirs)
    try:
        shell = Shell(ours)
        shell.start(script)
        yield shell
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _plain(said: bytes) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|[\r\a]", "", said.decode(errors="replace"))
