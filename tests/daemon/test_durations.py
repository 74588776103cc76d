from __future__ import annotations

import pytest

from daemon.durations import as_keep_alive


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (300, 300.0),
        (0, 0.0),
        ("0", 0.0),
        ("90", 90.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        (" 10S ", 10.0),
        (-1, None),
        ("-1", None),
        ("-5m", None),
        (float("inf"), None),
    ],
)
def test_seconds_and_the_words_of_people_mean_the_same(value: object, seconds: float | None) -> None:
    assert as_keep_alive(value) == seconds


@pytest.mark.parametrize("value", [None, True, "", "soon", "5 minutes", "5m!", "m", float("nan"), [], "5mm"])
def test_what_is_no_time_is_refused_with_what_would_be(value: object) -> None:
    with pytest.raises(ValueError, match="is no time: use seconds"):
        as_keep_alive(value)
