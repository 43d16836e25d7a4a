"""Waiting on the event loop for what another thread will see."""

from __future__ import annotations

import asyncio


class Proof:
    """Whether something was seen that is waited for on the event loop, and seen by another thread."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """Nothing was seen yet."""
        self._event.clear()
        self._loop = asyncio.get_running_loop()

    def seen(self) -> None:
        """It was seen; for any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        """Return once it was seen."""
        await self._event.wait()
