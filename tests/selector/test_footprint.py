from __future__ import annotations

import pytest

from registry.model import Device, ExecutionProvider, Precision
from selector.footprint import (
    GIB,
    MIB,
    footprint,
    format_bytes,
    kv_bytes_per_token,
    longest_context,
    need_bytes,
    reserve_bytes,
)
from tests.selector.samples import make_demo, make_model


def test_parts_of_the_footprint_add_up_to_the_need() -> None:
    model = make_model()
    parts = footprint(model, 2048)
    assert parts.weight_factor == 1.45
    assert parts.kv_bytes == 57_344 * 2048
    assert parts.total_bytes == int(1.45 * 1_100_000_000) + parts.kv_bytes + parts.fixed_bytes
    assert need_bytes(model, 2048) == parts.total_bytes


def test_footprint_reads_as_a_sum() -> None:
    text = str(footprint(make_model(weight_bytes=3_500_000_000), 2048))
    assert text == "5.5 GB = 1.45 x 3.5 GB weights + 117 MB KV at 2048 + 338 MB"


@pytest.mark.parametrize(
    ("precision", "accuracy_level", "factor"),
    [
        (Precision.INT4, 4, 1.45),
        (Precision.INT4, 0, 1.0),
        (Precision.INT4, None, 1.45),
        (Precision.INT8, None, 1.25),
        (Precision.UNKNOWN, None, 2.1),
    ],
)
def test_weight_factor_follows_the_kernels(precision: Precision, accuracy_level: int | None, factor: float) -> None:
    assert footprint(make_model(precision=precision, accuracy_level=accuracy_level), 0).weight_factor == factor


def test_gpu_keeps_one_copy_of_the_weights() -> None:
    model = make_model(device=Device.GPU, execution_provider=ExecutionProvider.CUDA)
    assert footprint(model, 0).weight_factor == 1.05


def test_a_model_of_a_megabyte_does_not_need_a_quarter_of_a_gigabyte() -> None:
    assert 64 * MIB < need_bytes(make_demo(), 2048) < 150 * MIB


def test_prediction_is_near_the_measured_half_billion_parameter_model() -> None:
    """Peak resident memory of Qwen2.5-0.5B's shape, int4, at 512 and 4096 tokens: 680 and 761 MiB (measured)."""
    model = make_model(weight_bytes=331_203_910, parameters=494_000_000, kv_bytes_per_token=24_576)
    assert 680 * MIB < need_bytes(model, 512) < 1.2 * 680 * MIB
    assert 761 * MIB < need_bytes(model, 4096) < 1.2 * 761 * MIB


def test_longest_context_is_rounded_down_to_256_and_capped_by_the_model() -> None:
    model = make_model()
    assert longest_context(model, need_bytes(model, 5000)) == 4864
    assert longest_context(model, need_bytes(model, 10**6)) == model.context_tokens
    assert longest_context(model, need_bytes(model, 255)) == 0
    assert longest_context(model, 0) == 0


def test_short_context_of_the_model_itself_is_reached_without_rounding() -> None:
    model = make_model(context_tokens=200)
    assert longest_context(model, need_bytes(model, 200)) == 200
    assert longest_context(model, need_bytes(model, 199)) == 0


def test_unknown_kv_size_is_counted_as_the_widest_attention() -> None:
    phi3_mini = make_model(parameters=3_820_000_000, kv_bytes_per_token=0)
    known = 32 * 2 * 32 * 96 * 4
    assert known < kv_bytes_per_token(phi3_mini) < 1.3 * known


def test_unknown_weights_are_counted_from_the_parameters() -> None:
    assert need_bytes(make_model(weight_bytes=0, size_bytes=0), 0) > 1_540_000_000


@pytest.mark.parametrize(("total", "reserve"), [(2 * GIB, GIB // 2), (20 * GIB, 2 * GIB), (128 * GIB, 4 * GIB)])
def test_reserve_is_a_tenth_within_bounds(total: int, reserve: int) -> None:
    assert reserve_bytes(total) == reserve


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 kB"), (317_000_000, "317 MB"), (6_100_000_000, "6.1 GB"), (12_345, "12 kB")]
)
def test_bytes_are_written_in_decimal_units(count: int, text: str) -> None:
    assert format_bytes(count) == text
