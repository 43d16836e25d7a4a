"""Rings to test, alone and with a lane beside them."""

from __future__ import annotations

from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.packet import What
from netemu.kernel.taps.ring import Ring

TINY, ROOMY = 1, 4 << 20


def ring(net: NetworkNamespace, what: What | None = None, size: int = ROOMY) -> Ring:
    """A ring alone, as who takes a part of all frames has it, and who is not root of the machine."""
    made = Ring(net, what, size=size, lane=False)
    made.open()
    return made


def lane(net: NetworkNamespace, what: What | None = None, size: int = ROOMY) -> Ring:
    """A ring with a lane beside it, where there can be one."""
    made = Ring(net, what, size=size)
    made.open()
    assert (len(made.descriptors) > 1) == (not made.what.program and size == ROOMY)
    return made
