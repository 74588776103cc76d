from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.errors import DatabaseError
from registry.index.apart import is_outdated, migrated_apart
from registry.store import Registry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "registry.db"


def test_a_new_registry_is_made_in_another_process_while_this_one_goes_on(path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from registry.index.apart import migrated_apart\n"
        "from registry.store import Registry\n"
        "with migrated_apart(Path(sys.argv[1])): pass\n"
        "Registry.open(Path(sys.argv[1])).close()\n"
        "print([name for name in ('sqlmodel', 'sqlalchemy', 'alembic') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert not is_outdated(path)
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_that_is_up_to_date_needs_no_process(path: Path) -> None:
    assert is_outdated(path)
    Registry.open(path).close()
    assert not is_outdated(path)


def damaged(path: Path) -> None:
    path.write_bytes(b"no database at all " * 100)


def of_a_newer_slmreg(path: Path) -> None:
    import sqlite3

    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


def gone_beside_its_sidecar(path: Path) -> None:
    path.unlink()
    path.with_suffix(".json").write_text("{}", encoding="utf-8")


@pytest.mark.parametrize("spoil", [damaged, of_a_newer_slmreg, gone_beside_its_sidecar])
def test_what_has_to_be_mended_or_refused_is_left_to_who_opens_it(path: Path, spoil: Callable[[Path], None]) -> None:
    Registry.open(path).close()
    spoil(path)
    assert not is_outdated(path)


def test_where_it_cannot_be_done_whoever_opens_it_says_why(tmp_path: Path) -> None:
    in_a_file = tmp_path / "file" / "registry.db"
    (tmp_path / "file").touch()
    with migrated_apart(in_a_file):
        pass
    with pytest.raises(DatabaseError):
        Registry.open(in_a_file)
