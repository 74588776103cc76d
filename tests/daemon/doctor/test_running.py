from __future__ import annotations

import os
import socket
import sys

import pytest

from daemon import __version__
from daemon.doctor.finding import Level
from daemon.doctor.running import daemon_finding, failure_findings, port_finding, unwritten_findings
from selector.hardware.processes import listener_on


def test_a_daemon_of_another_version_has_to_be_restarted() -> None:
    status = {"url": "http://127.0.0.1:1", "pid": os.getpid(), "sessions": 0, "version": __version__}
    assert daemon_finding(None).level is Level.OK
    assert daemon_finding(status).level is Level.OK
    assert daemon_finding({**status, "version": "0.0.1"}).level is Level.PROBLEM


def test_models_that_failed_are_a_problem_with_the_reason_of_each() -> None:
    failures = {"m:1": {"kind": "out_of_memory", "message": "bad alloc", "retry_s": 15.0}}
    (finding,) = failure_findings({"failures": failures})
    assert (finding.level, finding.items) == (Level.PROBLEM, ("m:1 (out_of_memory): bad alloc",))
    assert list(failure_findings({"failures": {}})) == list(failure_findings(None)) == []


def test_what_the_daemon_cannot_write_down_is_a_problem() -> None:
    trouble = {"what": "the registry", "message": "disk full", "since": "2026-01-01T00:00:00Z"}
    (finding,) = unwritten_findings({"unwritten": [trouble]})
    assert finding.level is Level.PROBLEM
    assert "the registry" in finding.message
    assert list(unwritten_findings({})) == list(unwritten_findings(None)) == []


def test_a_port_that_another_program_has_is_a_problem_and_the_program_is_named() -> None:
    assert port_finding("127.0.0.1", 7567, is_taken=False, by=None).level is Level.OK
    assert port_finding("127.0.0.1", 0, is_taken=True, by=None).level is Level.OK
    taken = port_finding("127.0.0.1", 7567, is_taken=True, by="nginx (pid 12)")
    assert (taken.level, "nginx (pid 12)" in taken.message) == (Level.PROBLEM, True)
    assert "another program" in port_finding("127.0.0.1", 7567, is_taken=True, by=None).message


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only an administrator is told")
def test_the_program_behind_a_port_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"(pid {os.getpid()})" in (listener_on(port) or "")
    assert listener_on(port) is None
