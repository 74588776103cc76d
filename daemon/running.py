"""``Daemon``: what happens between the parts while they run, from the first scan until the last of them has stopped."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from daemon import __version__
from daemon.admin import Admin
from daemon.announce import Announcer
from daemon.config.follow import follow_file
from daemon.parts import Parts
from daemon.session_facts import is_busy
from daemon.shapes import Json, failure_json, recovery_json, unwritten_json
from daemon.upkeep import Upkeep
from registry.model import Model, Root, Status
from registry.watch import RootWatcher
from selector.hardware.cores import core_groups

log = logging.getLogger("slmreg")

# The speed of the machine is measured when it has been at rest for so long.
MEASURE_AFTER_S = 5.0


class Daemon:
    """One running daemon. ``upkeep`` tells it which models there are, and it tells the other parts."""

    def __init__(self, parts: Parts, config: Path) -> None:
        """``config`` is the file whose changes the settings follow."""
        self.parts = parts
        self.upkeep = Upkeep(
            parts.catalog,
            Announcer(parts.catalog, parts.records.events),
            make_watcher=lambda scan: RootWatcher(self._roots, scan),
            on_models=self._on_models,
            is_busy=self._is_busy,
            rescan_s=lambda: parts.settings().rescan_s,
            on_look=self._on_look,
            unwritten=parts.storage.unwritten,
        )
        self.admin = Admin(parts.catalog, sessions=parts.pool.snapshot, upkeep=self.upkeep, listing=parts.listing)
        parts.settings.follow(lambda _now: self._on_loop(self._follow_settings))
        self._config = config
        self._started_s = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Task[None] | None = None
        self._has_only_demo = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Scan and watch while the context is open; drain and stop everything when it closes."""
        self._loop = asyncio.get_running_loop()
        parts, records, storage = self.parts, self.parts.records, self.parts.storage
        tasks = [
            asyncio.create_task(self.upkeep.run(), name="upkeep"),
            asyncio.create_task(self._know_the_machine(), name="machine"),
            asyncio.create_task(records.learner.run(), name="learner"),
            asyncio.create_task(parts.pool.run(), name="pool"),
            asyncio.create_task(self._keep_warm(), name="warm"),
            asyncio.create_task(parts.launcher.warm(), name="spare"),
            asyncio.create_task(follow_file(self._config, parts.settings.reload), name="settings"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.stopped()
            await parts.launcher.close()
            await asyncio.to_thread(records.learner.write)
            storage.conversations.close()
            await records.proofs.written()
            storage.registry.close()

    async def _know_the_machine(self) -> None:
        """Its hardware, before anybody asks for it; and its speed, when nothing else is going on that would disturb."""
        hardware = await asyncio.to_thread(self.parts.machine.hardware)
        self.parts.pool.share_cores(core_groups(hardware.cpu.usable_cores))
        await asyncio.to_thread(importlib.import_module, "selector.classify")  # 0.1 s, not for the first request
        await asyncio.sleep(MEASURE_AFTER_S)
        while not self.upkeep.is_ready or self._is_busy():  # noqa: ASYNC110 - the pool tells nobody when it rests
            await asyncio.sleep(MEASURE_AFTER_S)
        await asyncio.to_thread(self.parts.machine.probe)

    async def _keep_warm(self) -> None:
        await self.upkeep.ready.wait()
        await self.parts.warm.run(self.parts.catalog)

    def begin_stop(self) -> None:
        """Any thread, also a signal handler: refuse new requests and drain from now on. ``stopped`` waits for the end.

        The web server waits for running responses before it ends the application, so this cannot wait for that.
        """
        self._on_loop(self._close)

    async def stopped(self) -> None:
        """Begin to stop, and return when the last answer is done and every model's process has ended."""
        await asyncio.shield(self._close())

    def _close(self) -> asyncio.Task[None]:
        self.parts.records.events.close()
        if self._closing is None:
            answers = sum(session.active for session in self.parts.pool.snapshot())
            log.info("daemon.stopping answers=%d at_most_s=%g", answers, self.parts.settings().drain_timeout_s)
            self._closing = asyncio.create_task(self.parts.pool.close(), name="drain")
        return self._closing

    def status(self) -> Json:
        """The part of the status that the process itself knows; the address is the command line's to add."""
        catalog, storage = self.parts.catalog, self.parts.storage
        sessions, recovered = self.parts.pool.snapshot(), storage.registry.recovered
        return {
            "running": True,
            "pid": os.getpid(),
            "version": __version__,
            "models": sum(m.status is Status.READY for m in catalog.models(include_missing=False)),
            "problems": len(catalog.problems()),
            "sessions": len(sessions),
            "failures": {s.model_id: failure_json(s) for s in sessions if s.failure is not None},
            "unwritten": [unwritten_json(trouble) for trouble in storage.unwritten.now()],
            "subscribers": self.parts.records.events.followers,
            "recovered": recovery_json(recovered) if recovered is not None else None,
            "uptime_s": round(time.monotonic() - self._started_s, 1),
            **self.upkeep.status(),
        }

    def _on_look(self) -> None:
        """Any thread, every other second: what other processes may have changed, and what could not be written yet."""
        self.parts.access.refresh()
        self.parts.storage.conversations.write_pending()

    def _on_models(self, models: Sequence[Model]) -> None:
        """Any thread: these are the models there are."""
        self.parts.listing.refresh(models)
        self.parts.records.learner.follow(models, self.parts.storage.registry.measurements())
        self.parts.catalog.chooser.prepare()
        ready = {model.id: model for model in models if model.status is Status.READY}
        self._say_if_only_demo(ready.values())
        self._on_loop(lambda: self._follow(ready))

    def _follow(self, ready: Mapping[str, Model]) -> None:
        self.parts.answers.forget_meanings()
        self.parts.pool.keep_only(ready)
        self.parts.warm.look()

    def _follow_settings(self) -> None:
        """Of those that do not wait until somebody asks for something."""
        self.parts.pool.retime(self.parts.catalog.keep_alive_s)
        self.parts.warm.look()

    def _say_if_only_demo(self, ready: Collection[Model]) -> None:
        had_only_demo = self._has_only_demo
        self._has_only_demo = bool(ready) and all(model.is_demo for model in ready)
        if self._has_only_demo and not had_only_demo:
            log.warning(
                "models.only_demo id=%s hint='this machine has no other model: answers come from the small demo model "
                "that ships with slmreg; add real ones with: slmreg roots add PATH'",
                ", ".join(model.id for model in ready),
            )

    def _on_loop(self, act: Callable[[], object]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act, context=contextvars.Context())  # not in the name of a request

    def _roots(self) -> list[Root]:
        """As the watcher sees them: each with the time that its folders have to be still."""
        settle_s, roots = self.parts.settings().settle_s, self.parts.catalog.roots()
        return [replace(root, settle_s=settle_s) if root.settle_s is None else root for root in roots]

    def _is_busy(self) -> bool:
        return is_busy(self.parts.pool.snapshot())
