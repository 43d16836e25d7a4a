"""Scenes: what the taps of a lab hand over, written down packet by packet, as the raw bytes that the kernel sends.

A test tells what happened, host by host, and compares the story that comes out:

    scene = Scene()
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    question = udp("192.168.0.1:4000", "192.168.0.2:53", b"?")
    a.sends(question, "eth0")
    b.gets("eth0", question).delivered()
    assert scene.stories() == [[..., "A:eth0 out", "B:eth0 in", ..., "delivered at B@input.nat"]]

Numbers are those of linux/netfilter/nf_tables.h and nfnetlink_conntrack.h, written out here once more on purpose: the
scene is the kernel's side. Its messages were compared with those of Linux 6.18 (test_record_join_passes.py holds one).
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from record_packets import NUMBERS, Packet, endpoint

from netemu.netfilter.conntrack import DST_NAT_DONE, SRC_NAT_DONE, STATUS_BITS, TCP_STATES, PacketConntrack, Tuple
from netemu.netfilter.ruleset import Rule, Ruleset
from netemu.record.capture import HOST, OUTGOING, HostCapture, TapHealth
from netemu.record.exchange import Exchange
from netemu.record.frames import Datagrams, Frames, RawFrame
from netemu.record.journeys import Journey, journeys
from netemu.record.record import Record, build_record

VERDICTS = {"drop": 0, "accept": 1, "continue": -1, "jump": -3, "return": -5}
STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}

DNATED = ("dst-nat", "dst-nat-done")
SNATED = ("src-nat", "src-nat-done")
BOTH_NATED = (*DNATED, *SNATED, "confirmed")


@dataclass(frozen=True)
class Ct:
    """What conntrack holds of a packet at one moment."""

    state: str
    id: int | None = None
    direction: str = "original"
    status: tuple[str, ...] = ()


def new(id: int, *status: str) -> Ct:
    return Ct("new", id, "original", status)


def established(id: int, *status: str) -> Ct:
    return Ct("established", id, "original", (*status, "seen-reply"))


def reply(id: int, *status: str) -> Ct:
    return Ct("established", id, "reply", (*status, "seen-reply"))


def attribute(number: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), number) + value + b"\0" * (-len(value) % 4)


def message(subsystem: int, kind: int, family: int, body: bytes) -> bytes:
    whole = struct.pack("!BBH", family, 0, 0) + body
    return struct.pack("=IHHII", 16 + len(whole), subsystem << 8 | kind, 0, 0, 0) + whole


def u32(value: int) -> bytes:
    return struct.pack("!I", value & 0xFFFFFFFF)


@dataclass
class Host:
    """One host and what its taps stored so far."""

    scene: Scene
    name: str
    interfaces: dict[int, str]
    frames: list[RawFrame] = field(default_factory=list)
    trace: list[bytes] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    dumped: list[bytes] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    counted: dict[tuple[str, str, str, int], int | None] = field(default_factory=dict)
    states: dict[tuple[str, int], PacketConntrack] = field(default_factory=dict)
    faults: dict[str, TapHealth] = field(default_factory=dict)

    def wire(self, interface: str, way: str, packet: Packet | bytes, kind: int = HOST) -> None:
        """A frame on one of the host's wires, one microsecond after the one before."""
        self.scene.now += 1000
        data = packet if isinstance(packet, bytes) else packet.frame()
        number = next((number for number, name in self.interfaces.items() if name == interface), 0)
        self.frames.append(RawFrame(self.scene.now, number, OUTGOING if way == "out" else kind, data))

    def gets(self, interface: str, packet: Packet, out: str | None = None, ct: Ct | None = None, **more) -> Walk:
        """A frame comes in and begins its way through the hooks; `out` is where it will be routed."""
        self.wire(interface, "in", packet, more.pop("kind", HOST))
        return self.walks("prerouting", packet, interface, out, ct, **more)

    def makes(self, packet: Packet, out: str | None = None, ct: Ct | None = None, **more) -> Walk:
        """The host makes a packet, which begins its way through the hooks."""
        return self.walks("output", packet, None, out, ct, **more)

    def walks(self, start, packet, iif, out, ct, id: int | None = None, start_lost: bool = False) -> Walk:
        self.scene.ids += 1
        walk = Walk(self, packet, 0x1000 + self.scene.ids if id is None else id, iif, out, ct)
        if not start_lost:
            walk.event("netemu", f"start-{start}", 1, headers=True)
        return walk

    def sends(self, packet: Packet, out: str, ct: Ct | None = None, **more) -> Walk:
        """The host makes a packet and sends it, untouched."""
        return (
            self.makes(packet, out, ct, **more)
            .through("output", "output.nat", "postrouting", "postrouting.nat")
            .leaves()
        )

    def casts(self, packet: Packet, out: str, ct: Ct | None = None, **more) -> Walk:
        """The host sends a packet to several, itself included, untouched; `delivers=False`: its copy gets no further.

        IPv4 makes the copy before the packet's own POSTROUTING, IPv6 behind it; with TTL 0 nothing leaves. The
        packets' trace ids are `id`, and those of the copy's passes `ids`.
        """
        v6, ids = ":" in endpoint(packet.src)[0], more.get("ids", (None, None))
        walk = self.makes(packet, out, ct, id=more.get("id")).through("output", "output.nat")
        if v6:
            walk.through("postrouting", "postrouting.nat")
        copy = self.walks("postrouting", packet, None, out, walk.ct, ids[0], start_lost=True)
        copy.through("postrouting", "postrouting.nat")
        if more.get("delivers", True):
            self.walks("prerouting", packet, out, None, walk.ct, ids[1]).delivered()
        if not packet.ttl:
            return walk
        return walk.leaves() if v6 else walk.through("postrouting", "postrouting.nat").leaves()

    def rule(
        self, table: str, chain: str, text: str, family: str = "ip", counts: bool = True, legacy: bool = False
    ) -> Rule:
        """Load a rule; it counts the packets that match it, unless `counts` is false. No trace shows a legacy one."""
        place = (family, table, chain, legacy)
        position = sum((known.family, known.table, known.chain, known.legacy) == place for known in self.rules)
        handle = None if legacy else len(self.rules) + 2
        rule = Rule(family, table, chain, position, text, None, handle, legacy)
        self.rules.append(rule)
        self.counted[rule.key] = 0 if counts else None
        return rule

    def entry(
        self, id: int, original: Packet, reply: Packet, *status: str, tcp_state: str | None = None, **more
    ) -> None:
        """A conntrack event of an entry (`dumped=True`: an entry of the dump at the end; `deleted=True`: its end)."""
        body = attribute(0x8001, _tuple(original)) + attribute(0x8002, _tuple(reply)) + attribute(12, u32(id))
        body += attribute(3, u32(sum(STATUS_BITS[word] for word in status)))
        if tcp_state is not None:
            inner = attribute(1, bytes([TCP_STATES.index(tcp_state)]))
            body += attribute(0x8004, attribute(0x8001, inner))
        if "mark" in more:
            body += attribute(8, u32(more["mark"]))
        if "zone" in more:
            body += attribute(18, struct.pack("!H", more["zone"]))
        datagram = message(1, 2 if more.get("deleted") else 0, socket.AF_INET, body)
        (self.dumped if more.get("dumped") else self.events).append(datagram)

    def fault(self, tap: str, lost: int = 0, alive: bool = True) -> None:
        """One of the host's taps (wire, hooks, conntrack) lost something or was not alive."""
        self.faults[tap] = TapHealth(tap, self.name, lost, alive)

    def capture(self) -> HostCapture:
        """What the recorder would hand over."""
        before = [replace(rule, packets=None if self.counted[rule.key] is None else 0) for rule in self.rules]
        after = [replace(rule, packets=self.counted[rule.key]) for rule in self.rules]
        traced = [rule for rule in self.rules if not rule.legacy]
        nat = frozenset((rule.family, rule.table, rule.chain) for rule in traced if rule.table == "nat")
        legacy = frozenset((rule.family, rule.table) for rule in self.rules if rule.legacy)
        return HostCapture(
            self.name,
            self.interfaces,
            Frames.of(self.frames),
            Datagrams.of(self.trace),
            Datagrams.of(self.events),
            self.dumped,
            self.states,
            Ruleset(tuple(before), nat, legacy=legacy),
            Ruleset(tuple(after), nat, legacy=legacy),
            [self.faults.get(tap, TapHealth(tap, self.name)) for tap in ("wire", "hooks", "conntrack")],
        )


def _tuple(packet: Packet) -> bytes:
    src, dst = (ip_address(endpoint(text)[0]) for text in (packet.src, packet.dst))
    first = 1 if src.version == 4 else 3
    addresses = attribute(first, src.packed) + attribute(first + 1, dst.packed)
    (_, sport), (_, dport) = endpoint(packet.src), endpoint(packet.dst)
    proto = attribute(1, bytes([NUMBERS[packet.proto]]))
    if packet.proto == "icmp":
        proto += attribute(4, struct.pack("!H", sport)) + attribute(5, b"\x08") + attribute(6, b"\0")
    else:
        proto += attribute(2, struct.pack("!H", sport)) + attribute(3, struct.pack("!H", dport))
    return attribute(0x8001, addresses) + attribute(0x8002, proto)


@dataclass
class Walk:
    """One packet on its way through one host's hooks; each call is one step of the kernel's."""

    host: Host
    packet: Packet
    id: int
    iif: str | None
    oif: str | None
    ct: Ct | None

    def through(self, *stages: str) -> Walk:
        """Stages that leave the packet as it is."""
        for stage in stages:
            self.sees(stage)
        return self

    def sees(self, stage: str, ct: Ct | None = None, **changes) -> Walk:
        """The tap at one stage sees the packet, by now with these changes."""
        self.ct = ct or self.ct
        self.packet = self.packet.but(**changes)
        self.event("netemu", stage, self._handle(stage), headers=True)
        return self

    def matches(self, rule: Rule, verdict: str = "accept", target: str = "") -> Walk:
        """A rule of the host matches."""
        if self.host.counted[rule.key] is not None:
            self.host.counted[rule.key] += 1
        if rule.legacy:
            return self
        self.event(rule.table, rule.chain, rule.handle, verdict, target, headers=True, family=rule.family)
        return self

    def falls_through(self, table: str, chain: str, policy: str = "accept", family: str = "ip") -> Walk:
        """No rule of a base chain matched: the kernel tells its end (as a rule without a handle), then its policy."""
        self.event(table, chain, None, "continue", headers=True, family=family)
        self.event(table, chain, None, policy=policy, family=family)
        return self

    def forwarded(self) -> Walk:
        """Routed onwards, by no rule and no conntrack entry touched."""
        self.through("prerouting", "prerouting.nat").sees("forward", ttl=self.packet.ttl - 1)
        return self.through("postrouting", "postrouting.nat").leaves()

    def delivered(self) -> Walk:
        """Given to the host's own sockets, untouched."""
        return self.through("prerouting", "prerouting.nat", "input", "input.nat")

    def leaves(self) -> Walk:
        """The packet goes out on the wire."""
        self.host.wire(str(self.oif), "out", self.packet)
        return self

    def _handle(self, stage: str) -> int:
        """The tap rule that matches: the last one, or where the trace carries no state the one that tells it."""
        if not self.host.scene.old or self.ct is None:
            return 99
        done = sum(STATUS_BITS[word] for word in self.ct.status) & (SRC_NAT_DONE | DST_NAT_DONE)
        known = None if self.ct.state in ("invalid", "untracked") else done
        direction = None if known is None else self.ct.direction
        state = PacketConntrack(self.ct.state, direction, known_manips=known)
        for (chain, handle), other in self.host.states.items():
            if (chain, other) == (stage, state):
                return handle
        handle = 10 + len(self.host.states)
        self.host.states[stage, handle] = state
        return handle

    def event(self, table, chain, handle, verdict="accept", target="", headers=False, policy=None, family=None) -> None:
        """One trace message, as nft_trace_notify writes it."""
        v6 = ":" in endpoint(self.packet.src)[0]
        body = attribute(15, u32(10 if v6 else 2)) + attribute(4, u32(1 if policy else 3)) + attribute(6, u32(self.id))
        body += attribute(2, chain.encode() + b"\0") + attribute(1, table.encode() + b"\0")
        if handle is not None:
            body += attribute(3, struct.pack("!Q", handle))
        if policy is None:
            code = attribute(1, u32(VERDICTS[verdict]))
            body += attribute(5, code + (attribute(2, target.encode() + b"\0") if target else b""))
        else:
            body += attribute(16, u32(VERDICTS[policy]))
        if headers:
            numbers = {name: number for number, name in self.host.interfaces.items()}
            routed = chain.lower().startswith(("forward", "output", "postrouting"))
            body += attribute(10, u32(numbers[self.iif])) if self.iif else b""
            body += attribute(12, u32(numbers[self.oif])) if self.oif and routed else b""
            network, transport = self.packet.traced
            body += (attribute(8, network) if network else b"") + attribute(9, transport)
            body += b"" if self.host.scene.old or chain.startswith("start-") else self._conntrack()
        self.host.trace.append(message(10, 17, {"ip": 2, "ip6": 10}.get(str(family), 1), body))

    def _conntrack(self) -> bytes:
        if self.ct is None:
            return b""
        body = attribute(21, u32(STATES[self.ct.state]))
        if self.ct.id is None:
            return body
        status = sum(STATUS_BITS[word] for word in set(self.ct.status))
        body += attribute(19, bytes([self.ct.direction == "reply"])) + attribute(18, u32(self.ct.id))
        return body + (attribute(20, u32(status)) if status else b"")


class Scene:
    """A lab's hosts and segments, a clock that each frame moves on, and what comes of it all.

    `old`: the kernel's trace carries no conntrack state (before Linux 6.16); the taps' own rules tell it.
    """

    def __init__(self, old: bool = False) -> None:
        self.old = old
        self.now = 1_000_000_000
        self.ids = 0
        self.hosts: list[Host] = []
        self.segment_of: dict[tuple[str, str], str] = {}
        self.exchanges: list[Exchange] = []

    def host(self, name: str, **interfaces: str) -> Host:
        """A host, and on which segment each of its interfaces is."""
        host = Host(self, name, dict(enumerate(("lo", *interfaces), 1)))
        self.segment_of |= {(name, interface): segment for interface, segment in interfaces.items()}
        self.hosts.append(host)
        return host

    def exchange(self, name: str, host: str, *sockets: Tuple, fault: str | None = None) -> None:
        """A traffic item that lasted from the scene's beginning until now."""
        self.exchanges.append(Exchange(name, host, name, 0, self.now, sockets, "" if fault else "200", fault))

    def captures(self) -> list[HostCapture]:
        return [host.capture() for host in self.hosts]

    def journeys(self) -> list[Journey]:
        return journeys(self.captures(), self.segment_of)

    def record(self) -> Record:
        return build_record(self.captures(), self.segment_of, self.exchanges)

    def stories(self) -> list[list[str]]:
        return [story(journey) for journey in self.journeys()]


def story(journey: Journey) -> list[str]:
    """A journey to be read: every point, with what was rewritten there and by what, then how it ended."""
    lines = []
    for seen in journey.sightings:
        changes = [change for change in journey.rewrites if change.at == seen.point]
        told = [f"{c.field} {c.before} => {c.after} by {c.by}{f': {c.rule}' if c.rule else ''}" for c in changes]
        lines.append(" | ".join([str(seen.point), *told]))
    end = journey.end
    return [*lines, f"{end.kind} at {end.at}" + (f" by {end.turn.chain} {end.turn.text}" if end.turn else "")]
