"""All hosts' taps: bound before any interface is up, proven alive before and after, read out in between."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from netemu.kernel.features import trace_carries_conntrack
from netemu.kernel.links import Links
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.rules import Tool, read_rules, tracks
from netemu.kernel.trace import TraceTap
from netemu.kernel.tracking import ConntrackTap, dump_entries
from netemu.kernel.wire import WireTap, new_nonce, send_canary, sending_socket
from netemu.netfilter.ruleset import Ruleset
from netemu.record.capture import HostCapture, TapHealth

PROOF_WITHIN = 2.0
"""Seconds for a canary to be seen; a tap that shows none by then is not believed."""
BUFFER = 64 << 20
"""Bytes each tap's socket may hold before it drops."""


@dataclass(slots=True)
class _HostTaps:
    net: NetworkNamespace
    links: Links
    tools: tuple[Tool, ...]
    wire: WireTap
    trace: TraceTap
    conntrack: ConntrackTap
    sender: socket.socket
    before: Ruleset = field(default_factory=Ruleset)
    alive: dict[str, bool] = field(default_factory=dict)

    def interfaces(self) -> list[str]:
        """The interfaces that a canary can be sent through."""
        return [name for name in self.links.index if name != "lo"]


class Recorder:
    """The taps of a lab's hosts. `open` each host's, then `begin` and `end` records; `close` when done."""

    def __init__(self, buffer: int = BUFFER, ask_conntrack: bool | None = None) -> None:
        self.buffer = buffer
        self.ask_conntrack = ask_conntrack
        self.taps: dict[str, _HostTaps] = {}
        self.bridges: list[tuple[socket.socket, str]] = []

    def open(self, net: NetworkNamespace, links: Links, tools: tuple[Tool, ...]) -> None:
        """Bind one host's taps; from now on they store what they see."""
        ask = self.ask_conntrack if self.ask_conntrack is not None else not trace_carries_conntrack()
        with ExitStack() as undo:
            wire = WireTap(net, self.buffer)
            undo.callback(wire.close)
            trace = TraceTap(net, self.buffer, ask and tracks(net))
            undo.callback(trace.close)
            conntrack = ConntrackTap(net, self.buffer)
            undo.callback(conntrack.close)
            self.taps[net.name] = _HostTaps(net, links, tools, wire, trace, conntrack, sending_socket(net))
            undo.pop_all()
        for tap in (wire, trace, conntrack):
            tap.start()

    def open_bridge(self, net: NetworkNamespace, bridge: str) -> None:
        """Let canaries be sent from a network's bridge to all of its members."""
        self.bridges.append((sending_socket(net), bridge))

    async def begin(self, forget: bool = True) -> None:
        """Start a record: prove every tap, and (unless what was seen so far is part of it) begin with nothing."""
        for taps in self.taps.values():
            if forget:
                for tap in (taps.wire, taps.trace, taps.conntrack):
                    tap.forget()
            taps.alive = {}
        await self._read_rules_before()
        await self._prove()

    async def end(self) -> list[HostCapture]:
        """End a record: prove every tap once more, take all that the sockets still hold, and read rules and tables."""
        await self._prove()
        return list(await asyncio.gather(*(self._capture(taps) for taps in self.taps.values())))

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

    async def _read_rules_before(self) -> None:
        async def read(taps: _HostTaps) -> None:
            taps.before = await read_rules(taps.net, taps.tools)

        await asyncio.gather(*(read(taps) for taps in self.taps.values()))

    async def _prove(self) -> None:
        nonce = new_nonce()
        for taps in self.taps.values():
            taps.wire.expect_canaries(nonce, taps.interfaces())
        for taps in self.taps.values():
            taps.trace.send_canary(nonce)
            for interface in taps.interfaces():
                send_canary(taps.sender, nonce, interface)
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

    async def _capture(self, taps: _HostTaps) -> HostCapture:
        name = taps.net.name
        for tap in (taps.wire, taps.trace, taps.conntrack):
            tap.drain()
        rules = await read_rules(taps.net, taps.tools)
        entries = await dump_entries(taps.net) if taps.tools or taps.conntrack.datagrams else []
        taps.conntrack.drain()
        return HostCapture(
            host=name,
            interfaces=taps.links.names(),
            frames=taps.wire.frames,
            trace=taps.trace.datagrams,
            conntrack=taps.conntrack.datagrams,
            entries=entries,
            states=taps.trace.states,
            rules_before=taps.before,
            rules_after=rules,
            health=[
                TapHealth("wire", name, taps.wire.lost(), taps.alive.get("wire", False)),
                TapHealth("hooks", name, taps.trace.lost(), taps.alive.get("hooks", False)),
                TapHealth("conntrack", name, taps.conntrack.lost()),
            ],
        )
