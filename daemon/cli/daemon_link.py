"""How the command line finds the daemon of this home: a file that ``serve`` writes, believed only if it answers."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from registry.errors import DaemonNotRunning, SettingsError
from registry.files.replacing import PRIVATE, replace_file

if TYPE_CHECKING:
    import httpx

PING_TIMEOUT_S = 5.0
# Many times what a daemon says of itself; another program may say anything.
_MAX_STATUS_BYTES = 4 * 1024 * 1024
# Set by systemd for a unit with RuntimeDirectory=.
RUNTIME_DIRECTORY = "RUNTIME_DIRECTORY"
RUN_FILE = "daemon.json"
# Where every address is listened on, this machine is reached by its own.
_FROM_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound to it here


@dataclass(frozen=True, slots=True)
class RunningDaemon:
    """What the run file says. ``key`` lets in whoever can read it, as an admin; ``socket`` is a Unix socket."""

    pid: int
    url: str
    version: str
    key: str | None = None
    socket: str | None = None

    @property
    def authorization(self) -> dict[str, str]:
        """The headers that let a request in."""
        return {"Authorization": f"Bearer {self.key}"} if self.key is not None else {}

    def client(self, timeout_s: float) -> httpx.Client:
        """By its socket if it has one; what is asked of that is asked of ``url`` all the same."""
        import httpx

        return httpx.Client(
            base_url=self.url,
            # trust_env: a proxy in the environment must not see, or answer, requests to this machine.
            trust_env=False,
            timeout=timeout_s,
            headers=self.authorization,
            transport=httpx.HTTPTransport(uds=self.socket) if self.socket is not None else None,
        )


def find_daemon(run_file: Path) -> RunningDaemon | None:
    """The daemon of this home, or None. A file left behind by a daemon that was killed counts as None."""
    answered = answering(run_file)
    return answered[0] if answered is not None else None


def answering(run_file: Path) -> tuple[RunningDaemon, dict[str, Any]] | None:
    """The same, with what it says of itself."""
    running = read_run_file(run_file)
    status = status_of(running) if running is not None else None
    return (running, status) if running is not None and status and status["pid"] == running.pid else None


def require_daemon(run_file: Path) -> RunningDaemon:
    """Raises DaemonNotRunning, which says how to start it."""
    running = find_daemon(run_file)
    if running is None:
        raise DaemonNotRunning("No slmreg daemon is running. Start it with `slmreg serve`.")
    return running


def url_at(host: str, port: int) -> str:
    """Where this machine reaches who listens there."""
    host = _FROM_HERE.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@contextlib.contextmanager
def announced(run_file: Path, running: RunningDaemon, *, mode: int = PRIVATE) -> Iterator[None]:
    """Write the run file while the daemon serves; readable by its owner only, unless ``mode`` says otherwise."""
    try:
        run_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(run_file, json.dumps(asdict(running)), mode=mode)
    except OSError as error:
        raise SettingsError(
            f"{run_file} cannot be written: {error.strerror}. Other commands find the daemon by it: make its folder "
            "writable, or set SLMREG_HOME."
        ) from error
    try:
        yield
    finally:
        if (read_run_file(run_file) or running) == running:  # another daemon of this home may have written its own
            run_file.unlink(missing_ok=True)


@contextlib.contextmanager
def announced_to_all(environment: Mapping[str, str], running: RunningDaemon) -> Iterator[None]:
    """Where it runs, without its key, in the folder that a service manager has made for what everybody may know."""
    folder = environment.get(RUNTIME_DIRECTORY, "").partition(":")[0]
    if not folder:
        yield
        return
    with announced(Path(folder, RUN_FILE), replace(running, key=None, socket=None), mode=0o644):
        yield


def read_run_file(run_file: Path) -> RunningDaemon | None:
    """What it says, whether or not that daemon still runs; None where it says nothing."""
    try:
        return RunningDaemon(**json.loads(run_file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def status_of(running: RunningDaemon) -> dict[str, Any] | None:
    """What it says of itself; empty if it is one that tells nobody without a key; None if it is not there."""
    from http import HTTPStatus
    from http.client import HTTPException

    try:
        code, said = _get(running, "/slmreg/status")
        body = json.loads(said)
        if code == HTTPStatus.OK and isinstance(body.get("pid"), int):
            return dict(body)
        is_ours = code == HTTPStatus.UNAUTHORIZED and body["error"]["code"] == "invalid_api_key"
        return {} if is_ours and "slmreg" in body["error"]["message"] else None
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError):
        return None


def _get(running: RunningDaemon, path: str) -> tuple[int, bytes]:
    """Without httpx, whose import takes longer than the answer. Raises OSError, HTTPException."""
    from http.client import HTTPConnection

    address = urlsplit(running.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=PING_TIMEOUT_S)
    with contextlib.closing(connection):
        if running.socket is not None and sys.platform != "win32":
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(PING_TIMEOUT_S)
            connection.sock.connect(running.socket)
        connection.request("GET", path, headers=running.authorization)
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_STATUS_BYTES)
