"""Waiting, for scripts/bench bring-up, until the kernel has freed what was let go of.

It does that in its own time, and whoever is measured meanwhile pays for it.
"""

from __future__ import annotations

import asyncio

from netemu.kernel.links import interfaces, rtnetlink
from netemu.kernel.links.links import Links
from netemu.kernel.spaces.namespace import NetworkNamespace


async def settled() -> None:
    """Return once a namespace that is let go of now is freed: those before it are then (cleanup_net in net/core).

    A veth pair tells: its end here goes with the other one.
    """
    here, there = NetworkNamespace.create("here"), NetworkNamespace.create("there")
    near, far = Links(here), Links(there)
    try:
        await near.add_veth("near", far, "far")
        with rtnetlink.link_events(here) as events:
            far.close()
            there.close()
            while near.index["near"] in _there(near):
                await asyncio.get_running_loop().sock_recv(events, 1 << 16)
    finally:
        for thing in (near, far, here, there):
            thing.close()


def _there(links: Links) -> set[int]:
    """The indices of the interfaces that are there."""
    messages = links.requests.dump("interfaces", rtnetlink.GET_LINK, interfaces.which())
    return {interfaces.index_and_state(message[16:])[0] for message in messages}
