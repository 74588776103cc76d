"""``Place``: what the folders around a directory say about it, and what that means for a model that lies there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from registry.errors import InvalidModelFolder
from registry.files.listing import fingerprint
from registry.layouts.foundry import Catalog
from registry.layouts.hub import HubRepository, HubRevision, is_downloading_into
from registry.layouts.naming import declared_identity
from registry.layouts.registrations import Registration
from registry.model import Model, Root, Status
from registry.problems import ProblemCode
from registry.reading.folder import Surroundings, model_fingerprint

# What a model lacks while files of it are on their way.
_LACKING = frozenset(
    {
        ProblemCode.GENAI_CONFIG_MISSING,
        ProblemCode.TOKENIZER_MISSING,
        ProblemCode.GRAPH_MISSING,
        ProblemCode.EXTERNAL_DATA_MISSING,
        ProblemCode.EXTERNAL_DATA_TOO_SHORT,
        ProblemCode.NOT_GENAI,
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """``commit`` is that of the snapshot in a Hugging Face ``repository``; ``registration`` that of the root itself.

    ``is_downloading``: a folder above has Foundry's marker. ``is_inside_model``: a folder above is a model.
    """

    root: Root
    catalog: Catalog = field(default_factory=Catalog)
    registration: Registration | None = None
    repository: HubRepository | None = None
    commit: str | None = None
    is_downloading: bool = False
    is_inside_model: bool = False

    @property
    def hub(self) -> HubRevision | None:
        return self.repository.revision(self.commit) if self.repository and self.commit else None

    def inside(self, path: str, *, is_model: bool, has_marker: bool) -> Place:
        """That of the folders in ``path``. What is said of a root itself is not said of everything below it."""
        is_downloading = has_marker and path != str(self.root.path)
        if not (is_model or is_downloading or self.registration):
            return self
        return replace(
            self,
            catalog=Catalog() if self.registration else self.catalog,
            registration=None,
            is_inside_model=self.is_inside_model or is_model,
            is_downloading=self.is_downloading or is_downloading,
        )

    def surroundings(self, roots: frozenset[Path], allowed_libraries: frozenset[str]) -> Surroundings:
        return Surroundings(
            root=self.root.path,
            source=self.root.source,
            catalog=self.catalog,
            is_downloading=self.is_downloading,
            hub=self.hub,
            allowed_libraries=allowed_libraries,
            roots=roots,
        )

    def is_unchanged(self, known: Model, files: Iterable[tuple[str, int, int]]) -> bool:
        """Whether reading a known model again would tell the same."""
        if known.status is not Status.READY or known.source is not self.root.source:
            return False
        # Which libraries are allowed, and the name that a folder is registered by, do not stand in the folder.
        if self.is_downloading or known.custom_ops_library is not None or self.registration is not None:
            return False
        hub = self.hub
        if known.refs != (hub.refs if hub else ()):
            return False
        return known.fingerprint == model_fingerprint(fingerprint(files), self.catalog.find(known.name, known.version))

    def named(self, model: Model) -> Model:
        """A registered folder that does not say itself what it is has the name that it was registered by."""
        declared = self.registration.id if self.registration else None
        identity = declared_identity(declared) if declared else None
        if self.registration is None or identity is None or "name" not in model.evidence:
            return model
        return replace(
            model,
            name=identity.name,
            version=identity.version,
            alias=self.registration.entry.alias or identity.alias,
            evidence={**model.evidence, "name": "registration in Foundry Local"},
        )

    def explained(self, error: InvalidModelFolder, path: Path) -> InvalidModelFolder:
        """A file that is missing because it is still being downloaded is no fault of the model in ``path``."""
        is_unfinished = self.repository is not None and self.repository.is_unfinished
        if error.code not in _LACKING or not (is_unfinished or is_downloading_into(path)):
            return error
        return unfinished_download(self.repository, error.file)


def unfinished_download(repository: HubRepository | None, file: str | None) -> InvalidModelFolder:
    """From Hugging Face; ``file`` is what the model lacks, None if that is not known."""
    again = f"hf download {repository.name}" if repository else "the same `hf download`"
    return InvalidModelFolder(
        ProblemCode.UNFINISHED,
        f"A download from Hugging Face has not finished: {file or 'a file of the model'} is not here yet. Wait for it, "
        f"or start it again, which goes on where it stopped: {again}",
        file=file,
    )
