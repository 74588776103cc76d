"""One model folder being read: each file opened once, small ones kept, links that lead elsewhere refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from registry.errors import InvalidModelFolder
from registry.files.documents import Fields, parse_json_object, parse_text, read_document
from registry.files.listing import FileStat, resolved
from registry.files.open_file import OpenFile, unreadable
from registry.problems import ProblemCode

# Files up to this size are read whole and kept until the folder is done; samples are enough of larger ones.
SMALL_BYTES = 64 * 1024
# A sample is one page, what a file system reads at least. 12 over the whole file, first and last page among them, tell
# two fine-tunes of one model apart; 4 more over the last twentieth see the end that a broken download left empty.
SAMPLE_BYTES = 4096
_SPREAD, TAIL_SAMPLES = 12, 4
_TAIL_SHARE = 20


class FolderReader:
    """``files`` are those of the folder, as they were listed; ``places``: where links may lead, empty for anywhere."""

    def __init__(self, folder: Path, files: Iterable[FileStat], places: frozenset[Path] = frozenset()) -> None:
        self.folder = folder
        # Texts: a Path for each file would take longer than opening it.
        self._folder = f"{folder}{os.sep}"
        # A file without size and time is a link that leads nowhere: it is not there.
        self.sizes = {file.name: file.size_bytes for file in files if file.size_bytes or file.mtime_ns}
        self._places = places
        self._small: dict[str, bytes] = {}
        self._samples: dict[str, tuple[bytes, ...]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.sizes

    def open(self, name: str) -> OpenFile:
        """``name`` is relative to the folder, and may be one that was not listed. Raises InvalidModelFolder."""
        if self._places and name not in self.sizes:
            self._require_inside(name)
        return OpenFile(f"{self._folder}{name}")

    def content(self, name: str, code: ProblemCode) -> bytes:
        """All bytes of a file that is no larger than such files need to be. Raises InvalidModelFolder."""
        kept = self._small.get(name)
        if kept is not None:
            return kept
        with self.open(name) as file:
            content = read_document(file, name, code)
        if len(content) <= SMALL_BYTES:
            self._small[name] = content
        return content

    def json(self, name: str, code: ProblemCode, *, keys_once: bool = False) -> Fields:
        """See ``parse_json_object``."""
        return parse_json_object(self.content(name, code), name, code, keys_once=keys_once)

    def text(self, name: str, code: ProblemCode) -> str:
        return parse_text(self.content(name, code), name, code)

    def samples(self, name: str, file: OpenFile | None = None) -> tuple[bytes, ...]:
        """The pages at ``sample_offsets`` of a file; of a small one, its whole content. Raises InvalidModelFolder.

        ``file`` is ``name`` if it is open already.
        """
        if name in self._small:
            return (self._small[name],)
        found = self._samples.get(name)
        if found is None:
            if file is None:
                with self.open(name) as opened:
                    return self.samples(name, opened)
            if file.size_bytes <= SMALL_BYTES:
                found = (file.read_at(0, SMALL_BYTES),)
            else:
                found = tuple(file.read_at(offset, SAMPLE_BYTES) for offset in sample_offsets(file.size_bytes))
            self._samples[name] = found
        return found

    def require_links_inside(self, names: Iterable[str]) -> None:
        """Raises InvalidModelFolder if one of these listed files is a link to a place where links may not lead."""
        if self._places:
            for name in names:
                if stat.S_ISLNK(_status(f"{self._folder}{name}").st_mode):
                    self._require_inside(name)

    def _require_inside(self, name: str) -> None:
        target = resolved(self.folder / name)
        if not any(target.is_relative_to(place) for place in self._places):
            raise InvalidModelFolder(
                ProblemCode.LINK_LEAVES_ROOTS,
                f"{name} is a link to {_shown(target)}, which is outside of every model root. Put the file itself into "
                "the folder, or add the folder that it is in: slmreg roots add "
                f"{_shown(target.parent)}",
                file=name,
            )


def _status(path: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except OSError as error:
        raise unreadable(Path(path), error) from error


def sample_offsets(size_bytes: int) -> tuple[int, ...]:
    """Where the samples of a file of more than SMALL_BYTES begin: spread evenly, and over its end, in two groups."""
    last = size_bytes - SAMPLE_BYTES
    tail = last - size_bytes // _TAIL_SHARE
    spread = [last * index // (_SPREAD - 1) for index in range(_SPREAD)]
    return (*spread, *(tail + (last - tail) * index // TAIL_SAMPLES for index in range(TAIL_SAMPLES)))


def _shown(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()
