"""Real files and real time: most of these take about a second."""

from __future__ import annotations

import errno
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.events import DirCreatedEvent, FileClosedEvent, FileSystemEvent
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, EventEmitter, ObservedWatch

from registry.model import Root, Source
from registry.watch import RootWatcher, System, WatchMethod, WatchState
from registry.watching.observers import NativeObserver

SETTLE_S = 0.1
# Generous: a machine that is busy with other things may take this long over anything.
PATIENCE_S = 20.0


class Reports:
    """What a watcher said, and when."""

    def __init__(self) -> None:
        self.folders: queue.Queue[tuple[Path, float]] = queue.Queue()

    def __call__(self, folder: Path) -> None:
        self.folders.put((folder, time.monotonic()))

    def wait_for(self, *folders: Path, after_s: float = 0.0) -> list[Path]:
        """Until each of ``folders``, or one around it, was reported later than ``after_s``; returns all reports."""
        seen: list[Path] = []
        missing, deadline_s = set(folders), time.monotonic() + PATIENCE_S
        while missing:
            try:
                folder, at_s = self.folders.get(timeout=max(0.001, deadline_s - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"never reported: {missing}; but: {seen}") from None
            seen.append(folder)
            if at_s >= after_s:
                missing = {each for each in missing if not each.is_relative_to(folder)}
        return seen

    def rest(self, for_s: float = 5 * SETTLE_S) -> list[Path]:
        """What else is reported in a while."""
        folders, deadline_s = [], time.monotonic() + for_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                folders.append(self.folders.get(timeout=left_s)[0])
            except queue.Empty:
                break
        return folders


Watch = Callable[..., RootWatcher]
THREADS_MAY_END = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    path = tmp_path.resolve() / "models"
    path.mkdir()
    return path


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def watch(reports: Reports) -> Iterator[Watch]:
    started: list[RootWatcher] = []

    def start(*roots: Path | Root, **options: Any) -> RootWatcher:
        wanted = [root if isinstance(root, Root) else Root(root, Source.FOLDER) for root in roots]
        watcher = RootWatcher(lambda: wanted, reports, **{"settle_s": SETTLE_S, "poll_s": 0.1, **options})
        started.append(watcher)
        watcher.start()
        return watcher

    yield start
    for watcher in started:
        watcher.stop()


def wait_until(is_true: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline_s, "it never came to be"
        time.sleep(0.01)


def model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"x")
    return folder


# -- what is reported, and when


def test_a_copy_is_reported_after_its_last_write(models: Path, reports: Reports, watch: Watch) -> None:
    source = model(models.parent / "source" / "phi" / "v1").parent.parent
    watch(models)
    shutil.copytree(source, models / "Microsoft")
    reports.wait_for(models / "Microsoft" / "phi" / "v1", after_s=time.monotonic() + 0.9 * SETTLE_S)


def test_what_arrives_in_one_go_is_reported_once(models: Path, reports: Reports, watch: Watch) -> None:
    puppet = Puppet()
    watch(models, system=puppet.system)
    for index in range(5):
        model(models / "new" / f"phi-{index}" / "v1")
    puppet.say(DirCreatedEvent(str(models / "new")))
    assert reports.wait_for(models / "new") == [models / "new"]
    assert reports.rest() == []


def test_a_slow_write_is_reported_after_its_end(models: Path, reports: Reports, watch: Watch) -> None:
    watch(models)
    (models / "phi").mkdir()
    with (models / "phi" / "model.onnx").open("wb") as file:
        for _ in range(40):
            file.write(b"x" * 1000)
            file.flush()
            time.sleep(0.01)
    reports.wait_for(models / "phi", after_s=time.monotonic() + 0.9 * SETTLE_S)


def test_a_file_written_in_place_is_a_change(models: Path, reports: Reports, watch: Watch) -> None:
    model(models / "phi")
    watch(models)
    (models / "phi" / "model.onnx").write_bytes(b"y")
    reports.wait_for(models / "phi")


def test_a_download_is_reported_when_its_marker_goes(models: Path, reports: Reports, watch: Watch) -> None:
    (models / "phi" / "v1").mkdir(parents=True)
    marker = models / "phi" / "download.tmp"
    marker.touch()
    watch(models)
    (models / "phi" / "v1" / "model.onnx").write_bytes(b"x")
    assert reports.rest() == []
    marker.unlink()
    reports.wait_for(models / "phi")


def test_a_download_that_does_not_go_on_is_reported_in_the_end(models: Path, reports: Reports, watch: Watch) -> None:
    watch(models, partial_s=2 * SETTLE_S)
    model(models / "phi")
    (models / "phi" / "model.onnx.data.part").touch()
    reports.wait_for(models / "phi", after_s=time.monotonic() + 1.8 * SETTLE_S)


def test_deletion_rename_and_replacement_are_reported(models: Path, reports: Reports, watch: Watch) -> None:
    for name in ("deleted", "renamed", "replaced", "moved-out"):
        model(models / name)
    watch(models)
    shutil.rmtree(models / "deleted")
    (models / "renamed").rename(models / "new-name")
    (models / "moved-out").rename(models.parent / "elsewhere")
    (models.parent / "new.onnx").write_bytes(b"new")
    (models.parent / "new.onnx").replace(models / "replaced" / "model.onnx")
    reports.wait_for(*(models / name for name in ("deleted", "renamed", "new-name", "replaced", "moved-out")))


def test_reading_is_no_change(models: Path, reports: Reports, watch: Watch) -> None:
    model(models / "phi")
    watch(models)
    assert (models / "phi" / "model.onnx").read_bytes() == b"x"
    assert list(models.iterdir()) == [models / "phi"]
    assert reports.rest() == []


def test_hidden_folders_are_not_watched(models: Path, reports: Reports, watch: Watch) -> None:
    (models / ".cache").mkdir()
    watch(models)
    (models / ".cache" / "x").touch()
    model(models / ".cache" / "phi")
    assert reports.rest() == []


def test_folders_that_were_filled_before_they_could_be_watched_are_seen(
    models: Path, reports: Reports, watch: Watch
) -> None:
    watch(models)
    deep = [model(models / str(index) / "a" / "b" / "c") for index in range(20)]
    written_s = time.monotonic()
    for folder in deep:
        (folder / "late.json").touch()
    reports.wait_for(*deep, after_s=written_s)


def test_a_new_folder_waits_for_what_is_in_it_though_no_event_told_of_that(
    models: Path, reports: Reports, watch: Watch
) -> None:
    puppet = Puppet()
    watch(models, partial_s=1000.0, system=puppet.system)
    (model(models / "new" / "deep" / "phi") / "model.onnx.part").touch()
    puppet.say(DirCreatedEvent(str(models / "new")))
    assert reports.rest() == []
    (models / "new" / "deep" / "phi" / "model.onnx.part").unlink()
    reports.wait_for(models / "new")


def test_many_folders_at_once_are_reported_as_one(models: Path, reports: Reports, watch: Watch) -> None:
    puppet = Puppet()
    watch(models, system=puppet.system)
    model(models / "a")
    for index in range(40):
        model(models / "many" / "inner" / str(index))
    puppet.say(DirCreatedEvent(str(models / "many" / "inner")))
    assert reports.wait_for(models / "many" / "inner") == [models / "many" / "inner"]
    assert reports.rest() == []


def test_many_folders_are_reported_without_the_one_among_them_that_is_not_finished(
    models: Path, reports: Reports, watch: Watch
) -> None:
    puppet = Puppet()
    watch(models, partial_s=1000.0, system=puppet.system)
    new = models / "new"
    for index in range(20):
        model(new / "finished" / str(index))
        model(new / "unfinished" / str(index))
    (new / "unfinished" / "7" / "model.onnx.part").touch()
    puppet.say(DirCreatedEvent(str(new)))
    others = {new / "unfinished" / str(index) for index in range(20) if index != 7}
    assert set(reports.wait_for(new / "finished", *others)) == {new / "finished", *others}


def test_so_many_events_that_some_may_be_lost_make_it_start_over(models: Path, reports: Reports, watch: Watch) -> None:
    model(models / "phi")
    puppet = Puppet()
    observers: Iterator[Callable[[], BaseObserver]] = iter([lambda: puppet, Observer])
    watcher = watch(models, system=System(observer=lambda: NativeObserver(next(observers))))
    puppet.say(FileClosedEvent(str(models / "phi" / "model.onnx")))
    assert reports.wait_for(models / "phi") == [models / "phi"]
    assert reports.rest() == []
    model(models / "lost")
    puppet.say(*(FileClosedEvent(str(models / "phi" / str(number))) for number in range(5000)))
    reports.wait_for(models)
    assert watcher.states() == (WatchState(models, WatchMethod.NATIVE),)
    reports.wait_for(model(models / "seen"))


# -- Hugging Face's cache


@pytest.fixture
def repository(models: Path) -> Path:
    """A repository with one snapshot, whose only file is a link to a blob that is not there yet."""
    path = models / "models--org--phi"
    (path / "blobs").mkdir(parents=True)
    (path / "snapshots" / "abc" / "cpu").mkdir(parents=True)
    try:
        (path / "snapshots" / "abc" / "cpu" / "model.onnx").symlink_to("../../../blobs/123")
    except OSError:
        pytest.skip("links are not allowed here")
    return path


def test_a_finished_blob_reports_the_snapshots_that_link_to_it(
    models: Path, repository: Path, reports: Reports, watch: Watch
) -> None:
    given_up = repository / "blobs" / "456.incomplete"  # which keeps the folder of blobs unfinished
    given_up.touch()
    os.utime(given_up, (1e9, 1e9))
    watch(models, partial_s=1000.0)
    (repository / "blobs" / "123.incomplete").write_bytes(b"x")
    (repository / "blobs" / "123.incomplete").rename(repository / "blobs" / "123")
    reports.wait_for(repository / "snapshots" / "abc" / "cpu", after_s=time.monotonic() + 0.9 * SETTLE_S)


def test_a_snapshot_waits_while_blobs_are_downloaded(
    models: Path, repository: Path, reports: Reports, watch: Watch
) -> None:
    (repository / "blobs" / "123.incomplete").write_bytes(b"x")
    watch(models)
    (repository / "snapshots" / "abc" / "cpu" / "genai_config.json").write_bytes(b"{}")
    assert reports.rest() == []
    (repository / "blobs" / "123.incomplete").rename(repository / "blobs" / "123")
    reports.wait_for(repository / "snapshots" / "abc" / "cpu")


def test_a_reference_that_changes_reports_the_repository(
    models: Path, repository: Path, reports: Reports, watch: Watch
) -> None:
    (repository / "refs").mkdir()
    watch(models)
    (repository / "refs" / "main").write_text("abc", encoding="utf-8")
    assert repository / "refs" not in reports.wait_for(repository)


# -- roots


def test_a_root_that_appears_vanishes_and_appears_again(models: Path, reports: Reports, watch: Watch) -> None:
    later = models / "later"
    watcher = watch(later)
    assert [state.method for state in watcher.states()] == [WatchMethod.ABSENT]
    for _ in range(2):
        (later / "phi").mkdir(parents=True)
        reports.wait_for(later)
        assert watcher.states() == (WatchState(later, WatchMethod.NATIVE),)
        (later / "phi" / "model.onnx").touch()
        reports.wait_for(later / "phi")
        shutil.rmtree(later)
        reports.wait_for(later)


def test_a_root_that_is_replaced_between_two_looks_is_watched_again(
    models: Path, reports: Reports, watch: Watch
) -> None:
    root = models / "root"
    model(root / "old")
    watch(root)
    for name in ("a", "b", "c"):  # the file system may give the new folder the inode number of the old one
        shutil.rmtree(root)
        model(root / name)
        reports.wait_for(root / name)
    model(root / "new")
    reports.wait_for(root / "new")


def test_roots_that_are_there_at_the_start_are_not_reported(models: Path, reports: Reports, watch: Watch) -> None:
    (models / "phi").mkdir()
    watch(models)
    assert reports.rest() == []


def test_an_added_root_is_reported_and_a_removed_or_disabled_one_is_left_alone(models: Path, reports: Reports) -> None:
    first, second, third = (Root(models / name, Source.FOLDER) for name in ("first", "second", "third"))
    off = Root(models / "off", Source.FOLDER, is_enabled=False)
    for root in (first, second, third, off):
        root.path.mkdir()
    roots = [first, off]
    watcher = RootWatcher(lambda: roots, reports, settle_s=SETTLE_S, poll_s=0.05)
    watcher.start()
    try:
        roots[:] = [off, second]
        reports.wait_for(second.path)
        for root in (first, off, second):
            model(root.path / "phi")
        reports.wait_for(second.path / "phi")
        assert {state.path for state in watcher.states()} == {second.path}
        assert not {first.path / "phi", off.path / "phi"} & set(reports.rest())
    finally:
        watcher.stop()


def test_each_root_has_its_own_time_to_settle(models: Path, reports: Reports, watch: Watch) -> None:
    quick, patient = Root(models / "quick", Source.FOLDER), Root(models / "patient", Source.FOLDER, settle_s=1000.0)
    for root in (quick, patient):
        root.path.mkdir()
    watch(quick, patient)
    model(patient.path / "phi")
    model(quick.path / "phi")
    reports.wait_for(quick.path / "phi")
    assert not [folder for folder in reports.rest() if folder.is_relative_to(patient.path)]


# -- where the operating system does not watch


class OutOfWatches(BaseObserver):
    """The operating system's observer where inotify's limit is reached."""

    def __init__(self) -> None:
        super().__init__(EventEmitter)

    def schedule(self, *_arguments: Any, **_options: Any) -> ObservedWatch:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")


def test_a_root_that_cannot_be_watched_is_polled(
    models: Path, reports: Reports, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = watch(models, system=System(observer=lambda: NativeObserver(OutOfWatches)))
    (state,) = watcher.states()
    assert (state.path, state.method) == (models, WatchMethod.POLLING)
    assert "fs.inotify.max_user_watches" in str(state.reason)
    for name in ("a", "b"):
        reports.wait_for(model(models / name))
    assert caplog.text.count("watch.polling") == 1


def test_a_root_on_a_network_share_is_polled(models: Path, reports: Reports, watch: Watch) -> None:
    for name in ("written", "deleted", "renamed"):
        model(models / name)
    watcher = watch(models, system=System(polling_reason=lambda _root: "it is far away"))
    assert watcher.states() == (WatchState(models, WatchMethod.POLLING, "it is far away"),)
    reports.wait_for(models)  # nobody knows what happened until its first look
    changed_s = time.monotonic()
    (models / "written" / "model.onnx").write_bytes(b"in place")
    shutil.rmtree(models / "deleted")
    (models / "renamed").rename(models / "new-name")
    model(models / "deep" / "er")
    changed = (models / name for name in ("written", "deleted", "renamed", "new-name", "deep/er"))
    reports.wait_for(*changed, after_s=changed_s)


@pytest.mark.parametrize("is_exhausted_at_once", [True, False])
def test_watches_that_run_out_are_noticed_though_nobody_says_so(
    is_exhausted_at_once: bool, models: Path, reports: Reports, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    is_exhausted = is_exhausted_at_once
    watcher = watch(models, system=System(is_out_of_watches=lambda: is_exhausted))
    is_exhausted = True
    reports.wait_for(model(models / "new"))
    wait_until(lambda: [state.method for state in watcher.states()] == [WatchMethod.POLLING])
    reports.wait_for(model(models / "newer"))
    assert caplog.text.count("watch.polling") == 1


def test_only_the_root_whose_folders_use_up_the_watches_is_polled(models: Path, watch: Watch) -> None:
    for name in ("first", "huge", "last"):
        (models / name).mkdir()
    answers = iter([False, True, False])  # asked once for each root that was just watched
    system = System(is_out_of_watches=lambda: next(answers, False))
    watcher = watch(*(models / name for name in ("first", "huge", "last")), system=system)
    assert [state.method for state in watcher.states()] == ["native", "polling", "native"]


# -- threads that end


class Puppet(BaseObserver):
    """An observer that says what it is told to, and dies when it is told to."""

    def __init__(self) -> None:
        self.is_to_die = threading.Event()
        is_to_die = self.is_to_die

        class Emitter(EventEmitter):
            def queue_events(self, _timeout: float) -> None:
                if is_to_die.wait(0.01):
                    raise SystemExit  # which threads do in silence

        super().__init__(Emitter)

    @property
    def system(self) -> System:
        return System(observer=lambda: NativeObserver(lambda: self))

    def say(self, *events: FileSystemEvent) -> None:
        (emitter,) = self.emitters
        for event in events:
            self.event_queue.put((event, emitter.watch))


@THREADS_MAY_END
def test_a_dead_observer_is_replaced_and_its_roots_are_looked_at(
    models: Path, reports: Reports, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    mortal = Puppet()
    observers: Iterator[Callable[[], BaseObserver]] = iter([lambda: mortal, Observer])
    watcher = watch(models, system=System(observer=lambda: NativeObserver(next(observers))))
    model(models / "unseen")
    mortal.is_to_die.set()
    reports.wait_for(models)
    assert "watch.failed" in caplog.text
    assert watcher.states() == (WatchState(models, WatchMethod.NATIVE),)
    reports.wait_for(model(models / "seen"))


@THREADS_MAY_END
def test_an_observer_that_keeps_dying_is_given_up(models: Path, reports: Reports, watch: Watch) -> None:
    def dying() -> BaseObserver:
        puppet = Puppet()
        puppet.is_to_die.set()
        return puppet

    watcher = watch(models, system=System(observer=lambda: NativeObserver(dying)))
    wait_until(lambda: [state.method for state in watcher.states()] == [WatchMethod.POLLING])
    assert "failed" in str(watcher.states()[0].reason)
    reports.wait_for(model(models / "phi"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="is about inotify")
@THREADS_MAY_END
def test_what_ends_the_reader_of_watchdog_7_1_does_not_end_the_watching(
    models: Path, reports: Reports, watch: Watch
) -> None:
    model(models / "phi")
    watch(models)
    for _ in range(2):
        (models / "phi").rename(models.parent / "elsewhere")
        reports.wait_for(models / "phi")
        reports.wait_for(model(models / "phi"))
        shutil.rmtree(models / "phi")
        reports.wait_for(models / "phi")
        shutil.rmtree(models.parent / "elsewhere")
        reports.wait_for(model(models / "phi"))


def test_a_failing_report_and_failing_roots_do_not_end_the_watching(
    models: Path, reports: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    def report(folder: Path) -> None:
        reports(folder)
        raise RuntimeError("the scan failed")

    calls = iter([[Root(models, Source.FOLDER)]])
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


@THREADS_MAY_END
def test_a_watcher_whose_thread_has_ended_says_so_and_starts_again(models: Path, reports: Reports) -> None:
    def report(folder: Path) -> None:
        reports(folder)
        if folder.name == "deadly":
            raise SystemExit

    watcher = RootWatcher(lambda: [Root(models, Source.FOLDER)], report, settle_s=SETTLE_S, poll_s=0.05)
    assert not watcher.is_alive
    watcher.start()
    try:
        assert watcher.is_alive
        reports.wait_for(model(models / "deadly"))
        wait_until(lambda: not watcher.is_alive)
        watcher.start()
        assert watcher.is_alive
        reports.wait_for(model(models / "harmless"))
    finally:
        watcher.stop()


# -- start and stop


@pytest.mark.parametrize("system", [System(), System(polling_reason=lambda _root: "it is far away")])
def test_stopping_ends_every_thread_and_starting_again_works(
    system: System, models: Path, reports: Reports, watch: Watch
) -> None:
    before = threading.active_count()
    watcher = watch(models, system=system)
    watcher.start()
    for _ in range(2):
        assert threading.active_count() > before
        watcher.stop()
        watcher.stop()
        assert threading.active_count() == before
        assert (watcher.is_alive, watcher.states()) == (False, ())
        watcher.start()
        reports.wait_for(model(models / os.urandom(4).hex()))


def test_a_watcher_that_never_started_stops(models: Path, reports: Reports) -> None:
    watcher = RootWatcher(lambda: [Root(models, Source.FOLDER)], reports)
    assert (watcher.is_alive, watcher.states()) == (False, ())
    watcher.stop()
