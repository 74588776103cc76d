"""The hashes that Hugging Face published of the files of a model, as its tools leave them on the disk.

Its cache calls each file after its hash and links to it; a download into a folder of one's own
(``hf download --local-dir``) leaves a small text beside each file, in ``.cache/huggingface/download``. Both have the
SHA-256 of large files (64 digits), and of small ones the SHA-1 of git's blob object (40 digits).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from registry.files.listing import is_directory

_BLOBS_FOLDER = "blobs"
_DOWNLOADS = Path(".cache", "huggingface", "download")
_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_SHA1_DIGITS = 40
_MAX_NOTE_BYTES = 4096
# A model is at most so deep in the repository that it was downloaded from (cpu_and_mobile/cpu-int4-.../).
_MAX_LEVELS = 4
_CLOCK_S = 1.0  # what the two times of a file may differ by, as Hugging Face's own tools see it


@dataclass(frozen=True, slots=True)
class Published:
    """``digest`` in hexadecimal; ``remedy`` is what to do before downloading a file again that differs."""

    digest: str
    remedy: str

    @property
    def is_git_blob(self) -> bool:
        return len(self.digest) == _SHA1_DIGITS


class PublishedHashes:
    """Of the files of one model folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        above = (folder, *folder.parents[:_MAX_LEVELS])
        self._download = next((each for each in above if is_directory(each / _DOWNLOADS)), None)

    def find(self, name: str) -> Published | None:
        """``name`` is relative to the folder; None where nothing is known of that file as it is now."""
        return self._of_blob(name) or self._of_download(name)

    def _of_blob(self, name: str) -> Published | None:
        try:
            real = Path(os.path.realpath(self._folder / name))
        except (OSError, ValueError):
            return None
        if real.parent.name != _BLOBS_FOLDER or not _HASH.fullmatch(real.name):
            return None
        return Published(real.name, f"Delete the file it links to, {_BLOBS_FOLDER}/{real.name}")

    def _of_download(self, name: str) -> Published | None:
        """Three lines: revision, hash, Unix time of the download. A file written after that is somebody's own."""
        if self._download is None:
            return None
        file = self._folder / name
        relative = file.relative_to(self._download)
        note = self._download / _DOWNLOADS / relative.with_name(f"{relative.name}.metadata")
        try:
            with note.open("rb") as opened:
                _revision, digest, downloaded_s = opened.read(_MAX_NOTE_BYTES).decode().split()[:3]
            is_as_downloaded = file.stat().st_mtime - _CLOCK_S <= float(downloaded_s)
        except (OSError, ValueError):
            return None
        if not is_as_downloaded or not _HASH.fullmatch(digest):
            return None
        return Published(digest, "Delete it")
