from __future__ import annotations

from pathlib import Path

import pytest

from selector.hardware import Power
from selector.hardware.memory import Swap, host_memory, linux_swap, portable_swap
from selector.hardware.power import linux_power, portable_power, slow_mode
from tests.selector.hardware.recorded import plant, write

SUPPLY = "sys/class/power_supply"


def test_swap_is_read_in_bytes(tmp_path: Path) -> None:
    assert linux_swap(plant(tmp_path, "linux-hybrid-laptop")) == Swap(8388604 * 1024, 8000000 * 1024)


@pytest.mark.parametrize("text", ["", "SwapTotal: 5 kB\n", "SwapTotal: x kB\nSwapFree: -1 kB\n"])
def test_swap_that_is_not_told_is_unknown(tmp_path: Path, text: str) -> None:
    assert linux_swap(write(tmp_path, {"proc/meminfo": text})) is None


def test_laptop_off_its_mains_runs_on_battery_and_its_mouse_does_not_count(tmp_path: Path) -> None:
    root = plant(tmp_path, "linux-hybrid-laptop")
    assert linux_power(root) == Power(on_battery=True, battery_percent=63)
    write(root, {f"{SUPPLY}/AC/online": "1\n"})
    assert linux_power(root) == Power(on_battery=False, battery_percent=63)


def test_machine_without_a_battery_is_on_mains(tmp_path: Path) -> None:
    assert linux_power(tmp_path) == Power(on_battery=False)


@pytest.mark.parametrize(("status", "expected"), [("Discharging", True), ("Full", None), ("Unknown", None)])
def test_battery_alone_tells_by_losing_charge(tmp_path: Path, status: str, expected: bool | None) -> None:
    write(tmp_path, {f"{SUPPLY}/BAT1/type": "Battery", f"{SUPPLY}/BAT1/status": status})
    assert linux_power(tmp_path) == Power(on_battery=expected)


def test_this_machine_has_memory_swap_and_power() -> None:
    total, available = host_memory()
    assert 0 < available <= total
    assert 0 <= portable_swap().free_bytes <= portable_swap().total_bytes
    percent = portable_power().battery_percent
    assert percent is None or 0 <= percent <= 100


@pytest.mark.parametrize(
    ("governor", "preference", "expected"),
    [
        ("powersave", "", "governor powersave"),
        ("schedutil", "", None),
        ("powersave", "balance_performance", None),  # intel_pstate's normal mode
        ("powersave", "power", "energy preference power"),
        ("", "", None),
    ],
)
def test_a_processor_that_was_told_to_save_energy_is_seen(
    tmp_path: Path, governor: str, preference: str, expected: str | None
) -> None:
    policy = "sys/devices/system/cpu/cpu0/cpufreq"
    told = {"scaling_governor": governor, "energy_performance_preference": preference}
    write(tmp_path, {f"{policy}/{name}": text for name, text in told.items() if text})
    assert slow_mode(tmp_path) == expected
