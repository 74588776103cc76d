"""``Registry``: the only door to the database. Models in and out as frozen values; every write is one transaction."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from registry.database import Database
from registry.errors import InvalidRoot, ModelNotFound
from registry.genai_config import FILE_NAME as GENAI_CONFIG_FILE
from registry.listing import exists, is_text
from registry.model import Changes, Device, FolderProblem, Model, Pin, RootChoice, ScanReport, Status, Task
from registry.reconcile import reconcile
from registry.writing import delete_pin, delete_root, write_pin, write_plan, write_root


class Registry:
    """What is known about the models of this machine. Safe to use from several threads, beside other processes.

    Every method raises DatabaseError if the file cannot be read or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, path: Path) -> Registry:
        """The registry in ``path``, made if it is not there. Raises DatabaseError, also for a newer schema."""
        return cls(Database(path))

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def generation(self) -> int:
        """Another number after each write by anybody: whoever keeps what they read compares it. Takes microseconds."""
        return self._database.generation()

    # -- models

    def models(self, *, include_missing: bool = True) -> tuple[Model, ...]:
        """Every model that is known, by name without case, then version, oldest first."""
        models = (stored.model for stored in self._database.snapshot().models)
        wanted = (model for model in models if include_missing or model.status is not Status.MISSING)
        return tuple(sorted(wanted, key=lambda model: (model.name.casefold(), _version_number(model), model.id)))

    def candidates(self, reference: str) -> tuple[Model, ...]:
        """Every model that ``reference`` can mean, best first: that id, else that name, else that alias.

        Case does not count. Best: ready ones, then those for the CPU, then the newest version, then by id.
        """
        models = self.models()
        wanted = reference.strip().casefold()
        for key in ("id", "name", "alias"):
            named = [model for model in models if getattr(model, key).casefold() == wanted]
            if named:
                return tuple(sorted(named, key=_preference))
        return ()

    def find(self, reference: str) -> Model | None:
        """The best of ``candidates``."""
        return next(iter(self.candidates(reference)), None)

    def get(self, reference: str) -> Model:
        """The best of ``candidates``. Raises ModelNotFound with near names."""
        model = self.find(reference)
        if model is None:
            raise ModelNotFound(reference, self._near(reference))
        return model

    def problems(self) -> tuple[FolderProblem, ...]:
        """Folders that are no usable models, by path."""
        return self._database.snapshot().problems

    def known(self) -> Mapping[Path, Model]:
        """Every model that is not missing as its folder declares it, for ``scan`` to pass over what has not changed."""
        stored = self._database.snapshot().models
        return {each.model.path: each.declared for each in stored if each.model.status is not Status.MISSING}

    def has_scanned(self) -> bool:
        """Whether the result of any scan was ever written down."""
        return self._database.snapshot().scanned_at_s is not None

    def apply(self, report: ScanReport) -> Changes:
        """Write down what a scan found, and say what that changed. The same report again writes nothing."""
        known = self._database.snapshot()
        plan = reconcile(known.models, known.problems, report, is_there=_is_model_folder)
        if known.scanned_at_s is not None and not plan.entries and plan.problems == known.problems:
            return plan.changes
        with self._database.transaction() as session:
            before = self._database.snapshot()
            if before is not known:  # somebody wrote in between
                plan = reconcile(before.models, before.problems, report, is_there=_is_model_folder)
            write_plan(session, plan, before, now_s=time.time())
        return plan.changes

    # -- roots

    def root_choices(self) -> tuple[RootChoice, ...]:
        """What a person decided about roots, in the order they did."""
        return tuple(RootChoice(path) for path in self._database.snapshot().roots)

    def add_root(self, path: Path) -> Path:
        """Remember a folder of models, and return it as it is remembered. Raises InvalidRoot if it cannot be read."""
        root = _readable_directory(path)
        with self._database.transaction() as session:
            if root not in self._database.snapshot().roots:
                write_root(session, root, now_s=time.time())
        return root

    def remove_root(self, path: Path) -> None:
        """Forget a folder and the models in it, unless another such folder covers them; pinned ones become missing.

        Raises InvalidRoot if ``path`` was never added.
        """
        root = _absolute(path)
        with self._database.transaction() as session:
            before = self._database.snapshot()
            if root not in before.roots:
                known = ", ".join(map(str, before.roots)) or "none"
                raise InvalidRoot(f"{root} is not among the added roots ({known}).")
            others = [other for other in before.roots if other != root]
            delete_root(session, root, before, keep=others, now_s=time.time())

    # -- pins

    def pins(self) -> tuple[Pin, ...]:
        return self._database.snapshot().pins

    def pin(self, task: Task, model_id: str) -> Pin:
        """Let no other model serve ``task``. Raises ModelNotFound; the model may be missing at the moment."""
        with self._database.transaction() as session:
            stored = self._database.snapshot().models
            wanted = model_id.strip().casefold()
            match = next((each for each in stored if each.model.id.casefold() == wanted), None)
            if match is None:
                raise ModelNotFound(model_id, self._near(model_id))
            write_pin(session, task, match.key)
            return Pin(task, match.model.id)

    def unpin(self, task: Task) -> None:
        """Undo a pin; a task without one stays so."""
        with self._database.transaction() as session:
            delete_pin(session, task)

    def _near(self, reference: str) -> tuple[str, ...]:
        """Up to three names or aliases that look like ``reference``."""
        models = self.models(include_missing=False)
        names = {text.casefold(): text for model in models for text in (model.name, model.alias)}
        wanted = reference.strip().casefold()
        inside = [name for name in names if wanted and wanted in name]
        close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
        return tuple(names[name] for name in dict.fromkeys([*close, *sorted(inside)]))[:3]


def _version_number(model: Model) -> int:
    return int(model.version) if model.version.isdecimal() else 0


def _preference(model: Model) -> tuple[bool, bool, int, str]:
    return model.status is not Status.READY, model.device is not Device.CPU, -_version_number(model), model.id


def _is_model_folder(path: Path) -> bool:
    return exists(path / GENAI_CONFIG_FILE)


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise InvalidRoot(f"{path} is not a usable path: {error}.") from error


def _readable_directory(path: Path) -> Path:
    root = _absolute(path)
    try:
        with os.scandir(root):
            pass
    except FileNotFoundError:
        raise InvalidRoot(f"{root} does not exist. Create it first, or check the spelling.") from None
    except NotADirectoryError:
        raise InvalidRoot(f"{root} is a file, not a folder. Add the folder that holds the model folders.") from None
    except OSError as error:
        raise InvalidRoot(f"{root} cannot be read: {error.strerror or error}. Check its permissions.") from error
    if not is_text(str(root)):
        raise InvalidRoot(f"{str(root)!a} has a name that is not UTF-8. Rename it.")
    return root
