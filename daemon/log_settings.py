"""The settings that say what is logged, and how much of it is kept: a part of ``daemon.settings.Settings``."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from daemon.access_settings import AccessSettings
from daemon.logs.levels import Level, module_named


def _lower(level: object) -> object:
    return level.lower() if isinstance(level, str) else level


AnyCaseLevel = Annotated[Level, BeforeValidator(_lower)]
LoggerName = Annotated[str, AfterValidator(module_named)]


class LogSettings(AccessSettings):
    """The log is on standard error, and in files for their owner alone."""

    log_level: AnyCaseLevel = Field("info", description="least severe level logged")
    log_levels: dict[LoggerName, AnyCaseLevel] = Field(
        {}, description='other levels for parts of slmreg: `{"slmreg.pool" = "debug"}`'
    )
    log_file_bytes: int = Field(
        10 * 1024 * 1024, ge=4096, description="size at which the log file is put aside for another"
    )
    log_files: int = Field(5, ge=0, le=100, description="log files kept, the newest among them; 0: none is written")

    @field_validator("log_levels", mode="before")
    @classmethod
    def _levels_from_json(cls, table: object) -> object:
        """The environment has no tables."""
        return json.loads(table) if isinstance(table, str) else table
