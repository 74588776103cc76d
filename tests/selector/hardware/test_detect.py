from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from registry.model import Device, ExecutionProvider
from selector.explain import hardware_as_json
from selector.hardware import Disk, DiskClass, Power, ProviderDevice
from selector.hardware.cache import HardwareCache
from selector.hardware.cores import CoreCounts
from selector.hardware.detect import UNREAD_MEMORY, Detector, Installation, Readers, detect_hardware
from selector.hardware.memory import Swap
from selector.hardware.probes import probe
from tests.selector.hardware.recorded import answering, plant, sample, silent, write

GIB = 1024**3
CUDA = Installation(
    (ExecutionProvider.CPU, ExecutionProvider.CUDA), (ProviderDevice(ExecutionProvider.CPU, Device.CPU, "Intel"),)
)


def container(root: Path, usage_bytes: int) -> Path:
    """Two cores and 4 GiB of a larger host."""
    return write(
        root,
        {
            "proc/cpuinfo": "model name\t: Test CPU\nflags\t: avx2\n",
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/memory.current": f"{usage_bytes}\n",
            "sys/fs/cgroup/cpu.max": "200000 100000\n",
        },
    )


def no_cpuinfo() -> dict[str, Any]:
    raise AssertionError("the operating system tells")


def linux(root: Path, **readers: Any) -> Readers:
    """A Linux machine of 64 GiB whose files are under ``root``."""
    defaults: dict[str, Any] = {
        "system": "linux",
        "memory": lambda: (64 * GIB, 50 * GIB),
        "affinity": lambda: frozenset(range(32)),
        "portable_cores": lambda: CoreCounts(physical=16, logical=32, affinity=32),
        "cpuinfo": no_cpuinfo,
        "query": lambda command: "NVIDIA L4, 23034, 22563, 550.54.14\n" if command[0] == "nvidia-smi" else None,
    }
    return Readers(root=root, **(defaults | readers))


def test_container_on_a_large_host_is_seen_as_the_container(tmp_path: Path) -> None:
    hardware = Detector(readers=linux(container(tmp_path, usage_bytes=GIB))).detect(CUDA)
    assert (hardware.cpu.name, hardware.cpu.flags, hardware.cpu.kernels) == ("Test CPU", ("avx2",), ("avx2",))
    assert (hardware.cpu.physical_cores, hardware.cpu.logical_cores, hardware.cpu.usable_cores) == (16, 32, 2)
    assert hardware.memory.total_bytes == 64 * GIB
    assert hardware.memory.limit_bytes == 4 * GIB
    assert hardware.memory.available_bytes == 3 * GIB
    assert [a.usable for a in hardware.accelerators] == [True]
    assert hardware.execution_providers == CUDA.execution_providers
    assert hardware.provider_devices == CUDA.devices


def test_laptop_with_linux(tmp_path: Path) -> None:
    root = plant(tmp_path, "linux-hybrid-laptop")
    detector = Detector(readers=linux(root, affinity=lambda: frozenset(range(8)), query=silent))
    hardware = detector.detect()
    assert hardware.cpu.name == "Intel(R) Core(TM) Ultra 5 125U"
    assert hardware.cpu.kernels == ("avx2", "avx_vnni")
    assert (hardware.cpu.performance_cores, hardware.cpu.efficiency_cores, hardware.cpu.usable_cores) == (2, 4, 6)
    assert hardware.memory.swap_total_bytes == 8388604 * 1024
    assert [accelerator.device for accelerator in hardware.accelerators] == [Device.GPU, Device.NPU]
    assert hardware.power == Power(on_battery=True, battery_percent=63)
    assert detector.disks([Path("/mnt/share/a"), Path("/media/stick")]) == (
        Disk("/mnt/share/a", DiskClass.NETWORK, "nfs4", "nas:/models"),
        Disk("/media/stick", DiskClass.USB, "vfat", "/dev/sdb1"),
    )


def test_mac_is_described_without_py_cpuinfo(tmp_path: Path) -> None:
    query = answering(
        {
            ("sysctl", "hw"): sample("mac-m3-pro.sysctl-hw.txt"),
            ("sysctl", "machdep.cpu"): sample("mac-m3-pro.sysctl-machdep.cpu.txt"),
            ("system_profiler",): sample("mac-m3-pro.system_profiler.json"),
            ("diskutil",): sample("mac.diskutil-internal.plist"),
        }
    )
    readers = linux(
        tmp_path,
        system="darwin",
        query=query,
        swap=lambda: Swap(2 * GIB, GIB),
        power=lambda: Power(on_battery=False, battery_percent=80),
        mounts=lambda: [("/dev/disk3s5", "/", "apfs")],
    )
    detector = Detector(HardwareCache(tmp_path / "hardware.json"), readers)
    hardware = detector.detect()
    assert hardware.cpu.name == "Apple M3 Pro"
    assert hardware.cpu.kernels == ("neon", "dotprod", "i8mm")
    assert (hardware.cpu.performance_cores, hardware.cpu.efficiency_cores, hardware.cpu.usable_cores) == (6, 6, 12)
    assert (hardware.memory.limit_bytes, hardware.memory.swap_free_bytes) == (None, GIB)
    assert [a.name for a in hardware.accelerators] == ["Apple M3 Pro", "Apple M3 Pro Neural Engine"]
    assert hardware.power.battery_percent == 80
    assert [disk.kind for disk in detector.disks([tmp_path])] == [DiskClass.NVME]


def test_windows_machine_keeps_its_slow_answers(tmp_path: Path) -> None:
    asked = []

    def query(command: Sequence[str]) -> str | None:
        asked.append(command[0])
        text = command[-1]
        return sample("windows-disks.json" if "Get-PhysicalDisk" in text else "windows-snapdragon.json")

    readers = linux(
        tmp_path,
        system="win32",
        query=lambda command: None if command[0] == "nvidia-smi" else query(command),
        cpuinfo=lambda: {"brand_raw": "Snapdragon(R) X Elite", "flags": []},
        core_records=lambda: b"",
        has_feature={19, 43}.__contains__,
        swap=lambda: Swap(0, 0),
        power=lambda: Power(on_battery=True, battery_percent=50),
    )
    cache = HardwareCache(tmp_path / "hardware.json")
    hardware = Detector(cache, readers).detect()
    assert (hardware.cpu.name, hardware.cpu.kernels) == ("Snapdragon(R) X Elite", ("neon", "dotprod"))
    assert hardware.cpu.physical_cores == 16  # psutil's, where Windows' own answer is none
    assert [a.device for a in hardware.accelerators] == [Device.GPU, Device.NPU]
    again = Detector(cache, replace(readers, cpuinfo=no_cpuinfo))
    assert again.detect() == hardware
    assert len(again.disks([tmp_path])) == 1
    assert asked == ["powershell.exe", "powershell.exe"]


def test_memory_is_refreshed_without_the_rest(tmp_path: Path) -> None:
    detector = Detector(readers=linux(container(tmp_path, usage_bytes=GIB)))
    before = detector.detect()
    container(tmp_path, usage_bytes=3 * GIB)
    after = detector.refresh_memory(before)
    assert after.memory.available_bytes == 1 * GIB
    assert (after.cpu, after.accelerators) == (before.cpu, before.accelerators)


def test_devices_are_refreshed_without_the_rest(tmp_path: Path) -> None:
    free_mib = [22563, 100]
    readers = linux(container(tmp_path, GIB), query=lambda command: f"NVIDIA L4, 23034, {free_mib.pop(0)}, 550\n")
    detector = Detector(readers=readers)
    before = detector.detect(CUDA)
    after = detector.refresh_devices(before)
    assert [a.memory_available_bytes for a in after.accelerators] == [100 * 1024**2]
    assert after.accelerators[0].usable
    assert after.memory == before.memory


def test_what_was_measured_is_part_of_the_machine(tmp_path: Path) -> None:
    cache = HardwareCache(tmp_path / "hardware.json")
    detector = Detector(cache, linux(container(tmp_path, GIB)))
    before = detector.detect()
    assert before.probes.flops is None
    measured = probe(cache, before.cpu, GIB, lambda threads, size: '{"bandwidth_bytes_per_s": 22e9, "flops": 3e11}')
    assert detector.refresh_probes(before).probes == detector.detect().probes == measured
    assert measured.bandwidth_bytes_per_s == 22e9


def fail(*arguments: object) -> NoReturn:
    raise RuntimeError("no such thing here")


@pytest.mark.parametrize("system", ["linux", "darwin", "win32", "freebsd14"])
def test_machine_on_which_every_reader_fails_gets_a_cautious_answer(tmp_path: Path, system: str) -> None:
    broken = Readers(
        root=tmp_path,
        system=system,
        query=fail,
        memory=fail,
        swap=fail,
        affinity=fail,
        portable_cores=fail,
        cpuinfo=fail,
        power=fail,
        mounts=fail,
        core_records=fail,
        has_feature=fail,
    )
    detector = Detector(HardwareCache(tmp_path / "cache.json"), broken)
    hardware = detector.detect()
    assert (hardware.cpu.name, hardware.cpu.usable_cores) == ("unknown", 1)
    assert (hardware.memory.total_bytes, hardware.memory.available_bytes) == UNREAD_MEMORY
    assert hardware.memory.swap_total_bytes is None
    assert hardware.accelerators == ()
    assert hardware.execution_providers == (ExecutionProvider.CPU,)
    assert detector.refresh_memory(hardware).memory == hardware.memory
    assert detector.refresh_devices(hardware).accelerators == ()
    assert [disk.kind for disk in detector.disks([Path("/x")])] == [DiskClass.UNKNOWN]


def test_this_machine_can_be_described() -> None:
    hardware = detect_hardware()
    assert 0 < hardware.memory.available_bytes <= hardware.memory.total_bytes
    assert 1 <= hardware.cpu.usable_cores <= hardware.cpu.logical_cores
    assert hardware.cpu.name
    assert [disk.path for disk in Detector().disks([Path.cwd(), Path("relative")])] == [str(Path.cwd()), "relative"]


def test_json_has_the_keys_of_the_contract() -> None:
    shown = hardware_as_json(detect_hardware())
    assert set(shown["cpu"]) >= {"name", "physical_cores", "logical_cores", "usable_cores", "flags"}
    assert set(shown["memory"]) >= {"total_bytes", "available_bytes", "limit_bytes"}
    assert set(shown["probes"]) == {"bandwidth_bytes_per_s", "flops"}
    assert set(shown) >= {"accelerators", "execution_providers", "provider_devices", "disks", "power"}


def test_choosing_imports_nothing_heavy() -> None:
    program = (
        "import sys, selector.select, selector.explain; "
        "print(sorted({'psutil', 'cpuinfo', 'numpy', 'sqlmodel', 'onnxruntime'} & set(sys.modules)))"
    )
    answer = subprocess.run((sys.executable, "-c", program), capture_output=True, check=True, text=True)
    assert answer.stdout.strip() == "[]"


def test_detecting_imports_neither_cpuinfo_nor_numpy() -> None:
    program = "import sys, selector.hardware.detect; print(sorted({'cpuinfo', 'numpy'} & set(sys.modules)))"
    answer = subprocess.run((sys.executable, "-c", program), capture_output=True, check=True, text=True)
    assert answer.stdout.strip() == "[]"
