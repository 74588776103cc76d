"""What a scan means for what is known: pure, from the present state and a report to the rows as they should be.

A row follows its content. In this order:

1. A folder that is known keeps its row as long as its content is the same, and the row has the status of a problem of
   its folder. A row whose folder is gone, broken or holds something else goes on with another folder of its model.
2. A folder with the declared id and the content of a model that is here is another location of it: one model.
3. A folder with the content of a model that is gone is that model: it came back to its folder, else it was moved,
   with its declared id, however long ago; else it was renamed: moved and with another id, which is only believed of
   what went with this report or within the last minute, and while no other model has that content: a copy of a twin
   is no rename.
4. A known folder with other content is a new revision of its row.
5. A folder with the declared id of a model that is gone is a new revision of that; not of a pinned one, unless it is
   the folder where that was: a pin never leads to other content by itself.
6. Everything else is new. What is gone is kept as MISSING with its date, and comes back with its row.

A report of a part of the roots may show one end of a move only, which then looks like other content (4) or a copy (6).
Where that would matter for a pin ``Plan.may_be_half_a_move`` says so, and everything is to be scanned instead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

from registry.index.identity import Ids, declared_id, with_names
from registry.index.matching import Matching
from registry.index.plan import Plan, make_plan
from registry.index.state import State
from registry.index.stored import StoredModel
from registry.model import ScanReport


def reconcile(
    state: State, report: ScanReport, *, now_s: float, is_there: Callable[[Path], bool] = lambda _path: True
) -> Plan:
    """``is_there`` tells whether a folder that the report does not cover still exists; only asked about moves.

    ``now_s`` is Unix time.
    """
    matching = Matching(state, report, now_s, is_there)
    matching.run()
    rows = {key: draft.finished(now_s) for key, draft in matching.drafts.items()}
    named = with_distinct_ids(state, rows, forgotten=matching.merged)
    return make_plan(state, named, report, forgotten=matching.merged)


def with_distinct_ids(
    state: State, rows: dict[int, StoredModel], *, forgotten: Iterable[int] = ()
) -> tuple[StoredModel, ...]:
    """``rows`` as they are listed, with the others whose names change because of them."""
    models, changed, gone = state.models, frozenset(rows), frozenset(forgotten)
    new: defaultdict[str, list[StoredModel]] = defaultdict(list)
    for row in rows.values():
        new[declared_id(row.declared)].append(row)

    def members(group: str) -> list[StoredModel]:
        old = (key for key in models.declared[group] if key not in changed and key not in gone)
        return [*(models.rows[key] for key in old), *new.get(group, ())]

    left = {declared_id(models.rows[key].declared) for key in chain(changed, gone) if key in models.rows}
    # A row that was given an id which somebody declares now has to give it up.
    displaced = {declared_id(models.rows[models.ids[group]].declared) for group in new if group in models.ids}
    groups = {group: found for group in {*new, *left, *displaced} if (found := members(group))}
    ids = Ids(before=models.rows, holder=models.ids, pinned=state.pinned_keys)
    named = with_names(groups, ids, is_declared=lambda wanted: bool(members(wanted)))
    return tuple(row for row in named if row.key in changed or row is not models.rows[row.key])
