from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType

import pytest

from registry.index.docless import without_docstrings

SOURCE = '''"""Of the module."""

def answer() -> int:
    """Of the function."""
    assert not __debug__ or answer.__doc__
    return {answer}
'''


@pytest.fixture(autouse=True)
def _may_keep_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def written(folder: Path, name: str, answer: int = 1) -> Path:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "__init__.py").write_text("", encoding="utf-8")
    module = folder / name / "module.py"
    module.write_text(SOURCE.format(answer=answer), encoding="utf-8")
    return module


def imported(name: str) -> ModuleType:
    """Anew, as by another process."""
    for each in (name, f"{name}.module"):
        sys.modules.pop(each, None)
    importlib.invalidate_caches()
    return importlib.import_module(f"{name}.module")


def test_what_is_named_loses_its_docstrings_and_nothing_else(tmp_path: Path) -> None:
    written(tmp_path, "lean_named")
    written(tmp_path, "lean_other")
    with without_docstrings("lean_named"):
        named, other = imported("lean_named"), imported("lean_other")
    assert (named.__doc__, named.answer.__doc__, named.answer()) == (None, None, 1)
    assert (other.__doc__, other.answer.__doc__, other.answer()) == ("Of the module.", "Of the function.", 1)
    assert imported("lean_named").__doc__ == "Of the module."


def test_it_is_compiled_once_and_anew_when_its_source_changes(tmp_path: Path) -> None:
    module = written(tmp_path, "lean_kept")
    kept = Path(cache_from_source(str(module), optimization=2))
    with without_docstrings("lean_kept"):
        imported("lean_kept")
        first = kept.stat()
        assert imported("lean_kept").answer() == 1
        assert kept.stat().st_ino == first.st_ino
        written(tmp_path, "lean_kept", answer=22)
        assert imported("lean_kept").answer() == 22
    assert imported("lean_kept").__doc__ == "Of the module."  # what others use is another file


def test_what_cannot_be_kept_is_imported_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = written(tmp_path, "lean_unkept")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with without_docstrings("lean_unkept"):
        assert imported("lean_unkept").answer.__doc__ == "Of the function."
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    with without_docstrings("lean_unkept"):
        assert imported("lean_unkept").answer.__doc__ == "Of the function."
    assert not Path(cache_from_source(str(module), optimization=2)).exists()


def test_who_writes_to_the_registry_has_sqlalchemy_without_its_docstrings(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from registry.store import Registry\n"
        "with Registry.open(Path(sys.argv[1]) / 'registry.db') as registry:\n"
        "    print(registry.add_root(Path(sys.argv[1])).is_dir())\n"
        "import sqlalchemy.orm, sqlmodel, sqlalchemy.dialects.sqlite.pysqlite\n"
        "print(sqlalchemy.orm.Session.__doc__, sqlalchemy.select.__doc__, Registry.__doc__ is None)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path / "code")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["True", "None None False"]
