"""Environments of their own for what must not be installed beside slmreg."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOUNDRY = ("foundry-local-sdk==2.2.1", "openai>=2,<3")
GGUF = ("gguf>=0.17,<1",)


def python_with(packages: tuple[str, ...], folder: Path) -> Path:
    """The interpreter of an environment at ``folder`` that has ``packages``; made if it is not there.

    Raises SystemExit if they cannot be installed.
    """
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=False)
    if done.returncode:
        raise SystemExit(f"{', '.join(packages)} cannot be installed into {folder}; leave out --only references")
    return python
