"""Captures of several sides of NATs, made up packet by packet, with the truth of which packet is which kept aside.

A way is a client, NATs one behind the other, a server; side 0 is before the first NAT, side n behind the n-th. Each
side has a clock of its own. A packet may be lost between two sides, or missed by the capture of one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from random import Random

from netemu.record.sides.captured import read_captured
from netemu.record.sides.joined import JoinedSides, join_sides
from netemu.record.sides.side import Side, read_sides

SECOND = 1_000_000_000
NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1}


@dataclass(frozen=True)
class Packet:
    """One packet as one side sees it; `seq` is an echo's sequence, too."""

    proto: str
    src: tuple[str, int]
    dst: tuple[str, int]
    payload: bytes = b""
    ip_id: int = 0
    ttl: int = 64
    seq: int = 0
    ack: int = 0
    flags: int = 0x10
    echo_reply: bool = False

    def bytes(self) -> bytes:
        """The IPv4 packet."""
        sport, dport = self.src[1], self.dst[1]
        if self.proto == "tcp":
            head = struct.pack("!HHIIBBHHH", sport, dport, self.seq, self.ack, 0x50, self.flags, 500, sport ^ dport, 0)
        elif self.proto == "udp":
            head = struct.pack("!HHHH", sport, dport, 8 + len(self.payload), sport ^ dport)
        else:
            echo_id = dport if self.echo_reply else sport
            head = struct.pack("!BBHHH", 0 if self.echo_reply else 8, 0, echo_id, echo_id, self.seq)
        size = 20 + len(head) + len(self.payload)
        ends = b"".join(bytes(int(part) for part in end[0].split(".")) for end in (self.src, self.dst))
        fixed = struct.pack("!BBHHHBBH", 0x45, 0, size, self.ip_id, 0x4000, self.ttl, NUMBERS[self.proto], 0)
        return fixed + ends + head + self.payload


@dataclass(frozen=True)
class Flow:
    """One connection: its client and server as each side sees them."""

    proto: str
    clients: tuple[tuple[str, int], ...]
    servers: tuple[tuple[str, int], ...]


@dataclass
class Way:
    """What was captured. `truth` is for each side the packet's number in the story, in the order of the file."""

    sides: int
    random: Random
    offsets: list[int] = field(default_factory=list)
    drifts: list[float] = field(default_factory=list)
    stories: list[tuple[Flow, str]] = field(default_factory=list)
    files: list[list[tuple[int, bytes, int]]] = field(default_factory=list)
    lost: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.offsets = self.offsets or [0] * self.sides
        self.drifts = self.drifts or [0.0] * self.sides
        self.files = [[] for _ in range(self.sides)]

    def send(
        self,
        flow: Flow,
        time: int,
        packet: Packet,
        *,
        reply: bool = False,
        lost_after: int | None = None,
        missed: tuple[int, ...] = (),
        hop: tuple[int, int] = (1_000_000, 1_500_000),
    ) -> int:
        """Send a packet along the way at a true time; its number. It is lost behind the side `lost_after`."""
        number = len(self.stories)
        self.stories.append((flow, "reply" if reply else "original"))
        places = range(self.sides) if not reply else reversed(range(self.sides))
        ttl = packet.ttl
        for place in places:
            src, dst = (flow.clients[place], flow.servers[place])[:: -1 if reply else 1]
            if place not in missed:
                seen = replace(packet, src=src, dst=dst, ttl=ttl)
                clock = time + self.offsets[place] + round(time * self.drifts[place])
                self.files[place].append((clock, seen.bytes(), number))
            if place == lost_after:
                self.lost[number] = place
                break
            time += self.random.randint(*hop)
            ttl -= 1
        return number

    def captures(self) -> list[bytes]:
        """Each side's file: classic pcap in nanoseconds, raw IP."""
        found = []
        for file in self.files:
            file.sort(key=lambda each: each[0])
            head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 101)
            rows = [struct.pack("<IIII", t // SECOND, t % SECOND, len(d), len(d)) + d for t, d, _ in file]
            found.append(head + b"".join(rows))
        return found

    def read(self) -> list[Side]:
        """The sides, as they are read from the files."""
        return read_sides([(f"side{place}", read_captured(data)) for place, data in enumerate(self.captures())])

    def joined(self) -> JoinedSides:
        """All sides joined."""
        return join_sides(self.read())

    def told(self, joined: JoinedSides, number: int) -> list[int | None]:
        """The numbers of the packets that were taken for one, side by side; None where it was not seen."""
        return [
            self.files[place][int(joined.sides[place].number[row]) - 1][2] if row >= 0 else None
            for place, row in enumerate(joined.rows[number].tolist())
        ]


def nat(proto: str, client: tuple[str, int], server: tuple[str, int], *outer: tuple[str, int]) -> Flow:
    """A flow whose client is another one behind each NAT."""
    return Flow(proto, (client, *outer), (server,) * (len(outer) + 1))
