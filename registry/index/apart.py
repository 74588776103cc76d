"""Bringing a registry file up to date in a process of its own: ``python -m registry.index.apart PATH``.

Alembic takes 12 MB beside what writing takes, for as long as the process lives that has imported it. Invariant: nothing
is decided here: whoever opens the registry afterwards does what was not done, and says what is wrong.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from registry.errors import DatabaseError
from registry.index.database import DamagedFile, Database
from registry.index.migrations import HEAD
from registry.index.schema import schema_version
from registry.index.sidecar import sidecar_of

TIMEOUT_S = 60.0


@contextlib.contextmanager
def migrated_apart(path: Path) -> Iterator[None]:
    """Migrate while the block runs, if there is something to migrate; done when it is left."""
    if not is_outdated(path):
        yield
        return
    command = [sys.executable, "-P", "-m", "registry.index.apart", str(path)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            yield
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(TIMEOUT_S)
        finally:
            process.kill()


def is_outdated(path: Path) -> bool:
    """Whether the file is not there yet, or has an older schema. False for one that has to be mended or refused."""
    if not path.exists():
        return not sidecar_of(path).exists()
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as reader:
            version = schema_version(reader, path)
    except (sqlite3.Error, DatabaseError):
        return False
    return version is not None and version < HEAD


def main() -> int:
    try:
        Database(Path(sys.argv[1])).close()
    except (DatabaseError, DamagedFile):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
