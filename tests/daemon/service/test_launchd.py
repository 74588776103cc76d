from __future__ import annotations

import plistlib
from pathlib import Path
from typing import Any

import pytest

from daemon.service.deployment import Record, Scope
from daemon.service.launchd import Launchd
from daemon.service.plan import RunCommand, WriteFile
from registry.errors import ServiceError
from tests.daemon.service.conftest import STRANGE, Make

# man launchd.plist: the keys that we use, and what their values are.
TYPES: dict[str, type] = {
    "Label": str,
    "ProgramArguments": list,
    "EnvironmentVariables": dict,
    "RunAtLoad": bool,
    "KeepAlive": dict,
    "ThrottleInterval": int,
    "ExitTimeOut": int,
    "ProcessType": str,
    "SoftResourceLimits": dict,
    "Umask": int,
    "StandardOutPath": str,
    "StandardErrorPath": str,
    "UserName": str,
}


def agent(scope: Scope = Scope.USER) -> Launchd:
    return Launchd(scope, Path("/agents"), Path("/logs"), 501, "me")


def listed(files: tuple[WriteFile, ...]) -> dict[str, Any]:
    (file,) = files
    return plistlib.loads(file.content)  # type: ignore[no-any-return]


@pytest.mark.parametrize("scope", Scope)
def test_the_list_has_keys_that_launchd_knows_with_values_of_their_type(make: Make, scope: Scope) -> None:
    read = listed(agent(scope).files(make(scope=scope)))
    assert set(read) <= set(TYPES)
    for key, value in read.items():
        assert type(value) is TYPES[key], key
    assert all(isinstance(each, str) for each in (*read["ProgramArguments"], *read["EnvironmentVariables"].values()))
    assert read["KeepAlive"] == {"SuccessfulExit": False}
    assert read["ProcessType"] in ("Background", "Standard", "Adaptive", "Interactive")
    assert read["Umask"] == 0o077
    assert ("UserName" in read) is (scope is Scope.SYSTEM)


def test_strange_paths_come_through_and_the_record_beside_them(make: Make) -> None:
    record = Record((("SLMREG_HOME", f"/Users/{STRANGE}"),))
    (file,) = agent().files(make(program=(f"/{STRANGE}/python", "-P"), record=record))
    read = listed((file,))
    assert read["ProgramArguments"] == [f"/{STRANGE}/python", "-P", "serve"]
    assert read["EnvironmentVariables"] == {"SLMREG_HOME": f"/Users/{STRANGE}"}
    assert Record.find(file.content.decode()) == record


def test_it_waits_longer_for_the_end_than_answers_may_take(make: Make) -> None:
    assert listed(agent().files(make(stop_timeout_s=90.0)))["ExitTimeOut"] == 90


def test_sockets_are_not_promised(make: Make) -> None:
    with pytest.raises(ServiceError, match="systemd"):
        agent().install(make(record=Record((), is_socket_activated=True)))


def commands(plan: Any) -> list[str]:
    return [" ".join(step.arguments) for step in plan.steps if isinstance(step, RunCommand)]


@pytest.mark.parametrize(("scope", "domain"), [(Scope.USER, "gui/501"), (Scope.SYSTEM, "system")])
def test_installing_again_reads_the_list_anew(make: Make, scope: Scope, domain: str) -> None:
    assert commands(agent(scope).install(make(scope=scope))) == [
        f"launchctl bootout {domain}/slmreg.daemon",
        f"launchctl enable {domain}/slmreg.daemon",
        f"launchctl bootstrap {domain} /agents/slmreg.daemon.plist",
    ]


def test_what_launchctl_prints_is_understood() -> None:
    state = agent().state(0, "gui/501/slmreg.daemon = {\n\tactive count = 1\n\tstate = running\n\n\tpid = 77\n}\n")
    assert (state.is_active, state.pid, state.words) == (True, 77, "running")
    stopped = agent().state(0, "x = {\n\tstate = not running\n\tlast exit code = 0\n}")
    assert (stopped.is_installed, stopped.is_active, stopped.pid) == (True, False, None)
    assert agent().state(113, "Could not find service").is_installed is False
