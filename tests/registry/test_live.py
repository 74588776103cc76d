"""Watcher, scan and registry together, on real folders: what the daemon does with them."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from registry.model import FolderProblem, Model, Root, Status
from registry.scan import scan
from registry.store import Registry
from registry.watch import RootWatcher

SETTLE_S = 0.3
# The contract allows half a second beyond settle_s; twice that for a machine that is busy with other tests.
SLACK_S = 1.0


@pytest.fixture
def live(registry: Registry, root: Root) -> Iterator[Registry]:
    """A registry that a watcher keeps true."""

    def rescan(folder: Path) -> None:
        registry.apply(scan([root], known=registry.known(), under=folder))

    watcher = RootWatcher(lambda: [root.path], rescan, settle_s=SETTLE_S, poll_s=0.1, partial_s=0.6)
    watcher.start()
    registry.apply(scan([root]))
    yield registry
    watcher.stop()


def wait_until(is_true: Callable[[], bool], timeout_s: float = 8.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline_s, "it never came to be"
        time.sleep(0.01)


def statuses(registry: Registry) -> dict[str, Status]:
    return {model.name: model.status for model in registry.models()}


def test_a_copied_model_is_there_soon_and_gone_when_deleted(live: Registry, root: Root, model_template: Path) -> None:
    shutil.copytree(model_template, root.path / "Microsoft" / "phi")
    copied_s = time.monotonic()
    wait_until(lambda: statuses(live) == {"phi": Status.READY})
    assert time.monotonic() - copied_s < SETTLE_S + SLACK_S
    shutil.rmtree(root.path / "Microsoft")
    wait_until(lambda: statuses(live) == {"phi": Status.MISSING})
    shutil.copytree(model_template, root.path / "Microsoft" / "phi")
    wait_until(lambda: statuses(live) == {"phi": Status.READY})


def test_a_slow_copy_is_never_seen_half_done(live: Registry, root: Root, model_template: Path) -> None:
    seen: set[str] = set()
    for source in sorted(model_template.iterdir(), reverse=True):
        target = root.path / "phi" / source.name
        target.parent.mkdir(exist_ok=True)
        with target.open("wb") as file:
            content = source.read_bytes()
            for start in range(0, len(content), max(1, len(content) // 10)):
                file.write(content[start : start + max(1, len(content) // 10)])
                file.flush()
                time.sleep(0.01)
                seen.update(problem.code for problem in live.problems())
                seen.update(status.value for status in statuses(live).values())
    assert seen == set()
    wait_until(lambda: statuses(live) == {"phi": Status.READY})


def test_an_interrupted_download_is_reported_and_heals(live: Registry, root: Root, model_template: Path) -> None:
    shutil.copytree(model_template, root.path / "phi")
    wait_until(lambda: statuses(live) == {"phi": Status.READY})
    (root.path / "phi" / "download.tmp").touch()
    wait_until(lambda: statuses(live) == {"phi": Status.PARTIAL})
    (root.path / "phi" / "download.tmp").unlink()
    wait_until(lambda: statuses(live) == {"phi": Status.READY} and live.problems() == ())


@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_storm_the_registry_says_what_a_fresh_scan_says(
    seed: int, live: Registry, root: Root, model_template: Path
) -> None:
    _storm(root.path, model_template, random.Random(seed))
    fresh = scan([root])

    wait_until(lambda: _state(live.models(), live.problems()) == _state(fresh.models, fresh.problems))


def _state(models: Iterable[Model], problems: Iterable[FolderProblem]) -> object:
    ready = {(model.path, model.fingerprint) for model in models if model.status is Status.READY}
    return ready, {(problem.path, problem.code) for problem in problems}


def _storm(root: Path, template: Path, chance: random.Random) -> None:
    """Two seconds of creating, breaking, renaming, deleting, replacing."""
    end_s = time.monotonic() + 2.0
    while time.monotonic() < end_s:
        folder = root / chance.choice("abc") / chance.choice("xyz")
        other = root / chance.choice("abc") / chance.choice("xyz")
        step = chance.randrange(6)
        if not folder.exists():
            shutil.copytree(template, folder)
        elif step == 0:
            shutil.rmtree(folder.parent if chance.random() < 0.3 else folder)
        elif step == 1 and not other.exists():
            other.parent.mkdir(exist_ok=True)
            folder.rename(other)
        elif step == 2:
            (folder / "genai_config.json").write_text("{" if chance.random() < 0.5 else "{}", encoding="utf-8")
        elif step == 3:
            shutil.copy(template / "genai_config.json", folder / "new")
            (folder / "new").replace(folder / "genai_config.json")
        elif step == 4:
            (folder / "model.onnx").unlink(missing_ok=True)
        else:
            (folder / "note.txt").write_text(str(chance.random()), encoding="utf-8")
        time.sleep(chance.random() * 0.01)
