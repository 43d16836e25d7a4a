"""Link headers, ARP and VXLAN's inner frames of many frames at once, as columns: of every frame, IP or not.

A record joins IP packets alone; what else its wires carried is read here, when somebody asks. Nothing raises: what a
damaged frame does not tell has the column's value for none, and the frame a mark. tests/record_link_plain.py says the
same of one frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from netemu.errors import UsageError
from netemu.record.capture import OUTGOING, HostCapture
from netemu.record.decode.headers import ETHERNET, IPV4, IPV6, OFFSET
from netemu.record.decode.packets import (
    MALFORMED,
    OTHER,
    TRUNCATED,
    VXLAN_HEADER,
    VXLAN_PORT,
    WHOLE,
    Packets,
    Places,
    decode_frames,
    locate,
)
from netemu.record.decode.points import PointNumbers, wire_name
from netemu.record.decode.rows import AT_ONCE, Column, big_endian, windows
from netemu.topology.naming import hint
from netemu.topology.points import Point

ARP = 0x0806
ARP_REQUEST, ARP_REPLY = 1, 2

_ARP_FIXED, _ARP_WHOLE = 8, 28
_ETHERNET_HARDWARE = (1, 6)
"""ARPHRD_ETHER and ARPHRD_IEEE802: Linux takes both on Ethernet (net/ipv4/arp.c, arp_process)."""
_UDP, _UDP_HEADER = 17, 8
_HAS_VNI = 0x08
"""RFC 7348's I flag: without it the header names no network, and the kernel drops the packet (vxlan_rcv)."""
_KINDS = {
    "mark": np.uint8,
    "dst_mac": np.uint64,
    "src_mac": np.uint64,
    "ethertype": np.uint16,
    "vlan": np.int16,
    "priority": np.int8,
    "arp_op": np.int32,
    "sender_mac": np.uint64,
    "sender": np.int64,
    "target_mac": np.uint64,
    "target": np.int64,
}
_NONE = {"vlan", "priority", "arp_op", "sender", "target"}


@dataclass(frozen=True, slots=True)
class Links:
    """One row a frame; -1 where a frame has none, and 0 for a MAC address (of 48 bits) that it has not.

    `ethertype` is the one behind all VLAN tags; `vlan` and `priority` are the outermost tag's id and PCP (IEEE 802.1Q).
    `arp_op` is there where ARP's fixed part is (RFC 826); its addresses only where a whole message of Ethernet and
    IPv4 is. An IPv4 address is a number of 32 bits.

    `mark` is WHOLE, OTHER (neither IP nor ARP of IPv4: kept as bytes), TRUNCATED or MALFORMED: of the link header, of
    ARP, and of IP's header and length. What is behind an IP header is `Packets.mark`'s.
    """

    mark: Column
    dst_mac: Column
    src_mac: Column
    ethertype: Column
    vlan: Column
    priority: Column
    arp_op: Column
    sender_mac: Column
    sender: Column
    target_mac: Column
    target: Column

    def __len__(self) -> int:
        return len(self.mark)


@dataclass(frozen=True, slots=True)
class Vxlan:
    """The frames that VXLAN carries, one row each, in the order of those that carry them.

    `row` is the outer frame's, `vni` the network's number; the inner frame lies in the outer one's flat buffer from
    `start` to `end`: decode_links reads its link header. `packets` are its headers; cut where the outer one is cut, or
    is the first fragment of several: its mark says so.
    """

    row: Column
    vni: Column
    start: Column
    end: Column
    packets: Packets

    def __len__(self) -> int:
        return len(self.row)


def decode_links(data: Column, starts: Column, ends: Column) -> Links:
    """The link headers and ARP messages of frames that lie in a flat buffer, each from its start to its end."""
    columns = {name: np.full(len(starts), -1 if name in _NONE else 0, kind) for name, kind in _KINDS.items()}
    for begin in range(0, len(starts), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        first, end = starts[part].astype(np.int64), ends[part].astype(np.int64)
        places = locate(data, first, end)
        for name, column in _link(data, first, end, places).items():
            columns[name][part] = column
        rows = np.flatnonzero(places.ethertype == ARP)
        for name, column in _arp(data, places.network[rows], end[rows]).items():
            columns[name][begin + rows] = column
    return Links(**columns)


def decode_vxlan(data: Column, starts: Column, ends: Column, ports: Iterable[int] = (VXLAN_PORT,)) -> Vxlan:
    """The frames inside those of a flat buffer that are UDP to one of these ports and have a VXLAN header (RFC 7348).

    No port is VXLAN's by itself: what else is sent to it, and looks like it, is read as VXLAN too.
    """
    numbers = [_port(port) for port in ports]
    found = [np.empty((4, 0), np.int64)]
    for begin in range(0, len(starts), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        first, end = starts[part].astype(np.int64), ends[part].astype(np.int64)
        row, vni, inner, stop = _vxlan(data, locate(data, first, end), numbers)
        found.append(np.stack([begin + row, vni, inner, stop]))
    row, vni, inner, stop = np.concatenate(found, axis=1)
    return Vxlan(row, vni.astype(np.int32), inner, stop, decode_frames(data, inner, stop))


def wire_points(capture: HostCapture, numbers: PointNumbers) -> Column:
    """The number of the point at which each of a host's frames was seen."""
    frames = capture.frames
    interfaces, inverse = np.unique(frames.interface, return_inverse=True)
    both = [
        [numbers.of(Point(capture.host, wire_name(capture, number), way)) for way in ("in", "out")]
        for number in interfaces.tolist()
    ]
    return np.array(both, np.int32).reshape(-1, 2)[inverse, (frames.kind == OUTGOING).astype(np.int8)]


def mac_text(number: int) -> str:
    """A MAC address as people write it."""
    return number.to_bytes(6, "big").hex(":")


class LinkColumns:
    """The link headers of each host's frames, decoded when they are first asked for: `record.link("B").src_mac`.

    Rows are the host's frames as its wire tap took them, in that order: also those that came while taps were read out.
    """

    def __init__(self, captures: Iterable[HostCapture] = ()) -> None:
        self.captures = {capture.host: capture for capture in captures}
        self._links: dict[str, Links] = {}
        self._vxlan: dict[tuple[str, frozenset[int]], Vxlan] = {}

    def __call__(self, host: str) -> Links:
        """The link headers of a host's frames. UsageError for a host that the record has not."""
        frames = self.capture(host).frames
        if host not in self._links:
            self._links[host] = decode_links(frames.data, frames.offset[:-1], frames.offset[1:])
        return self._links[host]

    def vxlan(self, host: str, ports: Iterable[int] = (VXLAN_PORT,)) -> Vxlan:
        """What VXLAN carries in a host's frames to one of these UDP ports. UsageError as above, or for no port."""
        frames, key = self.capture(host).frames, (host, frozenset(map(_port, ports)))
        if key not in self._vxlan:
            self._vxlan[key] = decode_vxlan(frames.data, frames.offset[:-1], frames.offset[1:], key[1])
        return self._vxlan[key]

    def capture(self, host: str) -> HostCapture:
        """What a host's taps handed over. UsageError for a host that the record has not."""
        if host not in self.captures:
            raise UsageError(f"the record has no host '{host}'{hint(str(host), list(self.captures))}")
        return self.captures[host]

    def __repr__(self) -> str:
        return f"<link headers of {len(self.captures)} hosts>"


def _port(port: int) -> int:
    if isinstance(port, bool) or not isinstance(port, int | np.integer) or not 0 < port < 1 << 16:
        raise UsageError(f"'{port}' is no UDP port: write a number from 1 to 65535")
    return int(port)


def _link(data: Column, starts: Column, ends: Column, places: Places) -> dict[str, Column]:
    """The Ethernet header's columns, and each frame's mark as far as ARP has no say."""
    head = windows(data, starts, ends - starts, ETHERNET + 2)
    there = ends - starts >= ETHERNET
    is_ip = (places.ethertype == IPV4) | (places.ethertype == IPV6)
    mark = np.where(is_ip, WHOLE, OTHER)
    return {
        "mark": np.where(places.wrong, MALFORMED, np.where(places.cut, TRUNCATED, mark)),
        "dst_mac": np.where(there, _mac(head, 0), np.uint64(0)),
        "src_mac": np.where(there, _mac(head, 6), np.uint64(0)),
        "ethertype": places.ethertype,
        "vlan": np.where(places.vlan < 0, -1, places.vlan & 0xFFF),
        "priority": np.where(places.vlan < 0, -1, places.vlan >> 13),
    }


def _arp(data: Column, at: Column, ends: Column) -> dict[str, Column]:
    """ARP's columns, and the marks of the frames that hold it."""
    room = np.maximum(ends - at, 0)
    head = windows(data, at, room, _ARP_WHOLE)
    there = room >= _ARP_FIXED
    hardware, protocol = big_endian(head, 0, 2), big_endian(head, 2, 2)
    ethernet, ip = np.isin(hardware, _ETHERNET_HARDWARE), protocol == IPV4
    hardware_length, protocol_length = head[:, 4].astype(np.int64), head[:, 5].astype(np.int64)
    wrong = there & ((ethernet & (hardware_length != 6)) | (ip & (protocol_length != 4)))
    cut = ~there | (room < _ARP_FIXED + 2 * (hardware_length + protocol_length))
    ours = ethernet & ip & ~wrong & ~cut
    mark = np.where(ethernet & ip, WHOLE, OTHER)
    return {
        "mark": np.where(wrong, MALFORMED, np.where(cut, TRUNCATED, mark)),
        "arp_op": np.where(there, big_endian(head, 6, 2).astype(np.int32), -1),
        "sender_mac": np.where(ours, _mac(head, 8), np.uint64(0)),
        "sender": np.where(ours, big_endian(head, 14, 4).astype(np.int64), -1),
        "target_mac": np.where(ours, _mac(head, 18), np.uint64(0)),
        "target": np.where(ours, big_endian(head, 24, 4).astype(np.int64), -1),
    }


def _mac(matrix: Column, place: int) -> Column:
    high, low = big_endian(matrix, place, 2).astype(np.uint64), big_endian(matrix, place + 2, 4).astype(np.uint64)
    return high << np.uint64(32) | low


def _vxlan(data: Column, places: Places, ports: list[int]) -> tuple[Column, Column, Column, Column]:
    """The rows that hold a VXLAN header, its VNI, and where the frame behind it begins and ends."""
    network = windows(data, places.network, places.network_length, 10)
    is4, is6 = places.network_length >= 20, (places.network_length == 40) & (network[:, 0] >> 4 == 6)
    is4 &= ~is6
    number = np.where(is4, network[:, 9], np.where(places.behind >= 0, places.behind, network[:, 6]))
    first = (np.where(is4, big_endian(network, 6, 2), places.fragment) & OFFSET) == 0
    wanted = first & (number == _UDP) & (places.transport_length >= _UDP_HEADER + VXLAN_HEADER)
    rows = np.flatnonzero(wanted)
    at, there = places.transport[rows], places.transport_length[rows]
    head = windows(data, at, there, _UDP_HEADER + VXLAN_HEADER)
    said = big_endian(head, 4, 2).astype(np.int64)
    fits = np.isin(big_endian(head, 2, 2), ports) & (head[:, _UDP_HEADER] & _HAS_VNI > 0)
    fits &= said >= _UDP_HEADER + VXLAN_HEADER
    vni = big_endian(head, 12, 4).astype(np.int64) >> 8
    begin = at + _UDP_HEADER + VXLAN_HEADER
    return rows[fits], vni[fits], begin[fits], (at + np.minimum(said, there))[fits]
