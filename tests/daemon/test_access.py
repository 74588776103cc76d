from __future__ import annotations

import logging

import pytest

from daemon import request_id
from daemon.access import ANYBODY, KEY_PREFIX, Access, Caller, digest_of, new_key
from daemon.logs.line import line_of
from registry.model import ApiKey, KeyScope

SECRET = new_key()
KEY = ApiKey("laptop", KeyScope.USE, digest_of(SECRET), 1.0)


def test_keys_are_random_and_not_to_be_had_from_what_is_kept() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith(KEY_PREFIX) and len(key) == len(KEY_PREFIX) + 43 for key in keys)
    assert SECRET not in repr(KEY)
    assert len(KEY.sha256) == 64


def test_what_another_process_does_to_the_keys_counts_from_the_next_look_on() -> None:
    kept: list[ApiKey] = []
    access = Access(lambda: kept)
    assert (access.needs_key, access.caller(None), access.caller("x")) == (False, ANYBODY, ANYBODY)
    kept.append(KEY)
    assert access.caller(None) == ANYBODY
    access.refresh()
    assert (access.caller(None), access.caller("x"), access.caller(SECRET)) == (
        None,
        None,
        Caller("laptop", KeyScope.USE),
    )
    kept.clear()
    access.refresh()
    assert access.caller(None) == ANYBODY


def test_the_key_of_the_command_line_is_no_reason_to_require_one_but_good_where_one_is() -> None:
    assert Access(tuple, command_line_key="own").caller(None) == ANYBODY
    for access in (
        Access(lambda: [KEY], command_line_key="own"),
        Access(tuple, requires_key=lambda: True, command_line_key="own"),
    ):
        own = access.caller("own")
        assert own is not None
        assert own.scope is KeyScope.ADMIN
        assert [access.caller(shown) for shown in (None, "", "owner", "x" * 10_000, "\udcff")] == [None] * 5


def test_a_key_of_a_newer_slmreg_closes_the_door_and_opens_nothing() -> None:
    access = Access(lambda: [ApiKey("new", None, KEY.sha256, 1.0)])
    assert (access.caller(None), access.caller(SECRET)) == (None, Caller("new", None))


@pytest.mark.parametrize(("given", "is_taken"), [("abc-1", True), ("a\nb", False), (None, False), ("-a", False)])
def test_the_log_says_which_request_it_was(given: str | None, is_taken: bool) -> None:
    record = logging.LogRecord("slmreg", logging.INFO, "f", 1, "a.b c=%d", (1,), None)
    used = request_id.begin(given)
    assert (used == given) is is_taken
    assert line_of(record).request_id == used
