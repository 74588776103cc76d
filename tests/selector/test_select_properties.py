"""The invariants of a choice, over random machines, models, sessions and pins."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.model import Model, Pin, Precision, Source, Status, Task
from selector.appraisal import TIE_POINTS
from selector.footprint import BYTES_PER_PARAMETER, longest_context, need_bytes
from selector.hardware import Cpu, Hardware, Memory, Probes
from selector.selection import Candidate, SelectionRequest, SessionFacts
from tests.selector.samples import TEXT_TASKS, choose, make_model

MARGIN = 2.0 + TIE_POINTS
NAMES = ("qwen2.5-instruct", "qwen2.5-coder", "phi-4-mini-reasoning", "deepseek-r1-distill", "wonder", "llama-3.2-base")


@st.composite
def models(draw: st.DrawFn, index: int = 0) -> Model:
    parameters = draw(st.integers(1_000_000, 20_000_000_000))
    precision = draw(st.sampled_from([p for p in Precision if p is not Precision.UNKNOWN]))
    low, high = BYTES_PER_PARAMETER[precision]
    return make_model(
        f"{draw(st.sampled_from(NAMES))}-{index}",
        version=str(draw(st.integers(1, 12))),
        source=draw(st.sampled_from([Source.FOLDER, Source.FOLDER, Source.FOUNDRY, Source.DEMO])),
        status=draw(st.sampled_from([Status.READY, Status.READY, Status.READY, Status.PARTIAL])),
        tasks=tuple(draw(st.sets(st.sampled_from(TEXT_TASKS)))),
        parameters=parameters,
        precision=precision,
        accuracy_level=draw(st.sampled_from([0, 4, None])) if precision is Precision.INT4 else None,
        weight_bytes=int(parameters * draw(st.floats(low, high))),
        # No more than one KV head per attention head in fp32, as the fallback for unknown caches assumes.
        kv_bytes_per_token=1 + int((64 / 12 * parameters) ** (2 / 3) / 8 * draw(st.floats(0.02, 0.98))),
        context_tokens=draw(st.sampled_from([128, 1000, 2048, 4096, 32_768, 131_072])),
        vocab_size=draw(st.sampled_from([1_000, 32_000, 151_936, 262_144])),
    )


@st.composite
def catalogs(draw: st.DrawFn) -> list[Model]:
    return [draw(models(index)) for index in range(draw(st.integers(0, 6)))]


@st.composite
def machines(draw: st.DrawFn) -> Hardware:
    cores = draw(st.integers(1, 32))
    total = draw(st.integers(10**9, 128 * 10**9))
    limit = draw(st.none() | st.integers(10**8, total))
    available = draw(st.integers(0, total if limit is None else limit))
    bandwidth = draw(st.none() | st.floats(2e9, 200e9))
    flags = draw(st.sampled_from([(), ("avx2",), ("avx2", "avx512f")]))
    return Hardware(
        cpu=Cpu("random", cores, cores, cores, flags),
        memory=Memory(total, available, limit),
        probes=Probes(bandwidth, None if bandwidth is None else bandwidth * 10),
    )


def loaded(catalog: list[Model]) -> st.SearchStrategy[list[SessionFacts]]:
    if not catalog:
        return st.just([])
    sessions = st.builds(
        SessionFacts,
        model_id=st.sampled_from([model.id for model in catalog]),
        resident_bytes=st.integers(10**7, 20 * 10**9),
        is_reclaimable=st.booleans(),
    )
    return st.lists(sessions, max_size=3, unique_by=lambda session: session.model_id)


requests = st.builds(
    SelectionRequest,
    task=st.sampled_from(TEXT_TASKS),
    context_tokens=st.none() | st.integers(1, 20_000),
    needs_tools=st.booleans(),
    context_limit_tokens=st.none() | st.integers(256, 16_384),
)
often = settings(max_examples=100, deadline=None)


def utilities(ranking: tuple[Candidate, ...]) -> dict[str, float]:
    return {candidate.model_id: candidate.utility for candidate in ranking}


@often
@given(data=st.data(), request=requests, catalog=catalogs(), machine=machines())
def test_pick_passes_every_filter_and_every_model_is_accounted_for(
    data: st.DataObject, request: SelectionRequest, catalog: list[Model], machine: Hardware
) -> None:
    sessions = data.draw(loaded(catalog))
    budget = data.draw(st.none() | st.integers(0, 40 * 10**9))
    selection = choose(request, catalog, machine, sessions=sessions, memory_budget_bytes=budget)
    ranked, rejected = {c.model_id for c in selection.ranking}, {r.model_id for r in selection.rejected}
    assert ranked | rejected == {model.id for model in catalog}
    assert not ranked & rejected
    assert all(r.code and r.message for r in selection.rejected)
    assert (selection.chosen is None) == (not selection.ranking)
    by_id = {model.id: model for model in catalog}
    for candidate in selection.ranking:
        model = by_id[candidate.model_id]
        assert model.status is Status.READY
        assert request.task in model.tasks
        assert not request.needs_tools or Task.TOOLS in model.tasks
        assert candidate.need_bytes <= candidate.available_bytes
        assert (request.context_tokens or 1) <= candidate.context_tokens <= model.context_tokens
        assert request.context_limit_tokens is None or candidate.context_tokens <= request.context_limit_tokens
        assert need_bytes(model, candidate.context_tokens) <= candidate.available_bytes
        assert math.isclose(math.fsum(candidate.terms.values()), candidate.utility, abs_tol=1e-6)


@often
@given(data=st.data(), request=requests, catalog=catalogs(), machine=machines())
def test_order_of_the_models_does_not_matter(
    data: st.DataObject, request: SelectionRequest, catalog: list[Model], machine: Hardware
) -> None:
    sessions = data.draw(loaded(catalog))
    shuffled = data.draw(st.permutations(catalog))
    one, other = (
        choose(request, catalog, machine, sessions=sessions),
        choose(request, shuffled, machine, sessions=sessions[::-1]),
    )
    assert one == other
    assert one.ledger == other.ledger


@often
@given(request=requests, catalog=catalogs(), machine=machines(), more=st.integers(0, 64 * 10**9))
def test_more_memory_makes_more_feasible_and_nothing_worse(
    request: SelectionRequest, catalog: list[Model], machine: Hardware, more: int
) -> None:
    memory = replace(machine.memory, available_bytes=machine.memory.available_bytes + more)
    larger = replace(machine, memory=memory)
    before = utilities(choose(request, catalog, machine).ranking)
    after = utilities(choose(request, catalog, larger).ranking)
    assert before.keys() <= after.keys()
    assert all(after[model_id] >= utility for model_id, utility in before.items())


@often
@given(request=requests, catalog=catalogs(), machine=machines(), factor=st.floats(1, 10))
def test_faster_machine_lowers_no_utility(
    request: SelectionRequest, catalog: list[Model], machine: Hardware, factor: float
) -> None:
    slow = replace(machine, probes=Probes(20e9, 200e9))
    fast = replace(machine, probes=Probes(20e9 * factor, 200e9 * factor))
    before, after = (utilities(choose(request, catalog, m).ranking) for m in (slow, fast))
    assert all(after[model_id] >= utility for model_id, utility in before.items())


@often
@given(request=requests, catalog=catalogs(), machine=machines())
def test_removing_a_loser_changes_nothing(request: SelectionRequest, catalog: list[Model], machine: Hardware) -> None:
    chosen = choose(request, catalog, machine).chosen
    real = [model for model in catalog if not model.is_demo]
    for loser in real:
        # A real model that does not fit still keeps the demo model out.
        if loser.id != chosen and len(real) == len(catalog):
            rest = [model for model in catalog if model is not loser]
            assert choose(request, rest, machine).chosen == chosen


@often
@given(request=requests, catalog=catalogs(), machine=machines(), is_idle=st.booleans())
def test_select_load_select_again_picks_the_same(
    request: SelectionRequest, catalog: list[Model], machine: Hardware, is_idle: bool
) -> None:
    first = choose(request, catalog, machine)
    if first.chosen is None:
        return
    need = next(c.need_bytes for c in first.ranking if c.model_id == first.chosen)
    left = replace(machine.memory, available_bytes=machine.memory.available_bytes - need)
    session = SessionFacts(first.chosen, need, is_reclaimable=is_idle)
    assert choose(request, catalog, replace(machine, memory=left), sessions=[session]).chosen == first.chosen


@often
@given(data=st.data(), request=requests, catalog=catalogs(), machine=machines())
def test_incumbent_stays_only_within_the_margin(
    data: st.DataObject, request: SelectionRequest, catalog: list[Model], machine: Hardware
) -> None:
    sessions = data.draw(loaded(catalog))
    selection = choose(request, catalog, machine, sessions=sessions)
    if selection.chosen is None:
        return
    utility = utilities(selection.ranking)
    best = max(utility.values())
    assert best - utility[selection.chosen] <= MARGIN + TIE_POINTS
    held = {session.model_id for session in sessions}
    if selection.chosen not in held:
        assert all(best - utility[i] > MARGIN - 2 * TIE_POINTS for i in held & utility.keys())


@often
@given(data=st.data(), request=requests, catalog=catalogs(), machine=machines())
def test_pin_is_chosen_or_nothing_is(
    data: st.DataObject, request: SelectionRequest, catalog: list[Model], machine: Hardware
) -> None:
    pinned = data.draw(st.sampled_from([*(model.id for model in catalog), "gone:1"]))
    selection = choose(request, catalog, machine, pins=[Pin(request.task, pinned)])
    assert selection.pinned
    assert selection.chosen in (pinned, None)
    assert pinned in selection.reason
    assert (selection.chosen is None) == (pinned not in utilities(selection.ranking))


@often
@given(data=st.data(), request=requests, catalog=catalogs(), machine=machines())
def test_demo_model_is_never_picked_beside_a_real_one(
    data: st.DataObject, request: SelectionRequest, catalog: list[Model], machine: Hardware
) -> None:
    selection = choose(request, catalog, machine, sessions=data.draw(loaded(catalog)))
    real = [m for m in catalog if not m.is_demo and m.status is Status.READY and request.task in m.tasks]
    if real:
        assert all(not model.is_demo for model in catalog if model.id == selection.chosen)


@often
@given(data=st.data(), request=requests, model=models(), machine=machines())
def test_unknown_facts_never_raise_a_utility(
    data: st.DataObject, request: SelectionRequest, model: Model, machine: Hardware
) -> None:
    model = replace(model, status=Status.READY, tasks=TEXT_TASKS)
    unknown: dict[str, Any] = {
        "parameters": None,
        "precision": Precision.UNKNOWN,
        "accuracy_level": None,
        "kv_bytes_per_token": 0,
        "vocab_size": None,
    }
    blanked = data.draw(st.sets(st.sampled_from(sorted(unknown)), min_size=1))
    vague = replace(model, **{name: unknown[name] for name in blanked})
    known = utilities(choose(request, [model], machine).ranking)
    for model_id, utility in utilities(choose(request, [vague], machine).ranking).items():
        assert utility <= known[model_id]


@often
@given(model=models(), a=st.integers(0, 100_000), b=st.integers(0, 100_000))
def test_kv_is_linear_in_the_context(model: Model, a: int, b: int) -> None:
    base = need_bytes(model, 0)
    assert need_bytes(model, a + b) - base == (need_bytes(model, a) - base) + (need_bytes(model, b) - base)


@often
@given(model=models(), budget=st.integers(0, 100 * 10**9), steps=st.integers(1, 600))
def test_need_and_longest_context_invert_each_other(model: Model, budget: int, steps: int) -> None:
    longest = longest_context(model, budget)
    assert longest % 256 == 0 or longest == model.context_tokens
    if longest:
        assert need_bytes(model, longest) <= budget
    if longest < model.context_tokens:
        assert need_bytes(model, min(longest + 256, model.context_tokens)) > budget
    wanted = min(steps * 256, model.context_tokens)
    assert longest_context(model, need_bytes(model, wanted)) == wanted
