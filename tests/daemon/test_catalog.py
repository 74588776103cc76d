from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.admin import Admin
from daemon.catalog import Catalog
from daemon.endpoints import CHATS, EMBEDDINGS, EVERY
from daemon.machine import Machine
from daemon.settings import Settings
from daemon.wants import Wants
from registry.errors import (
    AdapterNotFound,
    ContextLengthExceeded,
    InvalidRequest,
    LoadFailed,
    ModelNotFound,
    ModelNotUsable,
    NoModelForTask,
    OutOfBudget,
    PinnedModelNotUsable,
    UnknownTask,
    UnsupportedParameter,
)
from registry.experience import Evaluation, EvaluationKind, Measurement
from registry.model import Device, ExecutionProvider, Fallback, Model, Task
from registry.store import Registry
from scripts.model_factory import write_preset
from scripts.model_factory.text_encoder import write_text_encoder
from selector.footprint import need_bytes, reserve_bytes
from selector.hardware import Cpu, Hardware, Memory
from selector.policy import Policy
from selector.selection import HeldBack, SelectionRequest, SessionFacts, Setback

GIB = 1024**3


class FixedMachine(Machine):
    """A machine whose memory the test decides."""

    def __init__(self, available_bytes: int) -> None:
        memory = Memory(total_bytes=16 * GIB, available_bytes=available_bytes)
        self.known = Hardware(Cpu("a CPU", 4, 8, 3), memory, execution_providers=(ExecutionProvider.CPU,))

    def hardware(self) -> Hardware:
        return self.known

    def without_memory(self) -> Hardware:
        return self.known


class Scene:
    """A catalog over real folders in a real registry."""

    def __init__(self, home: Path, available_bytes: int = 8 * GIB, **settings: Any) -> None:
        self.models = home / "models"
        self.models.mkdir()
        self.database = home / "registry.db"
        self.registry = Registry.open(self.database)
        self.registry.add_root(self.models)
        self.machine = FixedMachine(available_bytes)
        self.sessions: Sequence[SessionFacts] = ()
        self.settings = Settings(**settings)
        environment = {"SLMREG_FOUNDRY_CACHES": "", "SLMREG_HF_CACHE": ""}
        self.stand_in: str | None = None
        self.held_back: tuple[HeldBack, ...] = ()
        self.setbacks: tuple[Setback, ...] = ()
        self.catalog = Catalog(
            self.registry,
            self.machine,
            lambda: self.settings,
            environment,
            lambda: self.sessions,
            held_back=lambda: self.held_back,
            setbacks=lambda: self.setbacks,
            stand_in=lambda task, _coming: self.stand_in if task is Task.CHAT else None,
        )

    def with_tiny(self, *names: str) -> Scene:
        for name in names:
            write_preset("tiny", self.models / name)
        self.catalog.scan()
        return self


MakeScene = Callable[..., Scene]


@pytest.fixture
def make_scene(tmp_path: Path) -> Iterator[MakeScene]:
    with ExitStack() as stack:

        def make(**arguments: Any) -> Scene:
            scene = Scene(tmp_path, **arguments)
            stack.callback(scene.registry.close)
            return scene

        yield make


@pytest.fixture
def scene(make_scene: MakeScene) -> Scene:
    return make_scene()


def test_a_name_becomes_a_model_and_a_plan_sized_by_machine_model_and_settings(scene: Scene) -> None:
    resolved = scene.with_tiny("one").catalog.resolve("ONE")
    assert resolved.model.id == "one:0"
    assert (resolved.plan.context_tokens, resolved.plan.threads) == (2048, 3)
    assert resolved.plan.need_bytes > 0
    assert resolved.selection is None


@pytest.mark.parametrize(
    ("name", "task", "seconds"),
    [("one", None, 60.0), ("one", Task.CODE, 30.0), ("one", Task.CHAT, 60.0), ("big-one", Task.CODE, None)],
)
def test_how_long_a_model_stays_is_as_its_own_setting_says_else_its_tasks_else_that_of_all(
    make_scene: MakeScene, name: str, task: Task | None, seconds: float | None
) -> None:
    scene = make_scene(keep_alive="1m", keep_alive_models={"BIG-*": -1}, keep_alive_tasks={"code": "30s"})
    wants = Wants(task=task)
    assert scene.with_tiny(name).catalog.resolve(name, wants).plan.keep_alive_s == seconds
    if task is not None:
        assert scene.catalog.resolve(f"auto:{task}").plan.keep_alive_s == seconds


@pytest.mark.parametrize("setting", [{"memory_share": 0.001}, {"memory_reserve_bytes": 8 * GIB}])
def test_a_share_of_the_memory_and_a_reserve_bound_what_can_be_loaded(
    make_scene: MakeScene, setting: dict[str, Any]
) -> None:
    scene = make_scene(**setting).with_tiny("one")
    with pytest.raises(OutOfBudget, match="one:0 needs"):
        scene.catalog.resolve("one")
    with pytest.raises(NoModelForTask):
        scene.catalog.resolve("auto:chat")


def test_while_a_better_model_is_loaded_the_one_that_has_the_task_answers(make_scene: MakeScene) -> None:
    scene = make_scene(model_points={"better": 20})
    scene.with_tiny("better", "present")
    scene.stand_in = "present:0"
    resolved = scene.catalog.resolve("auto:chat")
    assert resolved.model.id == "present:0"
    assert resolved.selection is not None
    assert resolved.selection.reason == "better:0 is being loaded; until then present:0 answers."
    assert scene.catalog.resolve("auto:code").model.id == "better:0"
    scene.stand_in = "gone:0"
    assert scene.catalog.resolve("auto:chat").model.id == "better:0"
    scene.stand_in = "present:0"
    scene.catalog.pin(Task.CHAT, "better")
    assert scene.catalog.resolve("auto:chat").model.id == "better:0"


def test_a_model_that_was_tried_already_is_not_chosen_again(scene: Scene) -> None:
    scene.with_tiny("one", "two[1]")
    first = scene.catalog.resolve("auto:chat").model.id
    second = scene.catalog.resolve("auto:chat", Wants(not_these=(first,))).model.id
    assert {first, second} == {"one:0", "two[1]:0"}
    with pytest.raises(NoModelForTask):
        scene.catalog.resolve("auto:chat", Wants(not_these=(first, second)))


def test_settings_bound_the_plan(make_scene: MakeScene) -> None:
    plan = make_scene(max_context_tokens=512, threads=1).with_tiny("one").catalog.resolve("one").plan
    assert (plan.context_tokens, plan.threads) == (512, 1)


def test_auto_is_chat_or_tools_or_the_task_that_is_named(scene: Scene) -> None:
    scene.with_tiny("one")
    for reference, needs_tools, task in (
        ("auto", False, Task.CHAT),
        ("auto", True, Task.TOOLS),
        ("auto:math", True, Task.MATH),
    ):
        selection = scene.catalog.resolve(reference, Wants(needs_tools=needs_tools)).selection
        assert selection is not None
        assert (selection.task, selection.chosen) == (task, "one:0")


def test_the_task_is_what_was_named_and_else_what_the_words_say(scene: Scene) -> None:
    scene.with_tiny("one")
    words = Wants(turns=("Write a Python function that reverses a list, and fix the TypeError in it",))
    for reference, wants, task in (
        ("auto", words, Task.CODE),
        ("auto", replace(words, task=Task.REASONING), Task.REASONING),
        ("auto", replace(words, needs_tools=True), Task.TOOLS),
        ("auto", replace(words, needs_tools=True, task=Task.CHAT), Task.CHAT),
        ("AUTO:Math", replace(words, task=Task.REASONING), Task.MATH),
    ):
        resolved = scene.catalog.resolve(reference, wants)
        assert resolved.selection is not None
        assert resolved.selection.task is task
        assert resolved.decision_id is not None
        decision = scene.catalog.decisions.get(resolved.decision_id)
        assert decision.selection is resolved.selection
        assert decision.task_because
        assert "reverses" not in decision.task_because


def test_what_a_request_wants_reaches_the_choice(scene: Scene) -> None:
    scene.with_tiny("one")
    wants = Wants(task=Task.CHAT, policy=Policy.FAST, needs_tools=True, is_in_tool_loop=True)
    selection = scene.catalog.resolve("auto", wants).selection
    assert selection is not None
    request = selection.request
    assert (request.policy, request.needs_tools, request.is_in_tool_loop) == (Policy.FAST, True, True)
    assert request.context_tokens is None
    by_name = scene.catalog.resolve("one", wants)
    assert (by_name.selection, by_name.decision_id) == (None, None)
    assert scene.catalog.decisions.newest(10)[0].selection is selection


@pytest.mark.parametrize(
    ("needed", "asked_for"), [(None, None), (4096, None), (4097, 5120), (8192, 8192), (8193, 8192), (10**9, 8192)]
)
def test_a_long_prompt_asks_for_room_in_steps(make_scene: MakeScene, needed: int | None, asked_for: int | None) -> None:
    scene = make_scene()
    write_preset("small", scene.models / "long")
    scene.catalog.scan()
    selection = scene.catalog.resolve("auto", Wants(task=Task.CHAT, context_tokens=needed)).selection
    assert selection is not None
    assert selection.request.context_tokens == asked_for


def test_an_estimate_of_a_prompt_refuses_nobody(scene: Scene) -> None:
    """A model of 2,048 tokens: that the prompt is too long is what it has to count itself."""
    resolved = scene.with_tiny("one").catalog.resolve("auto", Wants(task=Task.CHAT, context_tokens=6000))
    assert resolved.model.id == "one:0"


def test_what_cannot_be_resolved_says_why(scene: Scene) -> None:
    scene.with_tiny("one")
    with pytest.raises(ModelNotFound, match="one"):
        scene.catalog.resolve("onee")
    with pytest.raises(UnknownTask, match="transcription"):
        scene.catalog.resolve("auto:cooking")
    with pytest.raises(NoModelForTask, match="one:0"):
        scene.catalog.resolve("auto:vision")
    with pytest.raises(ModelNotUsable, match="cannot do vision"):
        scene.catalog.pin(Task.VISION, "one")


def test_a_folder_without_a_template_cannot_answer_and_says_so(scene: Scene) -> None:
    folder = write_preset("tiny", scene.models / "base")
    folder.joinpath("chat_template.jinja").unlink()
    for file in (folder / "tokenizer.json", folder / "tokenizer_config.json"):  # no marks of a family either
        file.write_text(file.read_text(encoding="utf-8").replace("im_start", "begin"), encoding="utf-8")
    scene.catalog.scan()
    with pytest.raises(ModelNotUsable, match="chat template"):
        scene.catalog.resolve("base")


def test_a_pin_that_cannot_serve_is_an_error_and_not_another_model(scene: Scene) -> None:
    scene.with_tiny("one", "two")
    scene.catalog.pin(Task.CHAT, "two")
    assert scene.catalog.resolve("auto").model.id == "two:0"
    scene.models.joinpath("two", "genai_config.json").unlink()
    scene.catalog.scan()
    with pytest.raises(PinnedModelNotUsable, match="two:0"):
        scene.catalog.resolve("auto")
    scene.catalog.unpin(Task.CHAT)
    assert scene.catalog.resolve("auto").model.id == "one:0"


def test_a_pinned_model_that_is_not_tried_again_yet_says_when_it_is(scene: Scene) -> None:
    scene.with_tiny("one", "two")
    scene.catalog.pin(Task.CHAT, "two")
    scene.held_back = (HeldBack("one:0", "damaged", 70.0), HeldBack("two:0", "damaged", 9.0))
    with pytest.raises(LoadFailed, match=r"two:0.*damaged.*9 s") as caught:
        scene.catalog.resolve("auto")
    assert caught.value.retry_after_s == 9.0
    scene.held_back = ()
    scene.setbacks = (Setback("two:0", Device.CPU, 10**6, 30.0),)
    with pytest.raises(LoadFailed, match="ran out of memory") as caught:
        scene.catalog.resolve("auto")
    assert caught.value.retry_after_s == 30.0
    scene.setbacks = ()
    assert scene.catalog.resolve("auto").model.id == "two:0"


def test_a_pinned_model_that_does_not_fit_now_is_out_of_budget_as_if_it_were_named(make_scene: MakeScene) -> None:
    scene = make_scene(available_bytes=GIB).with_tiny("one")  # the reserve alone is 1.6 GiB
    scene.catalog.pin(Task.CHAT, "one")
    for reference in ("one", "auto"):
        with pytest.raises(OutOfBudget, match="one:0"):
            scene.catalog.resolve(reference)


def test_too_little_memory_is_said_with_numbers_unless_the_model_is_loaded_already(make_scene: MakeScene) -> None:
    scene = make_scene(available_bytes=GIB).with_tiny("one")  # the reserve alone is 1.6 GiB
    with pytest.raises(OutOfBudget, match=r"one:0 needs .* available"):
        scene.catalog.resolve("one")
    scene.sessions = (SessionFacts("one:0", 80_000_000, is_reclaimable=False),)
    assert scene.catalog.resolve("one").model.id == "one:0"
    assert scene.catalog.resolve("auto").model.id == "one:0"


def test_what_does_not_fit_can_be_forced_and_what_fits_is_not(make_scene: MakeScene) -> None:
    scene = make_scene(available_bytes=GIB).with_tiny("one")
    forced = scene.catalog.resolve("one", is_forced=True).plan
    assert (forced.is_forced, forced.context_tokens) == (True, 2048)
    assert forced.need_bytes > 0
    scene.machine.known = replace(scene.machine.known, memory=Memory(total_bytes=16 * GIB, available_bytes=8 * GIB))
    assert scene.catalog.resolve("one", is_forced=True).plan.is_forced is False


def test_a_plan_rests_on_what_was_measured(scene: Scene) -> None:
    model = scene.with_tiny("one").catalog.get("one")
    before = scene.catalog.plan(model).need_bytes
    measured = Measurement(
        model_id=model.id,
        content=model.content,
        device=Device.CPU,
        threads=3,
        measured_s=1.0,
        loads=1,
        resident_bytes=900_000_000,
    )
    scene.registry.record_measurements([measured])
    assert scene.catalog.plan(model).need_bytes > before + 500_000_000


def test_idle_sessions_count_as_memory_that_can_be_had_and_busy_ones_for_who_names_a_model(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(memory_budget_bytes=150_000_000).with_tiny("one", "two")
    idle = SessionFacts("two:0", 100_000_000, is_reclaimable=True)
    busy = replace(idle, is_reclaimable=False)
    for sessions in ((idle,), (busy,)):
        scene.sessions = sessions
        assert scene.catalog.resolve("one").model.id == "one:0"
    assert scene.catalog.resolve("auto").model.id == "two:0"  # nobody has to wait for another's answer without need
    scene.sessions = (replace(busy, is_kept=True),)
    with pytest.raises(OutOfBudget, match=r"what is kept loaded \(two:0\)"):
        scene.catalog.resolve("one")


@pytest.mark.parametrize(
    ("beside_tokens", "prompt_tokens", "answer_tokens", "context_tokens"),
    [
        (2048, 600, 100, 1536),  # twice what is needed
        (2048, 600, 5000, 2048),  # no model takes more than its own
        (1024, 600, 300, 1024),  # all that is left beside the session
        (256, 600, 100, 1280),  # instead of it: what it holds is there too
        (2048, 2047, 100, 2048),
        (2048, 2048, 0, 2048),  # nothing is to follow
    ],
)
def test_a_longer_context_leaves_the_session_where_it_is_if_there_is_room_for_both(
    make_scene: MakeScene, beside_tokens: int, prompt_tokens: int, answer_tokens: int, context_tokens: int
) -> None:
    scene, model = with_short_session(make_scene, beside_tokens=beside_tokens)
    plan = scene.catalog.plan(model)
    too_long = ContextLengthExceeded(prompt_tokens, 512)
    longer = scene.catalog.plan_longer(model, plan, too_long, answer_tokens=answer_tokens)
    assert longer.context_tokens == context_tokens
    assert prompt_tokens <= longer.least_context_tokens <= prompt_tokens + 1
    assert longer.need_bytes == need_bytes(model, context_tokens)
    assert longer.keep_alive_s == plan.keep_alive_s


@pytest.mark.parametrize(
    ("beside_tokens", "prompt_tokens", "most_tokens", "words"),
    [
        (2048, 2048, 2048, "one:0 takes at most 2048 tokens"),
        (256, 1500, 1280, r"takes at most 1280 .* here \(by itself 2048\).*memory_budget_bytes"),
    ],
)
def test_a_prompt_that_is_too_long_for_model_or_memory_is_refused_with_the_numbers(
    make_scene: MakeScene, beside_tokens: int, prompt_tokens: int, most_tokens: int, words: str
) -> None:
    scene, model = with_short_session(make_scene, beside_tokens=beside_tokens)
    too_long = ContextLengthExceeded(prompt_tokens, 512, param="input")
    with pytest.raises(ContextLengthExceeded, match=f"{prompt_tokens} tokens.*{words}") as caught:
        scene.catalog.plan_longer(model, scene.catalog.plan(model), too_long, answer_tokens=100)
    error = caught.value
    assert (error.prompt_tokens, error.context_tokens, error.param) == (prompt_tokens, most_tokens, "input")


def test_a_session_with_all_the_context_that_settings_allow_has_the_last_word(make_scene: MakeScene) -> None:
    scene = make_scene(max_context_tokens=512).with_tiny("one")
    model, too_long = scene.catalog.get("one"), ContextLengthExceeded(600, 512)
    with pytest.raises(ContextLengthExceeded) as caught:
        scene.catalog.plan_longer(model, scene.catalog.plan(model), too_long, answer_tokens=100)
    assert caught.value is too_long


def test_busy_models_count_as_room_for_a_longer_context_only_where_there_is_no_other(make_scene: MakeScene) -> None:
    scene, model = with_short_session(make_scene, beside_tokens=256)
    plan, too_long = scene.catalog.plan(model), ContextLengthExceeded(1500, 512)
    other = SessionFacts("two:0", 1_000_000_000, is_reclaimable=False)
    scene.sessions = (*scene.sessions, other)
    assert scene.catalog.plan_longer(model, plan, too_long, answer_tokens=100).context_tokens == 2048
    scene.sessions = (*scene.sessions[:1], replace(other, is_kept=True))
    with pytest.raises(ContextLengthExceeded, match="at most 1280"):
        scene.catalog.plan_longer(model, plan, too_long, answer_tokens=100)


def with_short_session(make_scene: MakeScene, *, beside_tokens: int) -> tuple[Scene, Model]:
    """Loaded with 512 tokens: there is room for ``beside_tokens`` beside it, and for 1,024 more instead of it."""
    scene = make_scene().with_tiny("one")
    model = scene.catalog.get("one")
    free_bytes = need_bytes(model, beside_tokens) + reserve_bytes(16 * GIB)
    scene.machine.known = replace(scene.machine.known, memory=Memory(total_bytes=16 * GIB, available_bytes=free_bytes))
    kv_bytes = need_bytes(model, 1024) - need_bytes(model, 0)
    scene.sessions = (SessionFacts(model.id, kv_bytes, is_reclaimable=False, context_tokens=512),)
    return scene, model


def test_an_alias_stands_for_the_variant_that_can_run_here(scene: Scene) -> None:
    for provider in ("cuda-gpu", "generic-cpu"):
        write_preset("tiny", scene.models / provider, name=f"phi-x-{provider}:1")
    scene.catalog.scan()
    assert {model.alias for model in scene.catalog.models() if not model.is_demo} == {"phi-x"}
    assert scene.catalog.resolve("phi-x").model.id == "phi-x-generic-cpu:1"


def test_tools_for_a_model_that_cannot_call_them_are_refused_and_not_ignored(scene: Scene) -> None:
    template = write_preset("tiny", scene.models / "plain") / "chat_template.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}", encoding="utf-8")
    scene.catalog.scan()
    assert scene.catalog.resolve("plain").model.id == "plain:0"
    with pytest.raises(UnsupportedParameter, match="cannot call tools") as caught:
        scene.catalog.resolve("plain", Wants(needs_tools=True))
    assert caught.value.param == "tools"


def with_vision(scene: Scene, name: str) -> None:
    folder = write_preset("tiny", scene.models / name)
    shutil.copy(folder / "model.onnx", folder / "vision.onnx")
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
    config["model"] |= {"type": "phi3v", "vision": {"filename": "vision.onnx"}}
    (folder / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")


def test_pictures_for_a_model_that_cannot_see_are_refused_and_not_ignored(scene: Scene) -> None:
    with_vision(scene, "seeing")
    scene.with_tiny("blind")
    assert scene.catalog.resolve("seeing", Wants(needs_vision=True)).model.id == "seeing:0"
    with pytest.raises(UnsupportedParameter, match="blind:0 takes no pictures") as caught:
        scene.catalog.resolve("blind", Wants(needs_vision=True))
    assert caught.value.param == "messages"


@pytest.mark.parametrize("reference", ["auto", "auto:chat", "auto:vision"])
def test_pictures_make_auto_choose_among_models_that_see(scene: Scene, reference: str) -> None:
    scene.with_tiny("blind")
    with pytest.raises(NoModelForTask):
        scene.catalog.resolve(reference, Wants(needs_vision=True))
    with_vision(scene, "seeing")
    scene.catalog.scan()
    resolved = scene.catalog.resolve(reference, Wants(turns=("What is this?",), needs_vision=True))
    assert resolved.model.id == "seeing:0"
    assert resolved.selection is not None
    assert resolved.selection.task is (Task.CHAT if reference == "auto:chat" else Task.VISION)


def test_every_verb_means_the_same_model_by_a_name(scene: Scene) -> None:
    write_preset("small", scene.models / "old", name="fam-generic-cpu:1")
    write_preset("tiny", scene.models / "new", name="fam-generic-cpu:2")
    scene.catalog.scan()
    for reference in ("fam", "fam-generic-cpu"):
        assert scene.catalog.resolve(reference).model.id == "fam-generic-cpu:2"
        assert scene.catalog.get(reference).id == "fam-generic-cpu:2"
        assert scene.catalog.pin(Task.CHAT, reference).model_id == "fam-generic-cpu:2"


def test_a_pattern_is_pinned_as_the_newest_that_fits_it(scene: Scene) -> None:
    for version in ("1", "2"):
        write_preset("tiny", scene.models / version, name=f"fam-generic-cpu:{version}")
    scene.catalog.scan()
    pin = scene.catalog.pin(Task.CHAT, "FAM*")
    assert (pin.model_id, pin.pattern) == ("fam-generic-cpu:2", "FAM*")
    assert scene.catalog.resolve("auto", Wants(task=Task.CHAT)).model.id == "fam-generic-cpu:2"
    assert scene.catalog.why_not(pin) is None
    shutil.rmtree(scene.models / "2")
    scene.catalog.scan()
    assert scene.catalog.resolve("auto", Wants(task=Task.CHAT)).model.id == "fam-generic-cpu:1"


@pytest.mark.parametrize("fallback", list(Fallback))
def test_a_pattern_that_nothing_fits_any_more_still_binds(scene: Scene, fallback: Fallback) -> None:
    scene.with_tiny("fam", "other")
    scene.catalog.pin(Task.CHAT, "fam*", fallback=fallback)
    shutil.rmtree(scene.models / "fam")
    scene.catalog.scan()
    (pin,) = scene.catalog.pins()
    assert pin.is_waiting
    assert "fam*" in (scene.catalog.why_not(pin) or "")
    if fallback is Fallback.ERROR:
        with pytest.raises(PinnedModelNotUsable, match=r"fam\*"):
            scene.catalog.resolve("auto", Wants(task=Task.CHAT))
    else:
        resolved = scene.catalog.resolve("auto", Wants(task=Task.CHAT))
        assert resolved.model.id == "other:0"
        assert resolved.selection is not None
        assert resolved.selection.is_fallback


def test_a_pin_with_a_fallback_lets_slmreg_choose_and_says_so(scene: Scene) -> None:
    scene.with_tiny("one", "two")
    pin = scene.catalog.pin(Task.CHAT, "two", fallback=Fallback.AUTO)
    shutil.rmtree(scene.models / "two")
    scene.catalog.scan()
    resolved = scene.catalog.resolve("auto", Wants(task=Task.CHAT))
    assert resolved.model.id == "one:0"
    assert resolved.selection is not None
    assert (resolved.selection.is_fallback, resolved.selection.pinned) == (True, False)
    assert "two:0" in (scene.catalog.why_not(pin) or "")


def test_a_model_is_only_judged_for_what_it_can_do(scene: Scene) -> None:
    scene.with_tiny("one")

    def said(task: Task) -> Callable[[Model], Evaluation]:
        return lambda model: Evaluation(
            model_id=model.id,
            content=model.content,
            task=task,
            kind=EvaluationKind.RATING,
            score=1.0,
            items=1,
            evaluated_s=1.0,
        )

    kept = scene.catalog.add_evaluation("ONE", said(Task.CODE))
    assert scene.catalog.evaluations() == (kept,)
    with pytest.raises(ModelNotUsable, match="cannot do vision"):
        scene.catalog.add_evaluation("one", said(Task.VISION))
    assert scene.catalog.forget_evaluations("one", Task.MATH) == ("one:0", 0)
    assert scene.catalog.forget_evaluations("one") == ("one:0", 1)
    assert scene.catalog.evaluations() == ()


def test_whether_a_model_reasons_is_for_the_request_to_say_where_there_is_a_switch(scene: Scene) -> None:
    switch = "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    template = write_preset("tiny", scene.models / "switch") / "chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8") + switch, encoding="utf-8")
    scene.with_tiny("plain")
    assert scene.catalog.get("switch").has_thinking_switch
    for thinking in (True, False, None):
        assert scene.catalog.resolve("switch", Wants(thinking=thinking)).thinking is thinking
    for thinking in (True, False):
        auto = scene.catalog.resolve("auto", Wants(task=Task.CHAT, thinking=thinking))
        assert auto.thinking in (thinking, None)
        assert auto.model.id == "switch:0" or not thinking
    assert scene.catalog.resolve("plain", Wants(thinking=False)).thinking is None
    with pytest.raises(UnsupportedParameter, match="does not reason") as caught:
        scene.catalog.resolve("plain", Wants(thinking=True))
    assert caught.value.param == "reasoning_effort"


def test_a_missing_model_says_where_it_was_and_is_no_candidate(scene: Scene) -> None:
    scene.with_tiny("one", "two")
    shutil.rmtree(scene.models / "two")
    scene.catalog.scan()
    with pytest.raises(ModelNotUsable, match=r"two:0 is missing.*models/two"):
        scene.catalog.resolve("two")
    selection = scene.catalog.select(SelectionRequest(Task.VISION))
    assert "two:0" not in {rejected.model_id for rejected in selection.rejected}


def test_a_model_whose_provider_is_not_installed_is_refused_with_the_reason(scene: Scene) -> None:
    write_preset("tiny", scene.models / "gpu", name="phi-x-cuda-gpu:1")
    scene.catalog.scan()
    with pytest.raises(ModelNotUsable, match="needs the execution provider cuda"):
        scene.catalog.resolve("phi-x-cuda-gpu")


@pytest.mark.parametrize("order", [("p", "q"), ("q", "p")])
def test_a_pin_follows_its_content_when_two_folders_change_places(order: tuple[str, str], scene: Scene) -> None:
    """What settles is told one folder at a time, and each half alone looks like other content in its place."""
    contents = _pinned_beside_another(scene)
    _rename(scene, ("p", "x"), ("q", "p"), ("x", "q"))
    for name in order:
        scene.catalog.scan(under=scene.models / name)
    assert _pinned(scene) == ("q:0", contents["p"], 1)
    assert scene.catalog.get("p").content == contents["q"]


@pytest.mark.parametrize("order", [("p", "r"), ("r", "p")])
def test_a_pin_follows_its_content_when_something_else_takes_its_folder(order: tuple[str, str], scene: Scene) -> None:
    contents = _pinned_beside_another(scene)
    _rename(scene, ("p", "r"))
    write_preset("small", scene.models / "p", name="other:1")
    for name in order:
        scene.catalog.scan(under=scene.models / name)
    assert _pinned(scene) == ("r:0", contents["p"], 1)


def test_a_folder_that_only_changes_is_the_next_revision_of_what_is_pinned(scene: Scene) -> None:
    contents = _pinned_beside_another(scene)
    shutil.rmtree(scene.models / "p")
    write_preset("small", scene.models / "p").joinpath("chat_template.jinja").write_text("{{ 1 }}", encoding="utf-8")
    scene.catalog.scan(under=scene.models / "p")
    model_id, content, revision = _pinned(scene)
    assert (model_id, revision) == ("p:0", 2)
    assert content not in contents.values()


def _pinned_beside_another(scene: Scene) -> dict[str, str]:
    """``p``, which is pinned, and ``q``; the content of each."""
    write_preset("tiny", scene.models / "p")
    write_preset("small", scene.models / "q")
    scene.catalog.scan()
    scene.catalog.pin(Task.CHAT, "p")
    return {name: scene.catalog.get(name).content for name in ("p", "q")}


def _rename(scene: Scene, *steps: tuple[str, str]) -> None:
    for old, new in steps:
        scene.models.joinpath(old).rename(scene.models / new)


def _pinned(scene: Scene) -> tuple[str, str, int]:
    (pin,) = scene.catalog.pins()
    model = scene.catalog.get(pin.model_id)
    return model.id, model.content, model.revision


def test_a_model_with_a_bracket_in_its_name_can_be_pinned(scene: Scene) -> None:
    scene.with_tiny("gam[int4]")
    pin = scene.catalog.pin(Task.CHAT, "gam[int4]")
    assert (pin.model_id, pin.pattern, pin.is_waiting) == ("gam[int4]:0", None, False)


def test_reasoning_that_no_model_here_can_do_is_named_and_no_matter_of_waiting(scene: Scene) -> None:
    with pytest.raises(UnsupportedParameter, match="reasoning_effort"):
        scene.with_tiny("one").catalog.resolve("auto:chat", Wants(thinking=True))


def test_estimate_of_a_prompt_is_no_reason_against_a_pin(scene: Scene) -> None:
    scene.with_tiny("one")
    write_preset("small", scene.models / "long")
    scene.catalog.scan()
    scene.catalog.pin(Task.CHAT, "one", fallback=Fallback.AUTO)
    resolved = scene.catalog.resolve("auto", Wants(task=Task.CHAT, context_tokens=6000))
    assert resolved.model.id == "one:0"


def test_rating_of_a_way_that_a_model_does_not_have_is_refused(scene: Scene) -> None:
    scene.with_tiny("one")

    def rating(model: Model) -> Evaluation:
        return Evaluation(
            model_id=model.id,
            content=model.content,
            task=Task.CHAT,
            kind=EvaluationKind.RATING,
            score=0.0,
            items=1,
            evaluated_s=1.0,
            is_thinking=True,
        )

    with pytest.raises(ModelNotUsable, match="never reasons"):
        scene.catalog.add_evaluation("one", rating)


def test_an_endpoint_serves_its_tasks_and_names_what_a_model_can_do_instead(scene: Scene) -> None:
    write_text_encoder(scene.models / "encoder")
    scene.with_tiny("one")
    assert scene.catalog.resolve("encoder", serves=EMBEDDINGS).model.id == "encoder:0"
    assert scene.catalog.resolve("auto:embeddings", serves=EMBEDDINGS).model.id == "encoder:0"
    assert {scene.catalog.resolve(name, serves=EVERY).model.id for name in ("one", "encoder")} == {"one:0", "encoder:0"}
    with pytest.raises(ModelNotUsable, match=r"cannot answer a chat\. It can do embeddings"):
        scene.catalog.resolve("encoder")
    with pytest.raises(ModelNotUsable, match=r"cannot make embeddings\. It can do chat"):
        scene.catalog.resolve("one", serves=EMBEDDINGS)
    for reference, serves in (("auto:embeddings", CHATS), ("auto:chat", EMBEDDINGS)):
        with pytest.raises(InvalidRequest, match="does not serve"):
            scene.catalog.resolve(reference, serves=serves)


# -- presets, and the tag of Ollama's clients


@pytest.mark.parametrize("name", ["one:latest", "ONE:Latest", "one:0", " one "])
def test_the_tag_for_no_tag_means_nothing(scene: Scene, name: str) -> None:
    catalog = scene.with_tiny("one").catalog
    assert catalog.resolve(name).model.id == catalog.get(name).id == "one:0"
    assert catalog.resolve("auto:latest").model.id == "one:0"
    with pytest.raises(ModelNotFound):
        catalog.resolve("two:latest")


@pytest.mark.parametrize("base", ["one", "one:0", "one:latest", "auto", "auto:code"])
def test_a_preset_is_asked_for_like_a_model_and_comes_along(scene: Scene, base: str) -> None:
    catalog = scene.with_tiny("one").catalog
    preset = catalog.presets.create("mario", base, system="Be Mario.")
    for name in ("mario", "Mario:latest"):
        resolved = catalog.resolve(name)
        assert (resolved.model.id, resolved.name, resolved.preset) == ("one:0", "one:0", preset)
        assert (resolved.selection is not None) is base.startswith("auto")
    assert catalog.resolve("one").preset is None


def test_a_preset_may_name_an_adapter(scene: Scene) -> None:
    catalog = scene.with_tiny("one").catalog
    catalog.presets.create("styled", "one@style")
    assert [model.id for model in catalog.requested("styled")] == ["one:0"]
    with pytest.raises(AdapterNotFound):
        catalog.resolve("styled")


def test_a_preset_whose_model_is_gone_says_so(scene: Scene) -> None:
    catalog = scene.with_tiny("one").catalog
    catalog.presets.create("mario", "one")
    shutil.rmtree(scene.models / "one")
    catalog.scan()
    with pytest.raises(ModelNotUsable, match="one:0 is missing"):
        catalog.resolve("mario")


def test_a_model_that_comes_later_does_not_take_the_name_of_a_preset(scene: Scene) -> None:
    catalog = scene.with_tiny("one").catalog
    catalog.presets.create("two", "one")
    scene.with_tiny("two")
    assert catalog.resolve("two").model.id == "one:0"
    assert catalog.resolve("two:0").model.id == "two:0"


def test_models_are_loaded_by_their_own_settings_and_the_others_by_those_of_all(make_scene: MakeScene) -> None:
    overrides = {"one*": {"context_tokens": 512, "threads": 1, "keep_alive": -1}, "big*": {"threads": 2}}
    scene = make_scene(models=overrides, max_context_tokens=1024, keep_alive=60).with_tiny("one", "big-one", "two")
    plans = {name: scene.catalog.resolve(name).plan for name in ("one", "big-one", "two")}
    assert [(plan.context_tokens, plan.threads, plan.keep_alive_s) for plan in plans.values()] == [
        (512, 1, None),
        (1024, 2, 60.0),
        (1024, 3, 60.0),
    ]
    too_long = ContextLengthExceeded(600, 512)
    with pytest.raises(ContextLengthExceeded):
        scene.catalog.plan_longer(scene.catalog.get("one"), plans["one"], too_long, answer_tokens=10)
    scene.settings = Settings(max_context_tokens=768)
    assert scene.catalog.resolve("one").plan.context_tokens == 768


def test_a_model_tells_which_settings_are_its_own(make_scene: MakeScene) -> None:
    scene = make_scene(models={"one*": {"threads": 1, "keep_alive": -1}}).with_tiny("one", "two")
    admin = Admin(scene.catalog)
    assert admin.model("one")["override"] == {"pattern": "one*", "threads": 1, "keep_alive": -1.0}
    assert admin.model("two")["override"] is None
