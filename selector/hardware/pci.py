"""GPUs and NPUs of a Linux machine, from the PCI devices in ``/sys``: also those that no driver is loaded for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from registry.model import Device
from selector.hardware.files import entries, link_name, read_count, read_text, read_word
from selector.hardware.findings import AMD, INTEL, NVIDIA, Found
from selector.hardware.nvidia import driver_files, driver_version

_GPU_VENDORS = {"0x10de": NVIDIA, "0x1002": AMD, "0x8086": INTEL}
_NPU_VENDORS = {"0x1022": AMD, "0x8086": INTEL}
# Base class 03 is a display controller (VGA, 3D or other), 12 a processing accelerator. AMD's NPUs call themselves
# signal processors (1180), as other parts of its chips do: they are known by their numbers.
_DISPLAY, _ACCELERATOR, _SIGNAL_PROCESSOR = "0x03", "0x12", "0x1180"
_AMD_NPUS = frozenset({"0x1502", "0x17f0"})
# Drivers that programs can compute through. nouveau and vfio-pci hold a device without that.
_COMPUTE_DRIVERS = {
    (NVIDIA, Device.GPU): ("nvidia",),
    (AMD, Device.GPU): ("amdgpu",),
    (INTEL, Device.GPU): ("i915", "xe"),
    (INTEL, Device.NPU): ("intel_vpu",),
    (AMD, Device.NPU): ("amdxdna",),
}
# Where Intel puts the GPU of its processors, always.
_INTEL_INTEGRATED = "0000:00:02.0"
_NAME_FILES = ("usr/share/libdrm/amdgpu.ids",)
_PCI_NAMES = ("usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids")


@dataclass(frozen=True, slots=True)
class _Function:
    """One PCI function that is a GPU or an NPU. ``number`` is the vendor's own for the device ("0x744c")."""

    folder: Path
    vendor: str
    device: Device
    number: str
    bound: str | None

    @property
    def address(self) -> str:
        return self.folder.name


def pci_accelerators(root: Path) -> list[Found]:
    """Every GPU of NVIDIA, AMD and Intel and every NPU of AMD and Intel under ``root``, by PCI address."""
    functions = [_function(folder) for folder in entries(root / "sys/bus/pci/devices")]
    return [_describe(function, root) for function in functions if function is not None]


def _function(folder: Path) -> _Function | None:
    kind, vendor, number = (read_word(folder / name) for name in ("class", "vendor", "device"))
    bound = link_name(folder / "driver")
    if kind.startswith(_DISPLAY) and vendor in _GPU_VENDORS:
        return _Function(folder, _GPU_VENDORS[vendor], Device.GPU, number, bound)
    is_npu = kind.startswith(_ACCELERATOR) or (kind.startswith(_SIGNAL_PROCESSOR) and number in _AMD_NPUS)
    if is_npu and vendor in _NPU_VENDORS:
        return _Function(folder, _NPU_VENDORS[vendor], Device.NPU, number, bound)
    return None


def _describe(function: _Function, root: Path) -> Found:
    blocked = _why_blocked(function, root)
    if function.device is Device.NPU:
        return Found(
            function.vendor,
            _known_name(function, root) or f"{function.vendor} NPU {function.number}",
            Device.NPU,
            driver=function.bound,
            is_integrated=True,
            blocked=blocked,
        )
    total, free, shared = _memory(function)
    is_integrated = _is_integrated(function)
    name = driver_files(root).get(function.address, "") if function.vendor == NVIDIA else ""
    return Found(
        function.vendor,
        name or _known_name(function, root) or f"{function.vendor} GPU {function.number}".strip(),
        memory_total_bytes=total,
        memory_available_bytes=free,
        driver=(driver_version(root) if function.vendor == NVIDIA else None) or function.bound,
        is_integrated=is_integrated,
        shared_memory_bytes=shared if is_integrated else None,
        blocked=blocked,
    )


def _why_blocked(function: _Function, root: Path) -> str | None:
    wanted = _COMPUTE_DRIVERS[function.vendor, function.device]
    if function.bound not in wanted:
        has = f"the kernel driver {function.bound} holds it" if function.bound else "no kernel driver is loaded for it"
        return f"It cannot be computed on: {has}. Install {function.vendor}'s driver ({' or '.join(wanted)})."
    if function.vendor == NVIDIA and not (root / "dev/nvidiactl").exists():
        return "This process has no access to it: start the container with its GPUs (docker run --gpus all)."
    return None


def _memory(function: _Function) -> tuple[int | None, int | None, int | None]:
    """Bytes in all, free, and of the machine's RAM for it. amdgpu tells all three, xe the first for each tile."""
    folder = function.folder
    total, used = read_count(folder / "mem_info_vram_total"), read_count(folder / "mem_info_vram_used")
    if total is not None:
        free = None if used is None else max(0, total - used)
        return total, free, read_count(folder / "mem_info_gtt_total")
    tiles = [read_count(tile / "physical_vram_size_bytes") for tile in entries(folder) if tile.name.startswith("tile")]
    return sum(size for size in tiles if size is not None) or None, None, None


def _is_integrated(function: _Function) -> bool:
    """Is its memory the machine's RAM? amdgpu shows how busy a memory controller is for cards of their own alone."""
    if function.vendor == AMD:
        return function.bound == "amdgpu" and not (function.folder / "mem_busy_percent").exists()
    return function.vendor == INTEL and function.address == _INTEL_INTEGRATED


def _known_name(function: _Function, root: Path) -> str:
    """What the vendor sells it as: from the driver, else from the lists that distributions install, else ""."""
    name = read_word(function.folder / "product_name")
    if name or function.vendor != AMD:
        return name or _pci_name(function, root)
    revision = read_word(function.folder / "revision")
    line = re.compile(
        rf"^{function.number.removeprefix('0x')},\s*{revision.removeprefix('0x')},\s*(.+?)\s*$",
        re.IGNORECASE | re.MULTILINE,
    )
    for file in _NAME_FILES:
        if found := line.search(read_text(root / file)):
            return found[1]
    return _pci_name(function, root)


def _pci_name(function: _Function, root: Path) -> str:
    """From ``pci.ids``: vendors start a line, their devices follow behind a tab."""
    vendor, number = read_word(function.folder / "vendor").removeprefix("0x"), function.number.removeprefix("0x")
    for file in _PCI_NAMES:
        text = read_text(root / file)
        section = re.search(rf"^{vendor}  .*\n((?:[\t#].*\n|\n)*)", text, re.MULTILINE) if text else None
        found = re.search(rf"^\t{number}  (.+?)\s*$", section[1], re.MULTILINE) if section else None
        if found:
            return f"{function.vendor} {found[1]}"
    return ""
