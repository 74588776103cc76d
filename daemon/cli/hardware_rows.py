"""The machine as the lines of a table that ``slmreg hw`` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daemon.cli.output import gigabytes

Json = dict[str, Any]
Row = tuple[str, str]


def hardware_rows(hardware: Json) -> list[Row]:
    """What it is in words; ``hardware`` is the JSON of the contract."""
    cpu, memory, probes = hardware["cpu"], hardware["memory"], hardware["probes"]
    return [
        ("CPU", f"{cpu['name']} ({_cores(cpu)})"),
        ("kernels", " ".join(cpu["kernels"]) or "none that speed up int4 or int8"),
        ("memory", _memory(memory)),
        ("swap", _swap(memory)),
        ("speed", _speed(probes)),
        *(("accelerator", _accelerator(accelerator)) for accelerator in hardware["accelerators"]),
        ("providers", _providers(hardware)),
        *(("disk", line) for line in _disks(hardware["disks"])),
        ("power", _power(hardware["power"])),
    ]


def _cores(cpu: Json) -> str:
    kinds = ""
    if cpu["performance_cores"] is not None:
        kinds = f" ({cpu['performance_cores']} performance, {cpu['efficiency_cores']} efficiency)"
    return f"{cpu['usable_cores']} usable of {cpu['physical_cores']} cores{kinds}, {cpu['logical_cores']} threads"


def _memory(memory: Json) -> str:
    limit = f", limited to {gigabytes(memory['limit_bytes'])}" if memory["limit_bytes"] is not None else ""
    return f"{gigabytes(memory['available_bytes'])} available of {gigabytes(memory['total_bytes'])}{limit}"


def _swap(memory: Json) -> str:
    if memory["swap_total_bytes"] is None:
        return "unknown"
    if memory["swap_total_bytes"] == 0:
        return "none"
    return f"{gigabytes(memory['swap_free_bytes'])} free of {gigabytes(memory['swap_total_bytes'])}"


def _speed(probes: Json) -> str:
    bandwidth, flops = probes["bandwidth_bytes_per_s"], probes["flops"]
    if bandwidth is None:
        return "not measured: predictions take cautious rates for granted"
    arithmetic = "" if flops is None else f", {flops / 1e9:.0f} GFLOP/s in float32"
    return f"{bandwidth / 1e9:.0f} GB/s from memory{arithmetic} (measured)"


def _accelerator(accelerator: Json) -> str:
    facts = [accelerator["device"].upper()]
    if accelerator["memory_total_bytes"] is not None:
        size = gigabytes(accelerator["memory_total_bytes"])
        free = accelerator["memory_available_bytes"]
        facts.append(size if free is None else f"{gigabytes(free)} free of {size}")
    elif accelerator["shared_memory_bytes"] is not None:
        facts.append(f"up to {gigabytes(accelerator['shared_memory_bytes'])} of the machine's memory")
    elif accelerator["is_integrated"]:
        facts.append("in the machine's memory")
    if accelerator["driver"]:
        facts.append(f"driver {accelerator['driver']}")
    use = f"used by {', '.join(accelerator['execution_providers'])}"
    return f"{accelerator['name']} ({', '.join(facts)}): {use if accelerator['usable'] else accelerator['reason']}"


def _providers(hardware: Json) -> str:
    """ "cpu (cpu AMD), webgpu": each with what it computes on, where ONNX Runtime says."""
    devices: dict[str, list[str]] = {}
    for listed in hardware["provider_devices"]:
        words = f"{listed['device']} {listed['vendor']}".strip()
        devices.setdefault(listed["execution_provider"], []).append(words)
    return ", ".join(
        f"{provider} ({'; '.join(devices[provider])})" if provider in devices else provider
        for provider in hardware["execution_providers"]
    )


def _disks(disks: list[Json]) -> Iterator[str]:
    """One line for each folder that models lie in."""
    for disk in disks:
        where = ", ".join(str(disk[key]) for key in ("filesystem", "device") if disk[key])
        yield f"{disk['kind']}: {disk['path']}" + (f" ({where})" if where else "")


def _power(power: Json) -> str:
    charge = "" if power["battery_percent"] is None else f", charged to {power['battery_percent']:.0f}%"
    return {True: "battery", False: "mains", None: "unknown"}[power["on_battery"]] + charge
