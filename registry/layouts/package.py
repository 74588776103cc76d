"""ONNX Runtime model packages: ``manifest.json`` names components, each with variants, each of which is a folder.

A variant with a ``genai_config.json`` is a model of its own, found by the walk like any other, and its package gives it
its family name: onnxruntime-genai 0.18 as published loads such folders, and not the package as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.errors import InvalidModelFolder
from registry.files.documents import Fields, read_json_object
from registry.files.inside import inside
from registry.files.listing import exists
from registry.layouts.kinds import GENAI_CONFIG_FILE, ONNX_SUFFIX, PACKAGE_MANIFEST_FILE
from registry.problems import ProblemCode

_COMPONENT_FILE = "component.json"
_INSTALLED = "installed"  # a package whose parts may lie anywhere
_SCHEMA_MAJOR = "1"
_MAX_VARIANTS = 1000
# A variant lies in the package, or in the folder of a component, which may be one in "models".
_MAX_LEVELS = 3
_FOLDER_SUFFIX = ".ortpackage"


@dataclass(frozen=True, slots=True)
class Package:
    """``name`` is what the variants have in common."""

    name: str


def find_package(variant: Path, root: Path) -> Package | None:
    """The package around a model folder, if there is one below ``root`` that can be read."""
    for folder in variant.parents[:_MAX_LEVELS]:
        if not folder.is_relative_to(root):
            return None
        if exists(folder / PACKAGE_MANIFEST_FILE):
            try:
                manifest = _manifest(folder)
                if manifest is not None:
                    return Package(manifest.text("package_name") or folder.name.removesuffix(_FOLDER_SUFFIX))
            except InvalidModelFolder:
                pass  # said where the package itself is looked at
            return None
    return None


def check_package(folder: Path) -> None:
    """Raises InvalidModelFolder for a package that is broken, or that has no variant for onnxruntime-genai."""
    try:
        manifest = _manifest(folder)
    except InvalidModelFolder:
        # Many programs have a file of this name: only one beside graphs is taken for a broken package.
        if not any(_has_graph(each) for each in _folders(folder)):
            return
        raise
    if manifest is None:
        return
    version = str(manifest.raw("schema_version"))
    if version.partition(".")[0] != _SCHEMA_MAJOR:
        raise _invalid(f"{PACKAGE_MANIFEST_FILE} has the schema version {version[:20]!r}; {_SCHEMA_MAJOR}.x is known.")
    is_installed = manifest.raw("layout") == _INSTALLED
    variants = [
        path
        for place, component in _components(folder, manifest, is_installed)
        for path in _variants(place, component, is_installed)
    ]
    missing = next((path for path in variants if not exists(path)), None)
    if missing is not None:
        raise _invalid(f"The variant folder {missing.name[:100]!r} that the package names is not there.")
    if not any(exists(path / GENAI_CONFIG_FILE) for path in variants):
        raise _invalid(f"No variant of this package has a {GENAI_CONFIG_FILE}: it is not made for onnxruntime-genai.")


def _manifest(folder: Path) -> Fields | None:
    """None for a ``manifest.json`` that belongs to something else."""
    manifest = read_json_object(folder / PACKAGE_MANIFEST_FILE, ProblemCode.PACKAGE_INVALID)
    is_package = isinstance(manifest.raw("components"), dict) and "schema_version" in manifest
    return manifest if is_package else None


def _components(folder: Path, manifest: Fields, is_installed: bool) -> Iterator[tuple[Path, Fields]]:
    """The folder that a component's variants are relative to, and what describes it: inline or in a file."""
    components = manifest.child("components")
    for name in components:
        if isinstance(components.raw(name), dict):
            yield folder, components.child(name)
            continue
        path = _resolved(folder, components.text(name) or name, is_installed)
        file = path / _COMPONENT_FILE if path.is_dir() else path
        if not exists(file):
            raise _invalid(f"The description of its part {name[:100]!r} is not there.")
        yield file.parent, read_json_object(file, ProblemCode.PACKAGE_INVALID)


def _variants(place: Path, component: Fields, is_installed: bool) -> Iterator[Path]:
    variants = component.child("variants")
    for name in list(variants)[:_MAX_VARIANTS]:
        body = variants.child(name)
        yield _resolved(place, body.text("variant_directory") or name, is_installed)


def _resolved(base: Path, named: str, is_installed: bool) -> Path:
    """Only a package that is "installed" may name places outside of itself."""
    return base / named if is_installed else base / inside(named, named_by=PACKAGE_MANIFEST_FILE)


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir())[:_MAX_VARIANTS] if path.is_dir()]
    except OSError:
        return []


def _has_graph(folder: Path) -> bool:
    try:
        return any(path.name.endswith(ONNX_SUFFIX) for path in folder.iterdir())
    except OSError:
        return False


def _invalid(reason: str) -> InvalidModelFolder:
    return InvalidModelFolder(
        ProblemCode.PACKAGE_INVALID,
        f"This model package cannot be used: {reason} Download it again, or ask who made it.",
        file=PACKAGE_MANIFEST_FILE,
    )
