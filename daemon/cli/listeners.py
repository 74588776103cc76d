"""The sockets that the daemon listens on, bound before anything is started: a taken address is then a clear error."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from daemon.access_settings import is_loopback
from daemon.cli.daemon_link import url_at
from daemon.cli.discovery import occupant
from daemon.settings import Settings
from registry.errors import AddressInUse, SettingsError

BACKLOG = 128
FIRST_FREE_PORT = 1024
_INTERNET = (socket.AF_INET, socket.AF_INET6)


def as_passed(settings: Settings, passed: Sequence[socket.socket]) -> Settings:
    """The addresses that ``passed`` sockets have already, whatever the settings say: who gets in depends on them.

    Raises SettingsError if there is no TCP socket among them.
    """
    if not passed:
        return settings
    addresses = [each.getsockname()[:2] for each in passed if each.family in _INTERNET]
    paths = [each.getsockname() for each in passed if each.family not in _INTERNET]
    if not addresses:
        raise SettingsError("No TCP socket was passed to slmreg: give its socket unit ListenStream=127.0.0.1:7567.")
    host, port = next((each for each in addresses if not is_loopback(each[0])), addresses[0])
    return settings.model_copy(update={"host": host, "port": port, "socket": Path(paths[0]) if paths else None})


@contextlib.contextmanager
def listening(settings: Settings, passed: Sequence[socket.socket] = ()) -> Iterator[list[socket.socket]]:
    """The TCP socket, and behind it the Unix socket if there is one; those that were ``passed``, if any were.

    Raises AddressInUse, SettingsError.
    """
    with contextlib.ExitStack() as stack:
        if passed:
            yield sorted((stack.enter_context(each) for each in passed), key=lambda each: _rank(each, settings))
            return
        sockets = [stack.enter_context(_tcp_socket(settings.host, settings.port))]
        if settings.socket is not None:
            sockets.append(stack.enter_context(_unix_socket(settings.socket)))
        yield sockets


def _rank(listener: socket.socket, settings: Settings) -> int:
    """The one that the settings name first, Unix sockets last."""
    if listener.family not in _INTERNET:
        return 2
    return 0 if listener.getsockname()[:2] == (settings.host, settings.port) else 1


def url_of(host: str, listener: socket.socket) -> str:
    """Where this machine reaches it."""
    return url_at(host, listener.getsockname()[1])


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
        raise AddressInUse(f"Cannot listen on {host}:{port}: {_why_not(error, host, port)}") from error
    return listener


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        who = occupant(url_at(host, port))
        return f"{who} uses that port. Choose another one with --port or the setting port, or stop it."
    if error.errno == errno.EACCES and 0 < port < FIRST_FREE_PORT:
        return f"ports below {FIRST_FREE_PORT} are for root. Choose another one with --port."
    return f"{error.strerror}. Choose another address with --host and --port."


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
    if sys.platform == "win32" or not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
