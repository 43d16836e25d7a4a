"""A veth pair between two namespaces, rings on one of them, and the thread that takes from taps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from veth_pair import Pair
from wire_taps import lane, ring

from netemu.kernel.spaces.sysctl import write_sysctls
from netemu.kernel.taps.reader import Reader
from netemu.kernel.taps.ring import Ring


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


@pytest.fixture
def quiet(pair: Pair) -> None:
    """Nothing comes of itself: IPv6's own packets are sent by timers."""
    for net in pair.nets:
        write_sysctls(net, [("net.ipv6.conf.all.disable_ipv6", "1", True)])


@pytest.fixture
def plain(pair: Pair) -> Iterator[Ring]:
    """A ring alone: it gets the same frames as any other of that host."""
    made = ring(pair.right)
    yield made
    made.close()


@pytest.fixture
def fast(pair: Pair) -> Iterator[Ring]:
    """A ring with a lane beside it, on the same host."""
    made = lane(pair.right)
    yield made
    made.close()
