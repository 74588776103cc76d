from __future__ import annotations

import gc
import threading

import pytest

from daemon.decisions import Decisions
from daemon.shapes import decision_json
from registry.errors import SelectionNotFound
from registry.model import Task
from selector.selection import Selection, SelectionRequest
from tests.selector.samples import choose, make_machine, make_model


def a_selection() -> Selection:
    return choose(SelectionRequest(Task.CODE), [make_model(), make_model("phi-4-mini")], make_machine())


def recorded(decisions: Decisions, because: str = "asked for", selection: Selection | None = None) -> str:
    decision_id = decisions.record("auto", because, selection or a_selection())
    assert decision_id is not None
    return decision_id


def test_a_choice_is_found_again_by_its_id_with_when_and_why() -> None:
    decisions = Decisions(lambda: 4, now=lambda: 86_400.0)
    selection = a_selection()
    kept = decisions.get(recorded(decisions, "words: python", selection))
    assert kept.selection is selection
    told = decision_json(kept)
    assert (told["id"], told["at"]) == (kept.id, "1970-01-02T00:00:00+00:00")
    assert (told["task"], told["task_because"], told["chosen"]) == ("code", "words: python", selection.chosen)
    assert "ranking" not in told


def test_the_oldest_go_and_asking_for_one_says_why_it_is_not_there() -> None:
    decisions = Decisions(lambda: 2)
    ids = [recorded(decisions) for _ in range(4)]
    assert len(set(ids)) == 4
    assert [each.id for each in decisions.newest(10)] == [ids[3], ids[2]]
    assert [each.id for each in decisions.newest(1)] == [ids[3]]
    for gone in (ids[0], "sel_unknown"):
        with pytest.raises(SelectionNotFound, match="last 2"):
            decisions.get(gone)


def test_none_are_kept_where_none_are_wanted() -> None:
    decisions = Decisions(lambda: 0)
    assert decisions.record("auto", "asked for", a_selection()) is None
    assert decisions.newest(10) == []


def test_a_ledger_is_still_there_when_nothing_else_is() -> None:
    """What the choice was made with may be gone long since."""
    decisions = Decisions(lambda: 2)
    made = recorded(decisions)
    gc.collect()
    ledger = decisions.get(made).selection.ledger
    assert {each.model_id for each in ledger.ranking} == {"qwen2.5-1.5b-instruct:1", "phi-4-mini:1"}


def test_several_threads_can_record_at_once() -> None:
    decisions, selection = Decisions(lambda: 50), a_selection()

    def record() -> None:
        for _ in range(100):
            decisions.record("auto", "asked for", selection)
            decisions.newest(5)

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decisions.newest(1000)) == 50


def test_how_many_are_kept_may_become_less() -> None:
    most = 3
    decisions = Decisions(lambda: most)
    for _ in range(3):
        recorded(decisions)
    most = 1
    last = recorded(decisions)
    assert [each.id for each in decisions.newest(10)] == [last]
