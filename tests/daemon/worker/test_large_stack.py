from __future__ import annotations

import threading

import pytest

from daemon.worker.large_stack import STACK_BYTES, LargeStack


def test_it_returns_and_raises_what_the_work_does() -> None:
    stack = LargeStack[int](timeout_s=5)

    def broken() -> int:
        raise ValueError("broken")

    assert stack.call(lambda: 3) == 3
    with pytest.raises(ValueError, match="broken"):
        stack.call(broken)
    assert stack.call(lambda: 4) == 4


def test_a_panic_of_native_code_is_an_error_like_others() -> None:
    class Panic(BaseException):
        """As pyo3 raises it."""

    def panicking() -> int:
        raise Panic("assertion failed")

    with pytest.raises(RuntimeError, match="assertion failed"):
        LargeStack[int](timeout_s=5).call(panicking)


def test_only_its_own_thread_has_the_large_stack() -> None:
    before = threading.stack_size()
    assert LargeStack[int](timeout_s=5).call(threading.stack_size) in (before, STACK_BYTES)
    assert threading.stack_size() == before


def test_what_takes_too_long_is_given_up_and_the_next_waits_for_its_end() -> None:
    stack = LargeStack[bool](timeout_s=0.01)
    over = threading.Event()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            stack.call(over.wait)
    over.set()
    patient = 0
    while patient < 500:
        try:
            assert stack.call(lambda: True)
            return
        except TimeoutError:
            patient += 1
    pytest.fail("the next call never came")
