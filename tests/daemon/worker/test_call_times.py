from __future__ import annotations

import pytest

from daemon.worker.call_times import CallTimes


def test_nothing_is_known_before_anything_was_measured() -> None:
    assert CallTimes().of(3) is None


def test_sizes_between_two_measured_ones_are_interpolated() -> None:
    times = CallTimes()
    times.record(2, 0.01)
    times.record(4, 0.03)
    assert [times.of(size) for size in (2, 3, 4)] == [pytest.approx(0.01), pytest.approx(0.02), pytest.approx(0.03)]


def test_sizes_beyond_grow_and_shrink_with_the_nearest() -> None:
    times = CallTimes()
    times.record(1, 0.01)
    assert times.of(6) == pytest.approx(0.02)
    times.record(6, 0.05)
    assert times.of(11) == pytest.approx(0.075)
    only = CallTimes()
    only.record(6, 0.02)
    assert only.of(1) == pytest.approx(0.01)


def test_the_latest_counts_but_one_slow_call_does_not_count_for_all() -> None:
    times = CallTimes()
    times.record(1, 0.01)
    times.record(1, 0.11)
    assert times.of(1) == pytest.approx(0.04)


def test_what_fades_gets_a_new_chance() -> None:
    times = CallTimes()
    times.record(3, 1.0)
    times.fade(0.25)
    assert times.of(3) == pytest.approx(0.75)
