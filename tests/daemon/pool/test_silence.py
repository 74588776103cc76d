from __future__ import annotations

from daemon.pool.protocol import PULSE_S
from daemon.pool.silence import Silence


def test_silence_is_too_long_after_as_many_ticks_as_the_limit_has() -> None:
    silence = Silence(10.0)
    assert silence.tick_s == PULSE_S == 1.0
    assert [silence.tick() for _ in range(11)] == [False] * 10 + [True]


def test_every_word_begins_the_count_anew() -> None:
    silence = Silence(4.0)
    for _ in range(20):
        assert not any(silence.tick() for _ in range(4))
        silence.heard()


def test_a_short_limit_has_short_ticks() -> None:
    silence = Silence(0.4)
    assert silence.tick_s == 0.1
    assert [silence.tick() for _ in range(5)] == [False] * 4 + [True]
