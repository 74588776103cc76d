"""A custom operator library, compiled here: it adds no operator, and leaves a file behind to say that it has run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = """
#include <stdio.h>
void *RegisterCustomOps(void *options, const void *api) {
    FILE *file = fopen(MARKER, "w");
    if (file) fclose(file);
    return 0;  /* no error */
}
"""


def compile_library(library: Path, marker: Path) -> Path:
    """Write ``library``, which makes the empty file ``marker`` when it is registered. Skips without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler here")
    source = library.with_suffix(".c")
    source.write_text(_SOURCE, encoding="utf-8")
    subprocess.run([compiler, "-shared", "-fPIC", f'-DMARKER="{marker}"', "-o", library, source], check=True)
    source.unlink()
    return library
