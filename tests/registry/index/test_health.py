from __future__ import annotations

import os
from pathlib import Path

from registry.index.health import examine_database
from registry.index.migrations import HEAD
from registry.store import Registry


def test_no_registry_yet_is_no_damage(tmp_path: Path) -> None:
    health = examine_database(tmp_path / "registry.db")
    assert (health.schema, health.size_bytes, health.damage) == (None, 0, ())
    assert not (tmp_path / "registry.db").exists()


def test_a_registry_in_use_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "with space & é" / "registry.db"
    with Registry.open(path) as registry:
        registry.add_root(tmp_path)
        health = examine_database(path)
    assert (health.schema, health.is_current, health.damage) == (HEAD, True, ())
    assert health.size_bytes > path.stat().st_size or not path.with_name("registry.db-wal").exists()


def test_a_truncated_and_a_foreign_file_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    Registry.open(path).close()
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)
    assert examine_database(path).damage
    (tmp_path / "noise").write_bytes(os.urandom(9000))
    assert "not a database" in examine_database(tmp_path / "noise").damage[0]
    assert examine_database(tmp_path).damage  # a folder
