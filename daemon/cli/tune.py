"""tune: how a model runs best on this machine, measured."""

from __future__ import annotations

from collections.abc import Iterator

import click

from daemon.cli.backend import HttpBackend, Json
from daemon.cli.daemon_link import require_daemon
from daemon.cli.output import print_json, print_table, say
from daemon.cli.show import tuned_text
from daemon.paths import home_paths


@click.command()
@click.argument("model")
@click.option("--forget", is_flag=True, help="Forget what was found, and load it as all models from then on.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tune(model: str, forget: bool, as_json: bool) -> None:
    """Measure how MODEL runs best on this machine, and load it so from then on.

    With how many threads, how many tokens of a prompt at a time, and how many requests at the same time. It takes up to
    a minute and some loads of the model, and is refused while anything is being answered.

    \b
    Example: slmreg tune phi-4-mini
    """
    with HttpBackend(require_daemon(home_paths().run_file)) as backend:
        found = backend.forget_tuning(model) if forget else backend.tune(model)
    if as_json:
        print_json(found)
    elif forget:
        say(f"{found['id']}: {'what was found is forgotten' if found['forgotten'] else 'nothing was found before'}.")
    else:
        columns = ("THREADS", "WHAT", "SIZE", "TOKENS/S")
        print_table(columns, measured_rows(found["measured"]), right=("THREADS", "SIZE", "TOKENS/S"))
        click.echo(f"{found['id']}: {tuned_text(found)}, in {found['seconds']:.0f} s")


def measured_rows(measured: list[Json]) -> Iterator[tuple[str, ...]]:
    """What was tried: requests that are answered at the same time, and tokens of a prompt that are read in one call."""
    for trial in measured:
        for what, rates in (("answers at once", trial["answering"]), ("prompt tokens", trial["reading"])):
            for size, rate in rates.items():
                yield str(trial["threads"]), what, size, f"{rate:.1f}"


COMMANDS = (tune,)
