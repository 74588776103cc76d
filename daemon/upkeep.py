"""``Upkeep``: keeps the registry true to the disk for as long as the daemon runs.

A watcher says which folder has changed, a rescan now and then finds what no event told of, and a look every other
second notices what other processes wrote and a watcher that is gone. All of it ends in the same place: what is
different is announced, and sessions whose model is not what is on the disk any more are let go.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from daemon.announce import Announcer
from daemon.catalog import Catalog
from daemon.shapes import Json, last_scan_json, watch_json
from daemon.unwritten import Unwritten
from registry.errors import DatabaseError
from registry.model import Changes, Model

if TYPE_CHECKING:
    from registry.watch import WatchState

log = logging.getLogger("slmreg")

# Until the first scan has worked there is nothing to serve; later ones fail where the disk is full.
RETRY_S = 5.0
_REGISTRY = "the registry"
# How late another process's change may be noticed.
LOOK_S = 2.0
# How often a rescan that is due asks whether an answer is still running.
QUIET_POLL_S = 1.0


class Watcher(Protocol):
    """``registry.watch.RootWatcher``, as far as it matters here."""

    @property
    def is_alive(self) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def states(self) -> tuple[WatchState, ...]: ...


class Upkeep:
    """``run`` does the work; the other methods are for any thread but the event loop's: they read disk and database."""

    def __init__(
        self,
        catalog: Catalog,
        announcer: Announcer,
        *,
        make_watcher: Callable[[Callable[[Path], object]], Watcher],
        on_models: Callable[[Sequence[Model]], None],
        is_busy: Callable[[], bool],
        rescan_s: Callable[[], float],
        on_look: Callable[[], object] = lambda: None,
        unwritten: Unwritten | None = None,
    ) -> None:
        """``make_watcher`` gets what to call with a folder to scan; ``on_models`` is told what there is after each scan
        and each change of models or pins; ``is_busy`` is asked on the event loop whether an answer is running;
        ``on_look`` is for whoever else has to notice what other processes write.
        """
        self._catalog = catalog
        self._unwritten = unwritten or Unwritten()
        self._retry_at_s: float | None = None
        self._announcer = announcer
        self._watcher = make_watcher(self.scan)
        self._starting = threading.Lock()
        self._is_stopping = False
        self._on_models = on_models
        self._is_busy = is_busy
        self._rescan_s = rescan_s
        self._on_look = on_look
        self._last_scan: Json | None = None
        self._recovered: object = None
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        await self._attempt("watch", self._start_watching)  # before the scan: what changes meanwhile is not lost
        looking = asyncio.create_task(self._look_now_and_then(), name="look")
        try:
            await self._scan_now_and_then()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await asyncio.to_thread(self._stop_watching)

    def scan(self, under: Path | None = None) -> Changes:
        """The one way to scan: index every root, or what lies ``under`` a folder, and tell what is different."""
        recovered = self._catalog.recovered
        try:
            changes = self._catalog.scan(under=under)
        except DatabaseError as error:
            self._missed(error)
            raise
        self._unwritten.worked(_REGISTRY)
        if under is None:
            self._recovered = recovered
            self._retry_at_s = None  # whatever was missed is found now
            self._last_scan = last_scan_json(changes, finished_s=time.time())
        self._on_look()
        self._announcer.look()
        self._on_models(self._catalog.models())
        return changes

    def _missed(self, error: DatabaseError) -> None:
        """What was seen on the disk is not in the registry: everything is looked through again, soon."""
        self._unwritten.failed(_REGISTRY, error)
        self._retry_at_s = time.monotonic() + RETRY_S

    def look(self) -> None:
        """Tell what is different, if anything is, without looking at the disk, unless the registry was made anew."""
        self._catalog.pins()  # whoever asks first finds out that the file is not what it was
        self._on_look()
        if self._catalog.recovered is not self._recovered:
            self.scan()
        elif self._announcer.look():
            self._on_models(self._catalog.models())

    @property
    def is_ready(self) -> bool:
        """The first scan is done."""
        return self.ready.is_set()

    def watching(self) -> tuple[WatchState, ...]:
        """How each root is watched."""
        return self._watcher.states()

    def status(self) -> Json:
        return {
            "ready": self.is_ready,
            "watching": [watch_json(state) for state in self.watching()],
            "last_scan": self._last_scan,
        }

    async def _scan_now_and_then(self) -> None:
        while True:
            is_done = await self._attempt("scan", self.scan)
            if is_done and not self.is_ready:
                self.ready.set()
                log.info("daemon.ready")
            await self._rest(self._rescan_s if is_done else lambda: RETRY_S)
            if self.is_ready:
                await self._quiet_moment()

    async def _rest(self, seconds: Callable[[], float]) -> None:
        """Sleep for so long, which may become less meanwhile."""
        began_s = time.monotonic()
        while (left_s := began_s + seconds() - time.monotonic()) > 0:  # noqa: ASYNC110 - settings wake nobody
            await asyncio.sleep(min(left_s, LOOK_S))

    async def _quiet_moment(self) -> None:
        """Wait for one without answers, but not for ever: nobody waits for a rescan, and somebody does for an answer.

        A thread of low priority would be worse than this. On a machine that is busy with inference it is held up while
        it holds the interpreter, and the event loop with it (measured, 4 busy processes on 2 cores, 99th percentile of
        the loop's delay: 4 ms without a scan, 19 ms with one, 77 ms with one at nice 10; a second at nice 19).
        """
        rescan_s = self._rescan_s()
        deadline_s = time.monotonic() + rescan_s
        while self._is_busy() and time.monotonic() < deadline_s:  # noqa: ASYNC110 - the pool tells nobody when it rests
            await asyncio.sleep(min(QUIET_POLL_S, rescan_s))

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._attempt("watch", self._keep_watching)
            await self._attempt("look", self.look)
            if self._retry_at_s is not None and time.monotonic() >= self._retry_at_s:
                await self._attempt("scan", self.scan)

    def _start_watching(self) -> bool:
        """False if it was watching already, or may not any more."""
        with self._starting:
            if self._watcher.is_alive or self._is_stopping:
                return False
            self._watcher.start()
            return True

    def _stop_watching(self) -> None:
        with self._starting:
            self._is_stopping = True
            self._watcher.stop()

    def _keep_watching(self) -> None:
        if self._start_watching():
            log.error("watch.lost hint='the watcher had ended; it runs again, and everything is looked through'")
            self.scan()

    async def _attempt(self, what: str, work: Callable[[], object]) -> bool:
        """Run ``work`` in a thread. What fails (a full disk, a root that vanishes) must not end the daemon."""
        try:
            await asyncio.to_thread(work)
        except DatabaseError as error:
            self._missed(error)
            return False
        except Exception:
            log.exception("%s.failed", what)
            return False
        return True
