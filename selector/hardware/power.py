"""Whether the machine runs on battery, or was told to save energy."""

from __future__ import annotations

from pathlib import Path

import psutil

from selector.hardware.files import entries, read_count, read_word
from selector.hardware.values import Power


def linux_power(root: Path) -> Power:
    """From ``sys/class/power_supply`` under ``root``. Batteries of mice and headsets do not count."""
    supplies = [s for s in entries(root / "sys/class/power_supply") if read_word(s / "scope") != "Device"]
    batteries = [supply for supply in supplies if read_word(supply / "type") == "Battery"]
    charges = [charge for supply in batteries if (charge := read_count(supply / "capacity")) is not None]
    # A USB-C port is a supply of its own, of the type USB; it is online only while something feeds it.
    online = [read_word(s / "online") for s in supplies if read_word(s / "type") in ("Mains", "USB")]
    percent = float(sum(charges) / len(charges)) if charges else None
    if not batteries:
        return Power(on_battery=False, battery_percent=None)
    if "1" in online:
        return Power(on_battery=False, battery_percent=percent)
    # Not every laptop shows its mains adapter; a battery that loses charge gives the same answer.
    is_discharging = any(read_word(battery / "status") == "Discharging" for battery in batteries)
    return Power(on_battery=is_discharging or (True if "0" in online else None), battery_percent=percent)


def slow_mode(root: Path = Path("/")) -> str | None:
    """What holds the processor's frequency down under Linux ("governor powersave"); None if nothing does or is told.

    Drivers that let the processor choose (intel_pstate, amd-pstate-epp) call their normal mode "powersave" as well;
    with these the energy preference says what was asked for.
    """
    policy = root / "sys/devices/system/cpu/cpu0/cpufreq"
    governor, preference = read_word(policy / "scaling_governor"), read_word(policy / "energy_performance_preference")
    if preference:
        return f"energy preference {preference}" if preference == "power" else None
    return f"governor {governor}" if governor == "powersave" else None


def portable_power() -> Power:
    """What psutil says; it has no batteries on some systems, and None for "cannot tell"."""
    read = getattr(psutil, "sensors_battery", None)
    battery = read() if read is not None else None
    if battery is None:
        return Power(on_battery=False if read is not None else None)
    plugged = battery.power_plugged
    return Power(on_battery=None if plugged is None else not plugged, battery_percent=float(battery.percent))
