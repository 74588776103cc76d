"""key create, list, revoke without a daemon; tests/e2e/test_access.py has them with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemon.access import Access, digest_of
from daemon.cli import main
from registry.model import KeyScope
from registry.store import Registry


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def key(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["key", *arguments], env={"SLMREG_HOME": str(home)})


def test_a_key_is_shown_once_and_only_its_hash_is_kept(home: Path) -> None:
    made = key(home, "create", "laptop", "--scope", "admin")
    secret = made.stdout.strip()
    assert (made.exit_code, "the only time" in made.stderr, "the first" in made.stderr) == (0, True, True)
    with Registry.open(home / "registry.db") as registry:
        (kept,) = registry.api_keys()
        assert (kept.name, kept.scope, kept.sha256) == ("laptop", KeyScope.ADMIN, digest_of(secret))
        assert Access(registry.api_keys).caller(secret) is not None
    for file in home.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_json_has_the_key_where_it_is_made_and_never_again(home: Path) -> None:
    assert json.loads(key(home, "list", "--json").stdout) == []
    made = json.loads(key(home, "create", "app", "--json").stdout)
    assert set(made) == {"name", "scope", "created_at", "key"}
    (listed,) = json.loads(key(home, "--json").stdout)
    assert listed == {"name": "app", "scope": "use", "created_at": made["created_at"]}
    assert "app" in key(home).stdout
    assert json.loads(key(home, "revoke", "app", "--json").stdout) == {"revoked": "app"}
    assert "no key" in key(home, "list").stderr


def test_what_cannot_be_done_is_exit_1_with_a_reason(home: Path) -> None:
    assert key(home, "create", "app").exit_code == 0
    for arguments, reason in (
        (("create", "app"), "already"),
        (("create", "two words"), "cannot be the name"),
        (("create", "../x"), "cannot be the name"),
        (("revoke", "ap"), "There are: app"),
    ):
        done = key(home, *arguments)
        assert (done.exit_code, reason in done.stderr, done.stdout) == (1, True, ""), arguments
    assert key(home, "create", "x", "--scope", "root").exit_code == 2
