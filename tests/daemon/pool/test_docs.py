from __future__ import annotations

import re
from pathlib import Path

from daemon.pool.session import ALLOWED, SessionState

ROOT = Path(__file__).parents[3]
DOCS = (ROOT / "docs" / "pool.md").read_text(encoding="utf-8")


def test_the_states_in_the_docs_are_those_of_the_table() -> None:
    lines = re.findall(r"^(\w+) +-> (.+)$", DOCS, re.MULTILINE)
    told = {SessionState(state): {SessionState(to) for to in ends.split(" | ")} for state, ends in lines}
    assert told == ALLOWED


def test_every_file_that_the_docs_name_is_there_and_every_file_is_named() -> None:
    named = set(re.findall(r"`(\w+\.py)`", DOCS))
    there = {file.name for file in (ROOT / "daemon" / "pool").glob("*.py")} - {"__init__.py"}
    assert named <= there
    helpers = {"account.py", "lease.py", "limits.py", "observer.py", "plan.py", "pace.py"}
    assert there - named <= helpers
