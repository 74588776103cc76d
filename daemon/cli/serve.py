"""serve: run the daemon in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from daemon.cli.completing import complete_files
from daemon.cli.stop_request import StopRequest

if TYPE_CHECKING:
    from daemon.service.notify import Supervisor


@click.command()
@click.option("--host", help="Address to listen on; others than loopback need an API key [default: 127.0.0.1].")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one [default: 7567].")
@click.option(
    "--socket",
    "unix_socket",
    metavar="PATH",
    shell_complete=complete_files,
    help="Unix socket to listen on as well, for its owner alone.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]")
@click.pass_obj
def serve(
    manager: Supervisor | None, host: str | None, port: int | None, unix_socket: str | None, log_level: str | None
) -> None:
    """Run the daemon on http://127.0.0.1:7567.

    It indexes models, watches for new ones, and answers.

    \b
    Example: slmreg serve --port 7567
    """
    stop = StopRequest.listen()
    from daemon.cli.serving import run_daemon

    run_daemon({"host": host, "port": port, "socket": unix_socket, "log_level": log_level}, stop, manager)


COMMANDS = (serve,)
