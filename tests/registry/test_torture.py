"""A storm of changes against the real watcher, scan and registry: in the end the registry says what is on the disk.

Longer: ``SLMREG_TORTURE_STEPS=20000 pytest tests/registry/test_torture.py``; other storms: ``SLMREG_TORTURE_SEED=7``.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from registry.model import Root, Source, Status
from registry.problems import ProblemCode
from registry.scan import scan
from registry.store import Registry
from registry.watch import RootWatcher, System

STEPS = int(os.environ.get("SLMREG_TORTURE_STEPS", "400"))
SEED = int(os.environ.get("SLMREG_TORTURE_SEED", "0"))
SETTLE_S = 0.05
PARTIAL_S = 0.4
# The last change settles within a second; a machine that is busy with other things may take this long over anything.
PATIENCE_S = 60.0

State = set[tuple[Path, str, str, str]]


@pytest.mark.parametrize(("seed", "kind"), [(SEED + 1, "native"), (SEED + 2, "native"), (SEED + 3, "polling")])
# The reader thread of watchdog 7.1 ends at some of this; that it does not matter is part of what is tested.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_after_a_storm_the_registry_says_what_a_fresh_scan_says(
    seed: int, kind: str, registry: Registry, tmp_path: Path, model_template: Path
) -> None:
    base = tmp_path.resolve()
    roots = [Root(base / name, Source.FOLDER) for name in ("first", "second")]
    storm = Storm(base, [root.path for root in roots], model_template, random.Random(seed))

    def rescan(folder: Path) -> None:
        registry.apply(scan(roots, known=registry.known(), under=folder))

    system = System(polling_reason=lambda root: "a test" if kind == "polling" or root == roots[1].path else None)
    watcher = RootWatcher(lambda: roots, rescan, settle_s=SETTLE_S, poll_s=0.05, partial_s=PARTIAL_S, system=system)
    watcher.start()
    try:
        registry.apply(scan(roots))
        for _ in range(STEPS):
            storm.step()
            time.sleep(0.005)
        storm.end()
        with Registry.open(base / "fresh.db") as fresh:
            fresh.apply(scan(roots))
            expected = state_of(fresh)
        deadline_s = time.monotonic() + PATIENCE_S
        while state_of(registry) != expected and time.monotonic() < deadline_s:
            time.sleep(0.01)
        actual = state_of(registry)
        assert actual - expected == set(), "what the registry says is not there"
        assert expected - actual == set(), "the registry has missed something"
        assert watcher.is_alive
    finally:
        watcher.stop()


def state_of(registry: Registry) -> State:
    """What is known of each folder, whichever of two equal ones it came from first."""
    # One that was usable before is remembered while it is not: its folder has a problem, as in a fresh scan.
    usable = {path: model for path, model in registry.known().items() if model.status in (Status.READY, Status.BLOCKED)}
    models = {(path, model.id, model.status.value, model.content) for path, model in usable.items()}
    problems = {(each.path, "problem", each.status.value, each.code) for each in registry.problems()}
    return models | {problem for problem in problems if problem[3] != ProblemCode.DUPLICATE_ID}


class Storm:
    """Everything that people, downloads and copies do to folders of models, at random."""

    def __init__(self, base: Path, roots: list[Path], template: Path, chance: random.Random) -> None:
        self._roots = roots
        self._template = template
        self._chance = chance
        self._away = base / "away"
        self._away.mkdir()
        self._writing: list[Iterator[None]] = []
        self._steps: dict[Callable[[], object], int] = {
            self._create: 14,
            self._copy_slowly: 10,
            self._write_on: 40,
            self._copy_half: 4,
            self._delete: 6,
            self._delete_many: 1,
            self._rename: 8,
            self._move_away: 4,
            self._bring_back: 4,
            self._hide: 2,
            self._replace_atomically: 8,
            self._write_in_place: 8,
            self._break: 4,
            self._remove_file: 4,
            self._mark: 4,
            self._download_to_hub: 3,
            self._unplug: 1,
        }
        for root in roots:
            root.mkdir()

    def step(self) -> None:
        (step,) = self._chance.choices(list(self._steps), list(self._steps.values()))
        with suppress(OSError):  # what it wanted to change is gone, or in use
            step()

    def end(self) -> None:
        """Let every slow copy come to its end, bring the roots back, and leave a model and a problem for certain."""
        while self._writing:
            with suppress(OSError):
                self._write_on()
        for root in self._roots:
            self._plug_in(root)
        shutil.copytree(self._template, self._roots[0] / "last" / "ready")
        shutil.copytree(self._template, self._roots[1] / "last" / "broken")
        (self._roots[1] / "last" / "broken" / "model.onnx").unlink()

    # -- where

    def _place(self) -> Path:
        """Not many different ones, so that the same place is used again and again."""
        depth = self._chance.randrange(3)
        return Path(self._chance.choice(self._roots), *(self._chance.choice("ab") for _ in range(depth)), self._name())

    def _name(self) -> str:
        return self._chance.choice(["phi", "qwen", "olmo"])

    def _models(self) -> list[Path]:
        return sorted({file.parent for root in self._roots for file in root.rglob("*.json") if file.parent != root})

    def _a_model(self) -> Path:
        found = self._models()
        if not found:
            raise FileNotFoundError
        return self._chance.choice(found)

    # -- what

    def _create(self) -> None:
        folder = self._place()
        shutil.copytree(self._template, folder)
        self._name_it(folder)

    def _name_it(self, folder: Path) -> None:
        if self._chance.random() < 0.5:
            text = json.dumps({"Name": f"{self._name()}:{self._chance.randrange(3)}"})
            (folder / "inference_model.json").write_text(text, encoding="utf-8")

    def _copy_slowly(self) -> None:
        self._writing.append(self._slow_copy(self._place(), is_download=self._chance.random() < 0.5))

    def _slow_copy(self, folder: Path, *, is_download: bool) -> Iterator[None]:
        folder.mkdir(parents=True)
        for source in self._chance.sample(sorted(self._template.iterdir()), 5):
            content, target = source.read_bytes(), folder / source.name
            written = target.with_name(f"{target.name}.part") if is_download else target
            with written.open("wb") as file:
                for start in range(0, len(content), len(content) // 3 + 1):
                    file.write(content[start : start + len(content) // 3 + 1])
                    file.flush()
                    yield
            if is_download:
                written.replace(target)

    def _write_on(self) -> None:
        if self._writing:
            copy = self._chance.choice(self._writing)
            try:
                next(copy)
            except (StopIteration, OSError):
                self._writing.remove(copy)

    def _copy_half(self) -> None:
        folder = self._place()
        folder.mkdir(parents=True)
        for source in self._chance.sample(sorted(self._template.iterdir()), 3):
            shutil.copy(source, folder)

    def _delete(self) -> None:
        shutil.rmtree(self._a_model())

    def _delete_many(self) -> None:
        shutil.rmtree(self._a_model().parent if self._chance.random() < 0.5 else self._chance.choice(self._roots) / "a")

    def _rename(self) -> None:
        target = self._place()
        target.parent.mkdir(parents=True, exist_ok=True)
        self._a_model().rename(target)

    def _move_away(self) -> None:
        self._a_model().rename(self._away / str(self._chance.randrange(5)))

    def _bring_back(self) -> None:
        away = self._away / str(self._chance.randrange(5))
        if self._chance.random() < 0.3:
            shutil.rmtree(away)
        else:
            away.rename(self._place())

    def _hide(self) -> None:
        folder = self._a_model()
        hidden = folder.with_name(f".{folder.name}")
        if hidden.exists():
            hidden.rename(folder.with_name(self._name()))
        else:
            folder.rename(hidden)

    def _replace_atomically(self) -> None:
        file = self._a_model() / "genai_config.json"
        config = json.loads((self._template / file.name).read_bytes())
        config["model"]["context_length"] = self._chance.choice([128, 256, 512])
        temporary = file.with_name("genai_config.json.tmp")
        temporary.write_text(json.dumps(config), encoding="utf-8")
        temporary.replace(file)

    def _write_in_place(self) -> None:
        folder = self._a_model()
        shutil.copyfile(self._template / "model.onnx", folder / "model.onnx")
        self._name_it(folder)

    def _break(self) -> None:
        (self._a_model() / "genai_config.json").write_text(self._chance.choice(["{", "{}", ""]), encoding="utf-8")

    def _remove_file(self) -> None:
        folder = self._a_model()
        (folder / self._chance.choice(["model.onnx", "genai_config.json", "tokenizer.json"])).unlink()

    def _mark(self) -> None:
        """A download starts again, or ends."""
        folder = self._a_model()
        marker = self._chance.choice([folder, folder.parent]) / "download.tmp"
        if marker.exists():
            marker.unlink()
        else:
            marker.touch()

    def _download_to_hub(self) -> None:
        repository = self._chance.choice(self._roots) / f"models--org--{self._name()}"
        commit = self._chance.choice(["1" * 40, "2" * 40])
        self._writing.append(self._slow_hub_download(repository, repository / "snapshots" / commit))

    def _slow_hub_download(self, repository: Path, snapshot: Path) -> Iterator[None]:
        for folder in (repository / "blobs", repository / "refs", snapshot):
            folder.mkdir(parents=True, exist_ok=True)
        (repository / "refs" / "main").write_text(snapshot.name, encoding="utf-8")
        for source in self._chance.sample(sorted(self._template.iterdir()), 5):
            blob = repository / "blobs" / source.name.encode().hex()
            link = snapshot / source.name
            if not link.is_symlink() and self._chance.random() < 0.5:
                link.symlink_to(os.path.relpath(blob, snapshot))  # before there is what it points to
            unfinished = blob.with_name(f"{blob.name}.incomplete")
            with unfinished.open("wb") as file:
                file.write(source.read_bytes()[:1000])
                yield
                file.write(source.read_bytes()[1000:])
            unfinished.replace(blob)
            yield
            if not link.is_symlink():
                link.symlink_to(os.path.relpath(blob, snapshot))

    def _unplug(self) -> None:
        """A drive is taken out, or comes back."""
        root = self._chance.choice(self._roots)
        if root.exists():
            root.rename(root.with_name(f"{root.name}-unplugged"))
        else:
            self._plug_in(root)

    @staticmethod
    def _plug_in(root: Path) -> None:
        unplugged = root.with_name(f"{root.name}-unplugged")
        if unplugged.exists():
            shutil.rmtree(root, ignore_errors=True)
            unplugged.rename(root)
        root.mkdir(exist_ok=True)
