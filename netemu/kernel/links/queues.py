"""What waits in a namespace's queueing disciplines: packets that are sent, and on no wire yet (linux/gen_stats.h)."""

from __future__ import annotations

import struct

from netemu.kernel.links import qdisc
from netemu.kernel.links import rtnetlink as rt
from netemu.kernel.links.links import Links

_MESSAGE_HEADER, _HEAD = 16, 20
_STATISTICS = 3
_TC_STATS = struct.Struct("=QIIIIIII")
"""struct tc_stats: bytes, packets, drops, overlimits, bits and packets a second, packets and bytes that wait."""


def waiting(links: Links) -> int:
    """Packets that wait in any queue of a namespace."""
    found = 0
    for message in links.requests.dump("queueing disciplines", rt.GET_QDISC, qdisc.every()):
        statistics = rt.attributes(message[_MESSAGE_HEADER:], _HEAD).get(_STATISTICS, b"")
        if len(statistics) >= _TC_STATS.size:
            found += _TC_STATS.unpack_from(statistics)[6]
    return found
