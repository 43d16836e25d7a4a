"""Fragments once more, plainly: what is told of them at hooks, which frames a pass left as, what was put together.

Part of the reference that the columns are held against (record_plain_*.py).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from netemu.netfilter.messages import TraceEvent
from netemu.record.capture import OTHERHOST, OUTGOING, HostCapture
from netemu.record.decode.headers import Split, decode, split_frame
from netemu.record.join.reassembly import queue

MORE, OFFSET = 0x2000, 0x1FFF
CHECKSUMS = {6: 16, 17: 6, 58: 2}
IPV4_NS, IPV6_NS = 30_000_000_000, 60_000_000_000
"""How long hosts wait for a packet's parts, from the first one on."""


def may_wait_ns(version: int) -> int:
    """How late a timer that tells nobody may run out."""
    return (IPV4_NS if version == 4 else IPV6_NS) * 9 // 8 + 10_000_000


def is_bare(event: TraceEvent) -> bool:
    """Whether an event is of a later fragment of IPv6: the header's beginning stands where the transport's should."""
    return not event.network and len(event.transport) == 20 and event.transport[0] >> 4 == 6


@dataclass(frozen=True)
class Part:
    """What a fragment says: the packet's code, where in it the part lies, whether others follow it."""

    code: object
    start: int
    end: int
    more: bool


def field_of(packet: Split) -> int:
    """A fragment's flags and offset as IPv4 has them."""
    return int.from_bytes(packet.network[6:8], "big") if packet.network[0] >> 4 == 4 else packet.fragment


def part(packet: Split, ahead: int = 0) -> Part:
    """The same of any packet: a whole one goes from its beginning to its end. `ahead` are IPv6's extension headers."""
    network, field = packet.network, field_of(packet)
    if network[0] >> 4 == 4:
        size = int.from_bytes(network[2:4], "big") - (network[0] & 15) * 4
        code: object = (network[12:20], network[9], network[4:6])
    else:
        size = int.from_bytes(network[4:6], "big") - ahead
        code = (network[8:40], packet.ident)
    start = (field & OFFSET) * 8
    return Part(code, start, start + size, bool(field & MORE))


def ahead_of(frame: bytes) -> int:
    """How many bytes of extension headers are in front of a frame's transport header."""
    at, kind = 14, frame[12:14]
    while kind in (b"\x81\x00", b"\x88\xa8"):
        at, kind = at + 4, frame[at + 2 : at + 4]
    protocol, offset, later = frame[at + 6], at + 40, False
    while protocol in (0, 43, 44, 51, 60) and offset + 8 <= len(frame) and not later:
        later = protocol == 44 and bool(int.from_bytes(frame[offset + 2 : offset + 4], "big") >> 3)
        length = 8 if protocol == 44 else (frame[offset + 1] + 1) * 8
        protocol, offset = frame[offset], offset + length
    return offset - at - 40


class LaterFragments:
    """A host's frames that are later fragments of IPv6, waiting for the passes that they began (or ended)."""

    def __init__(self, capture: HostCapture) -> None:
        self.waiting: dict[object, deque[Split]] = defaultdict(deque)
        for frame in capture.frames:
            packet = split_frame(frame.data)
            if packet is None or frame.kind == OTHERHOST or packet.network[0] >> 4 != 6 or not packet.fragment & OFFSET:
                continue
            self.waiting[frame.kind == OUTGOING, frame.interface, packet.network[:20]].append(packet)

    def tell(self, events: list[TraceEvent]) -> list[Split] | None:
        """The packets of a pass's events, of which each has but 20 bytes; None if there is no frame."""
        first, last = events[0], events[-1]
        if first.iif is not None:
            key: object = (False, first.iif, first.transport)
        else:
            key = (True, last.oif, last.transport)
        if not self.waiting[key]:
            return None
        frame = self.waiting[key].popleft()
        return [replace(frame, network=event.transport + frame.network[20:]) for event in events]


def headers_of(packet: Split) -> object:
    """What an IPv6 packet and the first of its fragments share."""
    number = packet.network[6] if packet.protocol is None else packet.protocol
    transport = bytearray(packet.transport[:20].ljust(20, b"\0"))
    if (where := CHECKSUMS.get(number)) is not None:
        transport[where : where + 2] = b"\0\0"
    return packet.network[7:40], number, bytes(transport)


def runs(parts: Iterable[tuple[object, Part]]) -> Iterator[list[tuple[object, Part]]]:
    """Parts of one code, in order, cut where they do not go on."""
    run: list[tuple[object, Part]] = []
    for each in parts:
        if run and each[1].start <= run[-1][1].start:
            yield run
            run = []
        run.append(each)
    if run:
        yield run


def left_by_id(passes: list[tuple[object, Part]], frames: list[tuple[object, Part]]) -> Iterator[tuple[object, object]]:
    """IPv4: pairs of a pass and a frame that it left as, all of one id."""
    for mine, theirs in zip(runs(passes), runs(frames), strict=False):
        for frame, piece in theirs:
            before = [(each, own) for each, own in mine if own.start <= piece.start]
            if before and piece.start < before[-1][1].end and _ends_within(piece, before[-1][1]):
                yield before[-1][0], frame


def _ends_within(piece: Part, own: Part) -> bool:
    """Whether a part ends where its packet does, or before; before, where more is to follow and the packet is whole."""
    return piece.end + (piece.more and not own.more) <= own.end


def queued(came: list[Part], times_ns: list[int]) -> tuple[list[int], list[bool]]:
    """What became of parts of one code that came to a host's own queue at these times, in order."""
    return queue([(each.start, each.end, each.more) for each in came], times_ns, IPV6_NS)


def decoded(packet: Split):
    """Its headers, which it has."""
    headers = decode(packet)
    assert headers is not None
    return headers
