"""models.json against a real registry with real folders: what gets pinned, what waits, what is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.catalog import Catalog
from daemon.hints import export_hints, import_hints, least_memory_gb, memory_gb
from daemon.machine import Machine
from daemon.settings import Settings
from registry.experience import Measurement
from registry.manifest import parse, serialise
from registry.model import Device, Hint, Pin, Task
from registry.store import Registry
from scripts.model_factory import write_preset
from selector.hardware import Cpu, Hardware, Memory
from tests.fakes import a_model

TOTAL_GB = 16
CONTEXT_TOKENS = 8192


SETTINGS = Settings()


class FixedMachine(Machine):
    def __init__(self) -> None:
        total = TOTAL_GB * 10**9
        self.known = Hardware(Cpu("a CPU", 4, 8, 3), Memory(total_bytes=total, available_bytes=total))

    def hardware(self) -> Hardware:
        return self.known


class Home:
    """A registry of the models that a test puts into one folder."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.models = folder / "models"
        self.models.mkdir(parents=True)
        self._template = template
        self.registry = Registry.open(folder / "registry.db")
        self.registry.add_root(self.models)
        environment = {"SLMREG_FOUNDRY_CACHES": "", "SLMREG_HF_CACHE": str(folder / "hf")}
        self.catalog = Catalog(self.registry, FixedMachine(), lambda: SETTINGS, environment)
        self.catalog.scan()

    def put(self, name: str, *, declared: str | None = None) -> None:
        shutil.copytree(self._template, self.models / name)
        if declared is not None:
            (self.models / name / "inference_model.json").write_text(json.dumps({"Name": declared}), encoding="utf-8")
        self.catalog.scan()

    def take_in(self, *hints: Hint, with_pins: bool = True) -> Any:
        return import_hints(self.registry, self.catalog, hints, with_pins=with_pins)

    def write_out(self) -> tuple[Hint, ...]:
        return export_hints(self.registry, self.catalog, context_tokens=CONTEXT_TOKENS)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset("tiny", tmp_path_factory.mktemp("template") / "tiny")


@pytest.fixture
def home(tmp_path: Path, template: Path) -> Iterator[Home]:
    made = Home(tmp_path, template)
    with made.registry:
        yield made


def codes(imported: Any) -> dict[str, str]:
    return {entry.name: entry.code for entry in imported.unmatched}


def test_the_first_entry_of_a_task_that_memory_is_there_for_is_pinned(home: Home) -> None:
    home.put("small")
    home.put("other")
    imported = home.take_in(
        Hint("huge", "chat", 64), Hint("small", "Chat", 8), Hint("other", "chat", 4), Hint("other", "code")
    )
    assert imported.pins == (Pin(Task.CHAT, "small:0"), Pin(Task.CODE, "other:0"))
    assert home.registry.pins() == imported.pins
    assert codes(imported) == {"huge": "memory"}


def test_a_pin_for_a_model_that_is_not_here_waits_until_it_comes(home: Home) -> None:
    imported = home.take_in(Hint("phi-4-mini", "code", 8))
    assert imported.pins == (Pin(Task.CODE, "phi-4-mini", is_waiting=True),)
    assert codes(imported) == {"phi-4-mini": "model_not_found"}
    home.put("x", declared="phi-4-mini:5")
    assert home.registry.pins() == (Pin(Task.CODE, "phi-4-mini:5"),)


def test_an_alias_is_as_good_as_a_name(home: Home) -> None:
    home.put("x", declared="phi-4-mini-generic-cpu:5")
    alias = home.catalog.get("phi-4-mini-generic-cpu").alias
    assert home.take_in(Hint(alias.upper(), "chat")).pins == (Pin(Task.CHAT, "phi-4-mini-generic-cpu:5"),)


def test_what_a_person_has_pinned_stays(home: Home) -> None:
    home.put("mine")
    home.put("theirs")
    home.catalog.pin(Task.CHAT, "mine")
    assert home.take_in(Hint("theirs", "chat")).pins == ()
    assert home.registry.pins() == (Pin(Task.CHAT, "mine:0"),)


def test_a_waiting_pin_is_a_pin(home: Home) -> None:
    home.take_in(Hint("first", "chat"))
    assert home.take_in(Hint("second", "chat")).pins == ()


def test_without_pins_only_the_hints_are_kept(home: Home) -> None:
    home.put("small")
    imported = home.take_in(Hint("small", "chat", 1), with_pins=False)
    assert (imported.pins, home.registry.pins()) == ((), ())
    assert home.registry.hints() == (Hint("small", "chat", 1),)


def test_every_entry_that_means_nothing_here_is_said(home: Home) -> None:
    home.put("small")
    imported = home.take_in(
        Hint("a", "summarise"), Hint("b", "chat", 99), Hint("c", "chat"), Hint("small", "vision"), Hint("small", "chat")
    )
    assert [(entry.name, entry.code) for entry in imported.unmatched] == [
        ("a", "unknown_task"),
        ("b", "memory"),
        ("c", "model_not_found"),
        ("small", "task"),
    ]
    assert "99 GB" in imported.unmatched[1].message


def test_a_container_has_the_memory_of_its_limit() -> None:
    limited = Hardware(Cpu("a CPU", 4, 8, 3), Memory(16 * 10**9, 10**9, limit_bytes=2 * 10**9))
    assert memory_gb(limited) == 2.0


def test_every_usable_model_is_exported_with_its_facts(home: Home) -> None:
    home.put("small")
    (hint,) = home.write_out()
    assert (hint.name, hint.task, hint.notes) == ("small", "chat", "")
    assert hint.min_ram_gb is not None
    assert 0.5 <= hint.min_ram_gb <= 2
    model = home.catalog.get("small")
    assert hint.more["slmreg"] == {
        "id": "small:0",
        "alias": model.alias,
        "precision": "int4",
        "parameters": model.parameters,
        "size_bytes": model.size_bytes,
        "context_tokens": 2048,
        "content": model.content,
        "execution_provider": "cpu",
    }


def test_the_demo_model_is_exported_only_where_there_is_no_other(home: Home) -> None:
    assert [hint.name for hint in home.write_out()] == ["slmreg-demo"]
    home.put("small")
    assert [hint.name for hint in home.write_out()] == ["small"]


def test_pinned_models_come_first_and_with_their_task(home: Home) -> None:
    for name in ("a", "b", "c"):
        home.put(name)
    home.catalog.pin(Task.CODE, "c")
    home.catalog.pin(Task.MATH, "c")
    entries = [(hint.name, hint.task) for hint in home.write_out()]
    assert entries[:2] == [("c", "code"), ("c", "math")]
    assert sorted(entries[2:]) == [("a", "chat"), ("b", "chat")]


def test_hints_keep_their_place_and_what_they_say(home: Home) -> None:
    home.put("here")
    hints = (
        Hint("gone", "chat", 8.0, "not here", {"x": 1}),
        Hint("here", "code", 3.0, "ours", {"y": [2], "slmreg": {"id": "theirs:9"}}),
        Hint("later", "math"),
    )
    home.take_in(*hints, with_pins=False)
    gone, here, later = home.write_out()
    assert (gone, later) == (hints[0], hints[2])
    assert (here.name, here.task, here.min_ram_gb, here.notes, here.more["y"]) == ("here", "code", 3.0, "ours", [2])
    assert here.more["slmreg"]["id"] == "here:0"
    home.catalog.pin(Task.CHAT, "here")
    assert [(hint.name, hint.task) for hint in home.write_out()][-1] == ("here", "chat")


def test_an_older_version_goes_by_its_id(home: Home) -> None:
    home.put("one", declared="phi:1")
    home.put("two", declared="phi:2")
    assert sorted(hint.name for hint in home.write_out()) == ["phi", "phi:1"]


def test_a_round_trip_through_a_registry_is_lossless(home: Home) -> None:
    home.put("small")
    home.take_in(Hint("phi", "chat", 8.0, "n", {"k": None}), Hint("small", "code", 1.5), with_pins=False)
    text = serialise(home.write_out())
    home.take_in(*parse(text), with_pins=False)
    assert serialise(home.write_out()) == text
    home.take_in(*parse(text), with_pins=False)
    assert home.registry.hints() == parse(text)


def test_a_colleagues_export_does_not_change_what_we_know(home: Home) -> None:
    home.put("small")
    ours = home.write_out()
    facts = {**ours[0].more["slmreg"], "precision": "fp16", "measured": {"tokens_per_second": 1}}
    home.take_in(replace(ours[0], notes="fast", more={"slmreg": facts}), with_pins=False)
    (again,) = home.write_out()
    assert again.more == ours[0].more
    assert again.notes == "fast"


def test_the_courses_own_choice_works_on_an_export(home: Home) -> None:
    for name in ("small", "other"):
        home.put(name)
    home.catalog.pin(Task.CODE, "other")
    models = json.loads(serialise(home.write_out()))

    def pick(task: str, ram_gb: float) -> str | None:
        fitting = [m for m in models if m["task"] == task and m["min_ram_gb"] <= ram_gb]
        return fitting[0]["name"] if fitting else None

    assert pick("code", 16) == "other"
    assert pick("chat", 16) == "small"
    assert pick("chat", 0.1) is None
    assert all(isinstance(m["notes"], str) for m in models)


def test_least_memory_leaves_the_reserve_and_is_rounded_up_to_half_a_gigabyte() -> None:
    def least(weight_bytes: int) -> float:
        return least_memory_gb(a_model(weight_bytes=weight_bytes, size_bytes=weight_bytes, parameters=10**9), 2048)

    small, large = least(10**9), least(8 * 10**9)
    assert small * 2 == int(small * 2)
    assert small < large
    from selector.footprint import need_bytes, reserve_bytes

    model = a_model(weight_bytes=8 * 10**9, size_bytes=8 * 10**9, parameters=10**9)
    total = int(large * 10**9)
    assert need_bytes(model, 2048) + reserve_bytes(total) <= total
    assert need_bytes(model, 2048) + reserve_bytes(total) > total - 10**9


def test_what_was_measured_here_is_among_the_facts(home: Home) -> None:
    home.put("fast")
    home.put("new")
    model = home.catalog.get("fast")
    measured = Measurement(
        model_id=model.id,
        content="of an older file",
        device=Device.CPU,
        threads=3,
        measured_s=1.0,
        answers=2,
        tokens_per_second=12.3456,
    )
    home.registry.record_measurements([measured])

    def facts() -> dict[str, Any]:
        return {hint.name: hint.more["slmreg"] for hint in parse(serialise(home.write_out()))}

    assert not any("measured" in each for each in facts().values())
    home.registry.record_measurements([replace(measured, content=model.content)])
    told = facts()
    assert (told["fast"]["measured"]["tokens_per_second"], told["fast"]["measured"]["threads"]) == (12.3, 3)
    assert "measured" not in told["new"]
