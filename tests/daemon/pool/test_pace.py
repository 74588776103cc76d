from __future__ import annotations

import pytest

from daemon.pool.pace import Pace


def test_who_waits_is_told_how_long_the_answers_before_take() -> None:
    pace = Pace()
    pace.note("m", 4.0)
    assert pace.wait_s("m", 6, 2) == 12.0
    pace.note("m", 14.0)
    assert pace.wait_s("m", 1, 1) == pytest.approx(7.0)  # the newest counts for 30%


def test_before_anything_is_known_it_is_a_guess_and_nobody_is_told_nonsense() -> None:
    pace = Pace()
    assert pace.wait_s("m", 1, 1) == 5.0
    pace.note("m", 0.001)
    assert pace.wait_s("m", 1, 4) == 1.0
    pace.note("slow", 1e6)
    assert pace.wait_s("slow", 9, 0) == 600.0
    pace.forget("m")
    assert pace.wait_s("m", 1, 1) == 5.0
