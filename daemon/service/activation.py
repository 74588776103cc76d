"""Sockets that a service manager has opened for the daemon: systemd's protocol (man sd_listen_fds)."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import MutableMapping

from registry.errors import SettingsError

FIRST_DESCRIPTOR = 3


def take_passed_sockets(environment: MutableMapping[str, str], pid: int) -> tuple[socket.socket, ...]:
    """The listening sockets that are meant for process ``pid``, none if there are none.

    What the environment says about them is removed, and workers do not inherit them. Raises SettingsError for what
    nobody can be accepted from.
    """
    meant = environment.pop("LISTEN_PID", "")
    count, names = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_FDNAMES", "").split(":")
    if meant != str(pid) or not count.isdecimal():
        return ()
    names += [""] * int(count)
    return tuple(_listener(FIRST_DESCRIPTOR + each, names[each]) for each in range(int(count)))


def _listener(descriptor: int, name: str) -> socket.socket:
    what = f"The file descriptor {descriptor} ({name or 'without a name'}) that LISTEN_FDS passes"
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise SettingsError(f"{what} is no socket. Let the socket unit pass sockets alone.")
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        raise SettingsError(f"{what} cannot be used: {error.strerror}.") from error
    listener.set_inheritable(False)
    is_stream = listener.type == socket.SOCK_STREAM
    if not is_stream or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.close()
        raise SettingsError(f"{what} does not listen for connections. Use ListenStream= with Accept=no.")
    return listener
