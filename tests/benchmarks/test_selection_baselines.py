"""The ways of choosing that slmreg is held against do what is said of them, and see nothing but the machine."""

from __future__ import annotations

from benchmarks.selection.baselines import BASELINES, first_alias, first_of_the_list, largest_that_fits, llmfit
from benchmarks.selection.catalog import catalog
from benchmarks.selection.simulation import usable_models
from registry.model import Device, ExecutionProvider, Task
from selector.hardware import Accelerator, Hardware, Probes
from selector.speed import predict_speed
from tests.selector.samples import GB, make_machine

MODELS = catalog()


def with_card(*, card_gb: float, available_gb: float) -> Hardware:
    card = Accelerator(
        *("card", Device.GPU),
        memory_total_bytes=int(card_gb * GB),
        memory_available_bytes=int(card_gb * GB),
        usable=True,
        execution_providers=(ExecutionProvider.CUDA,),
    )
    providers = (ExecutionProvider.CUDA, ExecutionProvider.CPU)
    return make_machine(available_gb=available_gb, accelerators=(card,), execution_providers=providers)


def test_the_list_goes_by_total_memory_and_its_own_order() -> None:
    full, empty = make_machine(total_gb=17, available_gb=1), make_machine(total_gb=17, available_gb=16)
    chat = usable_models(MODELS, Task.CHAT, full)

    first = first_of_the_list(Task.CHAT, chat, full)

    assert first is not None
    assert first.name == "qwen2.5-7b-instruct-generic-cpu"
    assert first_of_the_list(Task.CHAT, list(reversed(chat)), empty) == first
    assert first_of_the_list(Task.CHAT, chat, make_machine(total_gb=1)) is None


def test_foundrys_order_takes_the_gpu_variant_where_there_is_one_and_asks_for_no_memory() -> None:
    with_gpu, without = with_card(card_gb=4, available_gb=1), make_machine(available_gb=1)

    names = [first_alias(Task.CHAT, usable_models(MODELS, Task.CHAT, m), m) for m in (with_gpu, without)]

    assert [model and model.name for model in names] == ["phi-4-cuda-gpu", "phi-4-generic-cpu"]


def test_the_largest_file_that_fits_is_the_largest_that_fits() -> None:
    machine = make_machine(available_gb=8)
    usable = usable_models(MODELS, Task.CHAT, machine)

    found = largest_that_fits(Task.CHAT, usable, machine)

    assert found is not None
    assert found.weight_bytes <= 0.8 * 8 * GB
    assert not any(m.weight_bytes <= 0.8 * 8 * GB and (m.parameters or 0) > (found.parameters or 0) for m in usable)


def test_llmfit_ranks_nothing_that_it_thinks_does_not_fit() -> None:
    small = make_machine(available_gb=2)
    found = llmfit(Task.CHAT, usable_models(MODELS, Task.CHAT, small), small)

    assert found is not None
    assert (found.parameters or 0) < 3e9
    nothing = make_machine(available_gb=0.1)
    assert llmfit(Task.CHAT, usable_models(MODELS, Task.CHAT, nothing), nothing) is None


def test_llmfit_weighs_speed_but_has_no_floor_for_it() -> None:
    def chosen(bandwidth: float) -> tuple[int, float]:
        machine = make_machine(available_gb=60, total_gb=64, probes=Probes(bandwidth, 1e12))
        found = llmfit(Task.CHAT, usable_models(MODELS, Task.CHAT, machine), machine)
        assert found is not None
        return found.parameters or 0, predict_speed(found, machine).tokens_per_second

    assert chosen(10e9)[1] < 1.5  # nothing is fast, so that size decides
    assert chosen(60e9)[0] < chosen(10e9)[0]


def test_coders_are_for_code_by_llmfits_score() -> None:
    machine = make_machine(available_gb=12, probes=Probes(60e9, 1e12))
    found = llmfit(Task.CODE, usable_models(MODELS, Task.CODE, machine), machine)

    assert found is not None
    assert "coder" in found.name


def test_none_takes_what_no_installed_provider_can_run() -> None:
    machine = make_machine(available_gb=12)
    usable = usable_models(MODELS, Task.CHAT, machine)

    assert usable
    for choose in BASELINES.values():
        found = choose(Task.CHAT, usable, machine)
        assert found is not None
        assert found.device is Device.CPU
