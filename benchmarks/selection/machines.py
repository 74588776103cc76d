"""The machines of the simulation: 2 to 128 GB, 2 to 32 cores, some with a GPU, some in a container, none of them empty.

Invariant: a machine depends on its number and the seed alone, so that more machines never change the first ones.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from registry.model import Device, ExecutionProvider
from selector.hardware import Accelerator, Cpu, Hardware, Memory, Probes

GIB = 1024**3
TOTAL_GIB = (2, 4, 8, 8, 16, 16, 32, 32, 64, 128)
CORES = (2, 4, 4, 6, 8, 8, 12, 16, 24, 32)
# More memory mostly comes with more cores: so many places apart in the lists at the most.
_APART = 3
GPU_SHARE = 0.3
GPU_GIB = (4, 6, 8, 8, 12, 16, 24)
CONTAINER_SHARE = 0.25
# Of 2 to 12 memory channels of 10-25 GB/s as a program sees them; one core reads at most about 15 GB/s.
BANDWIDTH = (12e9, 200e9)
BANDWIDTH_PER_CORE = 15e9
FLOPS_PER_CORE = (25e9, 130e9)
# The command line asks before the probes have run.
UNPROBED_SHARE = 0.1


def draw_machine(number: int, seed: int) -> Hardware:
    """What the selector sees of machine ``number``, and all of it is so: the truth about models is drawn elsewhere."""
    dice = Random(f"machine {number} of {seed}")
    place = dice.randrange(len(TOTAL_GIB))
    cores = CORES[min(len(CORES) - 1, max(0, place + dice.randint(-_APART, _APART)))]
    has_gpu = dice.random() < GPU_SHARE
    providers = (ExecutionProvider.CUDA, ExecutionProvider.CPU) if has_gpu else (ExecutionProvider.CPU,)
    return Hardware(
        cpu=Cpu("simulated", cores, 2 * cores, cores, ("avx2",)),
        memory=_memory(TOTAL_GIB[place] * GIB, dice),
        accelerators=(_gpu(dice),) if has_gpu else (),
        execution_providers=providers,
        probes=_probes(cores, dice),
    )


def jittered(hardware: Hardware, available_bytes: int) -> Hardware:
    """The same machine with so much memory available."""
    return replace(hardware, memory=replace(hardware.memory, available_bytes=available_bytes))


def _memory(total_bytes: int, dice: Random) -> Memory:
    """Other programs hold a twentieth to six tenths; a container has a limit of a quarter to all of it."""
    limit = int(total_bytes * dice.uniform(0.25, 1.0)) if dice.random() < CONTAINER_SHARE else None
    ceiling = limit or total_bytes
    return Memory(total_bytes, int(ceiling * (1 - dice.uniform(0.05, 0.6))), limit)


def _gpu(dice: Random) -> Accelerator:
    total_bytes = dice.choice(GPU_GIB) * GIB
    return Accelerator(
        "simulated card",
        Device.GPU,
        memory_total_bytes=total_bytes,
        memory_available_bytes=int(total_bytes * dice.uniform(0.5, 0.97)),
        usable=True,
        execution_providers=(ExecutionProvider.CUDA,),
    )


def _probes(cores: int, dice: Random) -> Probes:
    if dice.random() < UNPROBED_SHARE:
        return Probes()
    low, high = BANDWIDTH
    bandwidth = low * (high / low) ** dice.random()
    return Probes(min(bandwidth, cores * BANDWIDTH_PER_CORE), cores * dice.uniform(*FLOPS_PER_CORE))
