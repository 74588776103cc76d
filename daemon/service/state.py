"""What a service system says about the service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceState:
    """``is_active``: it runs, or starts with the first request; None where the service system does not tell, but the
    daemon itself does. ``words`` are the service system's own.
    """

    is_installed: bool
    is_enabled: bool
    is_active: bool | None
    pid: int | None
    words: str
