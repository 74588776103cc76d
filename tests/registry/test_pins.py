"""What a pin means: a model wherever it goes, one that is waited for, or whatever fits a pattern now."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from registry.errors import InvalidRequest, ModelNotFound
from registry.model import Device, Fallback, Pin, Problem, ScanReport, Source, Status, Task, Verification
from registry.store import Registry
from tests.registry.samples import RICH, report, variant


def following(pattern: str, model_id: str, fallback: Fallback = Fallback.ERROR) -> Pin:
    return Pin(Task.CHAT, model_id, pattern=pattern, fallback=fallback)


def waiting(pattern: str) -> Pin:
    return Pin(Task.CHAT, pattern, is_waiting=True, pattern=pattern)


# -- what a pattern means


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("phi-4*", True),
        (" PHI-4-MINI* ", True),
        ("phi-4-mini-cpu", True),
        ("phi-?-mini-[bcd]pu", True),
        ("mini", True),
        ("*:5", True),
        ("phi-4-mini-cpu:5", True),
        ("*", True),
        ("phi-4-mini", False),
        ("*:4", False),
        ("phi-4-mini-[!c]pu", False),
        ("phi-[", False),
        ("[z-a]*", False),
    ],
)
def test_a_pattern_fits_ids_names_and_aliases_in_any_case(pattern: str, fits: bool, registry: Registry) -> None:
    registry.apply(report(variant("Phi-4-mini-CPU", "5", alias="Mini")))
    pattern, meant = pattern.strip(), "Phi-4-mini-CPU:5"
    expected = following(pattern, meant) if fits else waiting(pattern)
    assert registry.pin_pattern(Task.CHAT, f" {pattern} ") == expected
    assert registry.pins() == (expected,)


def test_a_pattern_goes_over_to_a_new_version_and_back(registry: Registry) -> None:
    five, six = variant("phi-4-mini", "5"), variant("phi-4-mini-next", "6")
    registry.apply(report(five))
    assert registry.pin_pattern(Task.CHAT, "phi-4-mini*") == following("phi-4-mini*", "phi-4-mini:5")
    registry.apply(report(five, six))
    assert registry.pins() == (following("phi-4-mini*", "phi-4-mini-next:6"),)
    registry.apply(report(five))
    assert registry.pins() == (following("phi-4-mini*", "phi-4-mini:5"),)
    registry.apply(report())
    assert registry.pins() == (waiting("phi-4-mini*"),)


def test_versions_are_compared_before_names_and_as_numbers(registry: Registry) -> None:
    registry.pin_pattern(Task.CHAT, "phi*")
    registry.apply(report(variant("phi-z", "9")))
    registry.apply(report(variant("phi-z", "9"), variant("phi-a", "10"), variant("phi-b", "8")))
    assert registry.pins()[0].model_id == "phi-a:10"


def test_of_one_version_what_came_last_is_the_newest(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.pin_pattern(Task.CHAT, "*")
    for at_s, models in ((1.0, ["b"]), (2.0, ["a", "b"]), (3.0, ["a", "b", "c"])):
        monkeypatch.setattr("time.time", lambda at_s=at_s: at_s)
        registry.apply(report(*map(variant, models)))
    assert registry.pins()[0].model_id == "c:1"


def test_a_hugging_face_revision_is_older_than_any_version(registry: Registry) -> None:
    revision = variant("phi-hub", "99", source=Source.HUGGING_FACE, refs=("main",))
    old = variant("phi-hub", "77", source=Source.HUGGING_FACE)
    registry.pin_pattern(Task.CHAT, "phi*")
    registry.apply(report(revision, old))
    assert registry.pins()[0].model_id == "phi-hub:99"
    registry.apply(report(revision, old, variant("phi-foundry", "1")))
    assert registry.pins()[0].model_id == "phi-foundry:1"


def test_what_runs_anywhere_goes_before_what_needs_a_device_and_the_demo_model_is_last(registry: Registry) -> None:
    demo, gpu = variant("phi-demo", "9", source=Source.DEMO), variant("phi-gpu", "8", device=Device.GPU)
    registry.pin_pattern(Task.CHAT, "phi*")
    for models, meant in (
        ([demo], "phi-demo:9"),
        ([demo, gpu], "phi-gpu:8"),
        ([demo, gpu, variant("phi-cpu", "1")], "phi-cpu:1"),
    ):
        registry.apply(report(*models))
        assert registry.pins()[0].model_id == meant


def test_a_pattern_passes_over_what_cannot_serve(registry: Registry) -> None:
    usable = variant("phi", "1")
    registry.pin_pattern(Task.CHAT, "phi*")
    registry.apply(
        report(
            usable,
            variant("phi", "2", status=Status.BLOCKED),
            variant("phi", "3", tasks=(Task.EMBEDDINGS,)),
            variant("phi", "4"),
        )
    )
    assert registry.pins()[0].model_id == "phi:4"
    damage = (Problem("content_damaged", "Copy it again."),)
    registry.record_verification("phi:4", Verification(RICH.fingerprint, 1.0, {}, damage))
    assert registry.pins()[0].model_id == "phi:1"


def test_a_pattern_protects_no_row_and_a_pin_does(registry: Registry, tmp_path: Path) -> None:
    root = registry.add_root(tmp_path)
    followed, pinned = (variant(name, path=root / name, source=Source.FOLDER) for name in ("phi-a", "qwen-a"))
    registry.apply(ScanReport((followed, pinned), (), (root,), 0.0))
    registry.pin_pattern(Task.CHAT, "phi*")
    registry.pin(Task.CODE, "qwen-a:1")
    registry.remove_root(root)
    assert [(model.id, model.status) for model in registry.models()] == [("qwen-a:1", Status.MISSING)]
    assert registry.pins() == (waiting("phi*"), Pin(Task.CODE, "qwen-a:1"))


def test_a_pattern_without_a_character_is_refused(registry: Registry) -> None:
    registry.pin_pattern(Task.CHAT, "phi*")
    for pattern in ("", "  "):
        with pytest.raises(InvalidRequest, match="empty"):
            registry.pin_pattern(Task.CHAT, pattern)
    assert registry.pins() == (waiting("phi*"),)


# -- what a pin falls back to


def test_every_kind_of_pin_keeps_its_fallback(registry: Registry, tmp_path: Path) -> None:
    auto = Fallback.AUTO
    registry.apply(report(RICH))
    assert registry.pin(Task.CHAT, RICH.id, fallback=auto) == Pin(Task.CHAT, RICH.id, fallback=auto)
    assert registry.pin_later(Task.CODE, "new", fallback=auto) == Pin(Task.CODE, "new", is_waiting=True, fallback=auto)
    registry.pin_pattern(Task.MATH, "phi*", fallback=auto)
    with Registry.open(tmp_path / "state" / "registry.db") as other:
        assert other.pins() == registry.pins()
        assert {pin.fallback for pin in other.pins()} == {auto}
        new = variant("new", tasks=(Task.CODE,))
        other.apply(report(RICH, new))
    assert registry.pins()[1] == Pin(Task.CODE, "new:1", fallback=auto)
    registry.apply(report(new))
    assert registry.pins()[0] == Pin(Task.CHAT, RICH.id, fallback=auto)  # missing, and as it was


def test_the_same_pin_with_another_fallback_is_a_change(registry: Registry) -> None:
    registry.apply(report(RICH))
    registry.pin(Task.CHAT, RICH.id, fallback=Fallback.AUTO)
    registry.pin(Task.CHAT, RICH.id)
    assert registry.pins() == (Pin(Task.CHAT, RICH.id),)


def test_one_kind_of_pin_takes_the_place_of_another(registry: Registry) -> None:
    registry.apply(report(RICH))
    registry.pin_pattern(Task.CHAT, "phi*")
    registry.pin(Task.CHAT, RICH.id)
    assert registry.pins() == (Pin(Task.CHAT, RICH.id),)
    registry.pin_pattern(Task.CHAT, "qwen*")
    assert registry.pins() == (waiting("qwen*"),)
    registry.pin_later(Task.CHAT, "qwen*")  # a name, however odd
    assert registry.pins() == (Pin(Task.CHAT, "qwen*", is_waiting=True),)
    registry.unpin(Task.CHAT)
    assert registry.pins() == ()
    with pytest.raises(ModelNotFound):
        registry.pin(Task.CHAT, "phi*")


# -- several at once


def _bring_versions(path: str, started: Any, versions: int) -> None:
    started.wait()
    with Registry.open(Path(path)) as registry:
        for version in range(1, versions + 1):
            registry.apply(report(variant("phi", str(version))))


def test_another_process_brings_a_new_version(tmp_path: Path) -> None:
    path, versions = tmp_path / "r.db", 12
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_bring_versions, args=(str(path), started, versions))
    process.start()
    with Registry.open(path) as registry:
        registry.pin_pattern(Task.CHAT, "ph?")
        started.set()
        seen = [0]
        while process.is_alive():
            (pin,) = registry.pins()
            seen.append(seen[0] if pin.is_waiting else int(pin.model_id.partition(":")[2]))
            registry.pin_pattern(Task.CODE, "ph?")  # two write at once
            registry.unpin(Task.CODE)
        process.join(60)
        assert process.exitcode == 0
        assert seen == sorted(seen)
        assert registry.pins() == (following("ph?", f"phi:{versions}"),)
        assert registry.pin_pattern(Task.CHAT, "phi:1") == waiting("phi:1")
