from __future__ import annotations

from daemon.company import Company


class Loads:
    """A pool, as far as its loads are concerned."""

    def __init__(self) -> None:
        self.loads = 0
        self.is_loading = False


def test_who_is_the_only_one_from_beginning_to_end_is_alone() -> None:
    company = Company(Loads())
    for _ in range(2):
        stay = company.enter()
        assert stay.is_alone
        company.leave(stay)
        company.leave(stay)


def test_who_comes_second_and_who_was_there_are_both_not_alone() -> None:
    company = Company(Loads())
    first = company.enter()
    second = company.enter()
    company.leave(second)
    assert (first.is_alone, second.is_alone) == (False, False)
    company.leave(first)
    assert company.enter().is_alone


def test_a_load_before_or_meanwhile_disturbs_an_answer_even_when_it_is_over() -> None:
    loads = Loads()
    company = Company(loads)
    loads.loads, loads.is_loading = 1, True
    early = company.enter()
    loads.is_loading = False
    assert not early.is_alone
    company.leave(early)
    stay = company.enter()
    assert stay.is_alone
    loads.loads += 1
    assert not stay.is_alone
