"""conntrack's events, and its table read at one moment."""

from __future__ import annotations

import asyncio
import struct

from netemu.errors import KernelError
from netemu.kernel.keeping.store import Room
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.netlink import GroupReader, netfilter_socket
from netemu.netfilter.messages import NLMSG_DONE, NLMSG_ERROR, SUBSYS_CONNTRACK, messages

_GROUPS = (1, 2, 3)
"""NFNLGRP_CONNTRACK_NEW, _UPDATE and _DESTROY (linux/netfilter/nfnetlink.h)."""
_GET = 1
_REQUEST_DUMP = 0x301


class ConntrackTap(GroupReader):
    """Stores the events of one host's entries. An entry's NEW event comes when it is confirmed."""

    def __init__(self, net: NetworkNamespace, buffer: int, room: Room | None = None) -> None:
        super().__init__(net, _GROUPS, buffer, room)


async def dump_entries(net: NetworkNamespace) -> list[bytes]:
    """The datagrams of a dump of the host's conntrack table."""
    loop = asyncio.get_running_loop()
    datagrams: list[bytes] = []
    with netfilter_socket(net) as sock:
        sock.setblocking(False)
        header = struct.pack("=IHHII", 20, SUBSYS_CONNTRACK << 8 | _GET, _REQUEST_DUMP, 1, 0)
        sock.send(header + struct.pack("!BBH", 0, 0, 0))
        while True:
            datagram = await loop.sock_recv(sock, 1 << 17)
            datagrams.append(datagram)
            for kind, _, payload in messages(datagram):
                if kind == NLMSG_DONE:
                    return datagrams
                if kind == NLMSG_ERROR and (code := struct.unpack_from("=i", payload)[0]):
                    raise KernelError(f"host {net.name}: conntrack's table can't be read: error {-code}")
