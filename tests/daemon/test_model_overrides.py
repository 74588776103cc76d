from __future__ import annotations

import pytest

from daemon.model_overrides import NO_OVERRIDE, ModelOverride, override_of
from tests.fakes import a_model

PHI = a_model("Phi-4-mini-instruct-cpu", alias="phi-4-mini")


@pytest.mark.parametrize(
    ("patterns", "wins"),
    [
        (("phi-4*", "phi*"), "phi-4*"),
        (("phi*", "*mini-instruct*"), "*mini-instruct*"),
        (("phi-4-mini-instruct-*", "phi-4-mini"), "phi-4-mini"),
        (("phi-4-mini", "PHI-4-MINI-instruct-cpu:1"), "PHI-4-MINI-instruct-cpu:1"),
        (("phi-?*", "phi-*?"), "phi-?*"),
        (("qwen*", "*cpu:1"), "*cpu:1"),
        (("qwen*",), None),
        ((), None),
    ],
)
def test_the_exact_name_wins_and_then_the_longest_glob(patterns: tuple[str, ...], wins: str | None) -> None:
    overrides = {pattern: ModelOverride(threads=number) for number, pattern in enumerate(patterns, start=1)}
    applied = override_of(PHI, overrides)
    assert applied.pattern == wins
    if wins is None:
        assert applied is NO_OVERRIDE
    else:
        assert applied.override is overrides[wins]


def test_one_counts_alone() -> None:
    overrides = {"phi*": ModelOverride(threads=1), "phi-4*": ModelOverride(context_tokens=512)}
    assert override_of(PHI, overrides).override.threads is None


def test_for_ever_is_a_time_and_no_time_is_none() -> None:
    for_ever = ModelOverride.model_validate({"keep_alive": -1})
    assert (for_ever.has_keep_alive, for_ever.keep_alive, for_ever.said()) == (True, None, {"keep_alive": -1.0})
    assert not ModelOverride(threads=1).has_keep_alive
