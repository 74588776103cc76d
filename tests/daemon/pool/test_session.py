from __future__ import annotations

from itertools import product

import pytest

from daemon.pool.plan import LoadPlan
from daemon.pool.session import ALLOWED, IllegalStep, Session, SessionState
from tests.fakes import a_model


@pytest.mark.parametrize(("start", "to"), list(product(SessionState, SessionState)))
def test_only_steps_of_the_table_are_taken(start: SessionState, to: SessionState) -> None:
    session = Session(a_model("m"), LoadPlan(1024, 2, 100), state=start)
    if to in ALLOWED[start]:
        session.advance(to)
        assert session.state is to
    else:
        with pytest.raises(IllegalStep, match="m:1"):
            session.advance(to)
        assert session.state is start


def test_every_state_can_be_left_and_reached() -> None:
    assert set(ALLOWED) == set(SessionState)
    reached = {SessionState.UNLOADED}
    for _ in SessionState:
        reached |= {to for state in reached for to in ALLOWED[state]}
    assert reached == set(SessionState)
    assert all(ALLOWED.values())
