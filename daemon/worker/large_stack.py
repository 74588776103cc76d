"""Runs native code that recurses as deep as its input on a stack that is large enough, and no longer than it may."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# Reserved, not used: pages of a stack cost memory only once something was written there.
STACK_BYTES = 256 * 1024 * 1024


class LargeStack(Generic[T]):
    """One call at a time. What is not done in time is left to end by itself, and the next call waits for that."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._running: threading.Thread | None = None

    def call(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises. Raises TimeoutError, and RuntimeError for a panic of native code."""
        if self._running is not None:
            self._running.join(self._timeout_s)
            if self._running.is_alive():
                raise TimeoutError
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:  # its thread has nobody to tell, and a panic of Rust is no Exception
                errors.append(error)

        before = threading.stack_size(STACK_BYTES)
        try:
            self._running = threading.Thread(target=run, name="large stack", daemon=True)
            self._running.start()
        finally:
            threading.stack_size(before)
        self._running.join(self._timeout_s)
        if errors:
            raise errors[0] if isinstance(errors[0], Exception) else RuntimeError(str(errors[0]))
        if not results:
            raise TimeoutError
        return results[0]
