from __future__ import annotations

import errno
import threading
from collections.abc import Sequence

from daemon.logs.line import Line
from daemon.logs.outlet import Outlet

PATIENCE_S = 30.0


def a_line(message: str = "x") -> Line:
    return Line(time_s=0.0, level="info", logger="slmreg", message=message)


class Disk:
    """Takes lines, waits while it is held up, and fails while it is full."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.may_write = threading.Event()
        self.may_write.set()
        self.is_full = False
        self.asked = threading.Semaphore(0)

    def write(self, lines: Sequence[Line]) -> None:
        self.asked.release()
        self.may_write.wait(PATIENCE_S)
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.lines += [line.message for line in lines]

    def was_asked(self) -> None:
        assert self.asked.acquire(timeout=PATIENCE_S)


def test_lines_are_written_in_order_and_all_of_them_before_the_end() -> None:
    disk = Disk()
    outlet = Outlet("file", disk.write)
    outlet.start()
    for number in range(500):
        outlet.put(a_line(str(number)))
    outlet.close()
    assert disk.lines == [str(number) for number in range(500)]
    assert outlet.dropped == 0


def test_who_logs_never_waits_and_what_does_not_fit_is_counted() -> None:
    disk = Disk()
    disk.may_write.clear()
    outlet = Outlet("file", disk.write, max_waiting_characters=10 * a_line().size)
    outlet.start()
    outlet.put(a_line("first"))
    disk.was_asked()  # and hangs
    for _ in range(15):
        outlet.put(a_line())
    assert outlet.dropped == 5
    disk.may_write.set()
    outlet.close()
    assert len(disk.lines) == 11


def test_a_full_disk_is_said_once_until_it_works_again() -> None:
    disk = Disk()
    troubles: list[str] = []
    reliefs: list[int] = []
    outlet = Outlet("file", disk.write, on_trouble=lambda error: troubles.append(str(error)), on_relief=reliefs.append)
    disk.is_full = True
    outlet.start()
    for _ in range(3):
        outlet.put(a_line())
        disk.was_asked()
    disk.is_full = False
    outlet.put(a_line("again"))
    outlet.close()
    assert disk.lines[-1] == "again"
    assert len(troubles) == 1
    assert "No space" in troubles[0]
    assert len(reliefs) == 1
    assert outlet.dropped == reliefs[0] > 0


def test_a_terminal_that_takes_nothing_does_not_keep_the_daemon_from_ending() -> None:
    disk = Disk()
    disk.may_write.clear()
    outlet = Outlet("console", disk.write)
    outlet.start()
    outlet.put(a_line())
    disk.was_asked()
    outlet.close(timeout_s=0.01)
    assert disk.lines == []
    disk.may_write.set()


def test_one_that_was_never_started_can_be_closed() -> None:
    Outlet("file", Disk().write).close()
