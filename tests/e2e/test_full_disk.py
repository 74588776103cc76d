"""A disk without room: the daemon goes on serving, says so, and loses nothing that it can keep until there is room."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.background import stop_daemon
from tests.e2e.conftest import Home, Served, put, wait_for
from tests.e2e.test_cli import as_json, slmreg

if sys.platform != "linux":
    pytest.skip("a small disk of our own, or a limit on another process", allow_module_level=True)
import resource

SIZE_BYTES = 8_000_000
PIECE_BYTES = 4096


def limit_files(served: Served, size_bytes: int | None) -> None:
    """Nothing that the daemon writes behind ``size_bytes`` of a file arrives, as if there was no room for it."""
    _, most = resource.prlimit(served.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (most if size_bytes is None else size_bytes, most))


def fill(folder: Path) -> Path:
    """A file that takes all room that there is."""
    filling = folder / "filling"
    with filling.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(PIECE_BYTES))
    return filling


@pytest.fixture
def small_disk(home: Home) -> Iterator[Path]:
    """The home, with what was in it, on a disk of 8 MB."""
    there = {file.name: file.read_bytes() for file in home.path.iterdir() if file.is_file()}
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "slmreg-test", str(home.path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        for name, content in there.items():
            (home.path / name).write_bytes(content)
        yield home.path
    finally:
        home.stack.close()
        subprocess.run(["umount", "--lazy", str(home.path)], check=True)


def respond(served: Served, text: str, previous: str | None = None) -> str:
    body = {"model": "tiny:0", "input": text, "max_output_tokens": 16, "previous_response_id": previous}
    answer = served.post("/v1/responses", {key: value for key, value in body.items() if value is not None})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def unwritten(served: Served) -> dict[str, Any]:
    return {each["what"]: each for each in served.get("/slmreg/status")["unwritten"]}


def answers_measured(served: Served) -> Any:
    return served.get("/slmreg/models/tiny:0")["measured"].get("answers")


def test_the_daemon_serves_without_room_and_catches_up(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    served = home.start()
    first = respond(served, "Hello")
    assert unwritten(served) == {}

    limit_files(served, 0)
    second = respond(served, "And now?", previous=first)
    assert served.get(f"/v1/responses/{second}")["previous_response_id"] == first
    put(tiny, home.models / "later")
    expected = {"the registry", "conversations", "measurements"}
    wait_for(lambda: expected <= set(unwritten(served)), "the daemon to say what it cannot write")
    assert respond(served, "Still there?", previous=second)
    pinned = served.post("/slmreg/pins", {"task": "chat", "model": "tiny:0"})
    assert (pinned.status_code, "disk" in pinned.text) == (500, True)
    assert served.get("/slmreg/models/tiny:0")["pinned_for"] == []
    told = [finding for finding in as_json(home, "doctor", code=1)["findings"] if finding["subject"] == "unwritten"]
    assert [finding["level"] for finding in told] == ["problem"] * len(expected)

    limit_files(served, None)
    wait_for(lambda: unwritten(served) == {}, "everything to be written")
    assert {served.get(f"/slmreg/models/{name}:0")["status"] for name in ("tiny", "later")} == {"ready"}
    assert served.post("/slmreg/pins", {"task": "chat", "model": "tiny:0"}).status_code == 200
    assert answers_measured(served) == 3
    assert "unwritten.ended" in home.log.read_text(encoding="utf-8")
    stop_daemon(served.daemon.process)

    again = home.start()
    assert again.get(f"/v1/responses/{second}")["previous_response_id"] == first
    assert again.get("/slmreg/models/tiny:0")["pinned_for"] == ["chat"]
    assert answers_measured(again) == 3


def test_a_conversation_outlives_a_disk_that_was_full(home: Home, small_disk: Path, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    served = home.start()
    first = respond(served, "Hello")
    filling = fill(small_disk)
    second = respond(served, "And now?", previous=first)
    assert "full" in unwritten(served)["conversations"]["message"]
    assert respond(served, "Still there?", previous=second)
    levels = {finding["subject"]: finding["level"] for finding in as_json(home, "doctor", code=1)["findings"]}
    assert (levels["unwritten"], levels["disk"]) == ("problem", "problem")
    filling.unlink()
    wait_for(lambda: unwritten(served) == {}, "everything to be written")
    stop_daemon(served.daemon.process)
    assert home.start().get(f"/v1/responses/{second}")["previous_response_id"] == first


def test_without_room_to_start_it_is_said_what_to_do(home: Home, small_disk: Path) -> None:
    fill(small_disk)
    done = slmreg(home, "serve", "--port", "0")
    assert done.returncode == 1
    assert "disk is not full" in done.stderr or "No space left" in done.stderr
    assert (home.path / "registry.db").stat().st_size > 0
