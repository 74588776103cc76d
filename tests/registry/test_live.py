"""Watcher, scan and registry together, on real folders: what the daemon does with them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.model import Root, Status
from registry.scan import scan
from registry.store import Registry
from registry.watch import RootWatcher

SETTLE_S = 0.2
# Generous: a machine that is busy with other things may take this long over anything.
PATIENCE_S = 20.0

Watch = Callable[..., None]


@pytest.fixture
def watch(registry: Registry, root: Root) -> Iterator[Watch]:
    """``watch(partial_s=0.5)``: from now on the registry is kept true."""
    started: list[RootWatcher] = []

    def rescan(folder: Path) -> None:
        registry.apply(scan([root], known=registry.known(), under=folder))

    def start(partial_s: float) -> None:
        registry.apply(scan([root]))
        watcher = RootWatcher(lambda: [root], rescan, settle_s=SETTLE_S, poll_s=0.1, partial_s=partial_s)
        started.append(watcher)
        watcher.start()

    yield start
    for watcher in started:
        watcher.stop()


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline_s, "it never came to be"
        time.sleep(0.01)


def statuses(registry: Registry) -> dict[str, Status]:
    return {model.name: model.status for model in registry.models()}


def test_a_copied_model_is_there_soon_and_gone_when_deleted(
    watch: Watch, registry: Registry, root: Root, model_template: Path
) -> None:
    watch(partial_s=0.5)
    shutil.copytree(model_template, root.path / "Microsoft" / "phi")
    wait_until(lambda: statuses(registry) == {"phi": Status.READY})
    shutil.rmtree(root.path / "Microsoft")
    wait_until(lambda: statuses(registry) == {"phi": Status.MISSING})
    shutil.copytree(model_template, root.path / "Microsoft" / "phi")
    wait_until(lambda: statuses(registry) == {"phi": Status.READY})


def test_a_running_download_is_never_seen_half_done(
    watch: Watch, registry: Registry, root: Root, model_template: Path
) -> None:
    watch(partial_s=1000.0)
    seen: set[str] = set()
    (root.path / "phi").mkdir()
    (root.path / "phi" / "download.tmp").touch()
    for source in sorted(model_template.iterdir(), reverse=True):
        shutil.copy(source, root.path / "phi")
        quiet_until_s = time.monotonic() + 2 * SETTLE_S
        while time.monotonic() < quiet_until_s:
            seen.update(problem.code for problem in registry.problems())
            seen.update(status.value for status in statuses(registry).values())
            time.sleep(0.01)
    assert seen == set()
    (root.path / "phi" / "download.tmp").unlink()
    wait_until(lambda: statuses(registry) == {"phi": Status.READY})


def test_an_interrupted_download_is_reported_and_heals(
    watch: Watch, registry: Registry, root: Root, model_template: Path
) -> None:
    watch(partial_s=0.5)
    shutil.copytree(model_template, root.path / "phi")
    wait_until(lambda: statuses(registry) == {"phi": Status.READY})
    (root.path / "phi" / "download.tmp").touch()
    wait_until(lambda: statuses(registry) == {"phi": Status.PARTIAL})
    (root.path / "phi" / "download.tmp").unlink()
    wait_until(lambda: statuses(registry) == {"phi": Status.READY} and registry.problems() == ())


def test_a_model_in_a_hugging_face_cache_is_ready_when_its_last_blob_is(
    watch: Watch, registry: Registry, root: Root, model_template: Path
) -> None:
    """The links are there first, so the last change is in another folder than the model."""
    repository = root.path / "models--org--phi"
    snapshot = repository / "snapshots" / ("1" * 40)
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    try:
        for source in model_template.iterdir():
            (snapshot / source.name).symlink_to(os.path.relpath(repository / "blobs" / source.name, snapshot))
    except OSError:
        pytest.skip("links are not allowed here")
    for source in model_template.iterdir():
        shutil.copy(source, repository / "blobs")
    (repository / "blobs" / "model.onnx").rename(repository / "blobs" / "model.onnx.incomplete")
    watch(partial_s=1000.0)
    assert Status.READY not in statuses(registry).values()
    (repository / "blobs" / "model.onnx.incomplete").rename(repository / "blobs" / "model.onnx")
    wait_until(lambda: list(statuses(registry).values()) == [Status.READY])
