"""Upkeep over a real registry and real folders; only the watcher is one that the test moves."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from daemon import upkeep as upkeep_module
from daemon.announce import Announcer
from daemon.events import EventLog
from daemon.unwritten import Unwritten
from daemon.upkeep import Upkeep
from registry.errors import DatabaseError
from registry.model import Model, Status, Task
from registry.watch import WatchMethod, WatchState
from scripts.model_factory import write_preset
from tests.daemon.test_catalog import Scene
from tests.fakes import on_loop


class FakeWatcher:
    """Reports nothing by itself."""

    def __init__(self, scan: Callable[[Path], object]) -> None:
        self.scan = scan
        self.is_alive = False
        self.starts = 0

    def start(self) -> None:
        self.is_alive = True
        self.starts += 1

    def stop(self) -> None:
        self.is_alive = False

    def states(self) -> tuple[WatchState, ...]:
        return (WatchState(Path("/models"), WatchMethod.POLLING, "it is on a network file system"),)


class Bench:
    """An upkeep, and what it told."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.events = EventLog()
        self.models: Sequence[Model] = ()
        self.is_busy = False
        self.unwritten = Unwritten()
        self.upkeep = Upkeep(
            scene.catalog,
            Announcer(scene.catalog, self.events),
            make_watcher=FakeWatcher,
            on_models=self._on_models,
            is_busy=lambda: self.is_busy,
            rescan_s=lambda: 0.01,
            unwritten=self.unwritten,
        )
        self._seen: str | None = None

    @property
    def watcher(self) -> Any:
        return self.upkeep._watcher

    def _on_models(self, models: Sequence[Model]) -> None:
        self.models = models

    def forget(self) -> None:
        self.models = ()

    async def news(self) -> list[tuple[str, Any]]:
        """The events since the last call."""
        with self.events.follow(self._seen) as follower:
            if self._seen is None:
                self._seen = str(follower.position).partition("-")[0] + "-0"
                return await self.news()
            async for events in follower.batches(idle_s=0.01):
                self._seen = events[-1].id if events else self._seen
                return [(event.kind, json.loads(event.data)) for event in events]
        raise AssertionError("the log is closed")

    async def until(self, is_true: Callable[[], object]) -> None:
        while not is_true():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        scene = Scene(tmp_path)
        stack.callback(scene.registry.close)
        yield Bench(scene)


@on_loop
async def test_what_a_scan_finds_is_told_once(bench: Bench) -> None:
    write_preset("tiny", bench.scene.models / "one")
    (bench.scene.models / "broken").mkdir()
    (bench.scene.models / "broken" / "genai_config.json").write_text("{", encoding="utf-8")
    bench.upkeep.scan()
    news = dict(await bench.news())
    assert news["problem.found"]["path"] == str(bench.scene.models / "broken")
    assert "one:0" in {model.id for model in bench.models}
    bench.upkeep.scan()
    assert await bench.news() == []
    shutil.rmtree(bench.scene.models / "broken")
    shutil.rmtree(bench.scene.models / "one")
    bench.watcher.scan(bench.scene.models)
    assert {kind for kind, _data in await bench.news()} == {"model.missing", "problem.solved"}


@on_loop
async def test_what_others_write_is_noticed_without_a_scan(bench: Bench) -> None:
    bench.scene.with_tiny("one")
    assert await bench.news() == []
    bench.upkeep.look()
    assert [(kind, data["id"]) for kind, data in await bench.news() if data["source"] != "demo"] == [
        ("model.added", "one:0")
    ]
    bench.forget()
    bench.scene.catalog.pin(Task.CHAT, "one")
    bench.upkeep.look()
    ((kind, data),) = await bench.news()
    assert (kind, data["task"], data["model"], data["waiting"]) == ("pin.changed", "chat", "one:0", False)
    assert "one:0" in {model.id for model in bench.models}  # what is best for a task may be another one now
    bench.forget()
    bench.upkeep.look()
    assert await bench.news() == []
    assert bench.models == ()


@on_loop
async def test_what_could_not_be_written_is_looked_for_again_soon(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(upkeep_module, "LOOK_S", 0.01)
    monkeypatch.setattr(upkeep_module, "RETRY_S", 0.02)
    bench.upkeep._rescan_s = lambda: 3600.0
    running = asyncio.create_task(bench.upkeep.run())
    await bench.until(lambda: bench.upkeep.is_ready and bench.watcher.is_alive)
    apply = bench.scene.registry.apply
    tries: list[int] = []

    def full(_report: object) -> None:
        tries.append(1)
        raise DatabaseError("The disk is full.")

    monkeypatch.setattr(bench.scene.registry, "apply", full)
    write_preset("tiny", bench.scene.models / "one")
    with pytest.raises(DatabaseError):
        bench.watcher.scan(bench.scene.models / "one")
    assert [trouble.what for trouble in bench.unwritten.now()] == ["the registry"]
    await bench.until(lambda: len(tries) > 3)
    monkeypatch.setattr(bench.scene.registry, "apply", apply)
    await bench.until(lambda: "one:0" in {model.id for model in bench.models})
    assert bench.unwritten.now() == ()
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@on_loop
async def test_a_registry_that_was_made_anew_is_filled_again(bench: Bench) -> None:
    bench.scene.with_tiny("one")
    bench.upkeep.scan()
    database = bench.scene.database
    for file in (database, database.with_name("registry.db-wal"), database.with_name("registry.db-shm")):
        file.unlink(missing_ok=True)
    database.write_bytes(b"garbage" * 2000)
    await bench.news()
    bench.upkeep.look()
    assert bench.scene.catalog.recovered is not None
    assert await bench.news() == []
    assert "one:0" in {model.id for model in bench.models if model.status is Status.READY}
    scanned = bench.upkeep.status()["last_scan"]
    bench.upkeep.look()
    assert bench.upkeep.status()["last_scan"] is scanned


@on_loop
async def test_more_news_than_anyone_remembers_is_one_word_to_list_again(tmp_path: Path, bench: Bench) -> None:
    bench.events = EventLog(max_events=lambda: 2)
    announcer = Announcer(bench.scene.catalog, bench.events)
    bench.scene.with_tiny("one", "two", "three")
    assert announcer.look()
    assert [kind for kind, _data in await bench.news()] == ["registry.reset"]


@on_loop
async def test_it_is_ready_after_the_first_scan_and_stops_watching_at_the_end(bench: Bench) -> None:
    running = asyncio.create_task(bench.upkeep.run())
    assert not bench.upkeep.is_ready
    await bench.until(lambda: bench.upkeep.is_ready)
    assert bench.watcher.is_alive
    status = bench.upkeep.status()
    assert status["watching"] == [
        {"path": str(Path("/models")), "method": "polling", "reason": "it is on a network file system"}
    ]
    assert set(status["last_scan"]) == {"at", "seconds", "added", "updated", "missing", "unchanged", "problems"}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not bench.watcher.is_alive


@on_loop
async def test_a_rescan_waits_for_a_quiet_moment_but_not_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = 0
    scan = bench.scene.catalog.scan

    def counted(under: Path | None = None) -> Any:
        nonlocal scans
        scans += 1
        return scan(under)

    monkeypatch.setattr(bench.scene.catalog, "scan", counted)
    bench.is_busy = True
    bench.upkeep._rescan_s = lambda: 3600
    quiet = asyncio.create_task(bench.upkeep._quiet_moment())
    await asyncio.sleep(0)
    assert not quiet.done()
    quiet.cancel()
    bench.upkeep._rescan_s = lambda: 0.01
    running = asyncio.create_task(bench.upkeep.run())
    await bench.until(lambda: scans > 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@on_loop
async def test_a_watcher_that_is_gone_is_started_again_and_everything_is_looked_through(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_module, "LOOK_S", 0.01)
    bench.upkeep._rescan_s = lambda: 3600
    running = asyncio.create_task(bench.upkeep.run())
    await bench.until(lambda: bench.upkeep.is_ready)
    write_preset("tiny", bench.scene.models / "unnoticed")
    bench.watcher.is_alive = False
    await bench.until(lambda: "unnoticed:0" in {model.id for model in bench.models})
    assert (bench.watcher.is_alive, bench.watcher.starts) == (True, 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (bench.watcher.is_alive, bench.watcher.starts) == (False, 2)


@on_loop
async def test_a_scan_that_fails_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep_module, "RETRY_S", 0.01)
    failures = iter([OSError("no space"), RuntimeError("a bug")])
    scan = bench.scene.catalog.scan

    def failing(under: Path | None = None) -> Any:
        for failure in failures:
            raise failure
        return scan(under)

    monkeypatch.setattr(bench.scene.catalog, "scan", failing)
    running = asyncio.create_task(bench.upkeep.run())
    await bench.until(lambda: bench.upkeep.is_ready)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@on_loop
async def test_a_time_between_rescans_that_becomes_shorter_ends_the_longer_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_module, "LOOK_S", 0.01)
    scans: list[Path | None] = []
    scan = bench.scene.catalog.scan

    def counted(under: Path | None = None) -> Any:
        scans.append(under)
        return scan(under)

    monkeypatch.setattr(bench.scene.catalog, "scan", counted)
    rescan_s = 3600.0
    bench.upkeep._rescan_s = lambda: rescan_s
    running = asyncio.create_task(bench.upkeep.run())
    await bench.until(lambda: bench.upkeep.is_ready)
    assert len(scans) == 1
    rescan_s = 0.01
    await bench.until(lambda: len(scans) > 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
