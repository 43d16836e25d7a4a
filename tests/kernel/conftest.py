"""A veth pair between two namespaces, and the thread that takes from taps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from veth_pair import Pair

from netemu.kernel.taps.reader import Reader


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    await made.make()
    yield made
    made.close()


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()
