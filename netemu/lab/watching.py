"""`watch`: the journeys of a lab that is up, as they complete, over taps of its own."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from netemu.errors import CaptureError, UsageError
from netemu.kernel.keeping.store import Room
from netemu.kernel.machine.features import trace_carries_conntrack
from netemu.kernel.rules.loading import read_rules, tracks
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.filters import Matcher
from netemu.kernel.taps.packet import What
from netemu.kernel.taps.ring import Ring
from netemu.kernel.taps.trace import TraceTap
from netemu.kernel.taps.tracking import ConntrackTap, dump_entries
from netemu.kernel.taps.wire import new_nonce
from netemu.lab.inside import Inside
from netemu.lab.stream import Socket, Stream
from netemu.lab.taps import BUFFER, Taps
from netemu.netfilter.ruleset import Ruleset
from netemu.record.capture import TAP_TABLE, HostCapture
from netemu.record.join.wires import Member
from netemu.record.journeys import Journey
from netemu.record.live.journeys import SETTLE_NS, Completed, Live
from netemu.topology.tracing import EVERYTHING, Tracing

PROOF_WITHIN = 2.0
TICK = 0.05
"""Seconds until it is seen whether journeys have settled, while there are any."""
_OURS = re.compile(r"\b(fin|syn|rst|psh|ack|urg|at)\b")
_DIFFERENT = "a watch's filter is pcap's own: syn is 'tcp[tcpflags] & tcp-syn != 0' there, and there is no 'at'"
"""Said of words that a record's text has (record/ask) and pcap does not."""
_MANY = 20_000
"""Trace messages that are taken at once."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A tap of a watch lost something: what is told from now on may be incomplete.

    With `lost` 0 it leaves something out from the beginning: `note` says what.
    """

    host: str
    tap: str
    lost: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Watched:
    """How a watch went: journeys told, and packets or events lost; `why` it ended, as `Captured` has it."""

    journeys: int
    lost: int
    why: str


class _HostTaps:
    """The taps of one host."""

    def __init__(self, net: NetworkNamespace, ring: int, tracing: Tracing, room: Room, stack: ExitStack) -> None:
        ask = not trace_carries_conntrack() and tracks(net)
        self.net = net
        self.name = f"{TAP_TABLE}-{secrets.token_hex(4)}"
        self.ring = Ring(net, What(canaries=False), room, ring, lane=False)
        stack.callback(self.ring.close)
        self.trace = TraceTap(net, BUFFER, ask, room, tracing, self.name)
        stack.callback(self.trace.close)
        self.conntrack = ConntrackTap(net, BUFFER, room)
        stack.callback(self.conntrack.close)
        self.rules = Ruleset()
        self.told: dict[str, int] = {}
        with net.entered():
            self.interfaces = dict(socket.if_nameindex())

    @property
    def sockets(self) -> list[Socket]:
        return [self.ring.sock, self.trace.sock, self.conntrack.sock]

    async def begin(self, hand_over: int) -> list[bytes]:
        """Be ready; the entries that are there already."""
        self.ring.open(hand_over)
        self.rules = await read_rules(self.net)
        return await dump_entries(self.net) if self.rules.rules else []

    def piece(self, entries: list[bytes], *, everything: bool) -> HostCapture:
        """What came since the last call; with `everything` also what the kernel has not handed over of a ring yet."""
        if everything:
            for each in (self.conntrack, self.trace, self.ring):
                each.drain()
        else:
            for tap in (self.conntrack, self.trace):  # entries before the packets that they are of
                while tap.receive() and tap.count < _MANY:
                    pass
            self.ring.receive()
        return HostCapture(
            self.net.name,
            self.interfaces,
            self.ring.frames(),
            self.trace.datagrams(),
            self.conntrack.datagrams(),
            entries,
            self.trace.states,
            self.rules,
            self.rules,
            table=self.name,
            counted=(0, 0),  # no rule's counter is read while packets pass
        )

    def losses(self) -> list[Loss]:
        """What was lost since the last call."""
        found = []
        for kind, tap in (("wire", self.ring), ("hook", self.trace), ("conntrack", self.conntrack)):
            lost = tap.lost()
            if lost > self.told.get(kind, 0):
                found.append(Loss(self.net.name, kind, lost - self.told.get(kind, 0)))
                self.told[kind] = lost
        return found


def watch(
    here: Inside,
    out: int,
    tell: Callable[[Journey | Loss], str],
    *,
    segment_of: Mapping[Member, str],
    tracing: Mapping[str, Tracing],
    filter: str = "",
    settle_ns: int = SETTLE_NS,
    most: int | None = None,
    ready: Callable[[], None] = lambda: None,
) -> Watched:
    """Write what `tell` makes of each journey and loss to a descriptor, until something ends it.

    After `most` journeys it ends. `filter` (pcap's language) chooses those of which a frame, on any wire, fits.
    `ready` is called once all taps are bound and the hooks' proven. Raises UsageError, CaptureError.
    """
    chosen = _Chosen(filter)
    size, hand_over = Taps().ring_for(len(here.nets))
    room = Room()
    with ExitStack() as stack:
        taps = [_HostTaps(net, size, tracing.get(host, EVERYTHING), room, stack) for host, net in here.nets.items()]
        entries = asyncio.run(_begin(taps, hand_over))
        live = Live(segment_of, settle_ns)
        stream = stack.enter_context(Stream(out, here.holder))
        ready()
        left_out = [Loss(each.net.name, "hook", 0, each.trace.tracing.left_out) for each in taps]
        stream.write("".join(tell(each) for each in left_out if each.note).encode())
        count = lost = 0
        more = taken = True
        while more and taken and count != most:
            more = stream.wait([sock for each in taps for sock in each.sockets], TICK if live.pending else None)
            pieces = [each.piece(entries.pop(each.net.name, []), everything=not more) for each in taps]
            found = live.feed(pieces, time.monotonic_ns())
            if not more and stream.why != "reader":
                found += live.finish()
            losses = [loss for each in taps for loss in each.losses()]
            lost += sum(loss.lost for loss in losses)
            told = [each.journey for each in found if chosen.takes(each)]
            told = told if most is None else told[: most - count]
            texts = [text.encode(errors="replace") for text in (*map(tell, losses), *map(tell, told))]
            whole = stream.write_each(texts)
            count += max(whole - len(losses), 0)
            taken = whole == len(texts)  # behind a text that is cut none is written
        lost += sum(loss.lost for each in taps for loss in each.losses())
        return Watched(count, lost, stream.why or "count")


async def _begin(taps: list[_HostTaps], hand_over: int) -> dict[str, list[bytes]]:
    """Bind everything, and see a canary of each hook tap."""
    entries = await asyncio.gather(*(each.begin(hand_over) for each in taps))
    nonce = new_nonce()
    for each in taps:
        each.trace.send_canary(nonce)
    proofs = [asyncio.ensure_future(each.trace.proven()) for each in taps]
    until = time.monotonic() + PROOF_WITHIN
    while not all(proof.done() for proof in proofs) and time.monotonic() < until:
        for each in taps:
            each.trace.receive()
        await asyncio.wait(proofs, timeout=0.005, return_when=asyncio.ALL_COMPLETED)
    dead = [each.net.name for each, proof in zip(taps, proofs, strict=True) if not proof.done()]
    for proof in proofs:
        proof.cancel()
    if dead:
        raise CaptureError(f"host {dead[0]}: the hook tap does not see its own canary")
    return dict(zip((each.net.name for each in taps), entries, strict=True))


class _Chosen:
    """Which journeys a filter takes."""

    def __init__(self, filter: str) -> None:
        try:
            self.frames = Matcher(filter) if filter else None
        except UsageError as error:
            if not _OURS.search(filter):
                raise
            raise UsageError(f"{error}; {_DIFFERENT}") from error
        self.headers = Matcher(filter, raw=True) if filter else None

    def takes(self, completed: Completed) -> bool:
        if self.frames is None or self.headers is None:
            return True
        if not completed.frames:
            return self.headers.takes(completed.headers)
        return any(self.frames.takes(frame) for frame in completed.frames)
