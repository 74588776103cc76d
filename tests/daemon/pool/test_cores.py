from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.pool.cores import divide_cores

FOUR = ((0, 4), (1, 5), (2, 6), (3, 7))
names = st.lists(st.text("abcdefgh", min_size=1, max_size=2), unique=True, max_size=12)
cores = st.integers(0, 12).map(lambda count: tuple((cpu, cpu + count) for cpu in range(count)))


def test_one_that_answers_alone_has_all_cores() -> None:
    assert divide_cores(FOUR, ["a"], []) == {"a": ()}


def test_those_that_answer_together_have_equal_shares_and_whole_cores() -> None:
    assert divide_cores(FOUR, ["a", "b"], []) == {"a": (0, 4, 1, 5), "b": (2, 6, 3, 7)}
    assert divide_cores(FOUR, ["a", "b", "c"], [])["a"] == (0, 4, 1, 5)


def test_a_load_keeps_to_a_quarter_of_the_cores_while_somebody_answers() -> None:
    assert divide_cores(FOUR, ["a"], ["b"]) == {"a": (), "b": (3, 7)}
    assert divide_cores(FOUR, [], ["b"]) == {"b": ()}
    assert divide_cores(FOUR[:1], ["a"], ["b"]) == {"a": (), "b": ()}


@given(cores, names, names)
def test_whatever_there_is_everybody_has_something_and_no_core_is_left_over(
    present: tuple[tuple[int, ...], ...], answering: list[str], loading: list[str]
) -> None:
    loading = [name for name in loading if name not in answering]
    shares = divide_cores(present, answering, loading)
    assert set(shares) == {*answering, *loading}
    given_away = [cpu for name in answering for cpu in shares[name]]
    if len(answering) > 1 and len(answering) <= len(present):
        assert sorted(given_away) == sorted(cpu for core in present for cpu in core)
    elif len(answering) > 1 and present:
        assert all(shares[name] in present for name in answering)
