"""The largest values that a choice may be asked for, whether by the API or the command line: far beyond any machine."""

from __future__ import annotations

MAX_CONTEXT_TOKENS = 100_000_000
MAX_BYTES = 2**50
MAX_SECONDS = 1e6
