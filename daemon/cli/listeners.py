"""The sockets that the daemon listens on, bound before anything is started: a taken address is then a clear error."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from daemon.settings import Settings
from registry.errors import AddressInUse, SettingsError

BACKLOG = 128
# Where every address is listened on, this machine is reached by its own.
_FROM_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound to it here


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[list[socket.socket]]:
    """The TCP socket, and behind it the Unix socket if there is one. Raises AddressInUse, SettingsError."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_tcp_socket(settings.host, settings.port))]
        if settings.socket is not None:
            sockets.append(stack.enter_context(_unix_socket(settings.socket)))
        yield sockets


def url_of(host: str, listener: socket.socket) -> str:
    """Where this machine reaches it."""
    host = _FROM_HERE.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def _tcp_socket(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise SettingsError(f"There is no address {host!r} to listen on: {error.strerror}.") from error
    listener = socket.socket(family, kind, protocol)
    if os.name == "nt":  # there, SO_REUSEADDR would let two servers share the port
        listener.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE", -5), 1)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressInUse(
            f"Cannot listen on {host}:{port}: {error.strerror}. Another program may use that port: stop it, or choose "
            "another one with --port."
        ) from error
    return listener


@contextlib.contextmanager
def _unix_socket(path: Path) -> Iterator[socket.socket]:
    """For its owner alone from the moment that it is there, and gone in the end."""
    if not hasattr(socket, "AF_UNIX"):
        raise SettingsError("This system has no Unix sockets: leave out the setting socket.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        before = os.umask(0o177)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_abandoned(path)
            listener.bind(str(path))
            listener.listen(BACKLOG)
        except OSError as error:
            raise AddressInUse(f"Cannot listen on {path}: {error.strerror}. Choose another path for socket.") from error
        finally:
            os.umask(before)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """A socket that a killed daemon has left behind; no other file, and none that somebody listens on."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
