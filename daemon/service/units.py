"""The texts of the units for systemd.

A user unit cannot do all that a system unit can. Its manager has no privileges, so what needs capabilities to be taken
away (CapabilityBoundingSet=, ProtectKernelModules=, ProtectKernelLogs=, ProtectHostname=) could end it with
218/CAPABILITIES. What needs mounts (ProtectSystem=, ProtectHome=, PrivateTmp=) works through a user namespace. Since
version 253 systemd makes one for it by itself, and goes without where the kernel allows none; before, PrivateUsers= has
to be said, and where the kernel allows none the unit would not start, so it is said only where it works.
"""

from __future__ import annotations

import ipaddress
import math
import re
from pathlib import Path

from daemon.service.deployment import DESCRIPTION, NAME, Deployment, Scope
from registry.errors import ServiceError

SERVICE = f"{NAME}.service"
SOCKET = f"{NAME}.socket"
# So that a hung daemon is noticed, and one on a machine that is out of memory or swaps is not mistaken for one.
WATCHDOG_S = 60
# RestartSteps= and RestartMaxDelaySec= (man systemd.service).
BACKOFF_SINCE = 254
# With mounts of its own for a user unit, without PrivateUsers=.
USER_MOUNTS_SINCE = 253
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


def service_unit(
    deployment: Deployment, *, version: int, groups: tuple[str, ...] = (), has_user_namespaces: bool = True
) -> str:
    """``version`` of systemd; ``groups`` may use the accelerators of this machine; its kernel lets users without
    privileges make namespaces, or does not.
    """
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
        f"SyslogIdentifier={NAME}",  # the journal would call it by its interpreter
        f"TimeoutStartSec={START_TIMEOUT_S}",  # the daemon asks for more while it looks through many models
        f"TimeoutStopSec={math.ceil(deployment.stop_timeout_s)}",
        f"WatchdogSec={WATCHDOG_S}",
        *(_BACKOFF if version >= BACKOFF_SINCE else _NO_BACKOFF),
        "RestartPreventExitStatus=2",  # a command line that it does not know: the next time is no better
        "KillMode=mixed",  # the daemon lets answers finish, and its workers end with it
        "LimitNOFILE=8192",
        *(() if is_user else _own_user(deployment, groups)),
        *_HARDENING,
        *(() if is_user else _SYSTEM_HARDENING),
        *(("PrivateUsers=yes",) if is_user and has_user_namespaces and version < USER_MOUNTS_SINCE else ()),
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
