"""import, export: a team's models.json."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.local import let_daemon_look, open_registry
from daemon.cli.output import print_json, print_table, say
from registry.errors import InvalidRequest
from registry.files.replacing import replace_file

if TYPE_CHECKING:
    from daemon.hints import Imported
    from registry.model import Hint

STANDARD = Path("-")
# What the parser, which knows no files, calls the one that it reads.
_AS_PARSED = re.compile(r"(^| of )models\.json")
# PowerShell 5 writes the first with ">"; a mark of UTF-8 is the parser's to accept.
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--no-pin", is_flag=True, help="Keep what the file says, and pin nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_file(file: Path, no_pin: bool, as_json: bool) -> None:
    """Take over a models.json ([{"name", "task", "min_ram_gb", "notes"}]); - is standard input.

    For each task that has no pin, the file's first entry that this machine has the memory for is pinned: now if such a
    model is here, else as soon as one comes. Importing again updates; nothing that was known is lost.

    \b
    Example: slmreg import models.json
    """
    from daemon.hints import import_hints

    hints = _parsed(file)
    with open_registry() as local:
        imported = import_hints(local.registry, local.catalog, hints, with_pins=not no_pin)
    if imported.pins:
        let_daemon_look()
    print_json(_as_json(imported)) if as_json else _print(imported)


def _print(imported: Imported) -> None:
    say(f"{imported.entries} entries are taken over; {imported.total} are known now.")
    if imported.pins:
        print_table(
            ("TASK", "MODEL", ""),
            ((str(pin.task), pin.model_id, "waits for it" if pin.is_waiting else "pinned") for pin in imported.pins),
        )
    if imported.unmatched:
        say("\nNot matched:")
        for entry in imported.unmatched:
            say(f"  {entry.name}{f' ({entry.task})' if entry.task else ''}: {entry.message}")


def _as_json(imported: Imported) -> dict[str, Any]:
    def pins(*, waiting: bool) -> list[dict[str, str]]:
        return [{"task": str(p.task), "model": p.model_id} for p in imported.pins if p.is_waiting is waiting]

    return {
        "entries": imported.entries,
        "known": imported.total,
        "pinned": pins(waiting=False),
        "waiting": pins(waiting=True),
        "unmatched": [
            {"name": entry.name, "task": entry.task, "code": entry.code, "message": entry.message}
            for entry in imported.unmatched
        ],
    }


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
def export_file(file: Path) -> None:
    """Write a models.json of this machine's models, for colleagues; - is standard output.

    What was imported stays in its place. Facts that slmreg knows stand in the extra key "slmreg" of each entry.

    \b
    Example: slmreg export models.json
    """
    from daemon.hints import export_hints
    from registry.manifest import serialise

    with open_registry() as local:
        hints = export_hints(local.registry, local.catalog, context_tokens=local.settings.max_context_tokens)
    if file == STANDARD:
        click.echo(serialise(hints), nl=False)
    else:
        _write(file, serialise(hints))
        say(f"{file} has {len(hints)} entries.")


def _parsed(file: Path) -> tuple[Hint, ...]:
    """Raises InvalidRequest, which names the file that was given, whatever it is called."""
    from registry.manifest import MAX_BYTES, parse

    name = "standard input" if file == STANDARD else str(file)
    try:
        return parse(read_text(file, max_bytes=MAX_BYTES, what="list of models"))
    except InvalidRequest as error:
        raise InvalidRequest(
            _AS_PARSED.sub(lambda found: found[1] + name, error.message, 1), param=error.param
        ) from error


def read_text(file: Path, *, max_bytes: int, what: str) -> str:
    """UTF-8 text, or what PowerShell writes, of a file or of standard input. Raises InvalidRequest."""
    try:
        with click.open_file(str(file), "rb") as stream:
            content: bytes = stream.read(max_bytes + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidRequest(f"{file} cannot be read: {reason}. Check the name and the permissions.") from error
    if len(content) > max_bytes:
        raise InvalidRequest(f"{file} is larger than {max_bytes} bytes, which no {what} needs.")
    try:
        return content.decode("utf-16" if content.startswith(_UTF16_MARKS) else "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{file} is not UTF-8 text. Save it as UTF-8.") from error


def _write(file: Path, text: str) -> None:
    """All of it or nothing: whoever reads ``file`` meanwhile sees the old one. A link stays a link."""
    target = Path(os.path.realpath(file))
    try:
        if target.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        replace_file(target, text, mode=None)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error.strerror or error}. Choose another place.") from error


COMMANDS = (import_file, export_file)
