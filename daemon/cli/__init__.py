"""The ``slmreg`` command. Each command parses, calls and prints; nothing is decided here.

Heavy libraries are imported inside the command that needs them: ``slmreg --help`` must feel instant.
"""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

import click

from daemon import __version__
from daemon.cli import (
    allow,
    chat,
    choose,
    completion,
    config,
    demo,
    doctor,
    env,
    keys,
    logs,
    manifest,
    models,
    pins,
    preset,
    rate,
    serve,
    service,
    sessions,
    show,
    tune,
    verify,
)
from daemon.cli.text_streams import speak_utf8
from registry.errors import SlmregError


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
    from daemon.versions import all_versions

    engines = [f"{name} {version}" for name, version in all_versions().items()]
    click.echo(f"slmreg {__version__} ({', '.join([f'Python {platform.python_version()}', *engines])})")
    ctx.exit()


@click.group(cls=SlmregGroup, context_settings={"help_option_names": ["-h", "--help"]})
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


GROUPS = (
    serve,
    demo,
    models,
    show,
    choose,
    pins,
    preset,
    rate,
    sessions,
    tune,
    chat,
    verify,
    manifest,
    allow,
    keys,
    service,
    env,
    config,
    logs,
    doctor,
    completion,
)

for group in GROUPS:
    for command in group.COMMANDS:
        main.add_command(command)
