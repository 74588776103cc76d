from __future__ import annotations

from pathlib import Path

import pytest

from daemon.doctor.finding import Level
from daemon.doctor.registry import database_findings
from registry.index.health import DatabaseHealth
from registry.index.migrations import HEAD

MODELS = Path("/models")


@pytest.mark.parametrize(
    ("health", "level", "says"),
    [
        (DatabaseHealth(MODELS, HEAD, 5000), Level.OK, "whole"),
        (DatabaseHealth(MODELS, "0000", 5000), Level.OK, "another version"),
        (DatabaseHealth(MODELS, None, 0), Level.NOTE, "no registry"),
        (DatabaseHealth(MODELS, HEAD, 5000, ("row 3 missing",)), Level.PROBLEM, "row 3 missing"),
    ],
)
def test_the_state_of_the_database_is_told(health: DatabaseHealth, level: Level, says: str) -> None:
    (finding,) = database_findings(health)
    assert (finding.level, says in finding.message) == (level, True)
