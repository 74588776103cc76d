from __future__ import annotations

from dataclasses import replace

import pytest

from registry.model import Device, ExecutionProvider, Precision
from selector.hardware import Accelerator, Cpu, Probes
from selector.speed import assumed_bandwidth, predict_speed
from tests.selector.samples import GB, make_machine, make_model


def test_probed_machine_predicts_what_was_measured_on_it() -> None:
    """Two cores at 22 GB/s: the 317 MB int4 model decoded 58-61 tokens/s."""
    machine = make_machine(cores=2, probes=Probes(bandwidth_bytes_per_s=22e9, flops=340e9))
    speed = predict_speed(make_model(weight_bytes=317_000_000, parameters=494_000_000), machine)
    assert speed.tokens_per_second == pytest.approx(58, rel=0.05)
    assert speed.ttft_s(1000) == pytest.approx(4.85, rel=0.05)
    assert speed.source == "predicted from probed 22 GB/s"


def test_without_probes_the_prediction_says_that_it_is_assumed() -> None:
    speed = predict_speed(make_model(), make_machine(cores=2))
    assert speed.source == "predicted from assumed 20 GB/s"


def test_assumed_bandwidth_stops_growing_with_cores() -> None:
    assert assumed_bandwidth(Cpu("x", 1, 1, 1)) < assumed_bandwidth(Cpu("x", 2, 2, 2))
    assert assumed_bandwidth(Cpu("x", 8, 8, 8)) == assumed_bandwidth(Cpu("x", 64, 128, 64))


def test_slow_kernels_are_counted_as_slow() -> None:
    machine = make_machine()
    fast = predict_speed(make_model(accuracy_level=4), machine).tokens_per_second
    for slow_model in (
        make_model(accuracy_level=0),
        make_model(accuracy_level=None),
        make_model(precision=Precision.UNKNOWN),
        make_model(precision=Precision.FP16),
    ):
        assert predict_speed(slow_model, machine).tokens_per_second < 0.6 * fast


def test_unknown_size_is_counted_as_more_work() -> None:
    known, unknown = (predict_speed(make_model(parameters=n), make_machine()) for n in (1_540_000_000, None))
    assert unknown.ttft_s(512) > known.ttft_s(512)


def test_instruction_sets_shorten_the_prefill() -> None:
    model = make_model()
    plain, avx2, avx512 = (
        predict_speed(model, replace(make_machine(), cpu=Cpu("x", 4, 4, 4, flags))).ttft_s(512)
        for flags in ((), ("avx2",), ("avx2", "avx512f"))
    )
    assert plain > avx2 > avx512


def test_card_with_memory_of_its_own_is_faster_than_a_shared_gpu() -> None:
    model = make_model(device=Device.GPU, execution_provider=ExecutionProvider.CUDA)
    card = Accelerator("card", Device.GPU, 8 * GB, 8 * GB, usable=True)
    with_card = predict_speed(model, make_machine(accelerators=(card,)))
    shared = predict_speed(model, make_machine(accelerators=(Accelerator("igpu", Device.GPU, usable=True),)))
    assert with_card.tokens_per_second > shared.tokens_per_second


def test_answer_time_is_prefill_and_decode() -> None:
    speed = predict_speed(make_model(), make_machine())
    assert speed.answer_s(100, 50) == pytest.approx(speed.ttft_s(100) + 50 / speed.tokens_per_second)
