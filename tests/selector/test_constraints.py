from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from registry.model import Device, Fallback, Modality, Model, Pin, Task
from selector.policy import Policy
from selector.selection import HeldBack, Preferences, Rejected, Selection, SelectionRequest, SessionFacts, Setback
from tests.selector.samples import GB, choose, make_machine, make_model

CHAT = SelectionRequest(Task.CHAT)
SMALL = make_model("qwen2.5-0.5b-instruct", parameters=494_000_000, weight_bytes=317_000_000, kv_bytes_per_token=24_576)
MEDIUM = make_model()
LARGE = make_model(
    "qwen2.5-7b-instruct", parameters=7_600_000_000, weight_bytes=5_000_000_000, kv_bytes_per_token=114_688
)
HYBRID = make_model("qwen3-4b", parameters=4_000_000_000, can_reason=True, has_thinking_switch=True)
ALL = [SMALL, MEDIUM, LARGE]


def code_of(selection: Selection, model: Model) -> str | None:
    return next((r.code for r in selection.rejected if r.model_id == model.id), None)


def only(selection: Selection) -> Rejected:
    assert selection.chosen is None
    (rejection,) = selection.rejected
    return rejection


@pytest.mark.parametrize(
    ("wish", "model", "code", "words"),
    [
        ({"deny": ("QWEN2.5-1.5b*",)}, MEDIUM, "denied", "(QWEN2.5-1.5b*)"),
        ({"allow": ("phi*", "llama*")}, MEDIUM, "not_allowed", "phi*, llama*"),
        ({"needs_vision": True}, MEDIUM, "vision", "takes no images"),
        ({"language": "fr"}, make_model(languages=("en", "de")), "language", "'fr'"),
        ({"language": "ja"}, make_model("smollm2-1.7b"), "language", "'ja'"),
        ({"max_memory_bytes": 1 * GB}, MEDIUM, "memory", "1.0 GB available"),
        ({"deadline_s": 0.5}, MEDIUM, "deadline", "0.5 s are allowed"),
        ({"thinking": True}, MEDIUM, "thinking", "answers at once"),
    ],
)
def test_constraint_that_is_not_met_is_told_with_its_numbers(
    wish: dict[str, Any], model: Model, code: str, words: str
) -> None:
    rejection = only(choose(replace(CHAT, **wish), [model], make_machine()))
    assert rejection.code == code
    assert words in rejection.message


@pytest.mark.parametrize(
    ("wish", "model"),
    [
        ({"allow": ("qwen2.5-1.5b-instruct",)}, MEDIUM),
        ({"needs_vision": True}, make_model(modalities=(Modality.TEXT, Modality.IMAGE))),
        ({"language": "de"}, make_model(languages=("en", "de"))),
        ({"language": "th"}, make_model("llama-3.2-3b-instruct")),
        ({"needs_json": True, "deadline_s": 1e6, "max_memory_bytes": 100 * GB, "thinking": False}, MEDIUM),
    ],
)
def test_constraint_that_is_met_keeps_the_model(wish: dict[str, Any], model: Model) -> None:
    assert choose(replace(CHAT, **wish), [model], make_machine()).chosen == model.id


def test_language_that_nobody_speaks_of_costs_points_and_excludes_nobody() -> None:
    (candidate,) = choose(replace(CHAT, language="fr"), [MEDIUM], make_machine()).ranking
    assert candidate.terms["language"] == -4


def test_whisper_cannot_write_json() -> None:
    ears = make_model("whisper-tiny", tasks=(Task.TRANSCRIPTION,), modalities=(Modality.AUDIO,))
    assert only(choose(SelectionRequest(Task.TRANSCRIPTION, needs_json=True), [ears], make_machine())).code == "json"


def test_policy_weighs_waiting_against_quality() -> None:
    slow = make_machine(cores=3, available_gb=12)
    picks = {policy: choose(replace(CHAT, policy=policy), ALL, slow).chosen for policy in Policy}
    order = [model.id for model in ALL]
    places = [order.index(picks[policy] or "") for policy in (Policy.FAST, Policy.BALANCED, Policy.QUALITY)]
    assert places == sorted(places)
    assert places[0] < places[-1]


def test_preferences_are_terms_of_the_ledger() -> None:
    wishes = Preferences(models=(("qwen2.5-0.5b*", 40.0),), licenses=(("apache*", 2.5),))
    licensed = replace(SMALL, license="Apache-2.0")
    selection = choose(CHAT, [licensed, MEDIUM], make_machine(), preferences=wishes)
    assert selection.chosen == SMALL.id
    terms = selection.ranking[0].terms
    assert (terms["preference"], terms["license"]) == (40.0, 2.5)


def test_hybrid_model_competes_with_thinking_and_without() -> None:
    math = SelectionRequest(Task.MATH)
    selection = choose(math, [HYBRID], make_machine(cores=16))
    assert {c.thinking for c in selection.ranking} == {True, False}
    slow, quick = (next(c for c in selection.ranking if c.thinking is way) for way in (True, False))
    assert slow.answer_s > 2 * quick.answer_s
    assert choose(replace(math, thinking=True), [HYBRID], make_machine()).ranking[0].thinking is True
    assert (
        choose(math, [HYBRID], make_machine(cores=1)).pick
        == choose(replace(math, thinking=False), [HYBRID], make_machine(cores=1)).pick
    )


def test_one_way_that_is_too_slow_is_told_beside_the_other_that_serves() -> None:
    limits = [c.answer_s for c in choose(CHAT, [HYBRID], make_machine()).ranking]
    between = sum(limits) / 2
    selection = choose(replace(CHAT, deadline_s=between), [HYBRID], make_machine())
    assert selection.pick is not None
    assert selection.pick.thinking is False
    assert [(r.code, r.thinking) for r in selection.rejected] == [("deadline", True)]


def test_model_that_ran_out_of_memory_and_all_that_need_as_much_are_left_alone() -> None:
    setback = Setback(MEDIUM.id, Device.CPU, 2 * GB, 42.0)
    selection = choose(CHAT, ALL, make_machine(available_gb=14, total_gb=32), setbacks=[setback])
    assert selection.chosen == SMALL.id
    assert (code_of(selection, MEDIUM), code_of(selection, LARGE)) == ("quarantine", "quarantine")
    told = next(r for r in selection.rejected if r.model_id == LARGE.id).message
    assert "qwen2.5-1.5b-instruct:1 ran out of memory with 2.0 GB; tried again in 42 s" in told


def test_model_that_could_not_be_loaded_is_left_alone_and_no_other_is() -> None:
    held_back = HeldBack(LARGE.id, "model.onnx is missing.", 42.0)
    selection = choose(CHAT, ALL, make_machine(available_gb=14, total_gb=32), held_back=[held_back])
    assert selection.chosen == MEDIUM.id
    (told,) = [r for r in selection.rejected if r.model_id == LARGE.id]
    assert (told.code, told.message) == (
        "load_failed",
        "could not be loaded: model.onnx is missing; tried again in 42 s",
    )


def test_setback_on_a_card_says_nothing_about_ram() -> None:
    setback = Setback("other:1", Device.GPU, 1, 42.0)
    assert choose(CHAT, [MEDIUM], make_machine(), setbacks=[setback]).chosen == MEDIUM.id


def test_loaded_model_is_left_alone_only_for_what_happened_to_itself() -> None:
    session = SessionFacts(MEDIUM.id, 2 * GB, is_reclaimable=True)

    def chosen(failed: str) -> str | None:
        setback = Setback(failed, Device.CPU, 1 * GB, 42.0)
        return choose(CHAT, [SMALL, MEDIUM], make_machine(), setbacks=[setback], sessions=[session]).chosen

    assert chosen("other:1") == MEDIUM.id
    assert chosen(MEDIUM.id) == SMALL.id


def test_pin_with_fallback_lets_slmreg_choose_and_says_so() -> None:
    pin = Pin(Task.CHAT, "gone:1", fallback=Fallback.AUTO)
    selection = choose(CHAT, ALL, make_machine(), pins=[pin])
    assert selection.chosen == choose(CHAT, ALL, make_machine()).chosen
    assert (selection.pinned, selection.is_fallback) == (False, True)
    assert selection.reason.startswith(
        "gone:1 is pinned for chat and cannot serve (there is no such model on this machine now), so slmreg chooses."
    )


def test_pin_with_fallback_is_obeyed_where_it_can_be() -> None:
    selection = choose(CHAT, ALL, make_machine(), pins=[Pin(Task.CHAT, SMALL.id, fallback=Fallback.AUTO)])
    assert (selection.chosen, selection.pinned, selection.is_fallback) == (SMALL.id, True, False)


def test_what_would_change_the_answer_is_told_and_true() -> None:
    machine = make_machine(available_gb=4, cores=16)
    selection = choose(CHAT, ALL, machine)
    assert selection.chosen == MEDIUM.id
    change = next(each for each in selection.ledger.changes if "more free memory" in each.what)
    assert change.chosen == LARGE.id
    gigabytes = float(change.what.split()[1])
    more = make_machine(available_gb=4 + gigabytes + 0.1, total_gb=16 + gigabytes, cores=16)
    assert choose(CHAT, ALL, more).chosen == LARGE.id
    less = make_machine(available_gb=4 + gigabytes * 0.7, total_gb=16 + gigabytes, cores=16)
    assert choose(CHAT, ALL, less).chosen == MEDIUM.id


def test_without_its_pin_another_model_would_be_chosen() -> None:
    selection = choose(CHAT, ALL, make_machine(), pins=[Pin(Task.CHAT, SMALL.id)])
    (change,) = selection.ledger.changes
    assert (change.what, change.chosen) == ("without the pin", choose(CHAT, ALL, make_machine()).chosen)
