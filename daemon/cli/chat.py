"""run: talk to a model in the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from daemon.cli.background import background_daemon
from daemon.cli.completing import complete_requested
from daemon.cli.daemon_link import RunningDaemon, find_daemon
from daemon.cli.openai_stream import Piece, StreamedAnswer
from daemon.cli.output import say
from daemon.paths import home_paths
from daemon.surrogates import without_surrogates
from registry.errors import SlmregError

COMMANDS_HINT = "Ctrl-C stops an answer; /clear forgets the conversation; /bye or Ctrl-D ends."


@click.command()
@click.argument("model", shell_complete=complete_requested)
@click.argument("prompt", required=False)
@click.option("--system", help="System message.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 is greedy [default: the model's own].")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer.")
@click.option("--seed", type=int, help="Same seed, same answer.")
def run(
    model: str,
    prompt: str | None,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    seed: int | None,
) -> None:
    """Chat with MODEL in the terminal.

    MODEL is an id, a name, auto or auto:TASK. With PROMPT: answer it and end.
    Where no daemon runs, one is started for this chat.

    \b
    Example: slmreg run auto "What is slmreg?"
    """
    options = {"model": model, "temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    conversation = _Conversation({key: value for key, value in options.items() if value is not None}, system)
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read().strip()
        if not prompt:
            raise click.UsageError("There is nothing to ask: give a PROMPT, or write one to standard input.")
    with _running_daemon() as daemon:
        if prompt is not None:
            conversation.ask(daemon, prompt)
        else:
            _talk(daemon, conversation)


class _Conversation:
    """The messages so far; an answer that was stopped stays in it as far as it came."""

    def __init__(self, options: dict[str, Any], system: str | None) -> None:
        self._options = options
        self._start = [{"role": "system", "content": system}] if system else []
        self._messages = list(self._start)

    def clear(self) -> None:
        self._messages = list(self._start)

    def ask(self, daemon: RunningDaemon, text: str) -> None:
        """Print the answer as it comes. A question that could not be answered is forgotten. Raises SlmregError."""
        # A terminal may hand over bytes that are no UTF-8, as halves of surrogate pairs.
        messages = [*self._messages, {"role": "user", "content": without_surrogates(text)}]
        answer = StreamedAnswer(daemon, {**self._options, "messages": messages})
        said = ""
        pieces = answer.pieces()
        try:
            for shown in _shown(pieces):
                said += shown
        except KeyboardInterrupt:
            pieces.close()  # and with it the connection
            said += " ..."
            say("\n(stopped)")
        else:
            click.echo()
        self._messages = [*messages, {"role": "assistant", "content": said}]


def _shown(pieces: Iterable[Piece]) -> Iterator[str]:
    """Print the pieces as they come, and hand those of the answer on.

    Reasoning is talk: dim, and not on standard output.
    """
    is_reasoning = False
    for piece in pieces:
        if is_reasoning and not piece.is_reasoning:
            click.echo("\n", err=True)
        is_reasoning = piece.is_reasoning
        click.echo(click.style(piece.text, dim=True) if is_reasoning else piece.text, nl=False, err=is_reasoning)
        if not is_reasoning:
            yield piece.text


def _talk(daemon: RunningDaemon, conversation: _Conversation) -> None:
    say(COMMANDS_HINT)
    while True:
        try:
            line = input(">>> ").strip()
        except (EOFError, KeyboardInterrupt):
            say("")
            return
        if line == "/bye":
            return
        if line == "/clear":
            conversation.clear()
        elif line:
            try:
                conversation.ask(daemon, line)
            except SlmregError as error:
                say(f"Error: {error.message}")


@contextlib.contextmanager
def _running_daemon() -> Iterator[RunningDaemon]:
    running = find_daemon(home_paths().run_file)
    if running is not None:
        yield running
        return
    with (
        tempfile.TemporaryDirectory(prefix="slmreg-") as scratch,
        background_daemon(os.environ, Path(scratch) / "daemon.log") as background,
    ):
        yield background.running


COMMANDS = (run,)
