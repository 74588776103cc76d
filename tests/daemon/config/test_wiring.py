"""That what is wired together follows the settings, and keeps none that may change meanwhile."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.config.effect import LISTED, Effect
from daemon.config.layers import load_effective
from daemon.config.present import PresentSettings
from daemon.logs.logs import Logs
from daemon.parts import build_parts
from daemon.paths import Paths
from daemon.running import Daemon
from registry.store import Registry
from tests.fakes import FakeLauncher

ROOT = Path(__file__).parents[3]
CHANGING = {name for name, effect in LISTED.items() if effect is not Effect.RESTART}
LATER = (ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef)


def read_at_once(node: ast.AST) -> Iterator[str]:
    """The settings that are read when this code runs, and not when something in it is called later."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Attribute) and ast.unparse(child.value) in ("settings()", "parts.settings()", "start"):
            yield child.attr
        if not isinstance(child, LATER):
            yield from read_at_once(child)


def read_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def functions_of(name: str) -> dict[str, ast.FunctionDef]:
    """Of a module and of its classes; not those inside functions, which are called later."""
    module = ast.parse((ROOT / "daemon" / name).read_text(encoding="utf-8"))
    within = (node.body for node in module.body if isinstance(node, ast.ClassDef))
    return {node.name: node for body in (module.body, *within) for node in body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    ("file", "where"),
    [
        *(("app.py", where) for where in ("create_app", "_routers")),
        *(("parts.py", where) for where in functions_of("parts.py")),
        ("running.py", "__init__"),
    ],
)
def test_nothing_is_built_with_a_value_that_may_change(file: str, where: str) -> None:
    assert CHANGING.isdisjoint(read_at_once(functions_of(file)[where]))


def test_whatever_counts_while_the_daemon_runs_is_read_somewhere() -> None:
    own = {
        ROOT / "daemon" / name
        for name in ("settings.py", "access_settings.py", "log_settings.py", "model_overrides.py")
    }
    read = set().union(*(read_in(file) for file in (ROOT / "daemon").rglob("*.py") if file not in own))
    assert set(LISTED) <= read


def test_the_parts_of_a_daemon_see_what_the_file_says_by_now(tmp_path: Path) -> None:
    environment = {"SLMREG_HOME": str(tmp_path), "SLMREG_FOUNDRY_CACHES": "", "SLMREG_HF_CACHE": ""}
    paths = Paths.from_environment(environment)
    settings = PresentSettings(load_effective(paths, {}), lambda: load_effective(paths, {}))
    with Registry.open(paths.database) as registry:
        registry.add_root(tmp_path)
        tmp_path.joinpath("slow").mkdir()
        registry.add_root(tmp_path / "slow", settle_s=7)
    logs = Logs(settings())
    parts = build_parts(settings, paths, environment, FakeLauncher(), command_line_key=None, logs=logs)
    daemon = Daemon(parts, paths.config)
    paths.config.write_text("settle_s = 3\nqueue_timeout_s = 5\nmemory_budget_bytes = 6\nrequire_key = true\n")
    assert {root.settle_s for root in daemon._roots()} == {1.0, 7.0}
    settings.reload()
    assert {root.settle_s for root in daemon._roots()} == {3.0, 7.0}
    limits = parts.pool._limits()
    assert (limits.queue_timeout_s, limits.budget_bytes) == (5, 6)
    assert parts.access.needs_key
    parts.storage.registry.close()
