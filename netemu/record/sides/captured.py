"""Capture files in bulk: where each packet of a pcap or pcapng file lies, when it was seen, and on which interface.

`pcapng.read` gives the same as objects, one packet after the other. Here the walk only collects places; the fields
are read for all packets at once. Link headers (https://www.tcpdump.org/linktypes.html) are made to look like
Ethernet's in the buffer itself, so that one decoder does for all.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from netemu.record.decode.rows import Column, windows
from netemu.record.files.pcapng import CaptureFormatError, CaptureInterface

NULL, ETHERNET, LOOP, COOKED, COOKED2 = 0, 1, 108, 113, 276
RAW = (12, 14, 101, 228, 229)
"""Link types: BSD's and OpenBSD's loopback, Ethernet, Linux cooked captures, and IP with no link header at all."""

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_MAGIC = 0x1A2B3C4D
_IF_NAME, _IF_RESOLUTION, _IF_OFFSET = 2, 9, 14
_PCAP = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}
_LARGEST = 1 << 22
"""No packet is longer: a length beyond it is damage."""
_LINK_HEADER = {NULL: 4, ETHERNET: 14, LOOP: 4, COOKED: 16, COOKED2: 20} | dict.fromkeys(RAW, 0)
_IPV4, _IPV6 = 0x0800, 0x86DD


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """A file's packets, one row each, in the file's order: packet i is data[start[i]:end[i]], as an Ethernet frame.

    `time_ns` is since the epoch, `device` the interface's number within the machine where the link header tells it
    (Linux cooked v2), else 0. `notes` say what of the file could not be taken.
    """

    data: Column
    start: Column
    end: Column
    time_ns: Column
    interface: Column
    device: Column
    interfaces: tuple[CaptureInterface, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.start)


class _Found(NamedTuple):
    start: Column
    captured: Column
    time_ns: Column
    interface: Column


@dataclass(slots=True)
class _Section:
    """One section of a pcapng file: its interfaces are numbered from `first` on."""

    order: str
    first: int
    packets: array[int] = field(default_factory=lambda: array("q"))
    old: array[int] = field(default_factory=lambda: array("q"))
    simple: int = 0


def read_captured(data: bytes | Column) -> Captured:
    """A pcapng or pcap file of either byte order. Raises CaptureFormatError where it is no capture.

    A file that is damaged or cut off is taken up to there, and it is said. An array that is given is written to.
    """
    whole = np.frombuffer(bytearray(data), np.uint8) if isinstance(data, bytes) else data
    view = whole.data
    if len(view) >= 4:
        for order in "<>":
            (magic,) = struct.unpack_from(f"{order}I", view)
            if magic in _PCAP:
                return _pcap(whole, order, _PCAP[magic])
        if struct.unpack_from("<I", view)[0] == _SECTION:
            return _Blocks(whole).read()
    raise CaptureFormatError("is neither pcapng nor pcap")


def _pcap(whole: Column, order: str, unit: int) -> Captured:
    view = whole.data
    if len(view) < 24:
        raise CaptureFormatError("breaks off in its header")
    linktype = struct.unpack_from(f"{order}I", view, 20)[0] & 0xFFFF
    places, place, notes = array("q"), 24, []
    length_at, size = struct.Struct(f"{order}I").unpack_from, len(view)
    while place + 16 <= size:
        (captured,) = length_at(view, place + 8)
        if captured > _LARGEST:
            notes.append(f"is damaged at byte {place}: what stands before it was taken")
            break
        if place + 16 + captured > size:
            notes.append(f"breaks off in a packet at byte {place}")
            break
        places.append(place)
        place += 16 + captured
    else:
        if place < size:
            notes.append(f"breaks off in a packet's header at byte {place}")
    at = np.array(places, np.int64)
    head = _numbers(whole, at, 16, order)
    time_ns = head[:, 0] * 1_000_000_000 + head[:, 1] * unit
    found = _Found(at + 16, head[:, 2], time_ns, np.zeros(len(at), np.int32))
    return _laid_out(whole, found, [CaptureInterface("", linktype)], notes)


class _Blocks:
    """Walks a pcapng file's blocks."""

    def __init__(self, whole: Column) -> None:
        self.whole = whole
        self.view = whole.data
        self.sections: list[_Section] = []
        self.interfaces: list[CaptureInterface] = []
        self.clocks: list[tuple[int, int]] = []
        self.notes: list[str] = []

    def read(self) -> Captured:
        """All that can be taken of it."""
        self._walk()
        parts = [self._packets(each, old) for each in self.sections for old in (False, True)]
        found = _Found(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        order = np.argsort(found.start, kind="stable")
        if simple := sum(each.simple for each in self.sections):
            self.notes.append(f"has {simple} simple packet blocks, which carry no time: left out")
        return _laid_out(self.whole, _Found(*(column[order] for column in found)), self.interfaces, self.notes)

    def _walk(self) -> None:
        view, size, place = self.view, len(self.view), 0
        head = struct.Struct("<II").unpack_from
        while place + 12 <= size:
            kind, length = head(view, place)
            if kind == _SECTION:
                if not self._section(place):
                    return
                head = struct.Struct(f"{self.sections[-1].order}II").unpack_from
                kind, length = head(view, place)
            if length < 12 or length % 4:
                self.notes.append(f"is damaged at byte {place}: what stands before it was taken")
                return
            if place + length > size:
                break
            self._block(kind, place, length)
            place += length
        if place < size:
            self.notes.append(f"breaks off in a block at byte {place}")

    def _block(self, kind: int, place: int, length: int) -> None:
        section = self.sections[-1]
        if kind == _PACKET and length >= 32:
            section.packets.append(place)
        elif kind == _OLD_PACKET and length >= 32:
            section.old.append(place)
        elif kind == _INTERFACE and length >= 20:
            self._interface(bytes(self.view[place + 8 : place + length - 4]))
        elif kind == _SIMPLE:
            section.simple += 1

    def _section(self, place: int) -> bool:
        for order in "<>":
            if struct.unpack_from(f"{order}I", self.view, place + 8)[0] == _MAGIC:
                self.sections.append(_Section(order, len(self.interfaces)))
                return True
        if not self.sections:
            raise CaptureFormatError(f"has a section of no known byte order at byte {place}")
        self.notes.append(f"is damaged at byte {place}: what stands before it was taken")
        return False

    def _interface(self, body: bytes) -> None:
        order = self.sections[-1].order
        (linktype,) = struct.unpack_from(f"{order}H", body)
        options = dict(_options(body[8:], order))
        resolution = (options.get(_IF_RESOLUTION) or b"\6")[0]
        offset = options.get(_IF_OFFSET, b"")
        seconds = struct.unpack(f"{order}q", offset)[0] if len(offset) == 8 else 0
        name = options.get(_IF_NAME, b"").split(b"\0")[0].decode(errors="replace")
        self.interfaces.append(CaptureInterface(name, linktype))
        self.clocks.append((resolution, seconds))

    def _packets(self, section: _Section, old: bool) -> _Found:
        """A section's enhanced packet blocks, or its (obsolete) packet blocks."""
        at = np.array(section.old if old else section.packets, np.int64)
        head = _numbers(self.whole, at, 28, section.order)
        number = head[:, 2]
        if old:
            number = number & 0xFFFF if section.order == "<" else number >> 16
        known = (number + section.first < len(self.interfaces)) & (head[:, 5] <= head[:, 1] - 32)
        if not known.all():
            self.notes.append(f"has {int((~known).sum())} packets whose interface or length makes no sense: left out")
        at, head, interface = at[known], head[known], number[known] + section.first
        ticks = head[:, 3] << 32 | head[:, 4]
        time_ns = np.zeros(len(at), np.int64)
        for each in np.unique(interface).tolist():
            mine = interface == each
            time_ns[mine] = _nanoseconds(ticks[mine], *self.clocks[each])
        return _Found(at + 28, head[:, 5], time_ns, interface.astype(np.int32))


def _options(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 4 <= len(data):
        code, size = struct.unpack_from(f"{order}HH", data, place)
        if not code:
            return
        yield code, data[place + 4 : place + 4 + size]
        place += 4 + size + -size % 4


def _nanoseconds(ticks: Column, resolution: int, seconds: int) -> Column:
    """Timestamps of an if_tsresol: 10 to the minus that, or 2 to it where its highest bit is set."""
    power = resolution & 0x7F
    if resolution & 0x80:
        power = min(power, 63)
        whole, rest = ticks >> power, ticks & ((1 << power) - 1)
        found = whole * 1_000_000_000 + (rest * (1e9 / 2.0**power)).astype(np.int64)
    elif power <= 9:
        found = ticks * 10 ** (9 - power)
    else:
        found = ticks // 10 ** min(power - 9, 18)
    return found + (seconds * 1_000_000_000 if abs(seconds) < 1 << 33 else 0)


def _numbers(whole: Column, at: Column, width: int, order: str) -> Column:
    """The 32-bit numbers of each row's first bytes, as signed 64-bit ones."""
    head = np.ascontiguousarray(windows(whole, at, np.full(len(at), width, np.int64), width))
    return head.view(f"{order}u4").astype(np.int64)


def _laid_out(whole: Column, found: _Found, interfaces: list[CaptureInterface], notes: list[str]) -> Captured:
    """The packets of link types that are known, each as an Ethernet frame in the buffer.

    What stands before a packet in a file (its length) is overwritten where its own link header is shorter; a row's
    start may so lie before the packet.
    """
    types = np.array([each.linktype for each in interfaces] or [0], np.int64)[found.interface]
    strange = ~np.isin(types, list(_LINK_HEADER))
    if strange.any():
        said = ", ".join(str(each) for each in np.unique(types[strange]).tolist())
        notes.append(f"has {int(strange.sum())} packets of link type {said}, which is not read: left out")
        found, types = _Found(*(column[~strange] for column in found)), types[~strange]
    start, end = found.start, found.start + found.captured
    device = np.zeros(len(start), np.int64)
    header = np.zeros(len(start), np.int64)
    for linktype, size in _LINK_HEADER.items():
        header[types == linktype] = size
    network = start + header
    whole_header = network <= end
    for linktype in set(np.unique(types).tolist()) - {ETHERNET, COOKED}:
        mine = np.flatnonzero((types == linktype) & whole_header)
        kind = np.zeros(len(mine), np.int64)
        if linktype == COOKED2:
            head = windows(whole, start[mine], np.full(len(mine), 8, np.int64), 8).astype(np.int64)
            kind = head[:, 0] << 8 | head[:, 1]
            device[mine] = head[:, 4] << 24 | head[:, 5] << 16 | head[:, 6] << 8 | head[:, 7]
        else:
            version = windows(whole, network[mine], end[mine] - network[mine], 1)[:, 0] >> 4
            kind = np.where(version == 4, _IPV4, np.where(version == 6, _IPV6, 0))
        whole[network[mine] - 2], whole[network[mine] - 1] = kind >> 8, kind & 0xFF
    first = np.where(whole_header, network - 14, end)
    return Captured(whole, first, end, found.time_ns, found.interface, device, tuple(interfaces), tuple(notes))
