"""The house rules that a reader should be able to rely on, read from the imports themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("registry", "selector", "daemon")

# Which of our modules each package may import.
MAY_IMPORT = {
    "registry": ("registry",),
    "selector": ("selector", "registry.model", "registry.experience", "registry.errors"),
    "daemon": ("daemon", "selector", "registry"),
}

# What each room of the registry may import beside itself: the rooms below it, and these files, which know no room.
REGISTRY_WORDS = ("registry.model", "registry.experience", "registry.errors", "registry.problems", "registry.notes")
REGISTRY_ROOMS: dict[str, tuple[str, ...]] = {
    "files": (),
    "onnx": ("files",),
    "layouts": ("files",),
    "reading": ("files", "layouts", "onnx"),
    "watching": ("files", "layouts"),
    "index": ("files",),
}

# Each third-party library has one owner: a folder or a file.
OWNERS = {
    "sqlmodel": ("registry/index/", "registry/store.py"),
    "sqlalchemy": ("registry/index/", "registry/store.py"),
    "alembic": ("registry/index/", "registry/store.py"),
    "watchdog": ("registry/watching/observers.py",),
    "google": ("registry/onnx/messages.py",),
    "psutil": ("selector/hardware/",),
    "cpuinfo": ("selector/hardware/",),
    "onnxruntime": ("daemon/worker/",),
    "onnxruntime_genai": ("daemon/worker/",),
    "PIL": ("daemon/worker/vision/",),
    "tokenizers": ("daemon/worker/",),
    "jinja2": ("daemon/worker/",),
    "llguidance": ("daemon/worker/",),
    "fastapi": ("daemon/api/", "daemon/app.py", "daemon/heap.py"),
    "starlette": ("daemon/api/",),
    "uvicorn": ("daemon/cli/",),
    "prometheus_client": ("daemon/metrics/exposition.py",),
    "click": ("daemon/cli/",),
    "rich": ("daemon/cli/",),
    "tomlkit": ("daemon/config/file.py",),
    "httpx": ("daemon/cli/",),
    **dict.fromkeys(("servicemanager", "win32service", "win32serviceutil"), ("daemon/service/windows_host.py",)),
}

FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """Every module that ``file`` imports, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            module = node.module or ""
            # "from registry import errors" imports the module registry.errors
            yield from (f"{module}.{alias.name}" if _is_module(module, alias.name) else module for alias in node.names)


def _is_module(package: str, name: str) -> bool:
    folder = ROOT / package.replace(".", "/")
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


def _is_within(module: str, allowed: str) -> bool:
    return module == allowed or module.startswith(f"{allowed}.")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_one_way_and_every_library_has_one_owner(file: Path) -> None:
    where = file.relative_to(ROOT).as_posix()
    package = where.split("/", maxsplit=1)[0]
    for module in imports(file):
        top = module.split(".", maxsplit=1)[0]
        if top in PACKAGES:
            assert any(_is_within(module, allowed) for allowed in MAY_IMPORT[package]), f"{where} imports {module}"
        assert top not in ("tests", "scripts", "benchmarks"), f"{where} imports {module}"
        if top in OWNERS:
            assert where.startswith(OWNERS[top]), f"{where} imports {top}, which belongs to {OWNERS[top]}"


# What measures how long something takes or lasts: a clock that is set forward or back must not be noticed here.
SPANS = (
    *("daemon/pool/", "daemon/worker/", "daemon/warm.py", "daemon/setbacks.py"),
    *("registry/watching/", "registry/watch.py"),
)
# The date that a chat template writes, and times of files, which are of that clock.
TIMES_OF_DAY = {"daemon/worker/bounded_jinja.py", "registry/watching/view.py"}


def _asks_the_time(file: Path) -> bool:
    """Whether it names a clock that people set."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    asked = {f"{ast.unparse(node.value)}.{node.attr}" for node in nodes if isinstance(node, ast.Attribute)}
    return bool(asked & {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow"})


def test_spans_of_time_are_not_taken_from_a_clock_that_can_be_set() -> None:
    spans = {where: file for file in FILES if (where := file.relative_to(ROOT).as_posix()).startswith(SPANS)}
    assert len(spans) > 50
    assert {where for where, file in spans.items() if _asks_the_time(file)} == TIMES_OF_DAY


@pytest.mark.parametrize("room", REGISTRY_ROOMS)
def test_the_rooms_of_the_registry_import_one_way(room: str) -> None:
    allowed = (*REGISTRY_WORDS, *(f"registry.{each}" for each in (room, *REGISTRY_ROOMS[room])))
    files = [file for file in FILES if file.is_relative_to(ROOT / "registry" / room)]
    assert files
    for file in files:
        for module in imports(file):
            is_ours = _is_within(module, "registry")
            assert not is_ours or any(_is_within(module, each) for each in allowed), f"{file.name} imports {module}"


def test_every_room_of_the_registry_has_its_place() -> None:
    assert {file.parent.name for file in (ROOT / "registry").glob("*/__init__.py")} == set(REGISTRY_ROOMS)


@pytest.mark.parametrize("word", REGISTRY_WORDS)
def test_the_words_of_the_registry_know_none_of_its_rooms(word: str) -> None:
    ours = [module for module in imports(ROOT / f"{word.replace('.', '/')}.py") if _is_within(module, "registry")]
    assert set(ours) <= set(REGISTRY_WORDS)


# What a daemon has one of, and where it is made.
BUILT_ONCE = {
    "daemon/parts.py": {
        *("Access", "Answers", "Conversations", "EventLog", "Gauges", "Learner", "MemoryMeter", "Proofs"),
        *("SessionNews", "SessionPool", "Tuner", "WarmSet"),
    },
    "daemon/running.py": {"Announcer", "RootWatcher", "Upkeep"},
    "daemon/app.py": {"Daemon", "Exposition", "FastAPI", "build_parts"},
}


def _calls(file: Path) -> set[str]:
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def test_the_parts_of_a_daemon_are_built_in_one_place_each() -> None:
    once = set().union(*BUILT_ONCE.values())
    built = {file.relative_to(ROOT).as_posix(): once & _calls(file) for file in FILES}
    assert {where: names for where, names in built.items() if names} == BUILT_ONCE


def test_the_top_level_is_what_it_should_be() -> None:
    allowed = {"registry", "selector", "daemon", "tests", "benchmarks", "scripts", "docs"}
    tops = {path.parent.relative_to(ROOT).parts[0] for path in ROOT.glob("*/*.py")}
    assert {top for top in tops if not top.startswith(".")} <= allowed


def test_selection_is_importable_without_heavy_libraries() -> None:
    """Pure floors stay pure: the selector's core pulls in neither psutil nor numpy nor the database."""
    import subprocess
    import sys

    heavy = ("psutil", "numpy", "sqlmodel", "cpuinfo")
    code = f"import sys, selector.select; print(*[m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_what_reads_no_graph_does_not_import_the_protobuf_library() -> None:
    """It takes as long to import as the graphs of twenty models to read."""
    import subprocess
    import sys

    code = "import sys, registry.scan, registry.store; print('google.protobuf' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
