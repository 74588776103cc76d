"""``Loads``: a model is loaded, or unloaded, because somebody asked for just that."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from daemon.catalog import Catalog
from daemon.endpoints import EVERY
from daemon.pool.pool import SessionPool
from daemon.resolving import Resolved
from daemon.terms import KeepAlive
from registry.errors import ModelNotFound


class Loads:
    def __init__(self, catalog: Catalog, pool: SessionPool) -> None:
        self._catalog = catalog
        self._pool = pool

    async def load(
        self, reference: str, *, keep_alive: KeepAlive | None = None, is_forced: bool = False, is_kept: bool = False
    ) -> Resolved:
        """Load what a request for ``reference`` would use; see ``SessionPool.load``. Raises SlmregError."""
        resolved = await asyncio.to_thread(self._catalog.resolve, reference, is_forced=is_forced, serves=EVERY)
        plan = resolved.plan
        if keep_alive is not None:
            plan = plan.stays_for(keep_alive.seconds)
        await self._pool.load(resolved.model, plan, is_kept=is_kept)
        return resolved

    async def unload(self, reference: str, *, at_once: bool = False, only_unused: bool = False) -> tuple[str, bool]:
        """The id of the model that ``reference`` meant, and whether it is gone; see ``SessionPool.unload``.

        Raises ModelNotFound, ModelInUse.
        """
        known = [model.id for model in await asyncio.to_thread(self._catalog.requested, reference)]
        model_id = _which_session(reference, known, {session.model_id for session in self._pool.snapshot()})
        return model_id, await self._pool.unload(model_id, at_once=at_once, only_unused=only_unused)


def _which_session(reference: str, known: Sequence[str], loaded: Collection[str]) -> str:
    """The session that a name means, if one of those it can mean is loaded; also an id that the registry has forgotten.

    Raises ModelNotFound.
    """
    meant = [reference] if reference in loaded else known
    if not meant:
        raise ModelNotFound(reference)
    return next((model_id for model_id in meant if model_id in loaded), meant[0])
