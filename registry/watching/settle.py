"""``FolderSettler``: when has the copying into a folder ended? Pure: the caller looks at the folders and at the clock.

A folder is settled when its files kept their names, sizes and times for ``settle_s``, and nothing in it is unfinished;
one that stays unfinished is waited for no longer than ``partial_s``, so that it gets reported as what it is. A folder
waits for the folders below it, because whoever hears of it will look at those too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.watching.view import FolderView

DEFAULT_PARTIAL_S = 30.0


@dataclass(slots=True)
class _Pending:
    changed_s: float
    settle_s: float
    view: FolderView | None = None
    is_seen: bool = False


class FolderSettler:
    """The folders in which something happened and that have not settled yet. All times come from one clock."""

    def __init__(self, settle_s: float, partial_s: float = DEFAULT_PARTIAL_S) -> None:
        self._settle_s = settle_s
        self._partial_s = partial_s
        self._pending: dict[Path, _Pending] = {}

    @property
    def pending(self) -> tuple[Path, ...]:
        return tuple(self._pending)

    def touch(self, folder: Path, now_s: float, *, settle_s: float | None = None) -> None:
        """Something happened in ``folder``: it has to be still from now on, for ``settle_s`` or what goes for all."""
        wanted_s = self._settle_s if settle_s is None else settle_s
        pending = self._pending.setdefault(folder, _Pending(now_s, wanted_s))
        pending.changed_s = max(pending.changed_s, now_s)
        pending.settle_s = max(pending.settle_s, wanted_s)

    def settled(self, views: Mapping[Path, FolderView | None], now_s: float) -> tuple[Path, ...]:
        """Take in what the pending folders look like now (None: gone), and let go of those that have settled.

        Returns them without those that lie inside another one of them.
        """
        for folder, view in views.items():
            self._observe(self._pending[folder], view, now_s)
        still = {folder for folder, pending in self._pending.items() if self._is_still(pending, now_s)}
        busy_parents = {parent for folder in self._pending.keys() - still for parent in folder.parents}
        done = still - busy_parents
        for folder in done:
            del self._pending[folder]
        return tuple(sorted(folder for folder in done if not any(parent in done for parent in folder.parents)))

    @staticmethod
    def _observe(pending: _Pending, view: FolderView | None, now_s: float) -> None:
        if pending.is_seen and pending.view != view:
            pending.changed_s = now_s
        pending.view = view
        pending.is_seen = True

    def _is_still(self, pending: _Pending, now_s: float) -> bool:
        is_partial = pending.view is not None and pending.view.is_partial
        wait_s = max(pending.settle_s, self._partial_s if is_partial else 0.0)
        return pending.is_seen and now_s - pending.changed_s >= wait_s
