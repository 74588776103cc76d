"""Between those who make the frames of a stream and those who send them.

What is there when a frame can be sent goes with it: at once where the client keeps up, and many together where it does
not, or where they were made in one go, as the last ones of an answer are. A send takes longer than to make a frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

# So much is made in advance of a client that is slow.
MOST_BYTES = 64 * 1024


class Outbox:
    """For one task that fills it and one that takes from it."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._frames: list[bytes] = []
        self._size = 0
        self._is_complete = False
        self._has_news = asyncio.Event()
        self._has_room = asyncio.Event()

    async def fill(self, frames: AsyncIterator[bytes]) -> None:
        """All of them, waiting where there is no room; complete at their end, also where that is an exception."""
        try:
            async for frame in frames:
                self._frames.append(frame)
                self._size += len(frame)
                self._has_news.set()
                if self._size >= self._most_bytes:
                    self._has_room.clear()
                    await self._has_room.wait()
        finally:
            self._is_complete = True
            self._has_news.set()

    async def take(self) -> tuple[bytes, bool]:
        """What is there, waiting for it; and whether that was the last of it."""
        await self._has_news.wait()
        taken, is_last = b"".join(self._frames), self._is_complete
        self._frames.clear()
        self._size = 0
        if not is_last:
            self._has_news.clear()
        self._has_room.set()
        return taken, is_last
