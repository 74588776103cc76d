"""Packages imported without their docstrings, which nobody asks a running program for: of SQLAlchemy they are 2.6 MB.

``python -OO`` would take everybody's, and ours are what ``--help`` and the API's description say. So importlib is asked
for what that flag gives, kept where that keeps it (``__pycache__/*.opt-2.pyc``), of some packages alone. Invariant:
what could not be kept is imported as ever, since compiling all of SQLAlchemy takes 0.7 s each time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import cache_from_source
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


@contextmanager
def without_docstrings(*packages: str) -> Iterator[None]:
    """What is imported of ``packages`` in this block has no docstrings, and no asserts."""
    finder = _Finder(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder:
    """Finds what Python's own finder finds."""

    def __init__(self, packages: Collection[str]) -> None:
        self._packages = packages

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] not in self._packages:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader and _can_be_kept(spec.loader.path):
            spec.loader = _Loader(name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Python's own, which sees to it that what is kept is of the present source; it compiles and keeps something else.

    What more it is given by a later Python is not needed for that.
    """

    @staticmethod
    def source_to_code(data: Any, path: Any = "<string>", *_: Any, **__: Any) -> CodeType:
        code: CodeType = compile(data, path, "exec", dont_inherit=True, optimize=2)
        return code

    def get_data(self, path: str) -> bytes:
        return super().get_data(self._place(path))

    def set_data(self, path: str, data: Any, **mode: Any) -> None:
        super().set_data(self._place(path), data, **mode)

    def _place(self, path: str) -> str:
        """Of the module's code another one."""
        return _kept(self.path) if path == cache_from_source(self.path) else path


def _can_be_kept(source: str) -> bool:
    """Whether its code is kept, or can be."""
    kept = Path(_kept(source))
    if kept.exists():
        return True
    folder = next(each for each in kept.parents if each.exists())  # the others are made
    return not sys.dont_write_bytecode and os.access(folder, os.W_OK)


def _kept(source: str) -> str:
    return cache_from_source(source, optimization=2)
