"""Small text files of ``/proc`` and ``/sys``, and lists of CPUs in them. What cannot be read is empty."""

from __future__ import annotations

from pathlib import Path

# The largest that is read whole is the list of PCI names (1.5 MB); all others are far below a page or two.
MOST_BYTES = 4 * 1024 * 1024
# Enough for all but that one. A read takes the memory that it may need before it looks, and this is read all the time.
USUAL_BYTES = 64 * 1024
# A list that names more CPUs than any machine has is damaged.
MOST_CPUS = 65_536


def read_text(file: Path) -> str:
    """At most ``MOST_BYTES`` of a file; "" where it is missing or may not be read."""
    try:
        with file.open("rb") as opened:
            text = opened.read(USUAL_BYTES)
            if len(text) == USUAL_BYTES:
                text += opened.read(MOST_BYTES - USUAL_BYTES)
            return text.decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def read_word(file: Path) -> str:
    """A file with one value, without the space around it and the NUL that device trees end with."""
    return read_text(file).strip("\0 \t\r\n")


def read_count(file: Path) -> int | None:
    """None where the file is missing or does not hold a count ("max", "-1")."""
    return count(read_word(file))


def count(text: str) -> int | None:
    """A plain decimal number of bounded length, else None."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def read_cpu_list(file: Path) -> frozenset[int]:
    """CPUs of "0-3,8,10-11"; a part that is not understood is passed over."""
    cpus: set[int] = set()
    for part in read_word(file).split(","):
        first, _, last = part.partition("-")
        low, high = count(first), count(last or first)
        if low is not None and high is not None and high < MOST_CPUS:
            cpus.update(range(low, high + 1))
    return frozenset(cpus)


def link_name(link: Path) -> str | None:
    """Name of what a link of ``/sys`` points to ("driver" -> "amdgpu"), None where there is none."""
    try:
        return link.resolve(strict=True).name
    except (OSError, RuntimeError):
        return None


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name; [] where it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
