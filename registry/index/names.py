"""``known_names``: what things are called, for whoever completes a name that is being typed. Reads, and never writes.

Neither SQLAlchemy nor a model's facts are touched: it takes a few milliseconds with thousands of models.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

# Whoever types does not wait for a writer.
_BUSY_TIMEOUT_S = 0.1


@dataclass(frozen=True, slots=True)
class Names:
    """``models`` are ids, names and aliases of those that are here, each once."""

    models: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()


def known_names(path: Path) -> Names:
    """Sorted. Raises sqlite3.Error where there is no registry, or one that cannot be read."""
    uri = f"file:{quote(path.as_posix())}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S)) as connection:

        def texts(query: str) -> tuple[str, ...]:
            return tuple(sorted({str(text) for row in connection.execute(query) for text in row}))

        return Names(
            models=texts("SELECT model_id, name, alias FROM models WHERE missing_since_s IS NULL"),
            presets=texts("SELECT name FROM presets"),
            keys=texts("SELECT name FROM api_keys"),
            roots=texts("SELECT path FROM roots"),
        )
