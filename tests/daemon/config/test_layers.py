"""What is wrong with settings, and where they are from; tests/daemon/test_settings.py has their values."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon.config.layers import MAX_FILE_BYTES, Origin, OriginKind, examine, load_effective
from daemon.paths import Paths
from registry.errors import SettingsError


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.from_environment({"SLMREG_HOME": str(tmp_path)})


def said(paths: Paths, text: str) -> list[tuple[int | None, str | None, str]]:
    """Line, key, and what comes after file and line, of every problem."""
    paths.config.write_text(text, encoding="utf-8")
    problems = examine(paths, {}).problems
    return [(each.line, each.key, each.message.partition(f"{paths.config}:{each.line}: ")[2]) for each in problems]


def test_every_value_knows_the_last_place_that_said_it(paths: Paths) -> None:
    paths.config.write_text("\nthreads = 3\nport = 1\n[models.solo]\nthreads = 1\n", encoding="utf-8")
    environment = {"SLMREG_PORT": "2", "SLMREG_LOG_LEVEL": "debug"}
    effective = load_effective(paths, environment, {"log_level": "error", "host": None})
    assert effective.origins == {
        "threads": Origin(OriginKind.FILE, f"{paths.config}:2"),
        "models": Origin(OriginKind.FILE, f"{paths.config}:4"),
        "port": Origin(OriginKind.ENVIRONMENT, "SLMREG_PORT"),
        "log_level": Origin(OriginKind.FLAG, "--log-level"),
    }


def test_every_wrong_value_is_named_with_its_line_in_their_order(paths: Paths) -> None:
    text = """\
port = "many"
threads = 1.5
allow = ["phi*",
  3]
log_level = true
[keep_alive_models]
"phi*" = "soon"
[models."phi*"]
context_tokens = "long"
"""
    found = said(paths, text)
    assert [(line, key) for line, key, _ in found] == [
        (1, "port"),
        (2, "threads"),
        (3, "allow.1"),
        (5, "log_level"),
        (7, "keep_alive_models.phi*"),
        (9, "models.phi*.context_tokens"),
    ]
    assert found[0][2].startswith("port = 'many' is not usable: ")
    assert "'soon' is no time" in found[4][2]


def test_a_table_where_a_value_should_be_and_the_other_way_round_are_named(paths: Paths) -> None:
    found = said(paths, "models = 3\n[port]\nx = 1\n")
    assert [(line, key) for line, key, _ in found] == [(1, "models"), (2, "port")]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[models.'phi*']\nthread = 3\n", "there is no setting models.phi*.thread. Did you mean models.phi*.threads?"),
        (
            "[models.'phi*']\nxyz = 3\n",
            "there is no setting models.phi*.xyz. There are context_tokens, threads, keep_alive.",
        ),
        ("\nprot = 3\n", "there is no setting prot. Did you mean port?"),
        ("\nzzzzzz = 3\n", "there is no setting zzzzzz. `slmreg config example` has every setting."),
    ],
)
def test_an_unknown_key_is_a_problem_with_a_suggestion(paths: Paths, text: str, hint: str) -> None:
    ((line, _key, message),) = said(paths, text)
    assert (line, message) == (2, hint)


def test_an_endless_value_is_shown_only_in_part(paths: Paths) -> None:
    ((_, _, message),) = said(paths, f"port = '{'x' * 10_000}'\n")
    assert len(message) < 300


@pytest.mark.parametrize(
    ("raw", "line", "says"),
    [
        (b"port = 1\nport = 2\n", 2, "is not valid TOML"),
        (b"port = 1\n\n[models\n", 3, "is not valid TOML"),
        (b"port = 1\nhost = 'caf\xe9'\n", 2, "is not UTF-8 (byte 0xe9)"),
        (b"allow = " + b"[" * 5000, None, "is not valid TOML"),
        (b"# " + b"x" * MAX_FILE_BYTES, None, f"more than {MAX_FILE_BYTES} bytes"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_where(paths: Paths, raw: bytes, line: int | None, says: str) -> None:
    paths.config.write_bytes(raw)
    (problem,) = examine(paths, {}).problems
    assert (problem.line, problem.key, says in problem.message) == (line, None, True), problem.message
    assert str(paths.config) in problem.message
    with pytest.raises(SettingsError, match=r"config\.toml"):
        load_effective(paths, {})


def test_a_byte_order_mark_and_windows_line_ends_are_fine(paths: Paths) -> None:
    paths.config.write_bytes(b"\xef\xbb\xbfport = 1\r\nthreads = 2\r\n")
    effective = load_effective(paths, {})
    assert (effective.settings.port, effective.settings.threads) == (1, 2)
    assert effective.origins["threads"].where == f"{paths.config}:2"


def test_a_folder_in_the_place_of_the_file_is_said_to_be_unreadable(paths: Paths) -> None:
    paths.config.mkdir()
    with pytest.raises(SettingsError, match=r"config\.toml cannot be read"):
        load_effective(paths, {})


@pytest.mark.skipif(os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root reads everything")
def test_a_file_that_may_not_be_read_is_said_to_be_so(paths: Paths) -> None:
    paths.config.write_text("port = 1\n", encoding="utf-8")
    paths.config.chmod(0)
    with pytest.raises(SettingsError, match="Check its permissions"):
        load_effective(paths, {})
