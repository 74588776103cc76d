"""Why a model could not be loaded, as the worker tells the daemon."""

from __future__ import annotations

from enum import StrEnum


class LoadCode(StrEnum):
    """The codes of ``LoadFailed`` messages."""

    MISSING_FILE = "missing_file"
    INVALID_FILE = "invalid_file"
    UNSUPPORTED = "unsupported"
    OUT_OF_MEMORY = "out_of_memory"
    PROVIDER_MISSING = "provider_missing"
    FAILED = "load_failed"


class LoadError(Exception):
    """A model folder cannot be loaded; the message says what, which file, and what to do."""

    def __init__(self, code: LoadCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
