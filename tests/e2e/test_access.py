"""One daemon that wants keys, asked as strangers, apps and its owner ask it."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from click.testing import CliRunner, Result

from daemon.cli import main
from tests.e2e.conftest import Home, put, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets and modes of files")

HI = {"model": "tiny", "messages": [{"role": "user", "content": "secret words"}], "max_tokens": 3}


def slmreg(home: Home, *arguments: str) -> Result:
    """In this process, which is faster; the daemon that it asks is real."""
    done = CliRunner().invoke(main, arguments, env=home.environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def refused_serve(home: Home, *arguments: str, **settings: str) -> str:
    """What it says on standard error; it changes its process, and so has one of its own."""
    command = [sys.executable, "-m", "daemon.cli", "serve", "--port", "0", *arguments]
    done = subprocess.run(
        command, env=home.environment | settings, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    return done.stderr


def made_key(home: Home, *arguments: str) -> str:
    done = slmreg(home, "key", "create", *arguments)
    assert done.exit_code == 0, done.stderr
    return done.stdout.strip()


def test_keys_let_in_whom_they_should_and_the_owner_needs_none(home: Home, tiny: Path, tmp_path: Path) -> None:
    put(tiny, home.models / "tiny")
    door = tmp_path / "door"
    served = home.start(socket=str(door))
    assert httpx.get(f"{served.url}/v1/models").status_code == 200

    use, admin = made_key(home, "app"), made_key(home, "me", "--scope", "admin")
    assert httpx.get(f"{served.url}/v1/models").status_code == 401  # at once
    assert httpx.get(f"{served.url}/healthz").status_code == 200
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=use, max_retries=0) as client:
        assert client.chat.completions.create(**HI).usage.completion_tokens == 3  # type: ignore[call-overload]
    with (
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="none") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()
    body = {"model": "tiny"}
    for key, status in ((use, 403), (admin, 200)):
        asked = httpx.post(f"{served.url}/slmreg/unload", json=body, headers={"x-api-key": key})
        assert asked.status_code == status
    forget = {"model": "tiny", "keep_alive": 0}  # Ollama's way to unload
    for pinned, key, status in ((True, use, 409), (True, admin, 200), (False, use, 200)):
        loaded = {"model": "tiny", "pin_loaded": pinned}
        assert httpx.post(f"{served.url}/slmreg/load", json=loaded, headers={"x-api-key": admin}).status_code == 200
        asked = httpx.post(f"{served.url}/api/generate", json=forget, headers={"x-api-key": key})
        assert (asked.status_code, asked.json().get("code")) == (status, "model_in_use" if status == 409 else None)

    # The owner's commands go through the socket, with the key of the run file.
    assert json.loads(slmreg(home, "status", "--json").stdout)["url"] == served.url
    assert json.loads(slmreg(home, "load", "tiny", "--json").stdout)["state"] == "ready"
    assert slmreg(home, "run", "tiny", "Hello", "--max-tokens", "2").exit_code == 0
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(door)), base_url="http://localhost") as by_socket:
        assert by_socket.get("/v1/models").status_code == 401
        assert by_socket.get("/v1/models", headers={"authorization": f"Bearer {use}"}).status_code == 200

    names = [(each["name"], each["scope"]) for each in json.loads(slmreg(home, "key", "list", "--json").stdout)]
    assert names == [("app", "use"), ("me", "admin")]
    assert slmreg(home, "key", "revoke", "app").exit_code == 0
    assert httpx.get(f"{served.url}/v1/models", headers={"x-api-key": use}).status_code == 401
    assert slmreg(home, "key", "revoke", "nobody").exit_code == 1
    assert slmreg(home, "key", "revoke", "me").exit_code == 0
    assert httpx.get(f"{served.url}/v1/models").status_code == 200

    check_privacy(home, door, secrets=(use, admin, "secret words"))


def check_privacy(home: Home, door: Path, *, secrets: tuple[str, ...]) -> None:
    ours = [file for file in home.path.rglob("*") if file != home.log]
    assert {file.name for file in ours} >= {"registry.db", "registry.json", "daemon.json", "run"}
    for file in (*ours, door):
        is_folder = stat.S_ISDIR(file.stat().st_mode)
        assert stat.S_IMODE(file.stat().st_mode) == (0o700 if is_folder else 0o600), file
    for file in (home.log, *(file for file in ours if file.is_file())):
        for secret in secrets:
            assert secret.encode() not in file.read_bytes(), file
    assert "request_id=" in home.log.read_text(encoding="utf-8")


def test_a_public_address_is_not_listened_on_without_a_key(home: Home) -> None:
    assert "slmreg key create" in refused_serve(home, "--host", "0.0.0.0")  # noqa: S104
    key = made_key(home, "first")
    served = home.start(host="0.0.0.0")  # noqa: S104
    assert served.url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{served.url}/v1/models").status_code == 401
    assert httpx.get(f"{served.url}/v1/models", headers={"x-api-key": key}).status_code == 200
    assert slmreg(home, "key", "revoke", "first").exit_code == 0
    assert httpx.get(f"{served.url}/v1/models", headers={"x-api-key": key}).status_code == 401
    assert slmreg(home, "ps").exit_code == 0


def test_a_socket_that_was_left_behind_is_taken_over_and_no_other_file_is(home: Home, tmp_path: Path) -> None:
    left, precious = tmp_path / "left", tmp_path / "precious"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    precious.write_text("mine", encoding="utf-8")
    assert str(precious) in refused_serve(home, "--socket", str(precious))
    assert precious.read_text(encoding="utf-8") == "mine"
    served = home.start(socket=str(left))
    assert str(left) in refused_serve(home, "--socket", str(left), SLMREG_HOME=str(tmp_path / "other"))
    assert left.exists()
    os.kill(served.pid, 15)
    wait_for(lambda: not left.exists(), "the socket to be removed")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_limits_hold_on_the_wire_and_memory_stays_flat(home: Home) -> None:
    served = home.start(header_timeout_s=0.3, max_header_bytes=4096, max_json_items=1000)
    url = httpx.URL(served.url)
    with socket.create_connection((url.host, url.port or 0), timeout=20) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: ")
        assert b" 408 " in slow.recv(4096)
    with httpx.Client(base_url=served.url, timeout=30) as client:
        assert client.get("/healthz", headers={"x": "y" * 5000}).status_code == 431
        before = resident_bytes(served.pid)
        for body in (b'{"task": "' + b"x" * 10_000_000 + b'"}', b"[" * 8_000_000, b"[],[]" * 1_500_000):
            for _ in range(4):
                asked: Any = client.post("/slmreg/select", content=body, headers={"content-type": "application/json"})
                assert asked.status_code in (400, 413)
        assert resident_bytes(served.pid) - before < 40_000_000
        assert client.get("/healthz").status_code == 200


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the process has ended")
