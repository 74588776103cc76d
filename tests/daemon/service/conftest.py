"""A daemon to install, with all that is difficult in names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.service.deployment import Deployment, Record, Scope

# What service files have to keep apart: quotes, escapes, specifiers of systemd, variables, XML, and other alphabets.
STRANGE = "a b'c\"d%h%%e$HOME\\n ü模型 <&>--;#"

Make = Callable[..., Deployment]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A deployment that differs from a plain one in the given fields."""
    plain = Deployment(
        scope=Scope.USER,
        program=("/usr/bin/python3", "-P", "-m", "daemon.cli"),
        record=Record((("SLMREG_HOME", "/srv/slmreg"),)),
        own_folders=(Path("/srv/slmreg"),),
    )

    def changed(**fields: Any) -> Deployment:
        return dataclasses.replace(plain, **fields)

    return changed
