"""The ``slmreg`` command. Each command parses, calls and prints; nothing is decided here.

A command is imported when it is asked for, and heavy libraries inside the command that needs them: a shell asks with
every TAB, and ``slmreg --help`` must feel instant.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from daemon import __version__
from daemon.cli import completion
from daemon.cli.command_table import CommandTable
from daemon.cli.text_streams import speak_utf8
from registry.errors import SlmregError

# Which module of this package has which commands.
MODULES = {
    "serve": ("serve",),
    "demo": ("demo",),
    "models": ("list", "scan", "roots"),
    "show": ("show",),
    "choose": ("select", "hw"),
    "pins": ("pin", "unpin", "pins"),
    "preset": ("preset",),
    "rate": ("rate",),
    "sessions": ("status", "ps", "load", "unload"),
    "tune": ("tune",),
    "chat": ("run",),
    "verify": ("verify",),
    "manifest": ("import", "export"),
    "allow": ("allow",),
    "keys": ("key",),
    "service": ("service",),
    "env": ("env",),
    "config": ("config",),
    "logs": ("logs",),
    "doctor": ("doctor",),
    "completion": ("completion",),
}


class SlmregGroup(click.Group):
    """Turns our errors into one clear line and exit code 1; click keeps 2 for wrong usage."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        speak_utf8()
        return super().main(*args, **{"complete_var": completion.COMPLETE_VARIABLE, **kwargs})

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SlmregError as error:
            raise click.ClickException(error.message) from error
        except BrokenPipeError:
            # The reader of our output (head, less) went away: that is not an error. Keep the interpreter from
            # complaining when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


def _print_version(ctx: click.Context, _: click.Parameter, is_asked: bool) -> None:
    """With those of what computes, read from their metadata: a crash on import must not keep it from being said."""
    if not is_asked or ctx.resilient_parsing:
        return
    import platform

    from daemon.versions import all_versions

    engines = [f"{name} {version}" for name, version in all_versions().items()]
    click.echo(f"slmreg {__version__} ({', '.join([f'Python {platform.python_version()}', *engines])})")
    ctx.exit()


@click.group(
    cls=SlmregGroup, commands=CommandTable(__name__, MODULES), context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Say it and exit."
)
def main() -> None:
    """Find the ONNX models on this machine, pick the best one for a task, and serve it locally.

    \b
    slmreg demo              see it work, with a model that comes along
    slmreg serve             start the daemon on http://127.0.0.1:7567
    slmreg list              the models of this machine
    slmreg select chat       which one is best for a task, and why
    slmreg run auto "Hello"  talk to it
    """
