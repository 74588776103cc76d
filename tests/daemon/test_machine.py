from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from daemon import machine
from daemon.machine import DEVICES_AGE_S, Machine, installation, measure
from registry.model import ExecutionProvider
from selector.explain import hardware_as_json
from selector.hardware import DiskClass
from selector.hardware.detect import Installation, Readers
from selector.hardware.probes import RUNS
from tests.fakes import PATIENCE_S, FakeClock

GIB = 1024**3
CUDA = Installation((ExecutionProvider.CPU, ExecutionProvider.CUDA))
MEASURED = {"bandwidth_bytes_per_s": 22e9, "flops": 1e11}


class Rig:
    """A Linux machine with one graphics card, whose free memory, in MiB, the test decides."""

    def __init__(self, home: Path) -> None:
        (home / "proc").mkdir()
        (home / "proc/cpuinfo").write_text("model name: A CPU\nflags: avx2\n", encoding="utf-8")
        self.cache = home / "hardware.json"
        self.free_bytes = 8 * GIB
        self.card_free_mib = 900
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.has_answered = threading.Event()
        self.clock = FakeClock()
        self.installations = 0
        self.measurements = 0
        self.readers = Readers(root=home, system="linux", memory=lambda: (16 * GIB, self.free_bytes), query=self.query)

    def query(self, command: Sequence[str]) -> str | None:
        self.may_answer.wait(PATIENCE_S)
        self.has_answered.set()
        return f"A card, 1000, {self.card_free_mib}, 550.1\n"

    def installed(self) -> Installation:
        self.installations += 1
        return CUDA

    def measure(self, threads: int, bytes_per_thread: int) -> str:
        self.measurements += 1
        return json.dumps(MEASURED)

    def machine(self) -> Machine:
        return Machine(
            self.cache,
            readers=self.readers,
            ask_installation=self.installed,
            measure=self.measure,
            clock=self.clock,
        )


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether ``holds`` comes true within PATIENCE_S."""
    waiting = threading.Event()
    return any(holds() or waiting.wait(0.005) for _ in range(int(PATIENCE_S / 0.005)))


def test_who_does_not_look_at_the_memory_does_not_wait_for_it(rig: Rig) -> None:
    here = rig.machine()
    here.hardware()
    rig.free_bytes = GIB
    assert here.without_memory().memory.available_bytes == 8 * GIB
    assert here.without_memory().execution_providers == CUDA.execution_providers


def test_memory_is_read_at_every_look_and_the_rest_once(rig: Rig) -> None:
    here = rig.machine()
    assert here.hardware().memory.available_bytes == 8 * GIB
    rig.free_bytes = GIB
    assert here.hardware().memory.available_bytes == GIB
    assert here.hardware().execution_providers == CUDA.execution_providers
    assert rig.installations == 1


def test_looking_never_measures_and_measuring_comes_to_an_end(rig: Rig) -> None:
    here = rig.machine()
    assert here.hardware().probes.bandwidth_bytes_per_s is None
    assert rig.measurements == 0
    assert here.probe().probes.bandwidth_bytes_per_s == 22e9
    for _ in range(RUNS):
        assert here.probe().probes == here.hardware().probes == rig.machine().probe().probes
    assert rig.measurements == RUNS
    here.probe(again=True)
    assert rig.measurements == RUNS + 1


def test_what_another_process_measured_is_noticed_at_the_next_look(rig: Rig) -> None:
    here, other = rig.machine(), rig.machine()
    here.hardware()
    other.probe()
    assert here.hardware().probes.bandwidth_bytes_per_s == 22e9
    assert rig.measurements == 1


def test_measurement_that_cannot_be_kept_holds_for_this_process(rig: Rig) -> None:
    rig.cache = rig.readers.root / "proc/cpuinfo/hardware.json"
    here = rig.machine()
    here.probe()
    assert here.hardware().probes.bandwidth_bytes_per_s == 22e9


def test_command_line_measures_for_the_daemon(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    here = rig.machine()
    monkeypatch.setattr("selector.hardware.probes.run_probe", rig.measure)
    measure(rig.cache, hardware_as_json(here.hardware()))
    assert here.hardware().probes.bandwidth_bytes_per_s == 22e9


def card_free(here: Machine) -> int | None:
    return here.hardware().accelerators[0].memory_available_bytes


def test_memory_of_a_card_is_renewed_behind_the_callers_back(rig: Rig) -> None:
    here = rig.machine()
    assert card_free(here) == 900 * 1024**2
    rig.card_free_mib = 100
    rig.clock.now_s = DEVICES_AGE_S
    assert card_free(here) == 900 * 1024**2  # not old enough
    rig.has_answered.clear()
    rig.may_answer.clear()
    rig.clock.now_s += 1
    assert card_free(here) == 900 * 1024**2  # the question is under way, and nobody waits for it
    assert card_free(here) == 900 * 1024**2
    rig.may_answer.set()
    assert eventually(lambda: card_free(here) == 100 * 1024**2)
    assert rig.has_answered.is_set()


def test_disks_of_folders(rig: Rig) -> None:
    (disk,) = rig.machine().disks([rig.readers.root])
    assert (disk.path, disk.kind) == (str(rig.readers.root), DiskClass.UNKNOWN)


def test_installation_is_asked_in_a_process_of_its_own() -> None:
    found = installation()
    assert ExecutionProvider.CPU in found.execution_providers
    assert ExecutionProvider.CPU in {device.execution_provider for device in found.devices}


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(3)",
        "print('no JSON')",
        "print('[]')",
        "print('{}')",
        """print('{"execution_providers": ["magic"], "devices": []}')""",
        """print('{"execution_providers": ["cpu"], "devices": [{"device": "gpu"}]}')""",
    ],
)
def test_installation_that_cannot_be_asked_has_the_cpu(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(machine, "PROVIDERS_COMMAND", (machine.PROVIDERS_COMMAND[0], "-c", program))
    assert installation() == Installation()


def test_importing_the_machine_imports_no_onnxruntime() -> None:
    program = "import sys, daemon.machine; print(sorted({'onnxruntime', 'numpy'} & set(sys.modules)))"
    answer = subprocess.run((machine.PROVIDERS_COMMAND[0], "-c", program), capture_output=True, check=True, text=True)
    assert answer.stdout.strip() == "[]"
