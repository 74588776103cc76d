from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.api.json_bodies import JsonLimits, UnusableJson

LIMITS = JsonLimits(depth=8, items=100)
TEXT = st.text(st.sampled_from('a"\\[]{}:,\n\u2028é'), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=60,
)


def depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0)


def items(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + sum(map(items, inner))


@given(VALUES, st.integers(1, 6), st.integers(1, 40))
def test_depth_and_items_are_counted_outside_of_texts(value: Any, most_depth: int, most_items: int) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, separators=(",", ":"))):
        is_within = depth(value) <= most_depth and items(value) <= most_items
        # What has fewer brackets than it may be deep, texts included, is not counted.
        is_small = text.count("[") + text.count("{") <= most_depth
        try:
            JsonLimits(most_depth, most_items).check(text.encode())
        except UnusableJson:
            assert not is_within
        else:
            assert is_within or is_small


@given(st.binary(max_size=40))
def test_whatever_comes_it_is_usable_or_said_not_to_be(body: bytes) -> None:
    try:
        LIMITS.check(body)
    except UnusableJson:
        return
    json.loads(body)


@pytest.mark.parametrize("text", ['{"a": 1, "b": {"a": 2}}', "[1e308, -0.0, 18446744073709551615]", '"\\ud800"'])
def test_what_is_unambiguous_is_usable(text: str) -> None:
    LIMITS.check(text.encode())
    LIMITS.check(b"\xef\xbb\xbf" + text.encode())


@pytest.mark.parametrize("number", ["9" * 41, "9" * 5000, "1e309", "-1.5E+400", "1" * 400 + ".5"])
@pytest.mark.parametrize("before", ["", "0, " * 10_000], ids=["small", "large"])
def test_numbers_without_end_are_refused_in_small_and_large_bodies(number: str, before: str) -> None:
    with pytest.raises(UnusableJson):
        LIMITS.check(f"[{before}{number}]".encode())
    LIMITS.check(f'[{before}"{number}"]'.encode())


def test_no_word_of_the_body_is_in_what_is_said_but_a_key() -> None:
    for body in (b'{"a": "secret"', b'["secret", NaN]', b'{"a": "secret", "a": "secret"}', b"secret", b'"\xffsecret"'):
        with pytest.raises(UnusableJson) as raised:
            LIMITS.check(body)
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 8_000_000,
        b"[" + b"[]," * 2_600_000 + b"[]]",
        b'{"a":' * 1_600_000,
        b'["' + b'\\"[{' * 2_000_000,
        b"[" * 50 + b'"",' * 2_000_000 + b"[" * 100,
    ],
    ids=["deep", "wide", "nested", "one text", "texts"],
)
def test_brackets_without_end_cost_no_more_than_they_are_long(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UnusableJson):
            JsonLimits(128, 100_000).check(body)
        _now, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 5 * len(body)
