from __future__ import annotations

import pytest

from daemon.setbacks import FIRST_BACKOFF_S, MAX_BACKOFF_S, Setbacks
from registry.model import Device
from selector.selection import Setback
from tests.fakes import a_model

A, B = a_model("a", content="1"), a_model("b", device=Device.GPU)


def test_what_ran_out_of_memory_is_left_alone_for_a_while() -> None:
    setbacks = Setbacks()
    setbacks.add(B, 700, now_s=10.0)
    assert setbacks.now(10.0) == (Setback("b:1", Device.GPU, 700, FIRST_BACKOFF_S),)
    assert setbacks.now(50.0)[0].seconds_left == pytest.approx(20.0)
    assert setbacks.now(10.0 + FIRST_BACKOFF_S) == ()


def test_each_failure_after_that_doubles_the_time_up_to_a_bound() -> None:
    setbacks, now_s, lengths = Setbacks(), 0.0, []
    for _ in range(8):
        lengths.append(setbacks.add(A, 100, now_s))
        now_s += lengths[-1]
    assert lengths == [60, 120, 240, 480, 960, MAX_BACKOFF_S, MAX_BACKOFF_S, MAX_BACKOFF_S]


def test_failures_at_once_are_one() -> None:
    setbacks = Setbacks()
    for now_s in (0.0, 0.1, 30.0):
        assert setbacks.add(A, 100, now_s) == FIRST_BACKOFF_S
    assert setbacks.now(30.0)[0].seconds_left == FIRST_BACKOFF_S


def test_a_load_that_worked_wipes_it_out() -> None:
    setbacks = Setbacks()
    setbacks.add(A, 100, 0.0)
    setbacks.forget("a:1")
    setbacks.forget("never heard of")
    assert setbacks.now(0.0) == ()
    assert setbacks.add(A, 100, 1000.0) == FIRST_BACKOFF_S


def test_another_content_in_its_place_has_not_failed_nor_has_what_is_gone() -> None:
    setbacks = Setbacks()
    setbacks.add(A, 100, 0.0)
    setbacks.add(B, 100, 0.0)
    setbacks.keep_only({"a:1": A, "b:1": B})
    assert [each.model_id for each in setbacks.now(0.0)] == ["a:1", "b:1"]
    setbacks.keep_only({"a:1": a_model("a", content="2")})
    assert setbacks.now(0.0) == ()


def test_a_model_that_loads_and_dies_answering_is_tried_less_and_less_often() -> None:
    setbacks, model, waits, now_s = Setbacks(), a_model("a"), [], 0.0
    for _ in range(4):
        waits.append(setbacks.add(model, 1000, now_s))
        now_s += waits[-1] + 1
        setbacks.end("a:1", now_s)
        assert setbacks.now(now_s) == ()
        now_s += 1
    assert waits == [60, 120, 240, 480]


def test_a_load_ends_the_waiting_at_once() -> None:
    setbacks = Setbacks()
    setbacks.add(a_model("a"), 1000, 0.0)
    setbacks.end("a:1", 5.0)
    setbacks.end("never heard of", 5.0)
    assert setbacks.now(5.0) == ()
