from __future__ import annotations

from dataclasses import replace

from registry.model import Device, ExecutionProvider
from selector.budget import accelerator_bytes, available_bytes, headroom_bytes
from selector.footprint import GIB
from selector.hardware import Accelerator
from selector.selection import SessionFacts
from tests.selector.samples import GB, make_machine, make_model

BUSY = SessionFacts("busy:1", 2 * GB, is_reclaimable=False)
IDLE = SessionFacts("idle:1", 1 * GB, is_reclaimable=True)


def test_reserve_is_left_to_the_machine() -> None:
    assert available_bytes(make_machine(available_gb=8, total_gb=16)) == 8 * GB - 16 * GB // 10


def test_reserve_follows_the_container_and_not_its_host() -> None:
    machine = make_machine(available_gb=2, total_gb=64, limit_gb=2)
    assert available_bytes(machine) == 2 * GB - GIB // 2


def test_idle_sessions_give_back_and_busy_ones_do_not() -> None:
    machine = make_machine()
    assert available_bytes(machine, [BUSY, IDLE]) == available_bytes(machine) + 1 * GB


def test_own_session_counts_as_free_even_when_it_is_busy() -> None:
    machine = make_machine()
    assert available_bytes(machine, [BUSY, IDLE], for_model="busy:1") == available_bytes(machine) + 3 * GB


def test_budget_is_shared_with_what_busy_sessions_hold() -> None:
    machine = make_machine()
    assert available_bytes(machine, [BUSY, IDLE], memory_budget_bytes=5 * GB) == 3 * GB
    assert available_bytes(machine, [BUSY, IDLE], for_model="busy:1", memory_budget_bytes=5 * GB) == 5 * GB


def test_what_busy_sessions_were_promised_is_theirs_and_what_idle_ones_were_is_not() -> None:
    machine = make_machine()
    busy, idle = replace(BUSY, promised_bytes=GB), replace(IDLE, promised_bytes=GB)
    assert available_bytes(machine, [busy, idle]) == available_bytes(machine, [BUSY, IDLE]) - 1 * GB
    assert available_bytes(machine, [busy], for_model="busy:1") == available_bytes(machine, [BUSY], for_model="busy:1")
    assert available_bytes(machine, [busy, idle], memory_budget_bytes=5 * GB) == 2 * GB


def test_the_reserve_can_be_said_and_the_headroom_may_be_below_nothing() -> None:
    machine = make_machine(available_gb=3, total_gb=16)
    assert available_bytes(machine, memory_reserve_bytes=1 * GB) == 2 * GB
    assert headroom_bytes(machine, 4 * GB) == -1 * GB
    assert available_bytes(machine, memory_reserve_bytes=4 * GB) == 0


def test_nothing_is_less_than_nothing() -> None:
    assert available_bytes(make_machine(available_gb=0.1)) == 0
    assert available_bytes(make_machine(), [BUSY], memory_budget_bytes=1 * GB) == 0


def test_sessions_cannot_give_back_more_than_the_machine_has() -> None:
    huge = SessionFacts("huge:1", 500 * GB, is_reclaimable=True)
    assert available_bytes(make_machine(total_gb=16), [huge]) == 16 * GB


def test_accelerator_memory_is_that_of_the_largest_device_that_fits_the_provider() -> None:
    small, large, other = (
        Accelerator(f"gpu {free}", Device.GPU, 10 * GB, free * GB, usable=True, execution_providers=(provider,))
        for free, provider in (
            (2, ExecutionProvider.CUDA),
            (5, ExecutionProvider.CUDA),
            (9, ExecutionProvider.WEBGPU),
        )
    )
    machine = make_machine(accelerators=(small, large, other))
    cuda = make_model(device=Device.GPU, execution_provider=ExecutionProvider.CUDA)
    assert accelerator_bytes(machine, cuda) == 5 * GB * 9 // 10
    assert accelerator_bytes(machine, make_model()) is None
    assert accelerator_bytes(make_machine(), cuda) is None
