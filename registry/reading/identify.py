"""Which model a folder is: what it says itself, else what was around it when it was made, else where it lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from registry.layouts.foundry import INFERENCE_MODEL_FILE, InferenceModel
from registry.layouts.hub import HubRevision
from registry.layouts.kinds import PACKAGE_MANIFEST_FILE
from registry.layouts.naming import Identity, clean_name, declared_identity, folder_identity, is_export_name
from registry.layouts.olive import MODEL_CONFIG_FILE, OliveOutput
from registry.layouts.package import find_package
from registry.notes import Notes
from registry.problems import ProblemCode


def identify(
    folder: Path,
    root: Path,
    hub: HubRevision | None,
    *,
    declared: InferenceModel | None,
    olive: OliveOutput | None,
    notes: Notes,
) -> Identity:
    """``declared`` is the folder's inference_model.json, ``olive`` what Olive left, None where there is none."""
    identity = declared_identity(declared.name) if declared and declared.name else None
    if identity is not None:
        return identity
    if declared is not None:
        notes.add(
            ProblemCode.INFERENCE_MODEL_INVALID,
            f'{INFERENCE_MODEL_FILE} has no usable "Name", so the model is named after its folder. '
            'Write "Name": "name:version" into it.',
            INFERENCE_MODEL_FILE,
        )
    identity = _undeclared(folder, root, hub, olive)
    notes.guessed("name", identity.source)
    return identity


def _undeclared(folder: Path, root: Path, hub: HubRevision | None, olive: OliveOutput | None) -> Identity:
    identity = folder_identity(folder, root, hub)
    package = find_package(folder, root)
    if package is not None:
        alias = clean_name(package.name)
        name = clean_name(f"{package.name}-{folder.name}")
        return replace(identity, name=name, alias=alias, source=PACKAGE_MANIFEST_FILE)
    if olive is not None and olive.name and _is_unnamed(folder, root):
        name = clean_name(olive.name)
        return replace(identity, name=name, alias=name, source=f"Olive's {MODEL_CONFIG_FILE}")
    return identity


def _is_unnamed(folder: Path, root: Path) -> bool:
    """True if nobody gave one of the folders below ``root`` a name that says which model this is."""
    return folder.is_relative_to(root) and all(is_export_name(part) for part in folder.relative_to(root).parts)
