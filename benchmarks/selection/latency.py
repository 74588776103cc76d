"""How long a choice takes: in the process, and through HTTP from a daemon that knows all the models."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import median

import httpx

from benchmarks.selection.crowd import VARIANTS, crowd, in_folders_of
from benchmarks.selection.machines import GIB, jittered
from daemon.cli.background import background_daemon
from registry.model import Model, Root, Source, Task
from registry.scan import scan
from registry.store import Registry
from scripts.model_factory.many import many
from selector.hardware import Cpu, Hardware, Memory, Probes
from selector.select import Field
from selector.selection import Circumstances, SelectionRequest, SessionFacts

REQUEST = SelectionRequest(Task.CHAT)
# Another program may start or end between two choices.
FREE_GIB = (6.0, 28.0)
_LEDGERS = 5
_FIRST_SCAN_S = 600.0  # a daemon is ready after that
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one kind of choice among ``candidates``, in milliseconds. ``first_ms`` is the call that appraises them all."""

    candidates: int
    median_ms: float
    p99_ms: float
    first_ms: float
    ledger_ms: float


def in_process(models: int, calls: int, *, seed: int = 1) -> Timing:
    """``Field.select`` with memory that moves and two sessions; ``ledger_ms`` with all that would change the answer."""
    candidates, dice = crowd(models, seed=seed), Random(f"latency of {seed}")
    moments = [_moment(candidates, dice) for _ in range(calls)]
    started_s = time.perf_counter()
    field = Field(candidates, moments[0])
    field.select(REQUEST, moments[0])
    first_ms = 1000 * (time.perf_counter() - started_s)
    taken = [_ms(lambda now=now: field.select(REQUEST, now)) for now in moments]  # type: ignore[misc]
    ledgers = [_ms(lambda now=now: field.select(REQUEST, now).ledger) for now in moments[:_LEDGERS]]  # type: ignore[misc]
    return _timing(len(candidates), first_ms, taken, ledgers)


def through_http(models: int, calls: int, scratch: Path, *, seed: int = 1) -> Timing:
    """``POST /slmreg/select`` of one client after another's answer; ``ledger_ms`` is without a limit."""
    choice, everything = {"task": "chat", "limit": 0}, {"task": "chat"}
    with _daemon(crowd(models, seed=seed), scratch) as client:
        first_ms = _ms(lambda: _select(client, choice))
        taken = [_ms(lambda: _select(client, choice)) for _ in range(calls)]
        ledgers = [_ms(lambda: _select(client, everything)) for _ in range(_LEDGERS)]
    return _timing(models * VARIANTS, first_ms, taken, ledgers)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _timing(candidates: int, first_ms: float, taken: Sequence[float], ledgers: Sequence[float]) -> Timing:
    return Timing(candidates, median(taken), percentile(taken, 0.99), first_ms, median(ledgers))


def _ms(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started_s)


def _moment(candidates: Sequence[Model], dice: Random) -> Circumstances:
    machine = Hardware(Cpu("benchmark", 8, 16, 8, ("avx2",)), Memory(32 * GIB, 0), probes=Probes(60e9, 500e9))
    loaded = tuple(
        SessionFacts(model.id, 3 * GIB, is_reclaimable=dice.random() < 0.5, idle_s=30.0) for model in candidates[:2]
    )
    return Circumstances(hardware=jittered(machine, int(dice.uniform(*FREE_GIB) * GIB)), sessions=loaded)


@contextlib.contextmanager
def _daemon(models: Sequence[Model], scratch: Path) -> Iterator[httpx.Client]:
    """A daemon whose registry has ``models``, each in a folder of its own that is really there."""
    folders, home = scratch.resolve() / "models", scratch / "home"
    many(folders, len(models))
    with Registry.open(home / "registry.db") as registry:
        registry.add_root(folders)
        report = scan([Root(folders, Source.FOLDER, added_by_user=True)])
        registry.apply(replace(report, models=in_folders_of(models, report.models)))
    with (
        background_daemon(_environment(home), home / "daemon.log", timeout_s=_FIRST_SCAN_S) as daemon,
        httpx.Client(base_url=daemon.url, trust_env=False, timeout=_PATIENCE_S) as client,
    ):
        yield client


def _environment(home: Path) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLMREG_")}
    return {**kept, "SLMREG_FOUNDRY_CACHES": "", "SLMREG_HF_CACHE": "", "SLMREG_HOME": str(home)}


def _select(client: httpx.Client, body: Mapping[str, object]) -> None:
    answer = client.post("/slmreg/select", json=body).raise_for_status().json()
    if "tune" not in (answer["chosen"] or ""):
        raise SystemExit(f"the daemon chose {answer['chosen']}: {answer['reason']}")
