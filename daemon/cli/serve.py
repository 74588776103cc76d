"""serve: run the daemon in the foreground."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import signal
import socket
import sys
from types import FrameType

import click

from daemon import __version__
from daemon.cli.backend import home_paths
from daemon.cli.daemon_link import RunningDaemon, announced, find_daemon
from daemon.cli.listeners import listening, url_of
from daemon.cli.output import say
from daemon.request_id import RequestIdFormatter
from daemon.settings import Paths, Settings, load_settings
from registry.errors import DaemonAlreadyRunning, SettingsError

STOP_MARGIN_S = 10
FORCED_POLL_S = 0.05


@click.command()
@click.option("--host", help="Address to listen on; others than loopback need an API key [default: 127.0.0.1].")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one [default: 7567].")
@click.option("--socket", "unix_socket", metavar="PATH", help="Unix socket to listen on as well, for its owner alone.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]")
def serve(host: str | None, port: int | None, unix_socket: str | None, log_level: str | None) -> None:
    """Run the daemon on http://127.0.0.1:7567.

    It indexes models, watches for new ones, and answers.

    \b
    Example: slmreg serve --port 7567
    """
    paths = home_paths()
    settings = load_settings(paths, flags={"host": host, "port": port, "socket": unix_socket, "log_level": log_level})
    running = find_daemon(paths.run_file)
    if running is not None:
        raise DaemonAlreadyRunning(f"slmreg already runs at {running.url} (pid {running.pid}).")
    _say_who_gets_in(settings, paths)
    os.umask(0o077)  # what the daemon writes is for its owner alone
    with listening(settings) as sockets:
        _serve(settings, paths, sockets)


def _serve(settings: Settings, paths: Paths, sockets: list[socket.socket]) -> None:
    from daemon.heap import keep_heap_small, leave_out_pydantic_v1
    from registry.index.apart import migrated_apart

    keep_heap_small()
    leave_out_pydantic_v1()
    with migrated_apart(paths.database):  # what follows takes as long
        import uvicorn

        from daemon.app import create_app
        from daemon.cli.connections import bounded_by

    _log_to_stderr(settings.log_level)

    class Server(uvicorn.Server):
        """Tells the application at once, and not when the last response is done, that it has to stop."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.begin_stop()
            if self.should_exit:  # the second time: what is cut off now was meant to be, and needs no stack in the log
                logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
                self.force_exit = True  # uvicorn itself does so for Ctrl-C only
            super().handle_exit(sig, frame)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Not before the last answer is done: until then, whoever comes is told that it stops."""
            stopped = asyncio.ensure_future(app.state.stopped())
            while not (stopped.done() or self.force_exit):
                await asyncio.wait({stopped}, timeout=FORCED_POLL_S)
            stopped.cancel()
            await super().shutdown(sockets)

    key = secrets.token_urlsafe()
    app = create_app(settings, paths, command_line_key=key)
    config = uvicorn.Config(
        app,
        http=bounded_by(settings),
        ws="none",
        timeout_keep_alive=math.ceil(settings.idle_timeout_s),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_MARGIN_S,  # for clients that do not read the ends of their answers
    )
    by_socket = str(settings.socket) if settings.socket is not None else None
    running = RunningDaemon(os.getpid(), url_of(settings.host, sockets[0]), __version__, key, by_socket)
    # uvicorn stops gracefully and then raises the signal again for whoever was there before it: that is us, and we end
    # with exit code 0.
    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop_signal, lambda *_: None)
    with announced(paths.run_file, running):
        say(f"slmreg {__version__} on {running.url} - Ctrl-C stops it")
        Server(config).run(sockets=sockets)


def _log_to_stderr(level: str) -> None:
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(RequestIdFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[lines])
    for noisy in ("httpx", "uvicorn.error", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


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


COMMANDS = (serve,)
