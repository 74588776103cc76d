"""That what is wired together follows the settings, and keeps none that may change meanwhile."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.app import Daemon
from daemon.config.effect import LISTED, Effect
from daemon.config.layers import load_effective
from daemon.config.present import PresentSettings
from daemon.logs.logs import Logs
from daemon.paths import Paths
from registry.store import Registry
from tests.fakes import FakeLauncher

ROOT = Path(__file__).parents[3]
CHANGING = {name for name, effect in LISTED.items() if effect is not Effect.RESTART}
LATER = (ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef)


def read_at_once(node: ast.AST) -> Iterator[str]:
    """The settings that are read when this code runs, and not when something in it is called later."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Attribute) and ast.unparse(child.value) in ("settings()", "self.settings()", "start"):
            yield child.attr
        if not isinstance(child, LATER):
            yield from read_at_once(child)


def read_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("where", ["create_app", "_routers", "__init__"])
def test_nothing_is_built_with_a_value_that_may_change(where: str) -> None:
    tree = ast.parse((ROOT / "daemon" / "app.py").read_text(encoding="utf-8"))
    (built,) = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == where]
    assert CHANGING.isdisjoint(read_at_once(built))


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
    daemon = Daemon(settings, paths, environment, FakeLauncher(), None, Logs(settings()))
    paths.config.write_text("settle_s = 3\nqueue_timeout_s = 5\nmemory_budget_bytes = 6\nrequire_key = true\n")
    assert {root.settle_s for root in daemon._roots()} == {1.0, 7.0}
    settings.reload()
    assert {root.settle_s for root in daemon._roots()} == {3.0, 7.0}
    limits = daemon.pool._limits()
    assert (limits.queue_timeout_s, limits.budget_bytes) == (5, 6)
    assert daemon.access.needs_key
    daemon.registry.close()
