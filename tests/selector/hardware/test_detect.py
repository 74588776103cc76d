from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from registry.model import ExecutionProvider
from selector.hardware.cpu import CoreCounts
from selector.hardware.detect import UNREAD_MEMORY, Readers, detect_hardware, refresh_memory

GIB = 1024**3


def container(root: Path, usage_bytes: int) -> Path:
    """Two cores and 4 GiB of a larger host."""
    files = {
        "proc/cpuinfo": "model name\t: Test CPU\nflags\t: avx2\n",
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/memory.max": f"{4 * GIB}\n",
        "sys/fs/cgroup/memory.current": f"{usage_bytes}\n",
        "sys/fs/cgroup/cpu.max": "200000 100000\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def readers(root: Path) -> Readers:
    return Readers(
        root=root,
        memory=lambda: (64 * GIB, 50 * GIB),
        cores=lambda: CoreCounts(physical=16, logical=32, affinity=32),
        query=lambda command: "NVIDIA L4, 23034, 22563\n",
    )


def test_container_on_a_large_host_is_seen_as_the_container(tmp_path: Path) -> None:
    hardware = detect_hardware(
        execution_providers=(ExecutionProvider.CPU, ExecutionProvider.CUDA),
        readers=readers(container(tmp_path, usage_bytes=GIB)),
    )
    assert (hardware.cpu.name, hardware.cpu.flags) == ("Test CPU", ("avx2",))
    assert (hardware.cpu.physical_cores, hardware.cpu.logical_cores, hardware.cpu.usable_cores) == (16, 32, 2)
    assert hardware.memory.total_bytes == 64 * GIB
    assert hardware.memory.limit_bytes == 4 * GIB
    assert hardware.memory.available_bytes == 3 * GIB
    assert [a.usable for a in hardware.accelerators] == [True]
    assert hardware.execution_providers == (ExecutionProvider.CPU, ExecutionProvider.CUDA)


def test_refresh_reads_memory_and_keeps_the_rest(tmp_path: Path) -> None:
    source = readers(container(tmp_path, usage_bytes=GIB))
    before = detect_hardware(readers=source)
    container(tmp_path, usage_bytes=3 * GIB)
    after = refresh_memory(before, source)
    assert after.memory.available_bytes == 1 * GIB
    assert (after.cpu, after.accelerators) == (before.cpu, before.accelerators)


def fail(*arguments: object) -> NoReturn:
    raise RuntimeError("no such thing here")


def fail_cpuinfo() -> dict[str, Any]:
    fail()


def fail_query(command: Sequence[str]) -> str | None:
    fail(command)


def test_machine_on_which_every_probe_fails_gets_a_cautious_answer(tmp_path: Path) -> None:
    broken = Readers(root=tmp_path, memory=fail, cores=fail, cpuinfo=fail_cpuinfo, query=fail_query)
    hardware = detect_hardware(readers=broken, cache_file=tmp_path / "cache.json")
    assert hardware.cpu.usable_cores == 1
    assert (hardware.memory.total_bytes, hardware.memory.available_bytes) == UNREAD_MEMORY
    assert hardware.accelerators == ()
    assert hardware.execution_providers == (ExecutionProvider.CPU,)
    assert refresh_memory(hardware, broken).memory == hardware.memory


def test_this_machine_can_be_described() -> None:
    hardware = detect_hardware()
    assert 0 < hardware.memory.available_bytes <= hardware.memory.total_bytes
    assert 1 <= hardware.cpu.usable_cores <= hardware.cpu.logical_cores
    assert hardware.cpu.name


def test_choosing_imports_nothing_heavy() -> None:
    program = (
        "import sys, selector.select, selector.explain; "
        "print(sorted({'psutil', 'cpuinfo', 'numpy', 'sqlmodel', 'onnxruntime'} & set(sys.modules)))"
    )
    answer = subprocess.run((sys.executable, "-c", program), capture_output=True, check=True, text=True)
    assert answer.stdout.strip() == "[]"


def test_detecting_does_not_import_cpuinfo_until_it_is_asked() -> None:
    program = "import sys, selector.hardware.detect; print('cpuinfo' in sys.modules)"
    answer = subprocess.run((sys.executable, "-c", program), capture_output=True, check=True, text=True)
    assert answer.stdout.strip() == "False"
