"""All hosts' taps: bound before any interface is up, proven alive before and after, read out in between."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

from netemu.errors import CaptureError, UsageError
from netemu.kernel.links.links import Links
from netemu.kernel.links.queues import waiting
from netemu.kernel.machine.features import trace_carries_conntrack
from netemu.kernel.rules.loading import read_rules, tracks
from netemu.kernel.spaces.descriptors import low_numbers_taken
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.spaces.threads import side_by_side
from netemu.kernel.taps.clocks import Clocks
from netemu.kernel.taps.packet import What
from netemu.kernel.taps.reader import Reader, Source
from netemu.kernel.taps.ring import Ring
from netemu.kernel.taps.trace import TraceTap
from netemu.kernel.taps.tracking import ConntrackTap, dump_entries
from netemu.kernel.taps.wire import WireTap, new_nonce, send_canary, sending_socket
from netemu.lab.taps import Taps
from netemu.netfilter.ruleset import Ruleset
from netemu.record.capture import HostCapture, TapHealth
from netemu.topology.tracing import EVERYTHING, Tracing

PROOF_WITHIN = 2.0
"""Seconds for a canary to be seen; a tap that shows none by then is not believed."""
QUIET_WITHIN = 5.0
"""Seconds to wait until no link holds a packet back."""
_THREADS = "netemu-taps"
_MAPPED = 6
"""Descriptors that a ring takes as it is opened, at most: maps, a program, and one for each mapping (mmap.mmap)."""
_LOOK_AGAIN, _SEND_AGAIN = 0.005, 0.1
"""Seconds until queues are looked at again, and until canaries that are missing are sent again."""


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

    @property
    def all(self) -> tuple[WireTap, TraceTap, ConntrackTap]:
        """The three taps."""
        return self.wire, self.trace, self.conntrack

    @property
    def sources(self) -> tuple[Source, Source, Source]:
        """The sockets that they take from."""
        return self.wire.source, self.trace, self.conntrack

    def interfaces(self) -> dict[int, str]:
        """The interfaces that a canary is sent through: the host's ends of wires.

        The same tap sees what stands on them, and a canary in a tunnel would be in the record as the tunnel's packet.
        """
        return {index: name for index, name in self.links.names().items() if name not in self.links.stacked | {"lo"}}


class Recorder:
    """The taps of a lab's hosts. `open` each host's, then `begin` and `end` records; `close` when done."""

    def __init__(self, how: Taps | None = None, tracing: Mapping[str, Tracing] | None = None) -> None:
        self.how = how or Taps()
        self.tracing = tracing or {}
        self.room = self.how.room()
        self.clocks = Clocks.now()
        self.reader: Reader | None = None
        self.taps: dict[str, _HostTaps] = {}
        self.bridges: list[tuple[socket.socket, str]] = []
        self.networks: list[Links] = []

    async def open(self, hosts: Sequence[tuple[NetworkNamespace, Links]]) -> None:
        """Bind all hosts' taps; from now on they store what they see. `close` also if this fails."""
        size, hand_over = self.how.ring_for(len(hosts))
        rings = [await self._open(net, links, size) for net, links in hosts]
        opening = [partial(ring.open, hand_over) for ring in rings]
        opening += [partial(taps.trace.open, self._events_of(taps.trace)) for taps in self.taps.values()]
        with low_numbers_taken(opening, len(opening) * _MAPPED) as calls:
            await side_by_side(calls, _THREADS)
        self.reader = Reader()
        for taps in self.taps.values():
            for source in taps.sources:
                self.reader.add(source)

    async def _open(self, net: NetworkNamespace, links: Links, size: int) -> Ring:
        ask = self.how.ask_conntrack if self.how.ask_conntrack is not None else not trace_carries_conntrack()
        asked = ask and tracks(net)
        before = await read_rules(net)
        with ExitStack() as undo:
            ring = Ring(net, What(0, self.how.filter, self.how.snap_length), self.room, size)
            undo.callback(ring.close)
            trace = TraceTap(net, self.how.buffer, asked, self.room, self.tracing.get(net.name, EVERYTHING))
            undo.callback(trace.close)
            conntrack = ConntrackTap(net, self.how.buffer, self.room)
            undo.callback(conntrack.close)
            sender = sending_socket(net)
            taps = _HostTaps(net, links, WireTap(ring), trace, conntrack, sender, asked or not ask, before)
            self.taps[net.name] = taps
            undo.pop_all()
        return ring

    def _events_of(self, trace: TraceTap) -> int:
        """The bytes of a tap's ring of events."""
        tracing = sum(each.trace.tracing.kind != "off" for each in self.taps.values())
        return self.how.events_for(tracing, trace.tracing.kind != "off")

    def _ask(self, taps: _HostTaps) -> None:
        """Give a host whose rules track by now a hook tap that asks for the conntrack state."""
        assert self.reader is not None
        self.reader.remove(taps.trace)
        taps.trace.close()
        tracing = self.tracing.get(taps.net.name, EVERYTHING)
        taps.trace = TraceTap(taps.net, self.how.buffer, ask_conntrack=True, room=self.room, tracing=tracing)
        taps.asked = True
        taps.trace.open(self._events_of(taps.trace))
        self.reader.add(taps.trace)

    def open_bridge(self, links: Links, bridge: str) -> None:
        """Let canaries be sent from a network's bridge to all of its members."""
        self.bridges.append((sending_socket(links.net), bridge))
        self.networks.append(links)

    async def begin(self, forget: bool = True) -> None:
        """Start a record: prove every tap, and (unless what was seen so far is part of it) begin with nothing."""
        if not self.taps:
            raise UsageError("this lab has no taps: it is not up")
        for taps in self.taps.values():
            taps.alive = {}
        if forget:
            await self._quiet()
            for taps in self.taps.values():
                if not taps.asked and tracks(taps.net):
                    self._ask(taps)
            await side_by_side([tap.forget for taps in self.taps.values() for tap in taps.all], _THREADS)
            await asyncio.gather(*(self._count_from_here(taps) for taps in self.taps.values()))
            self.clocks = Clocks.now()
        await self._prove()
        if forget:
            for taps in self.taps.values():
                taps.counted_from = taps.trace.count

    async def end(self) -> list[HostCapture]:
        """End a record: take all that the sockets still hold, read rules and tables, and prove every tap once more.

        Rules' counters are read between two proofs, so that for each traced match it is known whether it was counted
        by then, or may have been, or not. What begins after that is not in the record: taps may have parts of it.
        """
        await self._quiet()
        await self._prove()
        until_ns = time.time_ns()  # what began by now has until the last proof to come to its end
        counted_to = {name: taps.trace.count for name, taps in self.taps.items()}
        hosts = list(self.taps.values())
        rules = await asyncio.gather(*(read_rules(taps.net) for taps in hosts))
        await self._prove()
        await side_by_side([tap.drain for taps in hosts for tap in taps.all], _THREADS)
        return [
            replace(await self._capture(taps, after, counted_to[taps.net.name]), until_ns=until_ns)
            for taps, after in zip(hosts, rules, strict=True)
        ]

    async def told(self, host: str) -> int:
        """How many trace events a host's hook tap has stored by now; what happened before this call is among them.

        The kernel puts an event into the tap's socket while the packet is in the hook.
        """
        taps = self.taps.get(host)
        if taps is None:
            return 0
        await side_by_side([taps.trace.drain], _THREADS)
        return taps.trace.count

    async def close(self) -> None:
        """Close every tap; once is enough, twice does no harm.

        The kernel lets go of each packet socket only after a grace period: they are closed side by side, in threads.
        """
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        things: list[Callable[[], None]] = [sender.close for sender, _ in self.bridges]
        for taps in self.taps.values():
            things += [taps.wire.close, taps.trace.close, taps.conntrack.close, taps.sender.close]
        self.taps, self.bridges, self.networks = {}, [], []
        await side_by_side(things, _THREADS)

    async def _count_from_here(self, taps: _HostTaps) -> None:
        taps.before = await read_rules(taps.net)

    async def _quiet(self) -> None:
        """Return once no link holds a packet back any more, or after a while where packets keep coming.

        A packet that is delayed is on no wire yet: a record that ended now would not have it, nor the rest of its way.
        The kernel tells nobody that a queue has become empty.
        """
        everywhere = [*(taps.links for taps in self.taps.values()), *self.networks]
        try:
            async with asyncio.timeout(QUIET_WITHIN):
                while any(waiting(links) for links in everywhere):  # noqa: ASYNC110  there is no event
                    await asyncio.sleep(_LOOK_AGAIN)
        except TimeoutError:
            pass

    async def _prove(self) -> None:
        nonce = new_nonce()
        for taps in self.taps.values():
            taps.wire.expect_canaries(nonce, taps.interfaces())
        for taps in self.taps.values():
            taps.trace.send_canary(nonce)
        self._send_canaries(nonce)

        async def prove(taps: _HostTaps, kind: str, proof: Awaitable[None]) -> None:
            try:
                async with asyncio.timeout(PROOF_WITHIN):
                    await proof
                taps.alive[kind] = taps.alive.get(kind, True)
            except TimeoutError:
                taps.alive[kind] = False

        with self.reader.hurried() if self.reader is not None else nullcontext():
            again = asyncio.ensure_future(self._send_again(nonce))
            try:
                await asyncio.gather(
                    *(prove(taps, "wire", taps.wire.proven()) for taps in self.taps.values()),
                    *(prove(taps, "hooks", taps.trace.proven()) for taps in self.taps.values()),
                )
            finally:
                again.cancel()
                await asyncio.gather(again, return_exceptions=True)

    async def _send_again(self, nonce: bytes) -> None:
        """A link that loses some packets loses some canaries: they are sent again while one is missing."""
        while True:
            await asyncio.sleep(_SEND_AGAIN)
            self._send_canaries(nonce)

    def _send_canaries(self, nonce: bytes) -> None:
        for taps in self.taps.values():
            for interface in taps.interfaces().values():
                self._send(taps, nonce, interface)
        for sender, bridge in self.bridges:
            send_canary(sender, nonce, bridge, everybody=True)

    def _send(self, taps: _HostTaps, nonce: bytes, interface: str) -> None:
        try:
            send_canary(taps.sender, nonce, interface)
        except CaptureError:
            taps.wire.give_up()  # the interface is down, or gone: nothing can be proved of it

    async def _capture(self, taps: _HostTaps, after: Ruleset, counted_to: int) -> HostCapture:
        name = taps.net.name
        entries = await dump_entries(taps.net) if after.rules or taps.conntrack.count else []
        taps.conntrack.drain()
        interfaces = await taps.links.all_names()
        unfollowed = self.how.left_out or self.clocks.doubt() or _unknown_interfaces(taps, interfaces)
        untraced = taps.trace.tracing.left_out or _unasked(taps)
        return HostCapture(
            host=name,
            interfaces=interfaces,
            frames=taps.wire.frames(),
            trace=taps.trace.datagrams(),
            conntrack=taps.conntrack.datagrams(),
            entries=entries,
            states=taps.trace.states,
            rules_before=taps.before,
            rules_after=after,
            counted=(taps.counted_from, counted_to),
            health=[
                TapHealth("wire", name, taps.wire.lost(), taps.alive.get("wire", False), unfollowed),
                TapHealth("hooks", name, taps.trace.lost(), taps.alive.get("hooks", False), untraced),
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
