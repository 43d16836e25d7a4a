"""All hosts' taps: bound before any interface is up, proven alive before and after, read out in between."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from netemu.errors import CaptureError, UsageError
from netemu.kernel.features import trace_carries_conntrack
from netemu.kernel.links import Links
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.rules import read_rules, tracks
from netemu.kernel.trace import TraceTap
from netemu.kernel.tracking import ConntrackTap, dump_entries
from netemu.kernel.wire import WireTap, new_nonce, send_canary, sending_socket
from netemu.netfilter.ruleset import Ruleset
from netemu.record.capture import HostCapture, TapHealth
from netemu.record.frames import Datagrams, Frames

PROOF_WITHIN = 2.0
"""Seconds for a canary to be seen; a tap that shows none by then is not believed."""
BUFFER = 64 << 20
"""Bytes each tap's socket may hold before it drops."""


@dataclass(slots=True)
class _HostTaps:
    net: NetworkNamespace
    links: Links
    wire: WireTap
    trace: TraceTap
    conntrack: ConntrackTap
    sender: socket.socket
    asked: bool
    before: Ruleset
    counted_from: int = 0
    alive: dict[str, bool] = field(default_factory=dict)

    def interfaces(self) -> dict[int, str]:
        """The interfaces that a canary can be sent through: those that the lab made."""
        return {index: name for index, name in self.links.names().items() if name != "lo"}


class Recorder:
    """The taps of a lab's hosts. `open` each host's, then `begin` and `end` records; `close` when done."""

    def __init__(self, buffer: int = BUFFER, ask_conntrack: bool | None = None) -> None:
        self.buffer = buffer
        self.ask_conntrack = ask_conntrack
        self.taps: dict[str, _HostTaps] = {}
        self.bridges: list[tuple[socket.socket, str]] = []

    async def open(self, net: NetworkNamespace, links: Links) -> None:
        """Bind one host's taps; from now on they store what they see."""
        ask = self.ask_conntrack if self.ask_conntrack is not None else not trace_carries_conntrack()
        asked = ask and tracks(net)
        before = await read_rules(net)
        with ExitStack() as undo:
            wire = WireTap(net, self.buffer)
            undo.callback(wire.close)
            trace = TraceTap(net, self.buffer, asked)
            undo.callback(trace.close)
            conntrack = ConntrackTap(net, self.buffer)
            undo.callback(conntrack.close)
            sender = sending_socket(net)
            self.taps[net.name] = _HostTaps(net, links, wire, trace, conntrack, sender, asked or not ask, before)
            undo.pop_all()
        for tap in (wire, trace, conntrack):
            tap.start()

    def open_bridge(self, net: NetworkNamespace, bridge: str) -> None:
        """Let canaries be sent from a network's bridge to all of its members."""
        self.bridges.append((sending_socket(net), bridge))

    async def begin(self, forget: bool = True) -> None:
        """Start a record: prove every tap, and (unless what was seen so far is part of it) begin with nothing."""
        if not self.taps:
            raise UsageError("this lab has no taps: it is not up")
        for taps in self.taps.values():
            taps.alive = {}
            if forget:
                for tap in (taps.wire, taps.trace, taps.conntrack):
                    tap.forget()
        if forget:
            await asyncio.gather(*(self._count_from_here(taps) for taps in self.taps.values()))
        await self._prove()
        if forget:
            for taps in self.taps.values():
                taps.counted_from = len(taps.trace.datagrams)

    async def end(self) -> list[HostCapture]:
        """End a record: take all that the sockets still hold, read rules and tables, and prove every tap once more.

        Rules' counters are read between two proofs, so that for each traced match it is known whether it was counted
        by then, or may have been, or not.
        """
        await self._prove()
        counted_to = {name: len(taps.trace.datagrams) for name, taps in self.taps.items()}
        hosts = list(self.taps.values())
        rules = await asyncio.gather(*(read_rules(taps.net) for taps in hosts))
        await self._prove()
        return [
            await self._capture(taps, after, counted_to[taps.net.name])
            for taps, after in zip(hosts, rules, strict=True)
        ]

    async def close(self) -> None:
        """Close every tap; once is enough, twice does no harm.

        The kernel lets go of each packet socket only after a grace period: they are closed side by side, in threads.
        """
        things: list[Callable[[], None]] = [sender.close for sender, _ in self.bridges]
        for taps in self.taps.values():
            for tap in (taps.wire, taps.trace, taps.conntrack):
                tap.stop()
                things.append(tap.close)
            things.append(taps.sender.close)
        self.taps, self.bridges = {}, []
        await asyncio.gather(*(asyncio.to_thread(close) for close in things))

    async def _count_from_here(self, taps: _HostTaps) -> None:
        taps.before = await read_rules(taps.net)

    async def _prove(self) -> None:
        nonce = new_nonce()
        for taps in self.taps.values():
            taps.wire.expect_canaries(nonce, taps.interfaces())
        for taps in self.taps.values():
            taps.trace.send_canary(nonce)
            for interface in taps.interfaces().values():
                self._send(taps, nonce, interface)
        for sender, bridge in self.bridges:
            send_canary(sender, nonce, bridge, everybody=True)

        async def prove(taps: _HostTaps, kind: str, proof: Awaitable[None]) -> None:
            try:
                async with asyncio.timeout(PROOF_WITHIN):
                    await proof
                taps.alive[kind] = taps.alive.get(kind, True)
            except TimeoutError:
                taps.alive[kind] = False

        await asyncio.gather(
            *(prove(taps, "wire", taps.wire.proven()) for taps in self.taps.values()),
            *(prove(taps, "hooks", taps.trace.proven()) for taps in self.taps.values()),
        )

    def _send(self, taps: _HostTaps, nonce: bytes, interface: str) -> None:
        try:
            send_canary(taps.sender, nonce, interface)
        except CaptureError:
            taps.wire.give_up()  # the interface is down, or gone: nothing can be proved of it

    async def _capture(self, taps: _HostTaps, after: Ruleset, counted_to: int) -> HostCapture:
        name = taps.net.name
        for tap in (taps.wire, taps.trace, taps.conntrack):
            tap.drain()
        entries = await dump_entries(taps.net) if after.rules or taps.conntrack.datagrams else []
        taps.conntrack.drain()
        interfaces = await taps.links.all_names()
        return HostCapture(
            host=name,
            interfaces=interfaces,
            frames=Frames.of(taps.wire.frames),
            trace=Datagrams.of(taps.trace.datagrams),
            conntrack=Datagrams.of(taps.conntrack.datagrams),
            entries=entries,
            states=taps.trace.states,
            rules_before=taps.before,
            rules_after=after,
            counted=(taps.counted_from, counted_to),
            health=[
                TapHealth(
                    "wire", name, taps.wire.lost(), taps.alive.get("wire", False), _unknown_interfaces(taps, interfaces)
                ),
                TapHealth("hooks", name, taps.trace.lost(), taps.alive.get("hooks", False), _unasked(taps)),
                TapHealth("conntrack", name, taps.conntrack.lost()),
            ],
        )


def _unknown_interfaces(taps: _HostTaps, interfaces: dict[int, str]) -> str:
    others = sorted(set(interfaces.values()) - taps.links.index.keys())
    return f"the lab did not make {', '.join(others)}: packets through it are not followed" if others else ""


def _unasked(taps: _HostTaps) -> str:
    """Before Linux 6.16 a tap asks for the conntrack state only where the rules tracked when it was opened."""
    if taps.asked or not tracks(taps.net):
        return ""
    return "its rules began to track after it was opened: the conntrack state is not known"
