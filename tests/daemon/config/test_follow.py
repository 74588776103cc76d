from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from daemon.config.follow import follow_file
from registry.errors import SettingsError
from tests.fakes import on_loop

LOOK_S = 0.005


class Reader:
    """Reads the file each time that it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.texts: list[str | None] = []
        self.is_failing = False

    def __call__(self) -> None:
        self.texts.append(self.path.read_text(encoding="utf-8") if self.path.exists() else None)
        if self.is_failing:
            raise SettingsError("wrong")

    async def has_read(self, *texts: str | None) -> None:
        while self.texts[-len(texts) :] != list(texts):  # noqa: ASYNC110 - a file wakes nobody
            await asyncio.sleep(LOOK_S)


@contextlib.asynccontextmanager
async def following(path: Path) -> AsyncIterator[Reader]:
    reader = Reader(path)
    task = asyncio.create_task(follow_file(path, reader, look_s=LOOK_S))
    try:
        await reader.has_read(None)  # at the beginning, when there is none
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@on_loop
async def test_a_file_that_comes_changes_or_goes_is_read_and_nothing_is_read_without_that(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    async with following(path) as reader:
        for text in ("one", "two"):
            fresh = tmp_path / "fresh"
            fresh.write_text(text)
            fresh.replace(path)
            await reader.has_read(text)
        path.unlink()
        await reader.has_read("two", None)
        await asyncio.sleep(4 * LOOK_S)
        assert reader.texts == [None, "one", "two", None]


@on_loop
async def test_a_file_that_is_wrong_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    async with following(path) as reader:
        reader.is_failing = True
        path.write_text("wrong")
        await reader.has_read("wrong")
        path.write_text("right now")
        await reader.has_read("right now")
