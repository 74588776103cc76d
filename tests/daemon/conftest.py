from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from daemon.logs.levels import LIBRARIES, MODULES


@pytest.fixture
def levels_as_before() -> Iterator[None]:
    """What a test does to the levels of loggers ends with it."""
    names = ("", *MODULES, *LIBRARIES)
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)
