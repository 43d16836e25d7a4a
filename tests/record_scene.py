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
from itertools import pairwise

from netemu.netfilter.conntrack import DST_NAT_DONE, SRC_NAT_DONE, STATUS_BITS, TCP_STATES, PacketConntrack, Tuple
from netemu.netfilter.ruleset import Rule, Ruleset
from netemu.record.capture import HOST, OUTGOING, HostCapture, TapHealth
from netemu.record.exchange import Exchange
from netemu.record.frames import Datagrams, Frames, RawFrame
from netemu.record.journeys import Journey, journeys
from netemu.record.record import Record, build_record

NUMBERS = {"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "icmp6": 58}
FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32}
VERDICTS = {"drop": 0, "accept": 1, "continue": -1, "jump": -3, "return": -5}
STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
MACS = bytes.fromhex("020000000002") + bytes.fromhex("020000000001")

DNATED = ("dst-nat", "dst-nat-done")
SNATED = ("src-nat", "src-nat-done")
BOTH_NATED = (*DNATED, *SNATED, "confirmed")


def endpoint(text: str) -> tuple[str, int]:
    """`192.168.0.1:80` or `[fd00::1]:80`, taken apart; port 0 where there is none."""
    if text.startswith("["):
        address, _, port = text[1:].partition("]:")
    else:
        address, _, port = text.partition(":") if text.count(":") == 1 else (text, "", "0")
    return str(ip_address(address)), int(port or 0)


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True)
class Packet:
    """One IP packet; `but` gives the same packet with something rewritten. Checksums are computed on the way out."""

    proto: str
    src: str
    dst: str
    ttl: int = 64
    flags: str = ""
    seq: int = 0
    ack: int = 0
    payload: bytes = b""
    ip_id: int = 0
    icmp: tuple[int, int] = (8, 0)
    options: bytes = b""
    tos: int = 0
    extensions: tuple[int, bytes] = (0, b"")
    """IPv6's: the first one's number, and all of them. The trace shows neither them nor the transport's protocol."""
    part: tuple[int, int] | None = None
    """From where to where in the transport's bytes it goes, if it is a fragment; `ip_id` is its id."""
    to_all: bool = False
    """Whether its frames bear a group's MAC address."""

    def but(self, **changes) -> Packet:
        return replace(self, **changes)

    @property
    def tuple(self) -> Tuple:
        (src, sport), (dst, dport) = endpoint(self.src), endpoint(self.dst)
        return Tuple(self.proto, src, sport, dst, dport)

    @property
    def transport(self) -> bytes:
        return self.whole if self.part is None else self.whole[self.part[0] : self.part[1]]

    @property
    def traced(self) -> tuple[bytes, bytes]:
        """The network's and the transport's header as the trace has them (of IPv6's later fragments: see there)."""
        if self.part is not None and self.part[0] and self.network[0] >> 4 == 6:
            return b"", self.network[:20]
        return self.network[:40], self.transport[:20]

    @property
    def ahead(self) -> tuple[int, bytes]:
        """IPv6's extension headers, a fragment's among them."""
        if self.part is None:
            return self.extensions
        field = self.part[0] | (self.part[1] < len(self.whole))
        return 44, struct.pack("!BBHI", NUMBERS[self.proto], 0, field, self.ip_id)

    @property
    def whole(self) -> bytes:
        """The transport's header and payload of the whole packet."""
        (src, sport), (dst, dport) = endpoint(self.src), endpoint(self.dst)
        if self.proto == "tcp":
            flags = sum(FLAGS[word] for word in self.flags.split())
            head = struct.pack("!HHIIBBHHH", sport, dport, self.seq, self.ack, 5 << 4, flags, 64240, 0, 0)
            where = 16
        elif self.proto == "udp":
            head, where = struct.pack("!HHHH", sport, dport, 8 + len(self.payload), 0), 6
        elif self.proto in ("icmp", "icmp6"):
            head, where = struct.pack("!BBHHH", *self.icmp, 0, sport, self.seq), 2
        else:
            return self.payload
        whole = head + self.payload
        pseudo = ip_address(src).packed + ip_address(dst).packed + struct.pack("!HH", NUMBERS[self.proto], len(whole))
        total = checksum(whole if self.proto == "icmp" else pseudo + whole)
        return whole[:where] + struct.pack("!H", total) + whole[where + 2 :]

    @property
    def network(self) -> bytes:
        src, dst = ip_address(endpoint(self.src)[0]), ip_address(endpoint(self.dst)[0])
        size, number = len(self.transport), NUMBERS[self.proto]
        if src.version == 6:
            first, ahead = self.ahead
            size, number = size + len(ahead), first if ahead else number
            return struct.pack("!IHBB", 6 << 28, size, number, self.ttl) + src.packed + dst.packed
        words = 5 + len(self.options) // 4
        field = 0x4000
        if self.part is not None:
            field = self.part[0] // 8 | (0x2000 if self.part[1] < len(self.whole) else 0)
        head = struct.pack(
            "!BBHHHBBH", 4 << 4 | words, self.tos, words * 4 + size, self.ip_id, field, self.ttl, number, 0
        )
        whole = head + src.packed + dst.packed + self.options
        return whole[:10] + struct.pack("!H", checksum(whole)) + whole[12:]

    @property
    def _between(self) -> bytes:
        return self.ahead[1] if self.network[0] >> 4 == 6 else b""

    def frame(self, tags: bytes = b"") -> bytes:
        """The Ethernet frame, as long as the shortest that a wire carries."""
        kind = b"\x86\xdd" if self.network[0] >> 4 == 6 else b"\x08\x00"
        return (
            bytes([MACS[0] | self.to_all]) + MACS[1:] + tags + kind + self.network + self._between + self.transport
        ).ljust(60, b"\0")


def tcp(src: str, dst: str, flags: str = "SYN", **more) -> Packet:
    return Packet("tcp", src, dst, flags=flags, **more)


def udp(src: str, dst: str, payload: bytes = b"", **more) -> Packet:
    return Packet("udp", src, dst, payload=payload, **more)


def parts(packet: Packet, *cuts: int) -> list[Packet]:
    """A packet's fragments, cut at these bytes of its transport header and payload (multiples of eight)."""
    edges = [0, *cuts, len(packet.transport)]
    return [packet.but(part=both) for both in pairwise(edges)]


def echo(src: str, dst: str, ident: int, seq: int = 1, **more) -> Packet:
    """An ICMP echo request; its id stands where other protocols have a source port."""
    return Packet("icmp", f"{src}:{ident}", dst, seq=seq, payload=b"x" * 8, **more)


def echo_reply(src: str, dst: str, ident: int, seq: int = 1, **more) -> Packet:
    return echo(src, dst, ident, seq, icmp=(0, 0), **more)


def icmp_error(src: str, dst: str, code: int, quoted: Packet, **more) -> Packet:
    """Destination unreachable, quoting the packet that it is about."""
    return Packet("icmp", src, dst, icmp=(3, code), payload=quoted.network + quoted.transport[:8], **more)


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


CLIENT, SERVICE, POD = "192.168.0.1:54522", "192.168.0.2:30000", "172.26.0.3:8080"


class NodePort:
    """The project's first case: A asks B's port 30000, B's DNAT and SNAT lead to a pod behind C."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.a, self.b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
        self.c, self.pod = scene.host("C", eth0="lan", cni0="link 0"), scene.host("pod", eth0="link 0")
        self.dnat = self.b.rule("nat", "PREROUTING", "-A PREROUTING -p tcp -j DNAT --to-destination 172.26.0.3:8080")
        self.snat = self.b.rule("nat", "POSTROUTING", "-A POSTROUTING -d 172.26.0.3 -j SNAT --to-source 192.168.0.2")

    def first(self, packet: Packet, id: int = 7) -> None:
        """A request that walks the nat chains."""
        self.a.sends(packet, "eth0")
        walk = self.b.gets("eth0", packet, "eth0", new(id)).sees("prerouting").matches(self.dnat)
        walk.sees("prerouting.nat", new(id, *DNATED), dst=POD).sees("forward", ttl=packet.ttl - 1).sees("postrouting")
        walk.matches(self.snat).sees("postrouting.nat", new(id, *DNATED, *SNATED), src=self._masked(packet)).leaves()
        self._beyond(walk.packet)

    def later(self, packet: Packet, ct: Ct) -> None:
        """A request that is rewritten from the entry alone."""
        self.a.sends(packet, "eth0")
        walk = self.b.gets("eth0", packet, "eth0", ct).sees("prerouting").sees("prerouting.nat", dst=POD)
        walk.sees("forward", ttl=packet.ttl - 1).sees("postrouting")
        self._beyond(walk.sees("postrouting.nat", src=self._masked(packet)).leaves().packet)

    def answer(self, packet: Packet, to: str = CLIENT, id: int = 7) -> None:
        """A reply, as the pod makes it; `to` is whom it will reach."""
        self.pod.sends(packet, "eth0")
        walk = self.c.gets("cni0", packet, "eth0").forwarded()
        walk = self.b.gets("eth0", walk.packet, "eth0", reply(id, *BOTH_NATED)).sees("prerouting")
        walk.sees("prerouting.nat", dst=to).sees("forward", ttl=walk.packet.ttl - 1).sees("postrouting")
        walk.sees("postrouting.nat", src=SERVICE).leaves()
        self.a.gets("eth0", walk.packet).delivered()

    def entry(self, id: int = 7, client: str = CLIENT) -> None:
        """The entry that B keeps, as its conntrack events tell it."""
        there, back = tcp(client, SERVICE), tcp(POD, self._masked(tcp(client, SERVICE)))
        self.b.entry(id, there, back, *BOTH_NATED, tcp_state="SYN_SENT")
        self.b.entry(id, there, back, *BOTH_NATED, "seen-reply", "assured", tcp_state="ESTABLISHED")

    def handshake(self, id: int = 7, client: str = CLIENT) -> None:
        """SYN, SYN ACK and ACK of one connection."""
        masked = self._masked(tcp(client, SERVICE))
        self.first(tcp(client, SERVICE, "SYN", seq=1, ip_id=1), id)
        self.answer(tcp(POD, masked, "SYN ACK", seq=100, ack=2), client, id)
        self.later(tcp(client, SERVICE, "ACK", seq=2, ack=101, ip_id=2), established(id, *BOTH_NATED))
        self.entry(id, client)

    @staticmethod
    def _masked(packet: Packet) -> str:
        return f"192.168.0.2:{endpoint(packet.src)[1]}"

    def _beyond(self, packet: Packet) -> None:
        walk = self.c.gets("eth0", packet, "cni0").forwarded()
        self.pod.gets("eth0", walk.packet).delivered()
