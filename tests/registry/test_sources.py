from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from registry.model import Root, RootChoice, Source
from registry.sources import find_roots

NO_HUB = {"SLMREG_HF_CACHE": ""}


def found(environment: dict[str, str], *user_roots: Path, home: Path | None = None) -> list[tuple[Path, Source]]:
    return [(root.path, root.source) for root in find_roots(environment, map(RootChoice, user_roots), home=home)][:-1]


def root_at(path: Path, roots: tuple[Root, ...]) -> Root:
    return next(root for root in roots if root.path == path)


def test_every_apps_cache_under_home_is_found(tmp_path: Path) -> None:
    home = tmp_path.resolve()
    for app in (".foundry", ".my_app", "visible"):
        (home / app / "cache" / "models").mkdir(parents=True)
    (home / ".bashrc").touch()
    (home / ".aitk" / "models").mkdir(parents=True)
    expected = [home / app / "cache" / "models" for app in (".foundry", ".my_app")] + [home / ".aitk" / "models"]
    assert found({}, home=home) == [(path, Source.FOUNDRY) for path in expected]


def test_home_comes_from_the_environment(tmp_path: Path) -> None:
    cache = tmp_path.resolve() / ".foundry" / "cache" / "models"
    cache.mkdir(parents=True)
    assert found({"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}) == [(cache, Source.FOUNDRY)]


def test_the_variable_replaces_the_search_and_keeps_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / ".foundry" / "cache" / "models").mkdir(parents=True)
    here, gone = tmp_path.resolve() / "here", tmp_path.resolve() / "gone"
    here.mkdir()
    roots = find_roots({"SLMREG_FOUNDRY_CACHES": f"{here}{os.pathsep}{gone}", **NO_HUB}, home=tmp_path)
    assert [(root.path, root.exists) for root in roots[:-1]] == [(here, True), (gone, False)]


def test_an_empty_variable_means_no_caches(tmp_path: Path) -> None:
    (tmp_path / ".foundry" / "cache" / "models").mkdir(parents=True)
    assert found({"SLMREG_FOUNDRY_CACHES": ""}, home=tmp_path) == []


def test_a_tilde_is_the_home_directory(tmp_path: Path) -> None:
    environment = {"SLMREG_FOUNDRY_CACHES": "~/caches", "SLMREG_HF_CACHE": "~"}
    assert [path for path, _source in found(environment, home=tmp_path)] == [
        tmp_path.resolve() / "caches",
        tmp_path.resolve(),
    ]


def test_a_cache_that_foundry_was_told_to_move_is_found(tmp_path: Path) -> None:
    (tmp_path / ".foundry").mkdir()
    moved = tmp_path.resolve() / "elsewhere"
    settings = {"serviceSettings": {"cacheDirectoryPath": str(moved)}}
    (tmp_path / ".foundry" / "foundry.config.json").write_text(json.dumps(settings), encoding="utf-8")
    roots = find_roots({}, home=tmp_path)
    assert [(root.path, root.source, root.exists) for root in roots[:-1]] == [(moved, Source.FOUNDRY, False)]


# -- folders registered in a cache


def register(cache: Path, *paths: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    models = [{"model_path": str(path), "model_info": {"id": "x:1"}} for path in paths]
    (cache / "foundry.local.modelinfo.json").write_text(json.dumps({"models": models}), encoding="utf-8")


@pytest.mark.parametrize("by", ["home", "variable", "person"])
def test_models_registered_in_any_cache_are_roots_if_they_are_models_or_not_there(by: str, tmp_path: Path) -> None:
    home = tmp_path.resolve()
    cache = home / ".foundry" / "cache" / "models"
    for name in ("model", "no-model"):
        (home / name).mkdir()
    (home / "model" / "genai_config.json").touch()
    register(cache, *(home / name for name in ("model", "no-model", "gone")))
    environment = {"SLMREG_FOUNDRY_CACHES": {"home": "~/.foundry/cache/models", "variable": str(cache)}.get(by, "")}
    roots = find_roots({**environment, **NO_HUB}, [RootChoice(cache)] if by == "person" else (), home=home)
    expected = [(home / "model", Source.FOUNDRY, True), (home / "gone", Source.FOUNDRY, False)]
    assert [(root.path, root.source, root.exists) for root in roots[1:-1]] == expected


def test_switching_a_cache_off_switches_off_what_is_registered_in_it_but_for_what_has_a_switch_of_its_own(
    tmp_path: Path,
) -> None:
    home = tmp_path.resolve()
    cache = home / ".foundry" / "cache" / "models"
    register(cache, home / "one", home / "two")
    choices = [
        RootChoice(cache, is_added=False, is_enabled=False),
        RootChoice(home / "two", is_added=False, is_enabled=True),
    ]
    roots = find_roots(NO_HUB, choices, home=home)
    assert [(root.path.name, root.is_enabled) for root in roots[:-1]] == [
        ("models", False),
        ("one", False),
        ("two", True),
    ]


# -- Hugging Face


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ".cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "{home}/xdg"}, "xdg/huggingface/hub"),
        ({"XDG_CACHE_HOME": "{home}/xdg", "HF_HOME": "{home}/hf"}, "hf/hub"),
        ({"HF_HOME": "~/hf", "HUGGINGFACE_HUB_CACHE": "{home}/old"}, "old"),
        ({"HF_HOME": "{home}/hf", "HUGGINGFACE_HUB_CACHE": "{home}/old", "HF_HUB_CACHE": "{home}/new"}, "new"),
        ({"HF_HUB_CACHE": "{home}/new", "SLMREG_HF_CACHE": "{home}/mine"}, "mine"),
        ({"HF_HUB_CACHE": "{home}/new", "SLMREG_HF_CACHE": ""}, None),
        ({"HF_HOME": ""}, ".cache/huggingface/hub"),
    ],
)
def test_the_hub_cache_is_where_hugging_faces_own_variables_say(
    environment: dict[str, str], expected: str | None, tmp_path: Path
) -> None:
    home = tmp_path.resolve()
    for path in (".cache/huggingface/hub", "xdg/huggingface/hub", "hf/hub", "old", "new", "mine"):
        (home / path).mkdir(parents=True)
    variables = {name: value.format(home=home) for name, value in environment.items()}
    assert found(variables, home=home) == ([(home / expected, Source.HUGGING_FACE)] if expected else [])


def test_a_hub_cache_that_is_not_there_is_listed_only_if_slmreg_was_told_of_it(tmp_path: Path) -> None:
    assert found({"HF_HOME": str(tmp_path / "hf")}, home=tmp_path) == []
    (root, _demo) = find_roots({"SLMREG_HF_CACHE": str(tmp_path / "hf")}, home=tmp_path)
    assert (root.path, root.exists) == (tmp_path.resolve() / "hf", False)


# -- what a person decided


def test_user_roots_are_marked_and_the_demo_root_is_last(tmp_path: Path) -> None:
    roots = find_roots({}, [RootChoice(tmp_path)], home=tmp_path)
    assert [(root.source, root.added_by_user) for root in roots] == [(Source.FOLDER, True), (Source.DEMO, False)]


def test_every_kind_of_root_can_be_switched_off_and_stays_listed(tmp_path: Path) -> None:
    home = tmp_path.resolve()
    for path in (".foundry/cache/models", "hub", "mine"):
        (home / path).mkdir(parents=True)
    environment = {"SLMREG_HF_CACHE": str(home / "hub")}
    everything = find_roots(environment, [RootChoice(home / "mine")], home=home)
    assert len(everything) == 4
    choices = [RootChoice(r.path, is_added=r.added_by_user, is_enabled=False, settle_s=3.0) for r in everything]
    switched = find_roots(environment, choices, home=home)
    assert [root.path for root in switched] == [root.path for root in everything]
    assert {(root.is_enabled, root.settle_s) for root in switched} == {(False, 3.0)}


def test_a_choice_about_a_root_that_is_no_longer_found_adds_none(tmp_path: Path) -> None:
    choice = RootChoice(tmp_path / "gone", is_added=False, is_enabled=False)
    assert [root.source for root in find_roots({}, [choice], home=tmp_path)] == [Source.DEMO]


def test_a_cache_that_a_person_adds_too_is_one_root_of_theirs(tmp_path: Path) -> None:
    cache = tmp_path.resolve() / ".foundry" / "cache" / "models"
    cache.mkdir(parents=True)
    root = root_at(cache, find_roots({}, [RootChoice(cache, settle_s=5.0)], home=tmp_path))
    assert (root.source, root.added_by_user, root.settle_s) == (Source.FOUNDRY, True, 5.0)


@pytest.mark.skipif(os.name == "nt", reason="links need privileges")
def test_one_folder_by_two_ways_is_one_root(tmp_path: Path) -> None:
    cache = tmp_path.resolve() / ".foundry" / "cache" / "models"
    cache.mkdir(parents=True)
    (tmp_path / "link").symlink_to(cache)
    assert found({}, tmp_path / "link", home=tmp_path) == [(cache, Source.FOUNDRY)]


@pytest.mark.parametrize("name", ["nul\0l", "x" * 5000])
def test_a_path_that_cannot_be_is_a_root_that_is_not_there(name: str, tmp_path: Path) -> None:
    (root, _demo) = find_roots({"SLMREG_HF_CACHE": f"{tmp_path}/{name}"}, home=tmp_path)
    assert root.exists is False
