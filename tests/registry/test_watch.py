"""Real files and real time: each of these takes about a second."""

from __future__ import annotations

import errno
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from registry.watch import RootWatcher

SETTLE_S = 0.3
# The contract allows half a second beyond settle_s; twice that for a machine that is busy with other tests.
SLACK_S = 1.0


class Reports:
    """What a watcher said, and when."""

    def __init__(self) -> None:
        self.folders: queue.Queue[tuple[Path, float]] = queue.Queue()

    def __call__(self, folder: Path) -> None:
        self.folders.put((folder, time.monotonic()))

    def wait_for(self, *folders: Path, timeout_s: float = 5.0) -> float:
        """Until each of ``folders`` was reported; returns when the last one was."""
        missing, when_s, deadline_s = set(folders), 0.0, time.monotonic() + timeout_s
        while missing:
            try:
                folder, when_s = self.folders.get(timeout=max(0.001, deadline_s - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"never reported: {missing}") from None
            missing.discard(folder)
        return when_s

    def rest(self, for_s: float = 4 * SETTLE_S) -> list[Path]:
        """What else is reported in a while."""
        folders, deadline_s = [], time.monotonic() + for_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                folders.append(self.folders.get(timeout=left_s)[0])
            except queue.Empty:
                break
        return folders


@pytest.fixture
def models(tmp_path: Path) -> Path:
    path = tmp_path.resolve() / "models"
    path.mkdir()
    return path


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def watch(reports: Reports) -> Iterator[Callable[..., RootWatcher]]:
    started: list[RootWatcher] = []

    def start(*roots: Path, **options: Any) -> RootWatcher:
        watcher = RootWatcher(lambda: roots, reports, **{"settle_s": SETTLE_S, "poll_s": 0.1, **options})
        started.append(watcher)
        watcher.start()
        return watcher

    yield start
    for watcher in started:
        watcher.stop()


def test_a_nested_copy_is_reported_once_and_in_time(
    models: Path, reports: Reports, watch: Any, model_template: Path
) -> None:
    source = models.parent / "source" / "phi" / "v1"
    shutil.copytree(model_template, source)
    watch(models)
    shutil.copytree(source.parent.parent, models / "Microsoft")
    copied_s = time.monotonic()
    assert reports.wait_for(models / "Microsoft") - copied_s < SETTLE_S + SLACK_S
    assert reports.rest() == []


def test_a_slow_write_is_reported_after_its_end(models: Path, reports: Reports, watch: Any) -> None:
    watch(models)
    (models / "phi").mkdir()
    with (models / "phi" / "model.onnx").open("wb") as file:
        for _ in range(60):
            file.write(b"x" * 1000)
            file.flush()
            time.sleep(0.01)
        written_s = time.monotonic()
    assert written_s <= reports.wait_for(models / "phi") - SETTLE_S * 0.9
    assert reports.rest() == []


def test_a_download_is_reported_when_its_marker_goes(models: Path, reports: Reports, watch: Any) -> None:
    (models / "phi" / "v1").mkdir(parents=True)
    marker = models / "phi" / "download.tmp"
    marker.touch()
    watch(models)
    (models / "phi" / "v1" / "model.onnx").write_bytes(b"x")
    assert reports.rest() == []
    marker.unlink()
    reports.wait_for(models / "phi")


def test_deletion_rename_and_replacement_are_reported(models: Path, reports: Reports, watch: Any) -> None:
    for name in ("deleted", "renamed", "replaced"):
        (models / name).mkdir()
        (models / name / "model.onnx").write_bytes(b"old")
    watch(models)
    shutil.rmtree(models / "deleted")
    (models / "renamed").rename(models / "new-name")
    (models.parent / "new.onnx").write_bytes(b"new")
    (models.parent / "new.onnx").replace(models / "replaced" / "model.onnx")
    reports.wait_for(models / "deleted", models / "renamed", models / "new-name", models / "replaced")


def test_reading_is_no_change(models: Path, reports: Reports, watch: Any) -> None:
    (models / "phi").mkdir()
    (models / "phi" / "model.onnx").write_bytes(b"x")
    watch(models)
    assert (models / "phi" / "model.onnx").read_bytes() == b"x"
    assert list(models.iterdir()) == [models / "phi"]
    assert reports.rest() == []


def test_hidden_folders_are_not_watched(models: Path, reports: Reports, watch: Any) -> None:
    (models / ".cache").mkdir()
    watch(models)
    (models / ".cache" / "x").touch()
    assert reports.rest() == []


def test_a_root_that_appears_vanishes_and_appears_again(models: Path, reports: Reports, watch: Any) -> None:
    later = models / "later"
    watch(later)
    for _ in range(2):
        (later / "phi").mkdir(parents=True)
        reports.wait_for(later)
        (later / "phi" / "model.onnx").touch()
        reports.wait_for(later / "phi")
        shutil.rmtree(later)
        reports.wait_for(later)


def test_roots_that_are_there_at_the_start_are_not_reported(models: Path, reports: Reports, watch: Any) -> None:
    (models / "phi").mkdir()
    watch(models)
    assert reports.rest() == []


def test_an_added_root_is_reported_and_a_removed_one_is_left_alone(tmp_path: Path, reports: Reports) -> None:
    first, second = tmp_path.resolve() / "first", tmp_path.resolve() / "second"
    first.mkdir()
    second.mkdir()
    roots = [first]
    watcher = RootWatcher(lambda: roots, reports, settle_s=SETTLE_S, poll_s=0.05)
    watcher.start()
    try:
        roots[:] = [second]
        reports.wait_for(second)
        (first / "phi").mkdir()
        (second / "phi").mkdir()
        reports.wait_for(second / "phi")
        assert first / "phi" not in reports.rest()
    finally:
        watcher.stop()


class OutOfWatches(BaseObserver):
    """The operating system's observer where inotify's limit is reached."""

    def __init__(self) -> None:
        super().__init__(Observer()._emitter_class)

    def schedule(self, *_arguments: Any, **_options: Any) -> ObservedWatch:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")


def test_a_root_that_cannot_be_watched_is_polled(
    models: Path, reports: Reports, watch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    watch(models, native=OutOfWatches)
    assert "watch.polling" in caplog.text
    (models / "phi").mkdir()
    (models / "phi" / "model.onnx").touch()
    reports.wait_for(models / "phi")


def test_a_failing_report_and_failing_roots_do_not_end_the_watching(
    models: Path, reports: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    def report(folder: Path) -> None:
        reports(folder)
        raise RuntimeError("the scan failed")

    calls = iter([[models]])
    watcher = RootWatcher(lambda: next(calls), report, settle_s=SETTLE_S, poll_s=0.05)
    watcher.start()
    try:
        for name in ("a", "b"):
            (models / name).mkdir()
            reports.wait_for(models / name)
    finally:
        watcher.stop()
    assert "watch.report_failed" in caplog.text
    assert "watch.roots_unknown" in caplog.text


def test_many_folders_at_once_are_reported_as_one(models: Path, reports: Reports, watch: Any) -> None:
    for index in range(40):
        (models.parent / "many" / "inner" / str(index)).mkdir(parents=True)
    (models / "a").mkdir()
    watch(models)
    shutil.move(models.parent / "many" / "inner", models / "inner")
    reports.wait_for(models / "inner")
    assert reports.rest() == []


def test_stopping_ends_every_thread(models: Path, watch: Any) -> None:
    before = threading.active_count()
    watcher = watch(models)
    assert threading.active_count() > before
    watcher.stop()
    assert threading.active_count() == before


def test_a_watcher_that_never_started_stops(models: Path, reports: Reports) -> None:
    RootWatcher(lambda: [models], reports).stop()
