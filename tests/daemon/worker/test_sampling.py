from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from daemon.worker.sampling import Logits, Sampler, SamplingParams, largest
from registry.errors import GenerationFailed
from tests.daemon.worker.plain_sampling import PlainSampler

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


def test_min_p_keeps_what_is_likely_beside_the_likeliest() -> None:
    seen = frequencies(SamplingParams(min_p=0.45, seed=1), [0.1, 0.4, 0.3, 0.2])
    assert np.allclose(seen, [0, 0.4 / 0.9, 0.3 / 0.9, 0.2 / 0.9], atol=0.03)
    assert frequencies(SamplingParams(min_p=1.0, seed=1), [0.1, 0.4, 0.3, 0.2], draws=50)[1] == 1


@pytest.mark.parametrize("more", [{"top_p": 0.9}, {"top_k": 3}, {"top_k": 3, "top_p": 0.95}])
def test_min_p_counts_after_top_k_and_top_p(more: dict[str, float]) -> None:
    params = SamplingParams(min_p=0.6, seed=1, top_k=int(more.get("top_k", 0)), top_p=more.get("top_p", 1.0))
    assert np.allclose(frequencies(params, [0.1, 0.4, 0.3, 0.2]), [0, 4 / 7, 3 / 7, 0], atol=0.03)


def test_min_p_holds_in_a_nucleus_wider_than_the_first_guess() -> None:
    weights = [1.0] * 1000 + [0.4] * 2000
    seen = frequencies(SamplingParams(min_p=0.5, top_p=0.99, seed=1), [each / sum(weights) for each in weights])
    assert seen[1000:].sum() == 0


def adjusted(sampling: SamplingParams, logits: Sequence[float], *, prompt: Sequence[int] = (), answer: int = 0) -> int:
    """The greedy choice after an answer that has ``answer`` times the token 1."""
    sampler = Sampler(sampling, prompt=prompt)
    for _ in range(answer):
        assert sampler.pick(np.array([-9, 99, -9], dtype=np.float32)) == 1
    return sampler.pick(np.array(logits, dtype=np.float32))


@pytest.mark.parametrize("logits", [[1.0, 1.9, -9.0], [-1.9, -1.0, -9.0]])
def test_repetition_penalty_divides_positive_and_multiplies_negative_logits_once(logits: list[float]) -> None:
    params = SamplingParams(temperature=0, repetition_penalty=2.0)
    assert adjusted(params, logits) == 1
    assert adjusted(params, logits, prompt=[1, 1]) == 0
    assert adjusted(params, logits, answer=1) == 0
    # Seen three times is no more than seen once.
    assert adjusted(params, [logits[0] * (0.4 if logits[0] > 0 else 3), logits[1], -9.0], prompt=[1], answer=2) == 1


def test_presence_penalty_is_taken_once_and_only_for_the_answer() -> None:
    params = SamplingParams(temperature=0, presence_penalty=1.0)
    assert adjusted(params, [0.0, 0.9, -9], prompt=[1]) == 1
    assert adjusted(params, [0.0, 0.9, -9], answer=1) == 0
    assert adjusted(params, [0.0, 1.1, -9], answer=5) == 1


def test_frequency_penalty_is_taken_each_time() -> None:
    params = SamplingParams(temperature=0, frequency_penalty=0.5)
    assert adjusted(params, [0.0, 0.9, -9], prompt=[1, 1, 1]) == 1
    assert adjusted(params, [0.0, 0.9, -9], answer=1) == 1
    assert adjusted(params, [0.0, 0.9, -9], answer=2) == 0


def test_logit_bias_moves_single_tokens() -> None:
    params = SamplingParams(temperature=0, logit_bias={2: 100.0, 0: -100.0})
    assert adjusted(params, [5.0, 4.0, -50.0]) == 2
    assert adjusted(params, [5.0, 4.0, -99.0]) == 1


def test_tokens_beyond_the_logits_change_nothing() -> None:
    params = SamplingParams(temperature=0, logit_bias={99: 5.0}, repetition_penalty=1.5)
    assert adjusted(params, [0.0, 1.0, 0.5], prompt=[99]) == 1


def test_what_is_adjusted_is_a_copy() -> None:
    logits = large_logits()
    before = logits.copy()
    params = SamplingParams(repetition_penalty=1.5, presence_penalty=1, logit_bias={1: 5.0}, seed=1)
    sampler = Sampler(params, prompt=[1, 2, 3], end_ids=frozenset({4}), min_tokens=3)
    for _ in range(4):
        sampler.pick(logits)
    assert np.array_equal(logits, before)


def test_no_end_token_comes_before_the_least_length() -> None:
    logits = np.array([0, 9, 1, 8], dtype=np.float32)
    sampler = Sampler(SamplingParams(temperature=0), end_ids=frozenset({1, 3, 77}), min_tokens=2)
    assert [sampler.pick(logits) for _ in range(3)] == [2, 2, 1]


class OneOf:
    """Allows some tokens at each step."""

    def __init__(self, *steps: set[int]) -> None:
        self.steps = list(steps)
        self.accepted: list[int] = []

    def apply(self, logits: Logits) -> Logits:
        allowed = np.full_like(logits, -np.inf)
        ids = sorted(self.steps[0])
        allowed[ids] = logits[ids]
        return allowed

    def accept(self, token: int) -> None:
        self.accepted.append(token)
        self.steps.pop(0)

    def fitting(self, tokens: Sequence[int]) -> int:
        fits = [token in step for token, step in zip(tokens, self.steps, strict=False)]
        return [*fits, False].index(False)

    @property
    def is_complete(self) -> bool:
        return not self.steps


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_form_allows_only_its_own_tokens_and_says_when_it_is_complete(temperature: float) -> None:
    form = OneOf({3}, {5}, {7, 8})
    sampler = Sampler(SamplingParams(temperature=temperature, top_p=0.9, seed=1), constraint=form)
    logits = np.zeros(64, dtype=np.float32)
    assert not sampler.is_complete
    picked = [sampler.pick(logits) for _ in range(3)]
    assert (picked[:2], picked[2] in {7, 8}) == ([3, 5], True)
    assert form.accepted == picked
    assert sampler.is_complete


def test_a_bias_cannot_break_the_form() -> None:
    params = SamplingParams(temperature=0, logit_bias={1: 100.0})
    assert Sampler(params, constraint=OneOf({2})).pick(np.zeros(4, dtype=np.float32)) == 2


def test_an_answer_whose_form_can_only_end_ends_before_the_least_length() -> None:
    form = OneOf({1})
    sampler = Sampler(SamplingParams(), end_ids=frozenset({1}), min_tokens=5, constraint=form)
    assert sampler.pick(np.zeros(4, dtype=np.float32)) == 1
    assert form.accepted == []  # an end token is no part of the form


def test_a_form_that_no_token_can_continue_fails() -> None:
    with pytest.raises(GenerationFailed, match="form"):
        Sampler(SamplingParams(), constraint=OneOf(set())).pick(np.zeros(4, dtype=np.float32))


@pytest.mark.parametrize("count", [1, 40, 512, 1186, 1187, 5000, VOCAB, 2 * VOCAB])
@pytest.mark.parametrize("kind", ["usual", "rounded", "equal", "forbidden"])
def test_the_largest_are_those_that_sorting_finds(count: int, kind: str) -> None:
    values = large_logits()
    if kind == "rounded":
        values = np.round(values)
    elif kind == "equal":
        values[:] = 1
    elif kind == "forbidden":
        values[17:] = -np.inf
    ids = largest(values, count)
    assert len(np.unique(ids)) == len(ids) == min(count, VOCAB)
    assert np.array_equal(np.sort(values[ids]), np.sort(values)[-len(ids) :])


SETTINGS: list[dict[str, float]] = [
    {"temperature": 0},
    {},
    {"temperature": 0.7},
    {"top_p": 0.9},
    {"top_p": 0.5, "temperature": 1.3},
    {"top_k": 40},
    {"top_k": 2000, "top_p": 0.95},
    {"min_p": 0.05},
    {"top_k": 40, "top_p": 0.9, "min_p": 0.1, "temperature": 0.6},
    {"min_p": 0.001, "top_p": 0.99},
]


@pytest.mark.parametrize("asked", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", ["flat", "peaked", "rounded", "half", "forbidden", "few"])
def test_the_fast_way_draws_what_the_plain_one_does(asked: dict[str, Any], kind: str) -> None:
    sampling = SamplingParams(seed=11, **asked)
    sampler, plain = Sampler(sampling), PlainSampler(sampling)
    for step in range(4):
        logits: Logits = large_logits(step)
        if kind == "peaked":
            logits[np.random.default_rng(step).integers(0, VOCAB, 50)] += 14
        elif kind == "rounded":
            logits = np.round(logits)
        elif kind == "half":
            logits = logits.astype(np.float16)
        elif kind == "forbidden":
            logits[np.arange(VOCAB) % 1000 != 3] = -np.inf
        elif kind == "few":
            logits = logits[:700]
        assert sampler.pick(logits) == plain.pick(logits)


def test_a_greedy_choice_that_is_close_is_not_made() -> None:
    params = SamplingParams(temperature=0, presence_penalty=1.0)
    sampler = Sampler(params)
    close, clear = np.array([3, 0, 2.95], dtype=np.float32), np.array([3, 0, 2.5], dtype=np.float32)
    assert [sampler.pick_clear(close, 0.1) for _ in range(3)] == [None] * 3
    assert sampler.pick_clear(clear, 0.1) == 0
    # Only what was chosen counts for the penalty.
    assert sampler.pick_clear(close, 0.1) == 2


def test_a_draw_is_never_too_close() -> None:
    logits = np.array([3, 0, 3], dtype=np.float32)
    params = SamplingParams(seed=3)
    clear, plain = Sampler(params), Sampler(params)
    assert [clear.pick_clear(logits, 0.1) for _ in range(9)] == [plain.pick(logits) for _ in range(9)]


def test_a_choice_among_a_single_token_is_clear() -> None:
    logits = np.array([3, 2.99], dtype=np.float32)
    assert Sampler(SamplingParams(temperature=0), constraint=OneOf({1})).pick_clear(logits, 0.1) == 1
    assert Sampler(SamplingParams(temperature=0)).pick_clear(logits[:1], 0.1) == 0


def test_what_fits_a_form_is_found_without_going_on() -> None:
    form = OneOf({3, 4}, {5}, {7})
    sampler = Sampler(SamplingParams(temperature=0), constraint=form)
    assert list(sampler.fitting([4, 5, 6])) == [4, 5]
    assert list(sampler.fitting([6, 5])) == []
    assert sampler.pick(np.zeros(9, dtype=np.float32)) == 3
    assert list(Sampler(SamplingParams()).fitting([6, 5])) == [6, 5]
