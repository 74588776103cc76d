from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from registry.model import Device, ExecutionProvider, Model, Pin, Problem, Source, Status, Task
from selector.explain import hardware_as_json, selection_as_json
from selector.footprint import footprint, need_bytes
from selector.hardware import Accelerator
from selector.selection import Rejected, Selection, SelectionRequest, SessionFacts
from tests.selector.samples import GB, choose, make_demo, make_machine, make_model

CHAT = SelectionRequest(Task.CHAT)
SMALL = make_model("qwen2.5-0.5b-instruct", parameters=494_000_000, weight_bytes=317_000_000, kv_bytes_per_token=24_576)
MEDIUM = make_model()
CODER = make_model("qwen2.5-coder-1.5b-instruct")
LARGE = make_model(
    "qwen2.5-14b-instruct", parameters=14_700_000_000, weight_bytes=9_500_000_000, kv_bytes_per_token=393_216
)


def only_rejection(selection: Selection) -> Rejected:
    assert selection.chosen is None
    (rejection,) = selection.rejected
    return rejection


def test_nothing_known_says_how_to_add_models() -> None:
    selection = choose(CHAT, [], make_machine())
    assert selection.chosen is None
    assert "slmreg roots add" in selection.reason


def test_specialised_model_wins_its_task_and_only_its_task() -> None:
    models = [SMALL, MEDIUM, CODER]
    assert choose(SelectionRequest(Task.CODE), models, make_machine()).chosen == CODER.id
    assert choose(CHAT, models, make_machine()).chosen == MEDIUM.id


def test_of_two_snapshots_the_one_that_the_repository_points_at_is_taken() -> None:
    old = make_model(version="0a", source=Source.HUGGING_FACE)
    current = make_model(version="1b", source=Source.HUGGING_FACE, refs=("main",), weight_bytes=old.weight_bytes + 1)
    assert choose(CHAT, [old, current], make_machine()).chosen == current.id
    elsewhere = make_model(name="qwen2.5-1.5b", weight_bytes=old.weight_bytes)
    assert choose(CHAT, [elsewhere, old], make_machine()).chosen == elsewhere.id


def test_reason_names_the_winner_its_terms_and_the_next() -> None:
    selection = choose(SelectionRequest(Task.CODE), [SMALL, MEDIUM, CODER], make_machine())
    assert selection.reason.startswith("qwen2.5-coder-1.5b-instruct:1 is best of 3 for code: utility ")
    assert "specialised +" in selection.reason
    assert f"next {selection.ranking[1].model_id} with {selection.ranking[1].utility:.1f}." in selection.reason


def test_bigger_is_not_better_where_it_is_unbearably_slow() -> None:
    slow = make_machine(cores=1, total_gb=64, available_gb=60)
    assert choose(CHAT, [SMALL, LARGE], slow).chosen == SMALL.id


def test_model_that_does_not_fit_is_rejected_with_the_sum() -> None:
    rejection = only_rejection(choose(CHAT, [LARGE], make_machine(available_gb=6)))
    assert rejection.code == "memory"
    assert rejection.message == f"needs {footprint(LARGE, 4096)}; 4.4 GB available"


def test_status_other_than_ready_is_rejected_with_its_problem() -> None:
    broken = make_model(status=Status.PARTIAL, problems=(Problem("download", "The download is not finished."),))
    rejection = only_rejection(choose(CHAT, [broken], make_machine()))
    assert (rejection.code, rejection.message) == ("not_ready", "is partial: The download is not finished.")


def test_task_that_the_folder_does_not_show_is_rejected() -> None:
    rejection = only_rejection(choose(CHAT, [make_model(tasks=(Task.EMBEDDINGS,))], make_machine()))
    assert (rejection.code, rejection.message) == ("task", "cannot do chat; its files show: embeddings")


def test_tools_can_be_demanded_of_any_task() -> None:
    plain = make_model(tasks=(Task.CHAT,))
    assert only_rejection(choose(replace(CHAT, needs_tools=True), [plain], make_machine())).code == "tools"


def test_context_longer_than_the_models_own_is_rejected_with_both_numbers() -> None:
    request = replace(CHAT, context_tokens=5000)
    rejection = only_rejection(choose(request, [make_model(context_tokens=4096)], make_machine()))
    assert rejection.code == "context"
    assert "4096" in rejection.message
    assert "5000" in rejection.message


def test_context_beyond_the_limit_of_sessions_is_rejected() -> None:
    request = replace(CHAT, context_tokens=9000, context_limit_tokens=8192)
    assert "limited to 8192" in only_rejection(choose(request, [MEDIUM], make_machine())).message


def test_context_that_was_asked_for_must_fit_into_memory() -> None:
    machine = make_machine(available_gb=5)
    selection = choose(replace(CHAT, context_tokens=30_000), [MEDIUM], machine)
    assert only_rejection(selection).code == "memory"
    assert choose(replace(CHAT, context_tokens=20_000), [MEDIUM], machine).chosen == MEDIUM.id


def test_longest_context_that_fits_is_reported_within_the_limit() -> None:
    free = choose(CHAT, [MEDIUM], make_machine(available_gb=5))
    assert free.context_tokens is not None
    assert 20_000 < free.context_tokens < MEDIUM.context_tokens
    assert free.context_tokens % 256 == 0
    limited = choose(replace(CHAT, context_limit_tokens=1000), [MEDIUM], make_machine())
    assert limited.context_tokens == 1000


def test_model_shorter_than_the_tasks_minimum_serves_with_what_it_has() -> None:
    assert choose(CHAT, [make_model(context_tokens=1000)], make_machine()).context_tokens == 1000


CUDA_MODEL = make_model("phi-4-cuda-gpu", device=Device.GPU, execution_provider=ExecutionProvider.CUDA)


def test_provider_that_is_not_installed_is_rejected_with_what_to_install() -> None:
    reason = "Install onnxruntime-genai-cuda in place of onnxruntime-genai to use it."
    machine = make_machine(accelerators=(Accelerator("RTX", Device.GPU, 8 * GB, 8 * GB, reason=reason),))
    rejection = only_rejection(choose(CHAT, [CUDA_MODEL], machine))
    assert rejection.code == "execution_provider"
    assert rejection.message == f"needs the execution provider cuda; installed: cpu. {reason}"


def test_installed_provider_without_its_device_is_rejected() -> None:
    machine = make_machine(execution_providers=(ExecutionProvider.CPU, ExecutionProvider.CUDA))
    assert "found: none" in only_rejection(choose(CHAT, [CUDA_MODEL], machine)).message


def test_gpu_model_is_measured_against_the_memory_of_the_gpu() -> None:
    def with_gpu(free_gb: int) -> Selection:
        gpu = Accelerator(
            "RTX", Device.GPU, 24 * GB, free_gb * GB, usable=True, execution_providers=(ExecutionProvider.CUDA,)
        )
        providers = (ExecutionProvider.CPU, ExecutionProvider.CUDA)
        machine = make_machine(available_gb=1, accelerators=(gpu,), execution_providers=providers)
        return choose(CHAT, [CUDA_MODEL], machine)

    assert with_gpu(12).device is Device.GPU
    assert only_rejection(with_gpu(1)).code == "memory"


def test_demo_model_serves_where_it_is_alone() -> None:
    assert choose(CHAT, [make_demo()], make_machine()).chosen == "slmreg-demo:1"


@pytest.mark.parametrize("real", [MEDIUM, replace(LARGE, weight_bytes=10**12)])
def test_demo_model_is_rejected_beside_a_real_one_even_if_that_does_not_fit(real: Model) -> None:
    selection = choose(CHAT, [make_demo(), real], make_machine())
    assert selection.chosen != "slmreg-demo:1"
    assert "demo_model" in {rejection.code for rejection in selection.rejected}


@pytest.mark.parametrize(
    "other", [make_model(status=Status.MISSING), make_model(tasks=(Task.EMBEDDINGS,)), make_demo(version="2")]
)
def test_demo_model_stays_where_nothing_real_can_do_the_task(other: Model) -> None:
    chosen = choose(CHAT, [make_demo(), other], make_machine()).chosen
    assert chosen is not None
    assert chosen.startswith("slmreg-demo:")


def test_pin_wins_over_every_score() -> None:
    selection = choose(CHAT, [SMALL, MEDIUM], make_machine(), pins=[Pin(Task.CHAT, SMALL.id)])
    assert (selection.chosen, selection.pinned) == (SMALL.id, True)
    assert selection.reason == "qwen2.5-0.5b-instruct:1 is pinned for chat."


def test_pin_of_another_task_does_not_count() -> None:
    selection = choose(CHAT, [SMALL, MEDIUM], make_machine(), pins=[Pin(Task.CODE, SMALL.id)])
    assert (selection.chosen, selection.pinned) == (MEDIUM.id, False)


def test_pinned_model_that_cannot_serve_is_not_replaced_and_the_reason_says_why() -> None:
    selection = choose(CHAT, [SMALL, LARGE], make_machine(available_gb=6), pins=[Pin(Task.CHAT, LARGE.id)])
    assert (selection.chosen, selection.pinned) == (None, True)
    assert f"it needs {footprint(LARGE, 4096)}" in selection.reason
    assert "slmreg unpin chat" in selection.reason


def test_pinned_model_that_is_gone_is_not_replaced() -> None:
    selection = choose(CHAT, [SMALL], make_machine(), pins=[Pin(Task.CHAT, "gone:1")])
    assert (selection.chosen, selection.pinned) == (None, True)
    assert "there is no such model on this machine" in selection.reason


def test_demo_model_can_be_pinned_beside_a_real_one() -> None:
    selection = choose(CHAT, [make_demo(), MEDIUM], make_machine(), pins=[Pin(Task.CHAT, "slmreg-demo:1")])
    assert selection.chosen == "slmreg-demo:1"


def test_ledger_is_complete_and_adds_up() -> None:
    selection = choose(CHAT, [SMALL, MEDIUM, LARGE], make_machine())
    assert {c.model_id for c in selection.ranking} | {r.model_id for r in selection.rejected} == {
        SMALL.id,
        MEDIUM.id,
        LARGE.id,
    }
    for candidate in selection.ranking:
        assert set(candidate.terms) == {"Q", "specialised", "quant", "evaluated", "uncertainty", "latency", "memory"}
        assert candidate.utility == pytest.approx(math.fsum(candidate.terms.values()), abs=1e-6)
        assert {"quality", "speed", "memory"} <= set(candidate.evidence)


def test_memory_term_grows_as_the_model_fills_what_is_available() -> None:
    need = need_bytes(MEDIUM, 4096)

    def memory_term(available: float) -> float:
        machine = make_machine(total_gb=16, available_gb=(available + 1.6 * GB) / GB)
        return choose(CHAT, [MEDIUM], machine).ranking[0].terms["memory"]

    assert memory_term(need * 1.3) == 0
    assert -4 < memory_term(need * 1.08) < -2
    assert memory_term(need * 1.0001) == pytest.approx(-6, abs=0.05)


def test_equal_models_are_ordered_by_need_then_version_then_name() -> None:
    slim = make_model("b-model", kv_bytes_per_token=50_000)
    versions = [make_model("a-model", version=version) for version in ("8", "10", "9")]
    ranking = choose(CHAT, [*versions, slim], make_machine()).ranking
    assert [c.model_id for c in ranking] == ["b-model:1", "a-model:10", "a-model:9", "a-model:8"]


def test_loaded_model_stays_when_it_is_beaten_by_little() -> None:
    other = make_model("qwen2.5-1.6b-instruct", parameters=1_600_000_000)
    cold = choose(CHAT, [MEDIUM, other], make_machine())
    assert cold.chosen == other.id
    assert 0.5 < cold.ranking[0].utility - cold.ranking[1].utility < 1.5
    warm = choose(
        CHAT, [MEDIUM, other], make_machine(), sessions=[SessionFacts(MEDIUM.id, 2 * GB, is_reclaimable=True)]
    )
    assert warm.chosen == MEDIUM.id
    assert "too little to swap for" in warm.reason


def test_loaded_model_goes_when_it_is_beaten_by_more_than_the_margin() -> None:
    other = make_model("qwen2.5-2b-instruct", parameters=1_850_000_000)
    sessions = [SessionFacts(MEDIUM.id, 2 * GB, is_reclaimable=True)]
    selection = choose(CHAT, [MEDIUM, other], make_machine(), sessions=sessions)
    assert selection.chosen == other.id
    assert 2.5 < selection.ranking[0].utility - selection.ranking[1].utility < 4.5


def test_loaded_model_is_first_among_equals() -> None:
    twin, fast = replace(SMALL, name="Qwen2.5-0.5B"), make_machine(cores=32)
    cold = choose(CHAT, [twin, SMALL], fast)
    assert cold.ranking[0].terms["latency"] == 0
    assert cold.chosen == twin.id
    warm = choose(CHAT, [twin, SMALL], fast, sessions=[SessionFacts(SMALL.id, 1 * GB, is_reclaimable=True)])
    assert [c.model_id for c in warm.ranking] == [SMALL.id, twin.id]
    assert "best of 2" in warm.reason


def test_load_time_counts_against_a_cold_model() -> None:
    machine = make_machine(cores=1)
    (cold,) = choose(CHAT, [MEDIUM], machine).ranking
    (warm,) = choose(CHAT, [MEDIUM], machine, sessions=[SessionFacts(MEDIUM.id, 2 * GB, is_reclaimable=True)]).ranking
    assert cold.terms["latency"] < warm.terms["latency"] < 0
    assert cold.ttft_s > warm.ttft_s + 3


def test_loaded_model_serves_although_memory_has_become_short() -> None:
    sessions = [SessionFacts(MEDIUM.id, 2 * GB, is_reclaimable=False)]
    assert choose(CHAT, [MEDIUM], make_machine(available_gb=0.2), sessions=sessions).chosen == MEDIUM.id


def test_busy_neighbour_leaves_no_room_and_an_idle_one_makes_it() -> None:
    machine = make_machine(available_gb=2)
    busy = SessionFacts("other:1", 3 * GB, is_reclaimable=False)
    assert choose(CHAT, [MEDIUM], machine, sessions=[busy]).chosen is None
    assert choose(CHAT, [MEDIUM], machine, sessions=[replace(busy, is_reclaimable=True)]).chosen == MEDIUM.id


def test_memory_budget_bounds_the_choice() -> None:
    assert choose(CHAT, [SMALL, MEDIUM], make_machine(), memory_budget_bytes=1 * GB).chosen == SMALL.id


def test_selection_is_json_of_the_contract() -> None:
    machine = make_machine()
    selection = choose(CHAT, [SMALL, LARGE], machine)
    document = json.loads(json.dumps(selection_as_json(selection, machine)))
    assert document["task"] == "chat"
    assert document["chosen"] == SMALL.id
    assert document["pinned"] is False
    assert set(document["ranking"][0]) >= {
        *("id", "utility", "terms", "need_bytes", "available_bytes", "tokens_per_second", "ttft_s", "evidence"),
    }
    assert [set(r) for r in document["rejected"]] == [{"id", "code", "message"}]
    assert document["hardware"] == json.loads(json.dumps(hardware_as_json(machine)))


def test_hardware_is_json_of_the_contract() -> None:
    gpu = Accelerator("RTX", Device.GPU, reason="none installed")
    document = json.loads(json.dumps(hardware_as_json(make_machine(accelerators=(gpu,)))))
    assert set(document["cpu"]) >= {"name", "physical_cores", "logical_cores", "usable_cores", "flags"}
    assert set(document["memory"]) >= {"total_bytes", "available_bytes", "limit_bytes"}
    assert document["execution_providers"] == ["cpu"]
    assert document["probes"] == {"bandwidth_bytes_per_s": None, "flops": None}
    assert document["accelerators"][0]["device"] == "gpu"
