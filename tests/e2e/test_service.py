"""The real daemon, as service managers start it: with their sockets, their signals, and others beside it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from click.testing import CliRunner, Result

from daemon.cli import main
from daemon.cli.daemon_link import find_daemon
from daemon.cli.discovery import find_any
from daemon.service import here
from daemon.service.deployment import Record
from tests.e2e.conftest import Home, Served, wait_for
from tests.e2e.test_lifecycle import lives

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and Unix sockets")

SERVE = (sys.executable, "-m", "daemon.cli", "serve")
PATIENCE_S = 60.0
# Higher than any that this process has: passed sockets become 3 and 4.
HIGH_DESCRIPTOR = 200

Starts = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(home: Home) -> Iterator[Starts]:
    """Starts ``slmreg serve`` as somebody else would, with its words in the log of the home, and ends what is left."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*command: str, passed: tuple[int, ...] = (), **environment: str) -> subprocess.Popen[bytes]:
        with home.log.open("ab") as log:
            process = subprocess.Popen(
                command or (*SERVE, "--port", "0"),
                env={**home.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=passed,
            )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def run_file(home: Home) -> Path:
    return home.path / "run" / "daemon.json"


def is_clean(home: Home) -> bool:
    said = home.log.read_text(encoding="utf-8")
    return "Traceback" not in said and "Aborted" not in said


class ServiceSystem:
    """What systemd is to a service: a datagram socket that hears what it says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind(str(path))
        self._listener.settimeout(PATIENCE_S)

    def hears(self) -> str:
        return self._listener.recv(4096).decode()

    def hears_until(self, word: str) -> list[str]:
        heard = [self.hears()]
        while word not in heard[-1].splitlines():
            heard.append(self.hears())
        return heard

    def has_silence(self) -> None:
        """Take what is there already; raises AssertionError if more comes within ten watchdog intervals."""
        self._listener.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._listener.recv(4096)
        self._listener.settimeout(1.0)
        with pytest.raises(TimeoutError):
            self._listener.recv(4096)
        self._listener.settimeout(PATIENCE_S)

    def close(self) -> None:
        self._listener.close()


def test_it_says_when_it_can_answer_that_it_lives_and_that_it_stops(home: Home, start: Starts, tmp_path: Path) -> None:
    with contextlib.closing(ServiceSystem(tmp_path / "notify")) as system:
        daemon = start(NOTIFY_SOCKET=str(system.path), WATCHDOG_USEC="300000")
        started = system.hears_until("READY=1")
        running = wait_for(lambda: run_file(home).exists() and run_file(home), "the run file").read_text("utf-8")
        url = running.split('"url": "')[1].split('"')[0]
        assert httpx.get(f"{url}/readyz").status_code == 200  # from the moment that it said so
        assert all("EXTEND_TIMEOUT_USEC=" in message for message in started[:-1])
        system.hears_until("WATCHDOG=1")

        daemon.send_signal(signal.SIGSTOP)
        system.has_silence()
        daemon.send_signal(signal.SIGCONT)
        system.hears_until("WATCHDOG=1")

        daemon.send_signal(signal.SIGTERM)
        system.hears_until("STOPPING=1")
        assert daemon.wait(PATIENCE_S) == 0
    assert is_clean(home)


# As systemd does: the passed ones are 3 and 4, and meant for the process that is started.
ACTIVATE = """
import os, sys
descriptors = [int(each) for each in sys.argv[1].split(",")]
for target, descriptor in enumerate(descriptors, start=3):
    os.dup2(descriptor, target)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(descriptors)))
os.execv(sys.executable, [sys.executable, "-m", "daemon.cli", "serve"])
"""


def start_with(listeners: list[socket.socket], start: Starts, **environment: str) -> subprocess.Popen[bytes]:
    """Pass them, and close our own."""
    descriptors = tuple(fcntl.fcntl(each.fileno(), fcntl.F_DUPFD, HIGH_DESCRIPTOR) for each in listeners)
    said = ",".join(map(str, descriptors))
    daemon = start(sys.executable, "-c", ACTIVATE, said, passed=descriptors, **environment)
    for descriptor in descriptors:
        os.close(descriptor)
    for listener in listeners:
        listener.close()
    return daemon


def test_a_request_that_was_there_before_it_is_answered_on_the_passed_sockets(
    home: Home, start: Starts, tmp_path: Path
) -> None:
    door = tmp_path / "door"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(door))
        unix.listen()
        port = tcp.getsockname()[1]
        early = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        early.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        daemon = start_with([unix, tcp], start, LISTEN_FDNAMES="slmreg:slmreg")
    with early:
        assert early.recv(4096).startswith(b"HTTP/1.1 200 ")
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(door)), base_url="http://localhost") as client:
        assert client.get("/healthz").status_code == 200
    assert f'"url": "http://127.0.0.1:{port}"' in run_file(home).read_text("utf-8")
    for child in wait_for(lambda: psutil.Process(daemon.pid).children(), "its spare worker"):
        with contextlib.suppress(psutil.NoSuchProcess):
            assert not any(each.laddr[1:] == (port,) for each in child.net_connections("tcp"))

    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(PATIENCE_S) == 0
    assert door.exists()  # it belongs to whoever made it
    assert is_clean(home)


def test_passed_sockets_that_others_reach_need_a_key_whatever_the_settings_say(home: Home, start: Starts) -> None:
    with socket.create_server(("0.0.0.0", 0)) as tcp:  # noqa: S104
        daemon = start_with([tcp], start, SLMREG_HOST="127.0.0.1")
    assert daemon.wait(PATIENCE_S) == 1
    assert "slmreg key create" in home.log.read_text(encoding="utf-8")


def test_of_several_that_start_at_once_one_serves_and_the_others_say_so(home: Home, start: Starts) -> None:
    daemons = [start() for _ in range(3)]
    wait_for(lambda: run_file(home).exists(), "one to serve")
    wait_for(lambda: sum(daemon.poll() is not None for daemon in daemons) == 2, "the others to give up")
    assert sorted(daemon.poll() or 0 for daemon in daemons) == [0, 1, 1]
    said = home.log.read_text(encoding="utf-8")
    assert said.count("already runs at") + said.count("just starting here") == 2
    assert is_clean(home)


@pytest.mark.parametrize("moment", ["lock", "run file"])
def test_asked_to_stop_while_it_starts_it_ends_as_if_it_ran(home: Home, start: Starts, moment: str) -> None:
    daemon = start()
    reached = {"lock": run_file(home).with_suffix(".lock"), "run file": run_file(home)}
    wait_for(reached[moment].exists, moment)
    children = psutil.Process(daemon.pid).children(recursive=True)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(PATIENCE_S) == 0
    assert is_clean(home)
    assert not run_file(home).exists()
    assert not any(map(lives, children))


def refusal(home: Home, **environment: str) -> str:
    done = subprocess.run(
        SERVE, env={**home.environment, **environment}, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    return done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="/proc, which not even root can write to")
def test_a_home_that_cannot_be_written_is_said(home: Home) -> None:
    said = refusal(home, SLMREG_HOME="/proc/slmreg")
    assert "/proc/slmreg/run/daemon.lock cannot be written" in said
    assert "SLMREG_HOME" in said


class Stranger(BaseHTTPRequestHandler):
    """A web server that is no slmreg."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"hello": 1}')

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def stranger() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()


def slmreg(environment: dict[str, str | None], *arguments: str) -> Result:
    done = CliRunner().invoke(main, arguments, env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon that others come upon; its home has no roots of its own."""
    path = tmp_path_factory.mktemp("served")
    with contextlib.ExitStack() as stack:
        yield Home(path / "home", path / "models", stack).start()


def test_two_users_each_have_their_own_and_are_told_of_the_other(served: Served, tmp_path: Path, stranger: int) -> None:
    home = served.home
    port = served.url.rsplit(":", 1)[1]
    other_home = str(tmp_path / "other")

    said = refusal(home, SLMREG_HOME=other_home, SLMREG_PORT=port)
    assert "the slmreg of another user or home" in said
    assert "--port" in said
    assert "another program uses that port" in refusal(home, SLMREG_HOME=other_home, SLMREG_PORT=str(stranger))

    # The other user's commands find it where it should be, and say that it is not theirs.
    other: dict[str, str | None] = {**home.environment, "SLMREG_HOME": other_home, "SLMREG_PORT": port}
    found = slmreg(other, "status")
    assert (found.exit_code, served.url in found.stdout) == (0, True)
    assert "another user's, or another home's" in found.stderr
    assert slmreg(other, "ps").exit_code == 1
    assert f"OPENAI_BASE_URL={served.url}/v1" in slmreg(other, "env", "--shell", "bash").stdout
    assert slmreg({**other, "SLMREG_PORT": str(stranger)}, "status").exit_code == 1
    with contextlib.ExitStack() as stack:
        second = Home(tmp_path / "other", home.models, stack).start()
        assert second.url != served.url
        assert served.url in slmreg(dict(home.environment), "status").stdout
        assert second.url in slmreg(other, "status").stdout


@pytest.mark.skipif(sys.platform != "linux", reason="systemd")
def test_a_service_with_a_home_of_its_own_is_found_from_any_shell(served: Served, tmp_path: Path) -> None:
    home = served.home
    user = tmp_path / "user"
    unit = user / "systemd" / "user" / "slmreg.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(f"# {Record((('SLMREG_HOME', str(home.path)),)).line()}\n[Unit]\n", encoding="utf-8")
    shell: dict[str, str | None] = {
        **home.environment,
        "SLMREG_HOME": None,
        "XDG_CONFIG_HOME": str(user),
        "XDG_DATA_HOME": str(user),
        "XDG_CACHE_HOME": str(user),
    }
    found = slmreg(shell, "status")
    assert (found.exit_code, served.url in found.stdout) == (0, True)
    assert str(home.path) in found.stderr

    # And one that was started by hand in the service's home is in its way, which is said before anything changes.
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(here, "require_running", lambda *_: None)
        refused = slmreg({**shell, "PATH": os.environ["PATH"]}, "service", "start")
    assert (refused.exit_code, f"already runs at {served.url}" in refused.stderr) == (1, True)


def test_a_service_of_the_system_tells_everybody_where_it_is_and_nobody_its_key(
    home: Home, start: Starts, tmp_path: Path
) -> None:
    public = tmp_path / "public"
    public.mkdir(mode=0o755)
    daemon = start(RUNTIME_DIRECTORY=str(public))
    wait_for(lambda: (public / "daemon.json").exists() and run_file(home).exists(), "both files")
    wait_for(lambda: (public / "daemon.json").stat().st_mode & 0o777 == 0o644, "it to be readable")
    own = find_daemon(run_file(home))
    found = find_any({"SLMREG_HOME": str(tmp_path / "other"), "SLMREG_PORT": "9"}, public / "daemon.json")
    assert own is not None
    assert found is not None
    assert (found.running.url, found.whose) == (own.url, "the system service's")
    assert found.running.key is None
    assert own.key is not None
    assert own.key not in (public / "daemon.json").read_text(encoding="utf-8")
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(PATIENCE_S) == 0
    assert not (public / "daemon.json").exists()
