"""The units for systemd, and what systemctl has to do with them.

A user unit cannot do all that a system unit can. Its manager has no privileges, so what needs capabilities to be taken
away (CapabilityBoundingSet=, ProtectKernelModules=, ProtectKernelLogs=, ProtectHostname=) would end it with
218/CAPABILITIES; what needs mounts (ProtectSystem=, ProtectHome=, PrivateTmp=) works through a user namespace, since
systemd 252 by itself, which is why PrivateUsers= is said, and is left out by systemd where the kernel has none.
"""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from pathlib import Path

from daemon.service.deployment import DESCRIPTION, HOME_VARIABLE, NAME, Deployment, Record, Scope
from daemon.service.plan import MakeFolder, Plan, RemoveFile, RunCommand, Step, WriteFile
from daemon.service.state import ServiceState
from registry.errors import ServiceError

SERVICE = f"{NAME}.service"
SOCKET = f"{NAME}.socket"
SYSTEM_HOME = Path("/var/lib/slmreg")
SYSTEM_UNITS = Path("/etc/systemd/system")
SYSUSERS = Path("/etc/sysusers.d/slmreg.conf")
# So that a hung daemon is noticed, and one on a machine that is out of memory or swaps is not mistaken for one.
WATCHDOG_S = 60
# RestartSteps= and RestartMaxDelaySec= (man systemd.service).
BACKOFF_SINCE = 254
START_TIMEOUT_S = 90
PRIVILEGED_PORTS_END = 1024
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - nothing is written there
_BACKOFF = ("Restart=on-failure", "RestartSec=1", "RestartSteps=6", "RestartMaxDelaySec=60")
_NO_BACKOFF = ("Restart=on-failure", "RestartSec=10")
# Works in both kinds of units. What is missing, and why:
# MemoryDenyWriteExecute=, because drivers of GPUs and some execution providers compile code at run time;
# PrivateDevices= and DevicePolicy=, because they hide GPUs and NPUs, and so does ProtectClock=, by its list of devices;
# ProcSubset=pid, because /proc/meminfo and /proc/cpuinfo say what fits into this machine;
# IPAddressDeny=, because a change of the setting host would be without effect and without a word.
_HARDENING = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=read-only",  # models lie there: to be read, by whoever may read them
    "ProtectKernelTunables=yes",
    "ProtectControlGroups=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "UMask=0077",
)
_USER_HARDENING = ("PrivateUsers=yes",)
_SYSTEM_HARDENING = (
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectHostname=yes",
    "ProtectProc=invisible",
    "RemoveIPC=yes",
)
_SAFE_WORD = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


def quoted(word: str) -> str:
    """One word of a unit file that systemd reads as ``word``: quotes, escapes and specifiers are undone by it."""
    if _SAFE_WORD.fullmatch(word):
        return word
    escaped = "".join(_escaped(character) for character in word)
    return f'"{escaped}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character == "%":
        return "%%"
    return character if character.isprintable() or ord(character) > 0x7F else f"\\x{ord(character):02x}"


def service_unit(deployment: Deployment, *, version: int, groups: tuple[str, ...] = ()) -> str:
    """``version`` of systemd; ``groups`` may use the accelerators of this machine."""
    is_user = deployment.scope is Scope.USER
    activated = deployment.record.is_socket_activated
    lines = [
        f"# {deployment.record.line()}",
        "# Made by `slmreg service install`, which makes it anew each time. Your own changes: `systemctl edit`.",
        "[Unit]",
        f"Description={DESCRIPTION}",
        *(() if is_user else ("After=network.target local-fs.target remote-fs.target",)),
        *((f"Requires={SOCKET}", f"After={SOCKET}") if activated else ()),
        "StartLimitIntervalSec=0",  # it comes back however often it failed, only later and later
        "",
        "[Service]",
        "Type=notify",
        # ":" takes "$" literally. -P and -m belong to Python.
        f"ExecStart={quoted(':' + deployment.command[0])} {' '.join(map(quoted, deployment.command[1:]))}",
        *(f"Environment={quoted(f'{name}={value}')}" for name, value in deployment.record.environment),
        f"TimeoutStartSec={START_TIMEOUT_S}",  # the daemon asks for more while it looks through many models
        f"TimeoutStopSec={math.ceil(deployment.stop_timeout_s)}",
        f"WatchdogSec={WATCHDOG_S}",
        *(_BACKOFF if version >= BACKOFF_SINCE else _NO_BACKOFF),
        "RestartPreventExitStatus=2",  # a command line that it does not know: the next time is no better
        "KillMode=mixed",  # the daemon lets answers finish, and its workers end with it
        "LimitNOFILE=8192",
        *(() if is_user else _own_user(deployment, groups)),
        *_HARDENING,
        *(_USER_HARDENING if is_user else _SYSTEM_HARDENING),
        *(() if _uses_temporary(deployment) else ("PrivateTmp=yes",)),
        *(f"ReadWritePaths={quoted(f'-{folder}')}" for folder in _written(deployment)),
        "",
        *(_install_section(is_user=is_user, activated=activated)),
    ]
    return "\n".join(lines) + "\n"


def _own_user(deployment: Deployment, groups: tuple[str, ...]) -> tuple[str, ...]:
    is_privileged = deployment.address is not None and 0 < deployment.address[1] < PRIVILEGED_PORTS_END
    capability = "CAP_NET_BIND_SERVICE" if is_privileged and not deployment.record.is_socket_activated else ""
    return (
        f"User={NAME}",
        f"Group={NAME}",
        *((f"SupplementaryGroups={' '.join(groups)}",) if groups else ()),
        f"StateDirectory={NAME}",
        "StateDirectoryMode=0700",
        f"RuntimeDirectory={NAME}",  # there everybody finds out where it runs
        "RuntimeDirectoryMode=0755",
        f"CapabilityBoundingSet={capability}",
        f"AmbientCapabilities={capability}",
    )


def _install_section(*, is_user: bool, activated: bool) -> tuple[str, ...]:
    if activated:
        return ("[Install]", f"Also={SOCKET}")
    return ("[Install]", f"WantedBy={'default.target' if is_user else 'multi-user.target'}")


def socket_unit(deployment: Deployment) -> str:
    """Raises ServiceError where there is no fixed address to listen on."""
    if deployment.address is None or not deployment.address[1]:
        raise ServiceError(
            "A service that starts with the first request needs a fixed port: set port to another than 0."
        )
    lines = [
        "# Made by `slmreg service install --socket-activation`.",
        "[Unit]",
        f"Description={DESCRIPTION} (address)",
        "",
        "[Socket]",
        f"ListenStream={_listen_address(*deployment.address)}",
        *((f"ListenStream={str(deployment.socket).replace('%', '%%')}",) if deployment.socket is not None else ()),
        "SocketMode=0600",
        *((f"SocketUser={NAME}",) if deployment.scope is Scope.SYSTEM and deployment.socket is not None else ()),
        f"FileDescriptorName={NAME}",
        "NoDelay=yes",
        "",
        "[Install]",
        "WantedBy=sockets.target",
    ]
    return "\n".join(lines) + "\n"


def _listen_address(host: str, port: int) -> str:
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as error:
        raise ServiceError(f"systemd listens on addresses, not on names: set host to the address of {host}.") from error
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _written(deployment: Deployment) -> tuple[Path, ...]:
    """The folder of the socket too, in which the daemon makes it."""
    made_here = deployment.socket is not None and not deployment.record.is_socket_activated
    folders = (*deployment.own_folders, *((deployment.socket.parent,) if made_here and deployment.socket else ()))
    return tuple(dict.fromkeys(folders))


def _uses_temporary(deployment: Deployment) -> bool:
    """With a /tmp of its own it would not see what lies in the other one."""
    socket = () if deployment.socket is None else (deployment.socket,)
    used = (*deployment.own_folders, *deployment.roots, *socket, Path(deployment.program[0]))
    return any(path.is_relative_to(folder) for path in used for folder in _TEMPORARY)


@dataclass(frozen=True, slots=True)
class Systemd:
    """``units`` is the folder of the unit files. Plans are made for one scope."""

    scope: Scope
    units: Path
    version: int
    groups: tuple[str, ...] = ()

    @property
    def record_file(self) -> Path:
        return self.units / SERVICE

    def files(self, deployment: Deployment) -> tuple[WriteFile, ...]:
        """What ``install`` writes."""
        unit = service_unit(deployment, version=self.version, groups=self.groups)
        files = [WriteFile(self.units / SERVICE, unit.encode())]
        if deployment.record.is_socket_activated:
            files.append(WriteFile(self.units / SOCKET, socket_unit(deployment).encode()))
        if self.scope is Scope.SYSTEM:
            line = f'u {NAME} - "{DESCRIPTION}" {SYSTEM_HOME}\n'
            files.append(WriteFile(SYSUSERS, line.encode()))
        return tuple(files)

    def install(self, deployment: Deployment) -> Plan:
        files = self.files(deployment)  # before anything else: it may raise
        is_user = self.scope is Scope.USER
        folders = deployment.own_folders if is_user else ()  # systemd makes those of a system service
        made_user = () if is_user else (RunCommand(("systemd-sysusers", str(SYSUSERS))),)
        switched_on = self._on_request() if deployment.record.is_socket_activated else self._at_once()
        reload = self._systemctl("daemon-reload")
        return Plan((*map(MakeFolder, folders), *files, *made_user, reload, *switched_on), self._notes())

    def _on_request(self) -> tuple[Step, ...]:
        return (
            self._systemctl("disable", SERVICE, may_fail=True),
            self._systemctl("enable", SOCKET),
            self._systemctl("stop", SERVICE, may_fail=True),
            self._systemctl("restart", SOCKET, hint=self._hint),
        )

    def _at_once(self) -> tuple[Step, ...]:
        """Also where it was started by a request until now."""
        return (
            self._systemctl("disable", "--now", SOCKET, may_fail=True),
            RemoveFile(self.units / SOCKET),
            self._systemctl("enable", SERVICE),
            self._systemctl("restart", SERVICE, hint=self._hint),
        )

    def uninstall(self) -> Plan:
        steps: tuple[Step, ...] = (
            self._systemctl("disable", "--now", SOCKET, may_fail=True),
            self._systemctl("disable", "--now", SERVICE, may_fail=True),
            RemoveFile(self.units / SOCKET),
            RemoveFile(self.units / SERVICE),
            *((RemoveFile(SYSUSERS),) if self.scope is Scope.SYSTEM else ()),
            self._systemctl("daemon-reload"),
            self._systemctl("reset-failed", SERVICE, may_fail=True),
        )
        kept = (f"The user {NAME} is kept, because files may be its own; `userdel {NAME}` removes it.",)
        return Plan(steps, kept if self.scope is Scope.SYSTEM else ())

    def start(self, record: Record) -> Plan:
        return Plan((self._systemctl("start", SOCKET if record.is_socket_activated else SERVICE, hint=self._hint),))

    def stop(self, record: Record) -> Plan:
        """With its socket, which would start it again."""
        units = (SOCKET, SERVICE) if record.is_socket_activated else (SERVICE,)
        return Plan((self._systemctl("stop", *units),))

    def restart(self, record: Record) -> Plan:
        units = (SOCKET, SERVICE) if record.is_socket_activated else (SERVICE,)
        return Plan((*self.stop(record).steps, self._systemctl("start", units[0], hint=self._hint)))

    def status_command(self) -> RunCommand:
        shown = "LoadState,ActiveState,SubState,MainPID,UnitFileState,NRestarts,StatusText,Result"
        return self._systemctl("show", SERVICE, SOCKET, f"--property={shown}", may_fail=True)

    def state(self, exit_code: int, output: str) -> ServiceState:
        """From what ``status_command`` has printed: the service, an empty line, its socket."""
        service, socket = ((*map(_properties, output.split("\n\n")), {}, {}) if exit_code == 0 else ({}, {}))[:2]
        is_waiting = socket.get("ActiveState") == "active"
        runs = service.get("ActiveState") in ("active", "activating", "reloading", "deactivating")
        words = [f"{service.get('ActiveState', 'unknown')} ({service.get('SubState', 'unknown')})"]
        if is_waiting and not runs:
            words = ["starts with the first request"]
        words += [service["StatusText"]] if runs and service.get("StatusText") else []
        words += [f"restarted {count} times"] if (count := service.get("NRestarts", "0")) != "0" else []
        return ServiceState(
            is_installed=service.get("LoadState") == "loaded",
            is_enabled="enabled" in (service.get("UnitFileState"), socket.get("UnitFileState")),
            is_active=service.get("ActiveState") in ("active", "activating", "reloading") or is_waiting,
            pid=int(service.get("MainPID", "0")) or None,
            words=", ".join(words),
        )

    def logs_command(self, *, lines: int, follow: bool) -> RunCommand:
        user = ("--user",) if self.scope is Scope.USER else ()
        more = ("--follow",) if follow else ("--no-pager",)
        return RunCommand(("journalctl", *user, f"--unit={SERVICE}", f"--lines={lines}", *more))

    def _systemctl(self, *arguments: str, may_fail: bool = False, hint: str | None = None) -> RunCommand:
        user = ("--user",) if self.scope is Scope.USER else ()
        return RunCommand(("systemctl", *user, *arguments), may_fail, hint)

    @property
    def _hint(self) -> str:
        system = " --system" if self.scope is Scope.SYSTEM else ""
        return f"`slmreg service logs{system}` says why."

    def _notes(self) -> tuple[str, ...]:
        if self.scope is Scope.SYSTEM:
            return (
                f"It runs as the user {NAME}, which must be able to read the folders of models.",
                f"Its home is {SYSTEM_HOME}: `sudo -u {NAME} {HOME_VARIABLE}={SYSTEM_HOME} slmreg roots add PATH`.",
            )
        return (
            "It runs from your first login to your last logout. To have it run from the start of the machine, without "
            "anybody logged in: `loginctl enable-linger`.",
        )


def _properties(text: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
