"""Coroutines side by side, of which one that fails ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from netemu.errors import NetemuError


async def all_of(doings: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Do all at once; the first error of ours, or else the first, is raised once none is under way any more."""
    try:
        async with asyncio.TaskGroup() as group:
            for doing in doings:
                group.create_task(doing)
    except BaseExceptionGroup as errors:
        ours = [error for error in errors.exceptions if isinstance(error, NetemuError)]
        raise (ours[0] if ours else errors.exceptions[0]) from errors
