"""Folders that nobody may write to: models on one are used like any others, and a home on one says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Home, put
from tests.e2e.test_cli import as_json, slmreg

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts, or permissions that hold for their owner")


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """By a mount for root, whom no permission keeps from writing, else by permissions."""
    if os.geteuid() != 0:
        folders = [folder, *(each for each in folder.rglob("*") if each.is_dir())]
        for each in folders:
            each.chmod(0o555)
        try:
            yield
        finally:
            for each in folders:
                each.chmod(0o755)
        return
    if subprocess.run(["mount", "--bind", str(folder), str(folder)], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_models_that_cannot_be_written_to_are_indexed_and_answer(home: Home, tiny: Path, stack: ExitStack) -> None:
    put(tiny, home.models / "tiny")
    stack.enter_context(read_only(home.models))
    stack.callback(home.stack.close)
    with pytest.raises(OSError, match=r"Read-only|denied"):
        (home.models / "tiny" / "new").touch()
    served = home.start()
    chat = {"model": "tiny:0", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    answer = served.post("/v1/chat/completions", chat)
    assert answer.status_code == 200, answer.text
    assert as_json(home, "scan")["problems"] == []
    levels = {finding["subject"]: finding["level"] for finding in as_json(home, "doctor")["findings"]}
    assert levels["root"] == "ok"


def test_a_home_that_cannot_be_written_to_is_one_clear_line(home: Home, stack: ExitStack) -> None:
    assert slmreg(home, "list").returncode == 0
    stack.enter_context(read_only(home.path))
    listed = slmreg(home, "list")
    assert (listed.returncode, "SLMREG_HOME" in listed.stderr) == (1, True)
    found = as_json(home, "doctor", code=1)["findings"]
    assert {finding["subject"] for finding in found if finding["level"] == "problem"} >= {"home", "database_error"}
