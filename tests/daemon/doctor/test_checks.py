from __future__ import annotations

import threading
from collections.abc import Iterable

from daemon.doctor.checks import Check, carry_out
from daemon.doctor.finding import Finding, Level
from registry.errors import SettingsError

FINE = Finding(Level.OK, "fine", "it is")


def _refuses() -> Iterable[Finding]:
    raise SettingsError("threads is no number.")


def _breaks() -> Iterable[Finding]:
    yield FINE
    raise ZeroDivisionError("by zero")


def test_a_check_that_fails_says_so_and_the_others_are_told_in_their_order() -> None:
    checks = [Check("a", lambda: [FINE]), Check("b", _refuses), Check("c", _breaks), Check("d", lambda: [FINE, FINE])]
    found = list(carry_out(checks))
    assert [finding.level for finding in found] == [Level.OK, Level.PROBLEM, Level.NOTE, Level.OK, Level.OK]
    assert (found[1].subject, found[1].message) == ("invalid_settings", "threads is no number.")
    assert (found[2].subject, "ZeroDivisionError" in found[2].message) == ("c", True)


def test_a_check_that_hangs_is_not_waited_for() -> None:
    never = threading.Event()
    try:
        hung, told = carry_out([Check("mount", lambda: [FINE] * never.wait()), Check("b", lambda: [FINE])], limit_s=0.2)
    finally:
        never.set()
    assert (hung.subject, hung.level, told) == ("mount", Level.PROBLEM, FINE)
    assert "within 0.2 s" in hung.message


def test_checks_run_beside_each_other() -> None:
    meeting = threading.Barrier(2, timeout=30)

    def meet() -> list[Finding]:
        meeting.wait()
        return [FINE]

    assert list(carry_out([Check("a", meet), Check("b", meet)])) == [FINE, FINE]
