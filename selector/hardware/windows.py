"""GPUs and NPUs of a Windows machine, from one PowerShell script that prints JSON.

The devices are those that Windows sees now; the registry adds what the driver wrote about each. Its memory size is the
64-bit one: WMI's AdapterRAM ends at 4 GiB.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from registry.model import Device
from selector.hardware.findings import AMD, INTEL, NVIDIA, QUALCOMM, Found
from selector.hardware.queries import Query

# The GUIDs are those of the device classes Display and ComputeAccelerator.
_SCRIPT = r"""
$ErrorActionPreference = 'SilentlyContinue'
[Console]::OutputEncoding = [Text.Encoding]::UTF8
$classes = 'HKLM:\SYSTEM\CurrentControlSet\Control\Class'
$keys = "$classes\{4d36e968-e325-11ce-bfc1-08002be10318}\0*", "$classes\{f01a9d53-3ff6-48d2-9f97-c8a7004be10c}\0*"
@{
  devices = @(Get-CimInstance Win32_PnPEntity -Filter "PNPClass='Display' OR PNPClass='ComputeAccelerator'" |
    Select-Object Name, PNPClass, PNPDeviceID, ConfigManagerErrorCode)
  drivers = @(Get-ItemProperty $keys | Select-Object DriverDesc, DriverVersion, MatchingDeviceId,
    @{ Name = 'MemorySize'; Expression = { $_.'HardwareInformation.qwMemorySize' } })
} | ConvertTo-Json -Depth 4 -Compress
"""
ACCELERATORS_QUERY = ("powershell.exe", "-NoProfile", "-NonInteractive", "-Command", _SCRIPT)

_VENDORS = (
    (NVIDIA, r"VEN_10DE", r"NVIDIA|GeForce|Quadro"),
    (AMD, r"VEN_1002|VEN_1022", r"AMD|Radeon|Ryzen"),
    (INTEL, r"VEN_8086", r"Intel"),
    (QUALCOMM, r"VEN_QCOM|^ACPI\\QCOM|QCOM", r"Qualcomm|Snapdragon|Adreno|Hexagon"),
)
# GPUs inside a processor: their "dedicated" memory is RAM that the firmware set aside.
_INTEGRATED = re.compile(
    r"(?:U?HD|Iris).*Graphics|Arc\W+(?:TM\W+)?(?:Graphics|1\d\d[VTU])|Radeon\W+(?:TM\W+)?(?:Vega.*|R\d )?Graphics"
    r"|Radeon\W+(?:TM\W+)?\d{3}M|Radeon\W+(?:TM\W+)?80\d0S|Adreno",
    re.IGNORECASE,
)


def windows_accelerators(query: Query) -> list[Found]:
    """What the script found; [] where PowerShell is missing, blocked, or prints something else."""
    try:
        answer = json.loads(query(ACCELERATORS_QUERY) or "{}")
        devices, drivers = _records(answer.get("devices")), _records(answer.get("drivers"))
    except (ValueError, AttributeError, RecursionError):
        return []
    found = (_describe(device, drivers) for device in devices)
    return [accelerator for accelerator in found if accelerator is not None]


def _records(value: Any) -> list[Mapping[str, Any]]:
    return [record for record in value if isinstance(record, dict)] if isinstance(value, list) else []


def _describe(device: Mapping[str, Any], drivers: Sequence[Mapping[str, Any]]) -> Found | None:
    name, place = str(device.get("Name") or ""), str(device.get("PNPDeviceID") or "")
    vendor = next((v for v, number, words in _VENDORS if re.search(number, place) or re.search(words, name)), None)
    if vendor is None or not name:  # virtual displays and remote sessions
        return None
    driver = next((record for record in drivers if _belongs(record, name, place)), {})
    kind = Device.NPU if device.get("PNPClass") == "ComputeAccelerator" else Device.GPU
    trouble = device.get("ConfigManagerErrorCode")
    return Found(
        vendor,
        name,
        kind,
        memory_total_bytes=_size(driver.get("MemorySize")),
        driver=str(driver["DriverVersion"]) if driver.get("DriverVersion") else None,
        is_integrated=kind is Device.NPU or bool(_INTEGRATED.search(name)),
        blocked=(
            f"Windows reports problem code {trouble} for it: enable it in the Device Manager, or install its driver."
            if trouble
            else None
        ),
    )


def _belongs(driver: Mapping[str, Any], name: str, place: str) -> bool:
    """The registry names a device by some parts of its place, in any case; entries of removed cards stay there."""
    parts = _parts(str(driver.get("MatchingDeviceId") or ""))
    return bool(parts) and parts <= _parts(place) and driver.get("DriverDesc") in (None, name)


def _parts(place: str) -> frozenset[str]:
    """ "PCI\\VEN_10DE&DEV_2786&REV_A1\\4&2A1B" -> pci, ven_10de, dev_2786, rev_a1, ..."""
    return frozenset(filter(None, re.split(r"[\\&]", place.lower())))


def _size(value: Any) -> int | None:
    """A number, or the eight bytes of one: drivers write both."""
    if isinstance(value, list) and len(value) == 8 and all(isinstance(b, int) and 0 <= b < 256 for b in value):
        value = int.from_bytes(bytes(value), "little")
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
