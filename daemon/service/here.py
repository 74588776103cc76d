"""The service system of this machine, and the daemon that it would run. Reads the machine; changes nothing."""

from __future__ import annotations

import getpass
import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Protocol

from daemon.paths import Paths
from daemon.service.deployment import HOME_VARIABLE, NAME, Deployment, Record, Scope, kept_environment
from daemon.service.launchd import SYSTEM_AGENTS, SYSTEM_LOGS, Launchd
from daemon.service.plan import Plan, RunCommand, WriteFile
from daemon.service.state import ServiceState
from daemon.service.systemd import SYSTEM_HOME, SYSTEM_UNITS, Systemd
from daemon.service.units import BACKOFF_SINCE
from daemon.service.windows import TaskScheduler
from daemon.service.windows_service import ServiceControl
from daemon.settings import Settings
from registry.errors import NoServiceSystem, ServiceError

SYSTEMD_RUNS = Path("/run/systemd/system")
# Groups that may use accelerators, where a machine has them.
ACCELERATOR_GROUPS = ("render", "video")
STOP_MARGIN_S = 30.0
# What a kernel says that lets no unprivileged user make namespaces: upstream, Debian's patch, Ubuntu's AppArmor.
_FORBID_NAMESPACES = (
    ("user/max_user_namespaces", "0"),
    ("kernel/unprivileged_userns_clone", "0"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1"),
)
_VERSION = re.compile(r"systemd (\d+)")


class ServiceSystem(Protocol):
    """Plans for one (``Systemd``, ``Launchd``, ``TaskScheduler``, ``ServiceControl``), and how to read what it says."""

    @property
    def record_file(self) -> Path: ...
    def files(self, deployment: Deployment) -> tuple[WriteFile, ...]: ...
    def install(self, deployment: Deployment) -> Plan: ...
    def uninstall(self) -> Plan: ...
    def start(self, record: Record) -> Plan: ...
    def stop(self, record: Record) -> Plan: ...
    def restart(self, record: Record) -> Plan: ...
    def status_command(self) -> RunCommand: ...
    def state(self, exit_code: int, output: str) -> ServiceState: ...
    def logs_command(self, *, lines: int, follow: bool) -> RunCommand: ...


def service_system(scope: Scope, environment: Mapping[str, str], *, platform: str = sys.platform) -> ServiceSystem:
    """What this kind of machine has for services, whether or not it runs now. Raises NoServiceSystem elsewhere."""
    home = Path(environment.get("HOME") or "~").expanduser()
    is_user = scope is Scope.USER
    if platform == "linux":
        config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
        units = config / "systemd/user" if is_user else SYSTEM_UNITS
        groups = () if is_user else _groups()
        return Systemd(scope, units, _systemd_version(), groups, has_user_namespaces())
    if platform == "darwin":
        agents, logs = (home / "Library/LaunchAgents", home / "Library/Logs/slmreg")
        uid = os.getuid() if hasattr(os, "getuid") else 0
        user = environment.get("SUDO_USER") or getpass.getuser()
        return Launchd(scope, agents if is_user else SYSTEM_AGENTS, logs if is_user else SYSTEM_LOGS, uid, user)
    if platform == "win32":
        return _of_windows(environment, home, is_user=is_user)
    raise NoServiceSystem(f"slmreg knows no services on {platform}.\n{alternatives()}")


def _of_windows(environment: Mapping[str, str], home: Path, *, is_user: bool) -> ServiceSystem:
    folder = Path(environment.get("LOCALAPPDATA" if is_user else "PROGRAMDATA") or home) / "slmreg" / "service"
    if is_user:
        domain = environment.get("USERDOMAIN")
        return TaskScheduler(folder, f"{domain}\\{getpass.getuser()}" if domain else getpass.getuser())
    task = folder / "task.xml"
    former_task = task if _is_file(task) else None
    if sys.prefix == sys.base_prefix:
        return ServiceControl(folder, str(windowless(Path(sys.executable))), None, former_task)
    # Where there is a virtual environment, Python knows what it was made from.
    base = Path(getattr(sys, "_base_executable", sys.executable))
    return ServiceControl(folder, str(windowless(base)), str(windowless(Path(sys.executable))), former_task)


def require_running(scope: Scope, environment: Mapping[str, str], *, runs: Path = SYSTEMD_RUNS) -> None:
    """Raises NoServiceSystem, which says what else there is, where systemd does not run (for this user)."""
    if sys.platform != "linux":
        return
    if not runs.is_dir():
        raise NoServiceSystem(
            f"systemd does not run here (a container, WSL without it, another init).\n{alternatives()}"
        )
    runtime = environment.get("XDG_RUNTIME_DIR")
    if scope is Scope.USER and not (runtime and Path(runtime, "systemd", "private").exists()):
        raise NoServiceSystem(
            "systemd has no session for you here, so it runs no services of yours: log in yourself, not through su or "
            "sudo, or have it run without a session: `sudo loginctl enable-linger $USER`, and then again with "
            f"XDG_RUNTIME_DIR=/run/user/$(id -u).\n{alternatives()}"
        )


def require_rights(scope: Scope) -> None:
    """Raises ServiceError where only root may do it."""
    if scope is Scope.SYSTEM and hasattr(os, "geteuid") and os.geteuid() != 0:
        raise ServiceError(
            'Only root changes services of the system: `sudo "$(command -v slmreg)" service ... --system`. Without '
            "--system it is a service of your own."
        )


def require_shared_program(scope: Scope, program: Sequence[Path]) -> None:
    """Raises ServiceError where the user of a system service cannot read the program that it would run."""
    if scope is Scope.USER or sys.platform != "linux":
        return
    for file in program:
        for folder in (file.absolute(), *file.absolute().parents, file.resolve(), *file.resolve().parents):
            if not folder.stat().st_mode & stat.S_IXOTH and folder.is_dir():
                raise ServiceError(
                    f"The service would run as the user {NAME}, who cannot look into {folder}, where this slmreg is "
                    "installed. Install it for all users (`sudo pipx install --global`, or a venv under /opt)."
                )


def alternatives() -> str:
    """To keep the daemon running without a service system."""
    command = " ".join((*program(), "serve"))
    return (
        f"Run it in the background:        slmreg serve &\n"
        f"From the start, with cron:       @reboot {command}\n"
        f"Under supervisord, runit, s6:    command={command}\n"
        "In a container, make it the command of the container; it stops on SIGTERM."
    )


def program() -> tuple[str, ...]:
    """What starts ``slmreg`` of this very installation: the interpreter, which a moved PATH does not change."""
    return (str(windowless(Path(sys.executable))), "-P", "-m", "daemon.cli")


def windowless(python: Path) -> Path:
    """On Windows the interpreter beside this one that opens no window, where there is one."""
    beside = python.with_name("pythonw.exe")
    return beside if os.name == "nt" and beside.exists() else python


def planned_record(
    scope: Scope, environment: Mapping[str, str], before: Record | None, *, is_socket_activated: bool | None
) -> Record:
    """What to install with; what nobody says now stays as it was."""
    kept = dict(kept_environment(environment, before, scope))
    if scope is Scope.SYSTEM and sys.platform != "darwin":
        kept[HOME_VARIABLE] = str(system_home(environment))
    if is_socket_activated is None:
        is_socket_activated = before is not None and before.is_socket_activated
    return Record(tuple(sorted(kept.items())), is_socket_activated)


def system_home(environment: Mapping[str, str]) -> Path:
    """Where a service of the system has its files."""
    return Path(environment.get("PROGRAMDATA", "C:/ProgramData")) / "slmreg" if os.name == "nt" else SYSTEM_HOME


def deployment_of(
    scope: Scope, record: Record, paths: Paths, settings: Settings, roots: tuple[Path, ...]
) -> Deployment:
    return Deployment(
        scope=scope,
        program=program(),
        record=record,
        own_folders=own_folders(paths),
        roots=roots,
        address=(settings.host, settings.port) if settings.port else None,
        socket=settings.socket,
        stop_timeout_s=settings.drain_timeout_s + STOP_MARGIN_S,
    )


def own_folders(paths: Paths) -> tuple[Path, ...]:
    """The folders of the files that the daemon writes; none that lies within another of them."""
    files = [getattr(paths, field.name) for field in fields(paths) if field.name != "config"]
    folders = sorted({file.parent for file in files})
    return tuple(each for each in folders if not any(other in each.parents for other in folders))


def read_record(system: ServiceSystem) -> Record | None:
    """What the installed service was installed with; None if there is none that can be read."""
    try:
        raw = system.record_file.read_bytes()
    except OSError:
        return None
    return Record.find(raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", errors="replace"))


def installed_services(environment: Mapping[str, str], *, platform: str = sys.platform) -> tuple[Path, ...]:
    """The file that each installed service is described in, a person's own first."""
    files: list[Path] = []
    for scope in Scope:
        with suppress(NoServiceSystem):
            files.append(service_system(scope, environment, platform=platform).record_file)
    return tuple(filter(_is_file, files))


def _is_file(path: Path) -> bool:
    """False also where one may not look."""
    try:
        return path.is_file()
    except OSError:
        return False


def has_user_namespaces(kernel: Path = Path("/proc/sys")) -> bool:
    """Whether users without privileges may make namespaces of their own."""
    return not any(_says(kernel / file, forbidden) for file, forbidden in _FORBID_NAMESPACES)


def _says(file: Path, value: str) -> bool:
    try:
        return file.read_text(encoding="ascii").strip() == value
    except OSError:
        return False


def _systemd_version() -> int:
    """A recent one where there is none to ask: what is shown then is for another machine."""
    try:
        done = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return BACKOFF_SINCE
    found = _VERSION.match(done.stdout)
    return int(found.group(1)) if found is not None else BACKOFF_SINCE


def _groups() -> tuple[str, ...]:
    if sys.platform == "win32":
        return ()
    import grp

    return tuple(group.gr_name for group in grp.getgrall() if group.gr_name in ACCELERATOR_GROUPS)
