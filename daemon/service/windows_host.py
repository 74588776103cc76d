"""Runs ``slmreg serve`` as a service of Windows, in this very interpreter, which the service control manager started.

Its one argument is the file that the service was installed with (``daemon.service.windows_service``); what is printed
goes into the .log beside it. The main thread is the daemon's, as with ``slmreg serve``: signals arrive there. The
manager's thread waits in ``SvcRun`` meanwhile.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

import servicemanager
import win32service
import win32serviceutil

from daemon.service.controls import ControlManager, HostedService, Status
from daemon.service.deployment import NAME, Record
from daemon.service.hosted import output_in

CONNECT_POLL_S = 0.1
LEAVE_TIMEOUT_S = 10.0
FAILED = 1


def serve_as_service(installed: Path) -> int:
    """Does not return before the daemon has ended: with its exit code."""
    service = HostedService(stop=lambda: _thread.interrupt_main(signal.SIGTERM))
    with output_in(installed.with_suffix(".log")):
        dispatcher = threading.Thread(target=_dispatch, args=(service,), name="service control", daemon=True)
        dispatcher.start()
        while not service.wait_for_start(CONNECT_POLL_S):
            if not dispatcher.is_alive():  # started by somebody else; why not has been printed
                return FAILED
        exit_code = FAILED
        try:
            exit_code = _serve(installed, service)
        finally:
            service.end(exit_code)
            dispatcher.join(LEAVE_TIMEOUT_S)  # until the manager knows
        return exit_code


def _dispatch(service: HostedService) -> None:
    servicemanager.Initialize()
    servicemanager.PrepareToHostSingle(_class_for(service))
    servicemanager.StartServiceCtrlDispatcher()  # type: ignore[no-untyped-call]


def _class_for(service: HostedService) -> type[win32serviceutil.ServiceFramework]:
    """The manager makes the one object of it that there is."""

    class Hosted(win32serviceutil.ServiceFramework):
        _svc_name_ = NAME

        def GetAcceptedControls(self) -> int:  # noqa: N802 - pywin32's
            return (
                win32service.SERVICE_ACCEPT_STOP
                | win32service.SERVICE_ACCEPT_SHUTDOWN
                | win32service.SERVICE_ACCEPT_PRESHUTDOWN
                | win32service.SERVICE_ACCEPT_PARAMCHANGE
            )

        def ServiceCtrlHandlerEx(self, control: int, event_type: int, data: object) -> None:  # noqa: N802 - pywin32's
            service.control(control)

        def SvcRun(self) -> None:  # noqa: N802 - pywin32's
            """What is raised here ends the service with an error, so that the manager starts it again."""
            exit_code = service.run(self._report)
            if exit_code:
                raise RuntimeError(f"slmreg ended with exit code {exit_code}")

        def _report(self, status: Status, within_s: float) -> None:
            self.ReportServiceStatus(status, waitHint=round(within_s * 1000))

    return Hosted


def _serve(installed: Path, service: HostedService) -> int:
    record = Record.find(installed.read_text(encoding="utf-8"))
    os.environ.update(dict(record.environment) if record is not None else {})
    from daemon.cli import main

    try:
        main(["serve"], obj=ControlManager(service=service))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:
        traceback.print_exc()
    return FAILED


if __name__ == "__main__":
    sys.exit(serve_as_service(Path(sys.argv[1])))
