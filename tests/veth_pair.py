"""Two namespaces with a veth pair between them, for tests of taps: the fixture `pair` of kernel/conftest.py."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_interface

from netemu.kernel.links.links import Links
from netemu.kernel.spaces.namespace import NetworkNamespace

LEFT, RIGHT = "192.0.2.1", "192.0.2.2"


class Pair:
    """Two namespaces with a veth pair between them, addressed, not yet up."""

    def __init__(self) -> None:
        self.nets = [NetworkNamespace.create(name) for name in ("left", "right")]
        self.left, self.right = self.nets
        self.links = [Links(net) for net in self.nets]

    async def make(self) -> None:
        one, other = self.links
        await one.add_veth("eth0", other, "eth0")
        for links, address in zip(self.links, (LEFT, RIGHT), strict=True):
            await links.add_address("eth0", ip_interface(f"{address}/24"))
            links.switch_off({"eth0": ()})

    async def up(self) -> None:
        for links in self.links:
            links.set_up("lo")
            await links.set_up("eth0")
        async with asyncio.timeout(5):
            for links in self.links:
                await links.until_running({"eth0"})

    def eth0(self, net: NetworkNamespace) -> dict[int, str]:
        return {self.links[self.nets.index(net)].index["eth0"]: "eth0"}

    def udp(self, net: NetworkNamespace, address: str, port: int = 0) -> socket.socket:
        with net.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, port))
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        for thing in (*self.links, *self.nets):
            thing.close()


async def send(pair: Pair, count: int = 1) -> None:
    """Datagrams from left to right, received there."""
    with pair.udp(pair.right, RIGHT, 7) as receiver, pair.udp(pair.left, LEFT) as sender:
        for number in range(count):
            sender.sendto(b"%d" % number, (RIGHT, 7))
        async with asyncio.timeout(5):
            for _ in range(count):
                await asyncio.get_running_loop().sock_recv(receiver, 100)


@contextmanager
def on_one_core() -> Iterator[None]:
    """This thread, and with it what its packets make the kernel do: what happens on two has no order."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)
