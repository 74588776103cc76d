from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from daemon.worker.sampling import Sampler, SamplingParams
from registry.errors import GenerationFailed

VOCAB = 151_936


def logits_of(probabilities: list[float]) -> npt.NDArray[np.float32]:
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities, dtype=np.float32))


def frequencies(sampling: SamplingParams, probabilities: list[float], draws: int = 4000) -> npt.NDArray[np.float64]:
    sampler = Sampler(sampling)
    logits = logits_of(probabilities)
    picks = np.bincount([sampler.pick(logits) for _ in range(draws)], minlength=len(probabilities))
    return picks / draws


def large_logits(seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 3, VOCAB).astype(np.float32)


def test_temperature_zero_takes_the_largest() -> None:
    logits = large_logits()
    assert Sampler(SamplingParams(temperature=0)).pick(logits) == int(np.argmax(logits))


def test_draws_follow_the_distribution() -> None:
    expected = [0.5, 0.3, 0.15, 0.05]
    assert np.allclose(frequencies(SamplingParams(seed=1), expected), expected, atol=0.03)


def test_temperature_sharpens_and_flattens() -> None:
    base = [0.6, 0.4]
    sharp = 0.6**2 / (0.6**2 + 0.4**2)
    flat = 0.6**0.5 / (0.6**0.5 + 0.4**0.5)
    assert frequencies(SamplingParams(temperature=0.5, seed=2), base)[0] == pytest.approx(sharp, abs=0.03)
    assert frequencies(SamplingParams(temperature=2, seed=2), base)[0] == pytest.approx(flat, abs=0.03)


def test_top_k_keeps_the_k_largest_in_proportion() -> None:
    seen = frequencies(SamplingParams(top_k=2, seed=3), [0.1, 0.4, 0.3, 0.2])
    assert np.allclose(seen, [0, 4 / 7, 3 / 7, 0], atol=0.03)


def test_top_p_keeps_the_fewest_that_reach_p() -> None:
    seen = frequencies(SamplingParams(top_p=0.65, seed=4), [0.1, 0.4, 0.3, 0.2])
    assert np.allclose(seen, [0, 4 / 7, 3 / 7, 0], atol=0.03)


def test_top_p_always_keeps_one() -> None:
    assert frequencies(SamplingParams(top_p=0.0, seed=4), [1 / 3] * 3, draws=50).max() == 1
    assert frequencies(SamplingParams(top_p=0.0, seed=4), [0.1, 0.9], draws=50)[1] == 1


def test_top_p_counts_after_top_k() -> None:
    # Of the three kept by top-k the first has 0.4 / 0.9 of the weight, which is enough for 0.44.
    assert frequencies(SamplingParams(top_k=3, top_p=0.44, seed=4), [0.1, 0.4, 0.3, 0.2], draws=50)[1] == 1


def test_a_nucleus_wider_than_the_first_guess_is_found() -> None:
    uniform = [1 / 1000] * 1000
    seen = frequencies(SamplingParams(top_p=0.9, seed=5), uniform)
    assert 850 < np.count_nonzero(seen) <= 900


def test_a_wide_nucleus_is_drawn_from_in_proportion() -> None:
    halves = [1.0] * 1000 + [3.0] * 1000 + [0.5] * 2000
    seen = frequencies(SamplingParams(top_p=0.8, seed=1), [weight / sum(halves) for weight in halves])
    assert seen[2000:].sum() == 0
    assert seen[:1000].sum() == pytest.approx(0.25, abs=0.03)
    assert seen[1000:2000].sum() == pytest.approx(0.75, abs=0.03)


def test_impossible_tokens_are_never_drawn() -> None:
    assert frequencies(SamplingParams(seed=6), [0.5, 0.0, 0.5], draws=500)[1] == 0


@pytest.mark.parametrize(
    "sampling", [SamplingParams(seed=7), SamplingParams(seed=-7, top_p=0.9), SamplingParams(seed=2**63, top_k=40)]
)
def test_a_seed_gives_the_same_tokens_whatever_others_draw(sampling: SamplingParams) -> None:
    steps = [large_logits(step) for step in range(6)]
    alone = [sampler.pick(logits) for sampler in [Sampler(sampling)] for logits in steps]
    first, other = Sampler(sampling), Sampler(SamplingParams(seed=99))
    mixed = []
    for logits in steps:
        other.pick(logits)
        mixed.append(first.pick(logits))
    assert mixed == alone


def test_without_a_seed_two_requests_differ() -> None:
    logits = large_logits()
    one, two = (
        [sampler.pick(logits) for _ in range(20)] for sampler in (Sampler(SamplingParams()), Sampler(SamplingParams()))
    )
    assert one != two


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_numbers_fail(temperature: float, bad: float) -> None:
    logits = large_logits()
    logits[1234] = bad
    with pytest.raises(GenerationFailed, match="not numbers"):
        Sampler(SamplingParams(temperature=temperature)).pick(logits)


def test_logits_that_allow_nothing_fail() -> None:
    with pytest.raises(GenerationFailed, match="not numbers"):
        Sampler(SamplingParams()).pick(np.full(8, -np.inf, dtype=np.float32))


def test_half_precision_logits_are_taken() -> None:
    assert Sampler(SamplingParams(seed=1, top_k=1)).pick(np.array([0, 3, 1], dtype=np.float16)) == 1


def test_a_tiny_temperature_is_greedy_without_overflow() -> None:
    logits = large_logits()
    assert Sampler(SamplingParams(temperature=1e-6, seed=1)).pick(logits) == int(np.argmax(logits))
