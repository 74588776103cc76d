from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from registry.files.listing import FileStat
from registry.watching.settle import FolderSettler
from registry.watching.view import FolderView

A = Path("/r/a")
B = Path("/r/a/b")


def view(size_bytes: int = 1, *, is_partial: bool = False) -> FolderView:
    return FolderView((FileStat("model.onnx", size_bytes, 0),), is_partial)


def test_a_folder_settles_when_it_was_still_for_long_enough() -> None:
    settler = FolderSettler(1.0)
    settler.touch(A, 0.0)
    assert settler.settled({A: view()}, 0.9) == ()
    assert settler.settled({A: view()}, 1.0) == (A,)
    assert settler.pending == ()


def test_a_change_that_made_no_event_starts_the_time_again() -> None:
    settler = FolderSettler(1.0)
    settler.touch(A, 0.0)
    assert settler.settled({A: view(1)}, 0.5) == ()
    assert settler.settled({A: view(2)}, 1.0) == ()
    assert settler.settled({A: view(2)}, 1.9) == ()
    assert settler.settled({A: view(2)}, 2.0) == (A,)


def test_an_event_starts_the_time_again() -> None:
    settler = FolderSettler(1.0)
    settler.touch(A, 0.0)
    settler.settled({A: view()}, 0.5)
    settler.touch(A, 0.8)
    assert settler.settled({A: view()}, 1.5) == ()
    assert settler.settled({A: view()}, 1.8) == (A,)


def test_an_unfinished_folder_is_waited_for_but_not_for_ever() -> None:
    settler = FolderSettler(1.0, partial_s=10.0)
    settler.touch(A, 0.0)
    assert settler.settled({A: view(is_partial=True)}, 9.0) == ()
    assert settler.settled({A: view(is_partial=True)}, 10.0) == (A,)


def test_a_finished_download_settles_at_once_more() -> None:
    settler = FolderSettler(1.0, partial_s=10.0)
    settler.touch(A, 0.0)
    settler.settled({A: view(is_partial=True)}, 5.0)
    assert settler.settled({A: view()}, 5.1) == ()
    assert settler.settled({A: view()}, 6.1) == (A,)


def test_a_folder_can_have_a_time_of_its_own() -> None:
    settler = FolderSettler(1.0)
    settler.touch(A, 0.0, settle_s=3.0)
    settler.touch(B, 0.0, settle_s=0.5)
    assert settler.settled({A: view(), B: view()}, 0.5) == (B,)
    assert settler.settled({A: view()}, 2.9) == ()
    assert settler.settled({A: view()}, 3.0) == (A,)


def test_of_two_times_for_one_folder_the_longer_one_counts() -> None:
    settler = FolderSettler(1.0, partial_s=2.0)
    for settle_s in (0.5, 5.0, 0.5):
        settler.touch(A, 0.0, settle_s=settle_s)
    assert settler.settled({A: view(is_partial=True)}, 4.9) == ()
    assert settler.settled({A: view(is_partial=True)}, 5.0) == (A,)


def test_news_that_is_late_does_not_turn_back_the_time() -> None:
    settler = FolderSettler(1.0)
    settler.touch(A, 2.0)
    settler.touch(A, 1.0)
    assert settler.settled({A: view()}, 2.9) == ()


def test_a_folder_that_is_gone_settles_too() -> None:
    settler = FolderSettler(1.0)
    settler.touch(A, 0.0)
    assert settler.settled({A: None}, 1.0) == (A,)


def test_a_folder_waits_for_the_folders_in_it_and_stands_for_them() -> None:
    settler = FolderSettler(1.0)
    settler.touch(A, 0.0)
    settler.touch(B, 0.7)
    assert settler.settled({A: view(), B: view()}, 1.2) == ()
    assert settler.settled({A: view(), B: view()}, 1.7) == (A,)
    assert settler.pending == ()


def test_a_folder_does_not_wait_for_the_one_around_it() -> None:
    settler = FolderSettler(1.0)
    settler.touch(B, 0.0)
    settler.touch(A, 0.7)
    assert settler.settled({A: view(), B: view()}, 1.0) == (B,)


# Eighths of a second: exact in binary, so that the last moment of waiting is no matter of rounding.
@given(changes=st.lists(st.tuples(st.integers(1, 24).map(lambda eighths: eighths / 8), st.booleans()), max_size=20))
def test_whatever_happens_a_folder_is_reported_once_and_never_within_the_settling_time(
    changes: list[tuple[float, bool]],
) -> None:
    settler = FolderSettler(1.0)
    now_s, last_change_s, size_bytes = 0.0, 0.0, 0
    settler.touch(A, now_s)
    for wait_s, is_event in changes:
        now_s += wait_s
        if settler.pending and settler.settled({A: view(size_bytes)}, now_s):
            assert now_s - last_change_s >= 1.0
        size_bytes += 1
        last_change_s = now_s
        if is_event or not settler.pending:
            settler.touch(A, now_s)
        settler.settled({A: view(size_bytes)}, now_s)
    assert settler.settled({A: view(size_bytes)} if settler.pending else {}, now_s + 1.0) == (A,)
