"""serve: run the daemon in the foreground."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from types import FrameType

import click

from daemon import __version__
from daemon.cli.backend import home_paths
from daemon.cli.daemon_link import RunningDaemon, announced, find_daemon
from daemon.cli.output import say
from daemon.settings import Paths, Settings, load_settings
from registry.errors import AddressInUse, DaemonAlreadyRunning

BACKLOG = 128
STOP_MARGIN_S = 10
FORCED_POLL_S = 0.05


@click.command()
@click.option("--host", help="Loopback address to listen on [default: 127.0.0.1].")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one [default: 7567].")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]")
def serve(host: str | None, port: int | None, log_level: str | None) -> None:
    """Run the daemon on http://127.0.0.1:7567.

    It indexes models, watches for new ones, and answers.

    \b
    Example: slmreg serve --port 7567
    """
    paths = home_paths()
    settings = load_settings(paths, flags={"host": host, "port": port, "log_level": log_level})
    running = find_daemon(paths.run_file)
    if running is not None:
        raise DaemonAlreadyRunning(f"slmreg already runs at {running.url} (pid {running.pid}).")
    with _listening(settings) as listener:
        _serve(settings, paths, listener)


def _serve(settings: Settings, paths: Paths, listener: socket.socket) -> None:
    import uvicorn

    from daemon.app import create_app

    logging.basicConfig(
        level=settings.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    for noisy in ("httpx", "uvicorn.error", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

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

    app = create_app(settings, paths)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_MARGIN_S,  # for clients that do not read the ends of their answers
    )
    running = RunningDaemon(os.getpid(), _url(settings.host, listener), __version__)
    # uvicorn stops gracefully and then raises the signal again for whoever was there before it: that is us, and we end
    # with exit code 0.
    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop_signal, lambda *_: None)
    with announced(paths.run_file, running):
        say(f"slmreg {__version__} on {running.url} - Ctrl-C stops it")
        Server(config).run(sockets=[listener])


def _listening(settings: Settings) -> socket.socket:
    """A bound socket, so that a taken port is a clear error before anything is started. Raises AddressInUse."""
    family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
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
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. Another program may use that port: "
            "stop it, or choose another one with --port."
        ) from error
    return listener


def _url(host: str, listener: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


COMMANDS = (serve,)
