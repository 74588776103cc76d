from __future__ import annotations

from dataclasses import replace

import pytest

from registry.model import Precision
from registry.onnx.file import Input
from registry.onnx.graph import GraphFacts
from registry.reading.genai_config import CacheShape
from registry.reading.kv_cache import cache_of

FLOAT, UINT8, FLOAT16 = 1, 2, 10
SHAPE = CacheShape(
    layers=4, heads=2, head_size=16, names=("past_key_values.%d.key", "past_key_values.%d.value"), windowed_layers=0
)
GRAPH = GraphFacts(
    parameters=0,
    idle_parameters=0,
    precision=Precision.UNKNOWN,
    mixture={},
    accuracy_level=None,
    block_size=None,
    is_paged=False,
    windows=(),
    inputs=(),
    outputs=(),
    external={},
    compiled=(),
)


def graph(*layers: int, data_type: int = FLOAT, dims: tuple[int | None, ...] = (None, 2, None, 16)) -> GraphFacts:
    names = [f"past_key_values.{layer}.{part}" for layer in layers for part in ("key", "value")]
    return replace(
        GRAPH, inputs=(Input("input_ids", 7, (None, None)), *(Input(name, data_type, dims) for name in names))
    )


def test_only_the_layers_that_keep_tokens_count() -> None:
    cache = cache_of(SHAPE, [graph(1, 3)], Precision.INT4, is_text=True)
    assert (cache.bytes_per_token, cache.precision, cache.guess) == (2 * 2 * 2 * 16 * 4, Precision.FP32, None)


def test_stages_of_a_pipeline_that_hand_the_same_cache_on_count_once() -> None:
    cache = cache_of(SHAPE, [graph(0, 1), graph(1, 2, 3)], Precision.INT4, is_text=True)
    assert cache.bytes_per_token == 4 * 2 * 2 * 16 * 4


@pytest.mark.parametrize(
    ("dims", "is_paged", "elements"),
    [
        ((None, 2, None, 16), False, 32),  # the usual order
        ((1, 2, 16, 4095), False, 32),  # a compiler's: keys turned, a fixed length
        ((None, None, 2, 16), True, 32),  # blocks
        ((None, 256, 4, 8), True, 32),  # blocks of 256 tokens, whose sizes are not those of the configuration
        ((None, None, None, None), False, 32),  # the graph does not say
    ],
)
def test_the_order_of_the_dimensions_does_not_matter(
    dims: tuple[int | None, ...], is_paged: bool, elements: int
) -> None:
    facts = replace(graph(0, data_type=FLOAT16, dims=dims), is_paged=is_paged)
    cache = cache_of(SHAPE, [facts], Precision.INT4, is_text=True)
    assert (cache.bytes_per_token, cache.precision) == (2 * elements * 2, Precision.FP16)


def test_keys_and_values_in_one_input_count_as_two() -> None:
    shape = replace(SHAPE, names=("past_%d",))
    facts = replace(GRAPH, inputs=(Input("past_0", FLOAT, (2, None, 2, None, 16)),))
    assert cache_of(shape, [facts], Precision.FP32, is_text=True).bytes_per_token == 2 * 2 * 16 * 4


def test_two_4_bit_numbers_share_a_byte() -> None:
    cache = cache_of(SHAPE, [graph(0, data_type=UINT8, dims=(None, 2, None, 8))], Precision.INT4, is_text=True)
    assert (cache.bytes_per_token, cache.precision) == (2 * 2 * 8, Precision.INT4)


@pytest.mark.parametrize(
    ("weights", "element_bytes"), [(Precision.INT4, 4), (Precision.FP16, 2), (Precision.UNKNOWN, 4)]
)
def test_without_inputs_the_configuration_is_all_there_is(weights: Precision, element_bytes: int) -> None:
    cache = cache_of(SHAPE, [GRAPH], weights, is_text=True)
    assert cache.bytes_per_token == 4 * 2 * 2 * 16 * element_bytes
    assert cache.guess == "genai_config, type from the weights"


def test_what_nobody_says_is_unknown() -> None:
    cache = cache_of(replace(SHAPE, heads=None), [GRAPH], Precision.INT4, is_text=True)
    assert (cache.bytes_per_token, cache.guess) == (0, "unknown")


def test_a_transducer_has_no_cache() -> None:
    cache = cache_of(SHAPE, [GRAPH], Precision.INT4, is_text=False)
    assert (cache.bytes_per_token, cache.guess) == (0, None)


def test_layers_with_a_window_make_it_an_upper_bound() -> None:
    cache = cache_of(replace(SHAPE, windowed_layers=3), [graph(0, 1, 2, 3)], Precision.INT4, is_text=True)
    assert cache.guess == "upper bound: 3 layers keep only the sliding window"


def test_dimensions_that_no_machine_can_hold_stay_within_bounds() -> None:
    facts = graph(0, dims=(None, 2**50, None, 2**50))
    assert cache_of(SHAPE, [facts], Precision.INT4, is_text=True).bytes_per_token < 2**63
