"""``verify``: a full check of one model, every byte of every file read.

What a scan can see from sizes and descriptions it has seen already; this finds what only the bytes tell: other content
than at the last check or than was published, lost stretches of weights, files that cannot be parsed to their end.
Reads only, and needs the memory of one block and the largest JSON file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from registry.errors import InvalidModelFolder, ModelNotUsable
from registry.files.file_check import FileContent, Span, find_lost, least_zeros, read_content
from registry.files.listing import FileStat, fingerprint, list_files
from registry.files.open_file import unreadable
from registry.layouts.published import Published, PublishedHashes
from registry.model import Model, Problem, Status, Verification
from registry.onnx.file import Tensor, read_onnx
from registry.onnx.protobuf import MalformedProtobuf
from registry.problems import ProblemCode

# The largest tokenizer.json of a published model has 33 MB (Gemma 3); what is beyond this is data, not configuration.
_MAX_JSON_BYTES = 256 * 1024**2
# A scan has told of such a file, and that the model can do without it.
_TOLERATED = frozenset(
    {
        ProblemCode.INFERENCE_MODEL_INVALID,
        ProblemCode.TOKENIZER_CONFIG_INVALID,
        ProblemCode.MODEL_CONFIG_INVALID,
        ProblemCode.CATALOG_INVALID,
    }
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a check is: ``file`` is being read."""

    file: str
    done_bytes: int
    total_bytes: int


def verify(
    model: Model,
    *,
    known: Verification | None,
    progress: Callable[[Progress], None],
    now_s: Callable[[], float] = time.time,
) -> Verification:
    """Check every file of ``model``, and compare with what was ``known`` while its files were written last.

    A file that is not as it should be keeps its known digest, so that the next check finds it again. Raises
    ModelNotUsable if there is no model, or if it changes meanwhile: then there is nothing that could be said.
    """
    files = _list(model)
    # A fingerprint begins with that of the files; what a catalog adds to a model may follow.
    if not model.fingerprint.startswith(fingerprint(files)):
        raise _changed(model)
    if known is not None and known.fingerprint != model.fingerprint:
        known = None
    tolerated = frozenset(problem.file for problem in model.problems if problem.code in _TOLERATED)
    check = _Check(model.path, files, known.digests if known else {}, tolerated)
    check.read_graphs()
    done_bytes, total_bytes = 0, sum(file.size_bytes for file in files)

    def on_read(count: int) -> None:
        nonlocal done_bytes
        done_bytes += count
        progress(Progress(file.name, done_bytes, max(done_bytes, total_bytes)))

    for file in files:
        progress(Progress(file.name, done_bytes, total_bytes))
        check.read(file, on_read)
    if _list(model) != files:
        raise _changed(model)
    return Verification(model.fingerprint, now_s(), check.digests, tuple(check.problems))


def _list(model: Model) -> tuple[FileStat, ...]:
    try:
        if model.status is not Status.MISSING:
            return list_files(model.path)
    except OSError:
        pass
    raise ModelNotUsable(f"{model.id} is missing: there is no model at {model.path} now. Put it back and scan again.")


def _changed(model: Model) -> ModelNotUsable:
    return ModelNotUsable(
        f"{model.id} changed while it was checked: something writes in {model.path}. Wait until that is done, and "
        "verify it again."
    )


class _Check:
    """The files of one model, what is expected of them, and what is wrong."""

    def __init__(
        self,
        folder: Path,
        files: Iterable[FileStat],
        expected: Mapping[str, str],
        tolerated: Container[str | None],
    ) -> None:
        """``expected`` digests by file; ``tolerated`` files need not be valid."""
        self._folder = folder
        self._sizes = {file.name: file.size_bytes for file in files}
        self._expected = expected
        self._tolerated = tolerated
        self._published = PublishedHashes(folder)
        self._tensors: dict[str, list[Span]] = {}
        self.digests: dict[str, str] = {}
        self.problems: list[Problem] = []

    def read_graphs(self) -> None:
        """Parse every graph to its end, and learn where in which file the tensors lie."""
        for name in self._sizes:
            if name.lower().endswith(".onnx"):
                try:
                    tensors = read_onnx(self._folder / name).tensors
                except MalformedProtobuf as error:
                    self._add(
                        ProblemCode.GRAPH_INVALID,
                        name,
                        f"{name} is not a whole ONNX model: {error}. Copy, download or convert the model again.",
                    )
                except InvalidModelFolder:
                    continue  # reading it for its digest says so
                else:
                    self._locate(name, tensors)

    def read(self, file: FileStat, on_read: Callable[[int], None]) -> None:
        """One file, whole; ``on_read`` is told the bytes of each block."""
        path, spans = self._folder / file.name, self._tensors.get(file.name, [])
        published = self._published.find(file.name)
        try:
            content = read_content(
                path,
                least_zeros=least_zeros(spans),
                with_blob_sha1=published is not None and published.is_git_blob,
                on_read=on_read,
            )
        except InvalidModelFolder as error:
            self._add(ProblemCode.UNREADABLE, file.name, error.message)
            return
        if published is not None:  # what else could be wrong with that is not damage
            self._compare_with_published(file.name, content, published)
        else:
            self._compare(file.name, content)
            self._look_for_loss(file.name, content, spans)
            self._parse_json(file)
        known = self._expected.get(file.name)
        if known or file.name not in {problem.file for problem in self.problems}:
            self.digests[file.name] = known or content.sha256

    def _locate(self, graph: str, tensors: Iterable[Tensor]) -> None:
        """A scan has found all data that the model needs; here counts whether what is there is long enough."""
        ends: dict[str, int] = {}
        for tensor in tensors:
            if tensor.external is None:
                continue
            name = (PurePosixPath(graph).parent / tensor.external.location).as_posix()
            self._tensors.setdefault(name, []).append((tensor.external.offset, tensor.external.end))
            ends[name] = max(tensor.external.end, ends.get(name, 0))
        for name, end in ends.items():
            if name in self._sizes and self._sizes[name] < end:
                self._add(
                    ProblemCode.EXTERNAL_DATA_TOO_SHORT,
                    name,
                    f"{name} has {self._sizes[name]} bytes, and {graph} needs {end}. Copy or download the model again.",
                )

    def _compare_with_published(self, name: str, content: FileContent, published: Published) -> None:
        actual = content.blob_sha1 or content.sha256
        if actual != published.digest:
            self._add(
                ProblemCode.CONTENT_DAMAGED,
                name,
                f"{name} is not what was published: its hash is {actual[:12]}..., and that of the download is "
                f"{published.digest[:12]}... {published.remedy}, and download the model again.",
            )

    def _compare(self, name: str, content: FileContent) -> None:
        """With the last check."""
        if self._expected.get(name, content.sha256) != content.sha256:
            self._add(
                ProblemCode.CONTENT_DAMAGED,
                name,
                f"{name} has other content than at the last check, though its size and time are the same: the disk or "
                "a copy has damaged it. Copy or download the model again; if the change is meant, touch the file.",
            )

    def _look_for_loss(self, name: str, content: FileContent, spans: list[Span]) -> None:
        lost = find_lost(content.zeros, spans)
        if lost is not None:
            self._add(
                ProblemCode.EXTERNAL_DATA_ZEROED,
                name,
                f"{name} has nothing but zeros from byte {lost[0]} to {lost[1]}, where weights should be: a download "
                "or copy left a hole. Copy or download the model again.",
            )

    def _parse_json(self, file: FileStat) -> None:
        is_hidden = any(part.startswith(".") for part in PurePosixPath(file.name).parts)
        is_json = file.name.lower().endswith(".json") and file.size_bytes <= _MAX_JSON_BYTES
        if not is_json or is_hidden or file.name in self._tolerated:
            return
        try:
            json.loads((self._folder / file.name).read_bytes().decode("utf-8-sig"))
        except OSError as error:
            self._add(ProblemCode.UNREADABLE, file.name, unreadable(self._folder / file.name, error).message)
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            self._add(
                ProblemCode.CONTENT_DAMAGED,
                file.name,
                f"{file.name} is not valid JSON: {reason[:200]}. Copy or download it again, or delete it if the model "
                "does not need it.",
            )

    def _add(self, code: ProblemCode, file: str, message: str) -> None:
        self.problems.append(Problem(str(code), message, file))
