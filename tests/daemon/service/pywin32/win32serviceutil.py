"""Stands in for pywin32's: a service that prints what it reports."""

from __future__ import annotations

import os


class ServiceFramework:
    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments

    def GetAcceptedControls(self) -> int:  # noqa: N802 - pywin32's names
        return 0

    def ReportServiceStatus(self, status: int, waitHint: int = 0) -> None:  # noqa: N802, N803 - pywin32's names
        accepted = 0 if status == 2 else self.GetAcceptedControls()
        os.write(1, f"{int(status)} {accepted} {waitHint}\n".encode())
