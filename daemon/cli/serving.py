"""The daemon in this process: from the settings and the listening sockets to the end of the server."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from daemon import __version__
from daemon.cli.daemon_link import RunningDaemon, announced, announced_to_all
from daemon.cli.hangup import reload_on_hangup
from daemon.cli.instance import sole_instance
from daemon.cli.listeners import as_passed, listening, url_of
from daemon.cli.output import say
from daemon.cli.stop_request import StopRequest
from daemon.config.layers import Effective, load_effective
from daemon.config.present import PresentSettings
from daemon.logs.logs import Logs
from daemon.paths import Paths, home_paths
from daemon.service.activation import take_passed_sockets
from daemon.service.notify import Supervisor
from daemon.settings import Settings
from registry.errors import SettingsError

STOP_MARGIN_S = 10


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a daemon lives: its files, and the ``sockets`` it listens on, the first of which is at ``url``."""

    settings: PresentSettings
    paths: Paths
    logs: Logs
    sockets: list[socket.socket]
    url: str


def run_daemon(flags: Mapping[str, Any], stop: StopRequest, manager: Supervisor | None = None) -> None:
    """Serve until it is asked to stop. ``flags`` are settings by name; None is one that was not given.

    ``manager`` is told how it goes; None: the one that the environment names.

    Raises SettingsError, AddressInUse, DaemonAlreadyRunning.
    """
    supervisor = manager or Supervisor.take_from(os.environ, os.getpid())
    passed = take_passed_sockets(os.environ, os.getpid())
    paths = home_paths()

    def read() -> Effective:
        effective = load_effective(paths, flags=flags)
        return replace(effective, settings=as_passed(effective.settings, passed))

    settings = PresentSettings(read(), read)
    os.umask(0o077)  # what the daemon writes is for its owner alone
    with sole_instance(paths.run_file) as instance:
        _say_who_gets_in(settings(), paths)
        with (
            listening(settings(), passed) as sockets,
            Logs(settings(), stream=sys.stderr, path=paths.log) as logs,
        ):
            url = url_of(settings().host, sockets[0])
            instance.is_at(url)
            settings.follow(lambda now: logs.levels.follow(now.log_level, now.log_levels))
            if not stop.is_asked:
                _serve(_Place(settings, paths, logs, sockets, url), stop, supervisor)


def _serve(place: _Place, stop: StopRequest, supervisor: Supervisor) -> None:
    from daemon.heap import import_fastapi, keep_heap_small, leave_out_pydantic_v1
    from registry.index.apart import migrated_apart

    keep_heap_small()
    leave_out_pydantic_v1()
    with migrated_apart(place.paths.database):  # what follows takes as long
        import_fastapi()
        import uvicorn

        from daemon.app import create_app
        from daemon.cli.connections import bounded_by
        from daemon.cli.server import DaemonServer, Life

    if stop.is_asked:
        return
    settings, key = place.settings, secrets.token_urlsafe()
    app = create_app(settings, place.paths, command_line_key=key, logs=place.logs)
    config = uvicorn.Config(
        app,
        http=bounded_by(settings),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_MARGIN_S,  # for clients that do not read the ends of their answers
    )
    by_socket = str(settings().socket) if settings().socket is not None else None
    running = RunningDaemon(os.getpid(), place.url, __version__, key, by_socket)
    life = Life(app.state.begin_stop, app.state.stopped, app.state.ready)
    reload_on_hangup(settings.reload)
    supervisor.reload_with(settings.reload)
    with announced(place.paths.run_file, running), announced_to_all(os.environ, running):
        say(f"slmreg {__version__} on {running.url} - Ctrl-C stops it")
        # uvicorn stops gracefully and then raises the signal again for whoever was there before it: that is ``stop``,
        # and we end with exit code 0.
        DaemonServer(config, life, stop, supervisor).run(sockets=place.sockets)


def _say_who_gets_in(settings: Settings, paths: Paths) -> None:
    """Raises SettingsError where everybody would."""
    if not settings.is_public:
        return
    from registry.store import Registry

    with Registry.open(paths.database) as registry:
        if not registry.api_keys():
            raise SettingsError(
                f"Others can reach {settings.host}, and anyone who does could use this daemon. Make an API key first "
                "(`slmreg key create NAME`), or listen on 127.0.0.1."
            )
    say(f"Listening on {settings.host}: every request needs an API key, which is readable on its way without TLS.")
