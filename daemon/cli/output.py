"""What the commands print: results on standard output, talk on standard error."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import click

from daemon.cli.text_streams import is_utf8

COLUMN_GAP = "  "
# A column that wraps is not made narrower than this, however narrow the terminal is.
LEAST_WRAPPED = 16

_LONG_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def print_json(value: Any) -> None:
    """As a person reads it where the output can carry it; escaped where it could not be read as JSON any more."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=not is_utf8(sys.stdout.encoding)))


def say(text: str) -> None:
    """To the person, not to the program that reads our output. Where that cannot be (a full disk), work goes on."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = (), wrap: str | None = None
) -> None:
    """A plain aligned table; columns named in ``right`` hold numbers; ``wrap`` names one that may take several lines.

    The others never do: an id that is cut cannot be copied. A terminal that is too narrow for them folds whole lines.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [tuple(row) for row in rows]
    widths = [max(map(cell_len, (name, *column))) for name, *column in zip(columns, *cells, strict=True)]
    natural = sum(widths) + len(COLUMN_GAP) * (len(columns) - 1)
    width = Console().width if sys.stdout.isatty() else natural
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(name.strip() for name in columns))
    for name, widest in zip(columns, widths, strict=True):
        justify: Literal["left", "right"] = "right" if name in right else "left"
        room = max(widest - max(0, natural - width), LEAST_WRAPPED) if name == wrap else widest
        table.add_column(name, justify=justify, overflow="fold", width=min(room, widest))
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(width=max(natural, width))
    with console.capture() as printed:
        console.print(table)
    for line in printed.get().splitlines():
        click.echo(line.rstrip())


def gigabytes(size_bytes: int | float | None) -> str:
    """As people read sizes: "812 kB", "1.3 MB", "2.4 GB" (powers of ten, as disks and Foundry count)."""
    if size_bytes is None:
        return "-"
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit in ("B", "kB") else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("the last unit always fits")


def whole_time(seconds: float) -> str:
    """As people say times, in one unit: "40 s", "9 min", "3 h", "2 d"."""
    size_s, unit = next(((size_s, unit) for size_s, unit in _LONG_UNITS if seconds >= 2 * size_s), (1.0, "s"))
    return f"{max(1, round(seconds / size_s))} {unit}"


def billions(parameters: int | None) -> str:
    """ "3.8B", "1.8M"; "-" where unknown."""
    if parameters is None:
        return "-"
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.1f}M"
