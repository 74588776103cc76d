from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from selector.hardware import Cpu, Probes
from selector.hardware.cache import HardwareCache
from selector.hardware.probe import ROUND_S, ROUNDS, Work, bandwidth, best_rate, flops
from selector.hardware.probes import (
    BYTES_PER_THREAD,
    LEAST_BYTES_PER_THREAD,
    MOST_BYTES,
    RUNS,
    is_settled,
    known_probes,
    probe,
    run_probe,
)

GIB = 1024**3
CPU = Cpu("a CPU", 4, 8, 4, kernels=("avx2",))


class Measured:
    """Stands for the child: answers in turn, and remembers what it was told."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.told: list[tuple[int, int]] = []

    def __call__(self, threads: int, bytes_per_thread: int) -> str | None:
        self.told.append((threads, bytes_per_thread))
        answer = self.answers.pop(0)
        return answer if answer is None or isinstance(answer, str) else json.dumps(answer)


def rates(bandwidth_bytes_per_s: object, floating: object) -> dict[str, object]:
    return {"bandwidth_bytes_per_s": bandwidth_bytes_per_s, "flops": floating}


@pytest.fixture
def cache(tmp_path: Path) -> HardwareCache:
    return HardwareCache(tmp_path / "hardware.json")


def test_nothing_is_known_before_the_first_measurement(cache: HardwareCache) -> None:
    assert known_probes(cache, CPU) == Probes()


def test_what_was_measured_is_known_from_then_on(cache: HardwareCache) -> None:
    assert probe(cache, CPU, 32 * GIB, Measured(rates(22e9, 340e9))) == Probes(22e9, 340e9)
    assert known_probes(cache, CPU) == Probes(22e9, 340e9)


def test_the_best_of_all_measurements_counts(cache: HardwareCache) -> None:
    measured = Measured(rates(20e9, 300e9), rates(25e9, 100e9), rates(1e9, None), None)
    for expected in (Probes(20e9, 300e9), Probes(25e9, 300e9), Probes(25e9, 300e9), Probes(25e9, 300e9)):
        assert probe(cache, CPU, 32 * GIB, measured) == expected
    assert known_probes(cache, CPU) == Probes(25e9, 300e9)


def test_several_runs_settle_it_and_failures_do_not(cache: HardwareCache) -> None:
    probe(cache, CPU, 32 * GIB, Measured(None))
    for _ in range(RUNS):
        assert not is_settled(cache, CPU)
        probe(cache, CPU, 32 * GIB, Measured(rates(20e9, 300e9)))
    assert is_settled(cache, CPU)
    assert not is_settled(cache, Cpu("another CPU", 4, 8, 4))


def test_measurement_counts_for_its_cpu_and_its_threads_alone(cache: HardwareCache) -> None:
    probe(cache, CPU, 32 * GIB, Measured(rates(22e9, 340e9)))
    assert known_probes(cache, Cpu("another CPU", 4, 8, 4)) == Probes()
    assert known_probes(cache, Cpu("a CPU", 4, 8, 2)) == Probes()


@pytest.mark.parametrize(
    "printed",
    [
        None,
        "",
        "no JSON",
        "[1, 2]",
        "[" * 100_000,
        rates(None, None),
        rates("22e9", True),
        rates(-1, 0),
        rates(float("nan"), float("inf")),
        rates(1e15, None),
    ],
)
def test_answer_that_cannot_be_true_is_none(cache: HardwareCache, printed: object) -> None:
    assert probe(cache, CPU, 32 * GIB, Measured(printed)) == Probes()
    assert known_probes(cache, CPU) == Probes()


@pytest.mark.parametrize(("kernels", "most"), [(("neon",), 4 * 180e9), (("avx512f",), 4 * 350e9)])
def test_arithmetic_beyond_the_cores_own_units_is_cut_off(
    cache: HardwareCache, kernels: tuple[str, ...], most: float
) -> None:
    """Apple's library multiplies on a coprocessor that ONNX Runtime's kernels do not use."""
    cpu = Cpu("Apple M3", 8, 8, 4, kernels=kernels)
    assert probe(cache, cpu, 32 * GIB, Measured(rates(100e9, 9e12))).flops == most


@pytest.mark.parametrize(
    ("threads", "available_bytes", "expected"),
    [
        (4, 64 * GIB, BYTES_PER_THREAD),
        (64, 64 * GIB, MOST_BYTES // 64),
        (4, 2 * GIB, 2 * GIB // 8 // 4),
    ],
)
def test_measuring_takes_a_bounded_share_of_the_memory(
    cache: HardwareCache, threads: int, available_bytes: int, expected: int
) -> None:
    measured = Measured(rates(22e9, None))
    probe(cache, Cpu("x", threads, threads, threads), available_bytes, measured)
    assert measured.told == [(threads, expected)]


def test_no_measurement_where_no_memory_is_to_spare(cache: HardwareCache) -> None:
    assert probe(cache, CPU, 4 * 8 * LEAST_BYTES_PER_THREAD - 1, Measured()) == Probes()


def test_this_machine_can_be_measured(cache: HardwareCache) -> None:
    cpu = Cpu("this", 2, 2, 2)
    measured = probe(cache, cpu, 2 * GIB, run_probe)
    assert measured.bandwidth_bytes_per_s is not None
    # Slower than any machine, faster than none: only a wrong unit is beyond either.
    assert 1e8 < measured.bandwidth_bytes_per_s < 1e13


def test_rates_are_per_second() -> None:
    assert 1e8 < bandwidth(1, 8 * 1024 * 1024) < 1e13
    rate = flops(1)
    assert rate is None or 2e9 <= rate < 1e14


class OwnClock(threading.local):
    """Goes on by a quarter of a round at each look, in each thread by itself; the first round counts double."""

    now_s = 0.0
    looks = 0

    def __call__(self) -> float:
        self.looks += 1
        self.now_s += ROUND_S / 8 if self.looks <= 9 else ROUND_S / 4
        return self.now_s


def test_rate_is_what_all_threads_do_together_in_their_best_round() -> None:
    steps: list[int] = []

    def prepare() -> Work:
        return lambda: steps.append(threading.get_ident()), 1e6

    rate = best_rate(2, prepare, OwnClock())
    # 7 steps in the first round, 3 in each of the others, and one ahead of them all, in both threads.
    assert len(set(steps)) == 2
    assert len(steps) == 2 * (1 + 7 + 3 * (ROUNDS - 1))
    assert rate == pytest.approx(2 * 7 * 1e6 / ROUND_S)
