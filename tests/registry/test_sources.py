from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry.model import RootChoice, Source
from registry.sources import find_roots


def found(environment: dict[str, str], *user_roots: Path, home: Path | None = None) -> list[tuple[Path, Source]]:
    return [(root.path, root.source) for root in find_roots(environment, map(RootChoice, user_roots), home=home)][:-1]


def test_every_apps_cache_under_home_is_found(tmp_path: Path) -> None:
    home = tmp_path.resolve()
    for app in (".foundry", ".my_app", "visible"):
        (home / app / "cache" / "models").mkdir(parents=True)
    (home / ".bashrc").touch()
    expected = [(home / app / "cache" / "models", Source.FOUNDRY) for app in (".foundry", ".my_app")]
    assert found({}, home=home) == expected


def test_home_comes_from_the_environment(tmp_path: Path) -> None:
    cache = tmp_path.resolve() / ".foundry" / "cache" / "models"
    cache.mkdir(parents=True)
    assert found({"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}) == [(cache, Source.FOUNDRY)]


def test_the_variable_replaces_the_search_and_keeps_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / ".foundry" / "cache" / "models").mkdir(parents=True)
    here, gone = tmp_path.resolve() / "here", tmp_path.resolve() / "gone"
    here.mkdir()
    roots = find_roots({"SLMREG_FOUNDRY_CACHES": f"{here}{os.pathsep}{gone}"}, home=tmp_path)
    assert [(root.path, root.exists) for root in roots[:-1]] == [(here, True), (gone, False)]


def test_an_empty_variable_means_no_caches(tmp_path: Path) -> None:
    (tmp_path / ".foundry" / "cache" / "models").mkdir(parents=True)
    assert found({"SLMREG_FOUNDRY_CACHES": ""}, home=tmp_path) == []


def test_user_roots_are_marked_and_the_demo_root_is_last(tmp_path: Path) -> None:
    roots = find_roots({}, [RootChoice(tmp_path)], home=tmp_path)
    assert [(root.source, root.added_by_user) for root in roots] == [(Source.FOLDER, True), (Source.DEMO, False)]


@pytest.mark.skipif(os.name == "nt", reason="links need privileges")
def test_one_folder_by_two_ways_is_one_root(tmp_path: Path) -> None:
    cache = tmp_path.resolve() / ".foundry" / "cache" / "models"
    cache.mkdir(parents=True)
    (tmp_path / "link").symlink_to(cache)
    assert found({}, tmp_path / "link", home=tmp_path) == [(cache, Source.FOUNDRY)]
