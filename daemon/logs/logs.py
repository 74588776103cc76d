"""``Logs``: from the moment that it is started, what any logger of this process says goes to its outlets.

Invariant: nothing about logging reaches whoever logs: no exception, no waiting. The first failure of the file is said
on the console, once until it works again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, TextIO

from daemon.log_settings import LogSettings
from daemon.logs.console import Console
from daemon.logs.file import LogFile
from daemon.logs.levels import Levels
from daemon.logs.line import Line, as_json, line_of
from daemon.logs.outlet import Outlet

log = logging.getLogger("slmreg.logs")


class Logs(logging.Handler):
    """The console and the file of one daemon. ``start`` it, and ``close`` it in the end; it is a context that does so.

    Without ``stream`` nothing is said on a console, without ``path`` nothing is kept.
    """

    def __init__(
        self,
        settings: LogSettings,
        *,
        stream: TextIO | None = None,
        path: Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        super().__init__()
        self.levels = Levels(settings.log_level, settings.log_levels)
        self._shows_errors = settings.log_prompts
        self._outlets: tuple[Outlet, ...] = ()
        self._file: LogFile | None = None
        if stream is not None:
            self._outlets += (_to_console(stream, environment),)
        if path is not None and settings.log_files:
            self._file = LogFile(path, max_bytes=settings.log_file_bytes, files=settings.log_files)
            self._outlets += (_to_file(self._file),)

    @property
    def dropped(self) -> dict[str, int]:
        """Lines that were lost so far, by outlet."""
        return {outlet.name: outlet.dropped for outlet in self._outlets}

    def __enter__(self) -> Self:
        for outlet in self._outlets:
            outlet.start()
        root = logging.getLogger()
        root.addHandler(self)
        self.levels.apply()
        logging.captureWarnings(True)
        return self

    def __exit__(self, *_: object) -> None:
        logging.captureWarnings(False)
        for outlet in reversed(self._outlets):  # the file first: what becomes of it is said on the console
            outlet.close()
        logging.getLogger().removeHandler(self)
        if self._file is not None:
            self._file.close()
        self.close()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = line_of(record, shows_errors=self._shows_errors)
        except Exception as error:  # whatever an argument's own text does
            line = Line(time_s=record.created, level="error", logger=record.name, message=f"log.bug error={error!r}")
        for outlet in self._outlets:
            outlet.put(line)


def _to_console(stream: TextIO, environment: Mapping[str, str]) -> Outlet:
    console = Console.of(stream, environment)

    def write(lines: Sequence[Line]) -> None:
        stream.write("".join(map(console.render, lines)))
        stream.flush()

    return Outlet("console", write)


def _to_file(file: LogFile) -> Outlet:
    def trouble(error: Exception) -> None:
        log.error(
            "logs.not_written path=%s error=%s hint='the daemon goes on; make room or make the folder writable'",
            file.path,
            error,
        )

    def relief(dropped: int) -> None:
        log.warning("logs.written_again path=%s dropped=%d", file.path, dropped)

    return Outlet("file", lambda lines: file.write(map(as_json, lines)), on_trouble=trouble, on_relief=relief)
