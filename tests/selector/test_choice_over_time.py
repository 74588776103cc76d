"""A choice after a choice: what was laid out once stays true, and a loaded model is not swapped for little."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from registry.experience import Measurement
from registry.model import Fallback, Model, Pin, Task
from selector.appraisal import step_of
from selector.footprint import need_bytes, reserve_bytes
from selector.hardware import Hardware, Memory
from selector.policy import Policy
from selector.select import INCUMBENT_IDLE_S, INCUMBENT_STEPS, LEAST_SWAP_S, TOOL_LOOP_STEPS, Field, select
from selector.selection import Candidate, Circumstances, LastSwap, SelectionRequest, SessionFacts, Setback
from tests.selector.samples import GB, TEXT_TASKS, choose, make_machine, make_model
from tests.selector.test_select_properties import catalogs, loaded, machines, models, requests

CHAT = SelectionRequest(Task.CHAT)
BETTER = make_model("qwen2.5-1.6b-instruct", parameters=1_600_000_000)
LOADED = make_model()
wishes = st.builds(
    lambda request, policy, deadline_s, is_in_tool_loop: replace(
        request, policy=policy, deadline_s=deadline_s, is_in_tool_loop=is_in_tool_loop
    ),
    requests,
    st.sampled_from(Policy),
    st.none() | st.floats(0.1, 1000),
    st.booleans(),
)


def setbacks(catalog: list[Model]) -> st.SearchStrategy[list[Setback]]:
    if not catalog:
        return st.just([])
    return st.lists(
        st.builds(
            Setback,
            model_id=st.sampled_from([model.id for model in catalog]),
            device=st.just(catalog[0].device),
            need_bytes=st.integers(10**8, 20 * 10**9),
            seconds_left=st.floats(1, 100),
        ),
        max_size=1,
    )


def swaps(catalog: list[Model]) -> st.SearchStrategy[LastSwap | None]:
    if not catalog:
        return st.none()
    ids = st.sampled_from([model.id for model in catalog])
    return st.none() | st.builds(LastSwap, model_id=ids, seconds_ago=st.floats(0, 200))


def hybrids(catalog: list[Model]) -> list[Model]:
    """Every other model can answer with and without thinking."""
    return [replace(m, has_thinking_switch=i % 2 == 0, can_reason=i % 2 == 0) for i, m in enumerate(catalog)]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), request=wishes, catalog=catalogs().map(hybrids), machine=machines())
def test_quick_pick_is_what_the_whole_ledger_says(
    data: st.DataObject, request: SelectionRequest, catalog: list[Model], machine: Hardware
) -> None:
    now = Circumstances(
        hardware=machine,
        sessions=tuple(data.draw(loaded(catalog))),
        setbacks=tuple(data.draw(setbacks(catalog))),
        last_swap=data.draw(swaps(catalog)),
    )
    selection = select(request, catalog, now)
    ranking = selection.ranking
    if selection.pick is None:
        assert not ranking
        return
    assert selection.pick in ranking
    held = {session.model_id for session in now.sessions}
    if selection.pick.model_id not in held:
        assert selection.pick == ranking[0]
    elif selection.pick != ranking[0]:
        assert selection.pick == next(c for c in ranking if c.model_id in held)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), request=wishes, catalog=catalogs(), machine=machines())
def test_field_that_was_laid_out_earlier_chooses_like_a_fresh_one(
    data: st.DataObject, request: SelectionRequest, catalog: list[Model], machine: Hardware
) -> None:
    field = Field(catalog, Circumstances(hardware=machine))
    for _ in range(2):
        memory = replace(machine.memory, available_bytes=data.draw(st.integers(0, machine.memory.total_bytes)))
        now = Circumstances(hardware=replace(machine, memory=memory), sessions=tuple(data.draw(loaded(catalog))))
        assert field.holds_for(catalog, now)
        earlier, fresh = field.select(request, now), select(request, catalog, now)
        assert earlier == fresh
        assert earlier.ledger == fresh.ledger


def test_field_does_not_hold_for_other_models_machines_or_measurements() -> None:
    now, catalog = Circumstances(hardware=make_machine()), (LOADED,)
    field = Field(catalog, now)
    assert field.holds_for(catalog, replace(now, hardware=make_machine(available_gb=1)))
    assert not field.holds_for((LOADED, BETTER), now)
    assert not field.holds_for(catalog, Circumstances(hardware=make_machine(cores=7)))
    measured = Measurement(model_id=LOADED.id, content="", device=LOADED.device, threads=4, measured_s=0)
    assert not field.holds_for(catalog, replace(now, measurements=(measured,)))


def test_ledger_can_be_asked_for_when_the_field_is_gone() -> None:
    catalog, now = (LOADED, BETTER), Circumstances(hardware=make_machine())
    field = Field(catalog, now)
    selection, expected = field.select(CHAT, now), field.ledger(CHAT, now)
    del field
    assert selection.ledger == expected


def warm(idle_s: float = 0.0) -> list[SessionFacts]:
    return [SessionFacts(LOADED.id, 2 * GB, is_reclaimable=True, idle_s=idle_s)]


def test_loaded_model_that_nobody_used_for_five_minutes_is_no_incumbent() -> None:
    machine = make_machine()
    assert choose(CHAT, [LOADED, BETTER], machine, sessions=warm()).chosen == LOADED.id
    assert choose(CHAT, [LOADED, BETTER], machine, sessions=warm(INCUMBENT_IDLE_S)).chosen == BETTER.id
    told = choose(CHAT, [LOADED, BETTER], machine, sessions=warm()).ledger.changes
    assert ("once what is loaded has been idle for 5 minutes", BETTER.id) in {(c.what, c.chosen) for c in told}


def test_model_is_kept_longer_in_the_middle_of_a_tool_loop() -> None:
    ahead = make_model("qwen2.5-2b-instruct", parameters=1_850_000_000)
    assert choose(CHAT, [LOADED, ahead], make_machine(), sessions=warm()).chosen == ahead.id
    loop = replace(CHAT, is_in_tool_loop=True)
    assert choose(loop, [LOADED, ahead], make_machine(), sessions=warm()).chosen == LOADED.id


@pytest.mark.parametrize(("seconds_ago", "stays"), [(LEAST_SWAP_S - 1, True), (LEAST_SWAP_S, False)])
def test_task_stays_a_minute_with_what_took_over(seconds_ago: float, stays: bool) -> None:
    far_ahead = make_model("qwen2.5-3b-instruct", parameters=3_000_000_000)
    swap = LastSwap(LOADED.id, seconds_ago)
    chosen = choose(CHAT, [LOADED, far_ahead], make_machine(cores=16), sessions=warm(), last_swap=swap).chosen
    assert (chosen == LOADED.id) == stays


def test_nothing_is_loaded_just_after_a_swap_and_the_best_of_what_is_loaded_serves() -> None:
    worse = make_model("qwen2.5-0.5b-instruct", parameters=494_000_000, weight_bytes=317_000_000)
    far_ahead = make_model("qwen2.5-3b-instruct", parameters=3_000_000_000)
    sessions = [*warm(), SessionFacts(worse.id, 1 * GB, is_reclaimable=True)]
    swap = LastSwap(worse.id, 10.0)
    machine = make_machine(cores=16)
    selection = choose(CHAT, [LOADED, worse, far_ahead], machine, sessions=sessions, last_swap=swap)
    assert selection.chosen == LOADED.id
    assert "the last change was less than a minute ago" in selection.reason
    assert choose(CHAT, [LOADED, worse], machine, sessions=sessions, last_swap=swap).chosen == LOADED.id


def test_session_that_was_loaded_with_a_short_context_counts_as_not_loaded_for_a_long_request() -> None:
    other = make_model("qwen2.5-0.5b-instruct", parameters=494_000_000, weight_bytes=317_000_000)
    session = [SessionFacts(LOADED.id, 2 * GB, is_reclaimable=True, context_tokens=512)]
    long = replace(CHAT, context_tokens=4000)
    selection = choose(long, [LOADED, other], make_machine(), sessions=session)
    assert selection == choose(long, [LOADED, other], make_machine(), sessions=[replace(session[0], model_id="gone")])
    assert selection.chosen == LOADED.id
    assert selection.pick is not None
    assert "loaded" not in selection.pick.evidence
    assert selection.pick.context_tokens >= 4000
    assert choose(CHAT, [LOADED, other], make_machine(), sessions=session).context_tokens == 512


def test_session_with_a_short_context_does_not_serve_a_long_request_where_there_is_no_memory_for_more() -> None:
    other = make_model("qwen2.5-0.5b-instruct", parameters=494_000_000, weight_bytes=317_000_000)
    session = [SessionFacts(LOADED.id, 1 * GB, is_reclaimable=False, context_tokens=512)]
    long = replace(CHAT, context_tokens=4000)
    scarce = replace(make_machine(), memory=Memory(16 * GB, reserve_bytes(16 * GB) + need_bytes(LOADED, 4096) - 1))
    selection = choose(long, [LOADED, other], scarce, sessions=session)
    assert selection.chosen == other.id
    assert [(r.code, r.model_id) for r in selection.rejected] == [("memory", LOADED.id)]


class Days(RuleBasedStateMachine):
    """Requests, loads, unloads, pins and memory that comes and goes; each choice is checked against the one before."""

    @initialize(catalog=st.lists(st.integers(0, 9).flatmap(models), min_size=2, max_size=5, unique_by=lambda m: m.id))
    def begin(self, catalog: list[Model]) -> None:
        self.catalog = catalog
        self.machine = make_machine(available_gb=40, total_gb=64, cores=8)
        self.held: dict[str, SessionFacts] = {}
        self.pin: Pin | None = None
        self.field: Field | None = None

    def circumstances(self) -> Circumstances:
        return Circumstances(
            hardware=self.machine,
            sessions=tuple(self.held.values()),
            pins=(self.pin,) if self.pin is not None else (),
        )

    @rule(task=st.sampled_from(TEXT_TASKS), is_loop=st.booleans())
    def ask(self, task: Task, is_loop: bool) -> None:
        request = SelectionRequest(task, is_in_tool_loop=is_loop)
        now = self.circumstances()
        if self.field is None or not self.field.holds_for(self.catalog, now):
            self.field = Field(self.catalog, now)
        selection = self.field.select(request, now)
        pick = selection.pick
        if self.pin is not None and self.pin.task is task:
            if self.pin.fallback is Fallback.ERROR:
                assert selection.chosen in (None, self.pin.model_id)
            elif any(c.model_id == self.pin.model_id for c in selection.ranking):
                assert selection.chosen == self.pin.model_id
        elif pick is not None:
            self._check_margin(pick, selection.ranking, TOOL_LOOP_STEPS if is_loop else INCUMBENT_STEPS)
        if pick is not None:
            self._load(pick)
            assert self.field.select(request, self.circumstances()).chosen == pick.model_id

    def _check_margin(self, pick: Candidate, ranking: tuple[Candidate, ...], steps: int) -> None:
        best = ranking[0]
        behind = step_of(best.utility) - step_of(pick.utility)
        if pick.model_id != best.model_id:
            assert pick.model_id in self.held
            assert behind <= steps
            assert self.held[pick.model_id].idle_s < INCUMBENT_IDLE_S

    def _load(self, pick: Candidate) -> None:
        if pick.model_id not in self.held:
            for model_id in [i for i, s in self.held.items() if s.is_reclaimable]:
                self._give_back(model_id)
            self._use(pick.need_bytes)
        self.held[pick.model_id] = SessionFacts(pick.model_id, pick.need_bytes, is_reclaimable=True)

    @rule(idle_s=st.floats(0, 1000))
    def wait(self, idle_s: float) -> None:
        self.held = {i: replace(s, idle_s=s.idle_s + idle_s) for i, s in self.held.items()}

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def unload(self, data: st.DataObject) -> None:
        self._give_back(data.draw(st.sampled_from(sorted(self.held))))

    @rule(data=st.data(), fallback=st.sampled_from(Fallback), task=st.sampled_from(TEXT_TASKS))
    def pin_one(self, data: st.DataObject, fallback: Fallback, task: Task) -> None:
        ids = [*(model.id for model in self.catalog), "gone:1"]
        self.pin = Pin(task, data.draw(st.sampled_from(ids)), fallback=fallback)

    @rule()
    def unpin(self) -> None:
        self.pin = None

    def _give_back(self, model_id: str) -> None:
        self._use(-self.held.pop(model_id).resident_bytes)

    def _use(self, count: int) -> None:
        memory = self.machine.memory
        left = max(0, min(memory.total_bytes, memory.available_bytes - count))
        self.machine = replace(self.machine, memory=replace(memory, available_bytes=left))

    @invariant()
    def sessions_are_of_known_models(self) -> None:
        assert set(getattr(self, "held", {})) <= {model.id for model in getattr(self, "catalog", [])}


TestDays = Days.TestCase
TestDays.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)
