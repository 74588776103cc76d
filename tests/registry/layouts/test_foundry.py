from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.errors import InvalidModelFolder
from registry.layouts.foundry import Catalog, CatalogEntry, read_catalog
from registry.layouts.registrations import REGISTRATIONS_FILE, moved_cache, read_registrations
from registry.model import Device, ExecutionProvider, Markers, Root, Source
from registry.scan import scan

ENTRY = {
    "id": "qwen3-0.6b-generic-cpu:4",
    "name": "qwen3-0.6b-generic-cpu",
    "version": 4,
    "alias": "qwen3-0.6b",
    "publisher": "Microsoft",
    "license": "apache-2.0",
    "task": "chat-completion",
    "runtime": {"deviceType": "CPU", "executionProvider": "CPUExecutionProvider"},
    "supportsToolCalling": True,
    "supportsReasoning": True,
    "toolCallStart": "<tool_call>",
    "toolCallEnd": "</tool_call>",
    "reasoningStart": "<think>",
    "reasoningEnd": "</think>",
    "maxOutputTokens": 2048,
    "promptTemplate": {"prompt": "{Content}"},
}
EVERYTHING = CatalogEntry(
    alias="qwen3-0.6b",
    publisher="Microsoft",
    license="apache-2.0",
    task="chat-completion",
    device=Device.CPU,
    execution_provider=ExecutionProvider.CPU,
    supports_tools=True,
    supports_reasoning=True,
    tool_markers=Markers("<tool_call>", "</tool_call>"),
    reasoning_markers=Markers("<think>", "</think>"),
    max_output_tokens=2048,
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(ENTRY)), inner, max_size=4),
    max_leaves=8,
)


def catalog(folder: Path, *models: Any, **more: Any) -> Catalog:
    document = {"version": 1, "savedAtUnix": 0, "models": list(models), **more}
    (folder / "foundry.modelinfo.json").write_text(json.dumps(document), encoding="utf-8-sig")
    return read_catalog(folder)


def test_everything_that_the_catalog_knows_is_read(tmp_path: Path) -> None:
    found = catalog(tmp_path, ENTRY)
    assert found.find("qwen3-0.6b-generic-cpu", "4") == EVERYTHING
    assert found.fault is None


def test_case_does_not_count_and_a_newer_version_speaks_for_an_older_one(tmp_path: Path) -> None:
    found = catalog(tmp_path, {**ENTRY, "alias": "newest", "version": 5, "id": "qwen3-0.6b-generic-cpu:5"}, ENTRY)
    aliases = {version: entry.alias for version in "345" if (entry := found.find("QWEN3-0.6B-generic-CPU", version))}
    assert aliases == {"3": "newest", "4": "qwen3-0.6b", "5": "newest"}
    assert found.find("other", "4") is None


@pytest.mark.parametrize("entry", [{"name": "phi-generic-cpu:1"}, {"name": "phi-generic-cpu", "version": "1"}])
def test_the_older_forms_of_an_id_are_understood(entry: dict[str, Any], tmp_path: Path) -> None:
    found = catalog(tmp_path, {**entry, "alias": "phi"}).find("phi-generic-cpu", "1")
    assert found is not None
    assert found.alias == "phi"


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("alias", 3, "alias"),
        ("license", ["MIT"], "license"),
        ("runtime", "CPU", "device"),
        ("runtime", {"deviceType": 1}, "device"),
        ("supportsToolCalling", "yes", "supports_tools"),
        ("toolCallStart", {}, "tool_markers"),
        ("maxOutputTokens", -1, "max_output_tokens"),
        ("maxOutputTokens", 1e9, "max_output_tokens"),
    ],
)
def test_a_field_of_the_wrong_type_costs_that_field_and_is_said(
    key: str, value: object, field: str, tmp_path: Path
) -> None:
    found = catalog(tmp_path, {**ENTRY, key: value}, {**ENTRY, "id": "other:1", "name": "other", "version": 1})
    spoiled = found.find("qwen3-0.6b-generic-cpu", "4")
    assert spoiled is not None
    assert getattr(spoiled, field) is None
    assert spoiled.task == "chat-completion"
    assert found.find("other", "1") == EVERYTHING
    assert found.fault is not None
    assert f"models[0].{key}" in found.fault or "models[0].runtime" in found.fault


def test_what_is_no_entry_costs_only_itself(tmp_path: Path) -> None:
    found = catalog(tmp_path, 7, None, ENTRY)
    assert found.find("qwen3-0.6b-generic-cpu", "4") == EVERYTHING
    assert found.fault == (
        "models[0] in foundry.modelinfo.json must be an object. So are 1 more. Everything else in it is used."
    )


@pytest.mark.parametrize("text", ["", "[]", "{", '{"models": {}}', '{"models": 1}', "{}"])
def test_a_catalog_of_which_nothing_can_be_read_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "foundry.modelinfo.json").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidModelFolder) as caught:
        read_catalog(tmp_path)
    assert caught.value.code == "catalog_invalid"


def test_what_says_nothing_says_nothing(tmp_path: Path) -> None:
    runtime = {"deviceType": "Invalid", "executionProvider": "WarpExecutionProvider"}
    entry = {"id": "x:1", "alias": "", "runtime": runtime, "toolCallStart": "<t>", "maxOutputTokens": 0}
    assert catalog(tmp_path, entry).find("x", "1") == CatalogEntry()


def test_an_entrys_digest_changes_with_every_field() -> None:
    entries = [CatalogEntry(), CatalogEntry(alias="x"), CatalogEntry(license="x"), EVERYTHING]
    entries.append(CatalogEntry(tool_markers=Markers("a", "b")))
    assert len({entry.digest for entry in entries}) == len(entries)
    assert CatalogEntry(alias="x").digest == CatalogEntry(alias="x").digest


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(models=st.lists(ANYTHING, max_size=4))
def test_any_catalog_is_read_or_refused(models: list[Any], tmp_path: Path) -> None:
    found = catalog(tmp_path, *models, ENTRY)
    assert found.find("qwen3-0.6b-generic-cpu", "4") is not None
    (tmp_path / REGISTRATIONS_FILE).write_text(json.dumps({"models": models}), encoding="utf-8")
    read_registrations(tmp_path)


# -- models registered by their path


def register(cache: Path, *models: Any, version: int = 3) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    document = {"version": version, "catalog_name": "local", "models": list(models)}
    (cache / REGISTRATIONS_FILE).write_text(json.dumps(document), encoding="utf-8")


def registered(path: Path, model_id: str = "mine-generic-cpu:7", **more: Any) -> dict[str, Any]:
    return {"model_path": str(path), "model_info": {"id": model_id, **more}}


def roots(cache: Path, *folders: Path) -> list[Root]:
    return [Root(path.resolve(), Source.FOUNDRY) for path in (cache, *folders)]


def test_all_versions_of_the_file_are_understood(tmp_path: Path) -> None:
    old = {"model_path": str(tmp_path / "old"), "model_id": "old:1", "alias": "o", "properties": {}}
    register(tmp_path, registered(tmp_path / "new", "new:2", alias="n"), old)
    found = {each.path.name: (each.id, each.entry.alias) for each in read_registrations(tmp_path).folders}
    assert found == {"new": ("new:2", "n"), "old": ("old:1", "o")}


def test_a_registered_folder_has_the_name_and_the_facts_it_was_registered_with(
    tmp_path: Path, place_model: Any
) -> None:
    folder = place_model(tmp_path / "elsewhere" / "output")
    (folder / "inference_model.json").unlink(missing_ok=True)
    register(tmp_path / "cache", registered(folder, alias="mine", license="MIT", maxOutputTokens=99))
    cache_root, folder_root = roots(tmp_path / "cache", folder)
    report = scan([cache_root, folder_root])
    (model,) = report.models
    assert (model.id, model.alias, model.license, model.max_output_tokens) == ("mine-generic-cpu:7", "mine", "MIT", 99)
    assert report.problems == ()
    (again,) = scan([cache_root, folder_root], under=folder / "x").models
    assert again == model


def test_a_folder_that_says_itself_what_it_is_keeps_its_name(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m", name="own:1")
    register(tmp_path / "cache", registered(folder, license="MIT"))
    (model,) = scan(roots(tmp_path / "cache", folder)).models
    assert (model.id, model.license) == ("own:1", "MIT")


def test_what_lies_below_a_registered_model_has_a_name_of_its_own(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m")
    (folder / "inference_model.json").unlink(missing_ok=True)
    shutil.copytree(folder, folder / "draft")
    register(tmp_path / "cache", registered(folder, license="MIT"))
    found = {model.id: model.license for model in scan(roots(tmp_path / "cache", folder)).models}
    assert found == {"mine-generic-cpu:7": "MIT", "draft:0": None}


def test_another_name_in_the_registration_is_noticed(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m")
    (folder / "inference_model.json").unlink(missing_ok=True)
    register(tmp_path / "cache", registered(folder, "one:1"))
    places = roots(tmp_path / "cache", folder)
    before = {model.path: model for model in scan(places).models}
    register(tmp_path / "cache", registered(folder, "two:1"))
    assert [model.id for model in scan(places, known=before).models] == ["two:1"]


def test_registrations_that_lead_nowhere_are_said_and_cost_no_other(tmp_path: Path, place_model: Any) -> None:
    here = place_model(tmp_path / "here")
    (tmp_path / "empty").mkdir()
    refused = [registered(Path("relative/path")), registered(tmp_path / ".." / "up"), {"model_path": 3}, 4]
    gone = [registered(tmp_path / "gone"), registered(tmp_path / "empty")]
    register(tmp_path / "cache", *refused, *gone, registered(here))
    report = scan(roots(tmp_path / "cache", here))
    assert len(report.models) == 1
    (problem,) = report.problems
    assert (problem.code, problem.path) == ("catalog_invalid", (tmp_path / "cache" / REGISTRATIONS_FILE).resolve())
    for expected in ("relative/path", "'..'", "models[2].model_path", "models[3]", "gone is not there", "empty has no"):
        assert expected in problem.message
    assert scan(roots(tmp_path / "cache", here), under=here).problems == ()


def test_a_registration_file_that_is_broken_is_said(tmp_path: Path) -> None:
    register(tmp_path / "cache")
    (tmp_path / "cache" / REGISTRATIONS_FILE).write_text("{", encoding="utf-8")
    assert [problem.code for problem in scan(roots(tmp_path / "cache")).problems] == ["catalog_invalid"]


# -- the oddities of a cache


def test_every_model_that_foundry_passes_over_in_silence_is_found_or_reported(tmp_path: Path, place_model: Any) -> None:
    cache = tmp_path.resolve() / "cache"
    place_model(cache, name="at-the-top:1")
    place_model(cache / "a" / "lower").joinpath("inference_model.json").write_text(
        '{"name": "lower:1"}', encoding="utf-8"
    )
    place_model(cache / "a" / "bom").joinpath("inference_model.json").write_text(
        '{"Name": "bom:1"}', encoding="utf-8-sig"
    )
    place_model(cache / "a" / "broken").joinpath("inference_model.json").write_text("{", encoding="utf-8")
    place_model(cache / "a" / "missing-generic-cpu-3" / "v3").joinpath("inference_model.json").unlink(missing_ok=True)
    (place_model(cache / "b" / "loading" / "v1").parent / "download.tmp").touch()
    (place_model(cache / "b" / "resumed") / "model.onnx.dlstate").touch()
    (cache / "b" / "begun").mkdir()
    (cache / "b" / "begun" / "download.tmp").touch()
    (cache / "b" / "locked").mkdir()
    (cache / "b" / "locked" / ".download.lock").touch()
    catalog(cache, {"id": "lower:1", "alias": "from the catalog"})
    report = scan([Root(cache, Source.FOUNDRY)])
    found = sorted(model.id for model in report.models)
    assert found == ["at-the-top:1", "bom:1", "broken:0", "lower:1", "missing-generic-cpu:3"]
    assert {problem.path.relative_to(cache).as_posix(): problem.code for problem in report.problems} == {
        "b/begun": "unfinished",
        "b/loading/v1": "unfinished",
        "b/resumed": "unfinished",
    }
    aliases = {model.id: model.alias for model in report.models}
    assert aliases["lower:1"] == "from the catalog"


def test_a_marker_at_the_top_of_a_cache_does_not_stop_the_models_below(tmp_path: Path, place_model: Any) -> None:
    cache = tmp_path.resolve() / "cache"
    place_model(cache, name="unfinished:1")
    (cache / "download.tmp").touch()
    folder = place_model(cache / "Microsoft" / "phi", name="phi:1")
    for under in (None, folder):
        report = scan([Root(cache, Source.FOUNDRY)], under=under)
        assert [model.id for model in report.models] == ["phi:1"]
        assert [problem.path for problem in report.problems] == [cache]


def test_one_catalog_field_of_the_wrong_type_is_reported_at_the_cache(tmp_path: Path) -> None:
    catalog(tmp_path, {**ENTRY, "alias": 3})
    report = scan([Root(tmp_path.resolve(), Source.FOUNDRY)])
    assert [(problem.code, problem.path) for problem in report.problems] == [("catalog_invalid", tmp_path.resolve())]


# -- a cache that was moved


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"serviceSettings": 1}', '{"serviceSettings": {"cacheDirectoryPath": "relative"}}']
)
def test_settings_that_say_nothing_move_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "foundry.config.json").write_text(text, encoding="utf-8")
    assert moved_cache(tmp_path) is None


def test_settings_say_where_the_cache_is(tmp_path: Path) -> None:
    document = {"defaultLogLevel": 2, "serviceSettings": {"cacheDirectoryPath": str(tmp_path / "moved"), "port": 0}}
    (tmp_path / "foundry.config.json").write_text(json.dumps(document), encoding="utf-8")
    assert moved_cache(tmp_path) == tmp_path / "moved"
    assert moved_cache(tmp_path / "gone") is None
