"""pcapng (draft-ietf-opsawg-pcapng) written and pcapng and pcap files read: pure, bytes in and bytes out.

One interface a point, times in nanoseconds, the direction in the packet's flags, what is known of a packet in its
comment, and what each tap lost in the interface's statistics: Wireshark shows all of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

ETHERNET = 1
RAW_IP = 101
"""Link types (LINKTYPE_ETHERNET, LINKTYPE_RAW): a hook sees a packet from its network header on."""

_SECTION, _INTERFACE, _STATISTICS, _PACKET, _SIMPLE = 0x0A0D0D0A, 1, 5, 6, 3
_MAGIC = 0x1A2B3C4D
_END, _COMMENT = 0, 1
_IF_NAME, _IF_DESCRIPTION, _IF_RESOLUTION = 2, 3, 9
_SHB_APPLICATION = 4
_ISB_RECEIVED, _ISB_DROPPED = 4, 5
_EPB_FLAGS = 2
_INBOUND, _OUTBOUND = 1, 2
_NANOSECONDS = 9
_PCAP = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}
"""The magic numbers of pcap files, and how many nanoseconds their fractions count in."""


class CaptureFormatError(ValueError):
    """A file is neither pcapng nor pcap, or breaks off where it must not; the text says where."""


@dataclass(frozen=True, slots=True)
class CaptureInterface:
    """One interface of a capture file: a point of a lab, or a network card of somebody else's machine.

    `seen` and `dropped` count packets, and are None where nothing is known of them.
    """

    name: str
    linktype: int = ETHERNET
    description: str = ""
    seen: int | None = None
    dropped: int | None = None


@dataclass(frozen=True, slots=True)
class CapturedPacket:
    """One packet of a capture file: `interface` counts from 0, `length` is what it had before it was cut.

    `time_ns` is since the epoch. `outgoing` is None where the file does not tell the direction.
    """

    interface: int
    time_ns: int
    data: bytes
    length: int
    outgoing: bool | None = None
    comment: str = ""


def header(interfaces: Sequence[CaptureInterface], application: str = "netemu") -> bytes:
    """A file's beginning: the section and its interfaces, which packets then name by their place."""
    section = struct.pack("=IHHq", _MAGIC, 1, 0, -1) + _options([(_SHB_APPLICATION, application.encode())])
    return _block(_SECTION, section) + b"".join(_interface(each) for each in interfaces)


def packet(what: CapturedPacket) -> bytes:
    """One packet, as an enhanced packet block."""
    time, data = what.time_ns, what.data
    fixed = struct.pack("=IIIII", what.interface, time >> 32, time & 0xFFFFFFFF, len(data), what.length)
    options = []
    if what.comment:
        options.append((_COMMENT, what.comment.encode()[:65535]))
    if what.outgoing is not None:
        options.append((_EPB_FLAGS, struct.pack("=I", _OUTBOUND if what.outgoing else _INBOUND)))
    return _block(_PACKET, fixed + _padded(data) + _options(options))


def statistics(interfaces: Sequence[CaptureInterface], time_ns: int) -> bytes:
    """A file's end: what each interface saw and dropped, where that is known."""
    parts = []
    for number, each in enumerate(interfaces):
        counts = ((_ISB_RECEIVED, each.seen), (_ISB_DROPPED, each.dropped))
        options = [(code, struct.pack("=Q", count)) for code, count in counts if count is not None]
        if options:
            fixed = struct.pack("=III", number, time_ns >> 32, time_ns & 0xFFFFFFFF)
            parts.append(_block(_STATISTICS, fixed + _options(options)))
    return b"".join(parts)


def write(interfaces: Sequence[CaptureInterface], packets: Iterable[CapturedPacket]) -> Iterator[bytes]:
    """A whole file, block by block; packets in the order in which they are given."""
    yield header(interfaces)
    latest = 0
    for each in packets:
        latest = max(latest, each.time_ns)
        yield packet(each)
    yield statistics(interfaces, latest)


def read(data: bytes) -> tuple[list[CaptureInterface], list[CapturedPacket]]:
    """A pcapng or pcap file, of either byte order. Raises CaptureFormatError.

    A file whose last block is cut off, as a killed writer leaves it, is read up to there.
    """
    if len(data) >= 4:
        for order in "<>":
            (magic,) = struct.unpack_from(f"{order}I", data)
            if magic in _PCAP:
                return _read_pcap(data, order, _PCAP[magic])
        if struct.unpack_from("<I", data)[0] == _SECTION:
            return _Reader(data).read()
    raise CaptureFormatError("is neither pcapng nor pcap")


def _read_pcap(data: bytes, order: str, unit: int) -> tuple[list[CaptureInterface], list[CapturedPacket]]:
    if len(data) < 24:
        raise CaptureFormatError("breaks off in its header")
    (linktype,) = struct.unpack_from(f"{order}I", data, 20)
    head, packets, place = struct.Struct(f"{order}IIII"), [], 24
    while place + head.size <= len(data):
        seconds, fraction, captured, length = head.unpack_from(data, place)
        place += head.size
        if captured > len(data) - place:
            break
        frame = data[place : place + captured]
        packets.append(CapturedPacket(0, seconds * 1_000_000_000 + fraction * unit, frame, length))
        place += captured
    return [CaptureInterface("", linktype & 0xFFFF)], packets


class _Reader:
    """Walks a pcapng file's blocks; a file may hold several sections, each with interfaces of its own."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = "<"
        self.first = 0
        self.interfaces: list[CaptureInterface] = []
        self.units: list[int | float] = []
        self.packets: list[CapturedPacket] = []

    def read(self) -> tuple[list[CaptureInterface], list[CapturedPacket]]:
        place = 0
        while place + 12 <= len(self.data):
            if struct.unpack_from("<I", self.data, place)[0] == _SECTION:
                self._section(place)
            kind, size = struct.unpack_from(f"{self.order}II", self.data, place)
            if size < 12 or size % 4:
                raise CaptureFormatError(f"has a block of {size} bytes at byte {place}")
            if place + size > len(self.data):
                break
            self._block(kind, self.data[place + 8 : place + size - 4], place)
            place += size
        return self.interfaces, self.packets

    def _section(self, place: int) -> None:
        for order in "<>":
            if struct.unpack_from(f"{order}I", self.data, place + 8)[0] == _MAGIC:
                self.order, self.first = order, len(self.interfaces)
                return
        raise CaptureFormatError(f"has a section of no known byte order at byte {place}")

    def _block(self, kind: int, body: bytes, place: int) -> None:
        try:
            if kind == _INTERFACE:
                self._interface(body)
            elif kind == _PACKET:
                self._packet(body)
            elif kind == _SIMPLE:
                (length,) = struct.unpack_from(f"{self.order}I", body)
                self.packets.append(CapturedPacket(self._known(0), 0, body[4 : 4 + length], length))
        except struct.error as error:
            raise CaptureFormatError(f"has a block that is too short at byte {place}") from error

    def _known(self, interface: int) -> int:
        if self.first + interface >= len(self.interfaces):
            raise CaptureFormatError(f"has a packet of interface {interface}, which it does not describe")
        return self.first + interface

    def _interface(self, body: bytes) -> None:
        (linktype,) = struct.unpack_from(f"{self.order}H", body)
        options = dict(self._options(body[8:]))
        (resolution,) = options.get(_IF_RESOLUTION, b"\6")[:1] or b"\6"
        unit = 10**9 / 2 ** (resolution & 0x7F) if resolution & 0x80 else 10 ** (9 - resolution)
        name, about = (options.get(code, b"").decode(errors="replace") for code in (_IF_NAME, _IF_DESCRIPTION))
        self.interfaces.append(CaptureInterface(name, linktype, about))
        self.units.append(unit)

    def _packet(self, body: bytes) -> None:
        number, high, low, captured, length = struct.unpack_from(f"{self.order}IIIII", body)
        interface = self._known(number)
        options = dict(self._options(body[20 + _round(captured) :]))
        outgoing = None
        if len(options.get(_EPB_FLAGS, b"")) == 4:
            way = struct.unpack(f"{self.order}I", options[_EPB_FLAGS])[0] & 3
            outgoing = {_INBOUND: False, _OUTBOUND: True}.get(way)
        comment = options.get(_COMMENT, b"").decode(errors="replace")
        time_ns = int((high << 32 | low) * self.units[interface])
        data = body[20 : 20 + captured]
        self.packets.append(CapturedPacket(interface, time_ns, data, length, outgoing, comment))

    def _options(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        place = 0
        while place + 4 <= len(data):
            code, size = struct.unpack_from(f"{self.order}HH", data, place)
            if code == _END:
                return
            yield code, data[place + 4 : place + 4 + size]
            place += 4 + _round(size)


def _interface(each: CaptureInterface) -> bytes:
    options = [(_IF_NAME, each.name.encode()), (_IF_RESOLUTION, bytes([_NANOSECONDS]))]
    if each.description:
        options.append((_IF_DESCRIPTION, each.description.encode()))
    return _block(_INTERFACE, struct.pack("=HHI", each.linktype, 0, 0) + _options(options))


def _options(given: list[tuple[int, bytes]]) -> bytes:
    if not given:
        return b""
    return b"".join(struct.pack("=HH", code, len(value)) + _padded(value) for code, value in given) + bytes(4)


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return struct.pack("=II", kind, size) + body + struct.pack("=I", size)


def _round(size: int) -> int:
    return size + -size % 4


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
