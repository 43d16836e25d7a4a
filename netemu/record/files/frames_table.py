"""Every frame of a record's wires as a Polars data frame, IP or not; polars comes with the extra `frames`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from netemu.record.capture import HostCapture
from netemu.record.decode.checksums import WORDS, frame_checksums
from netemu.record.decode.headers import ETHERNET
from netemu.record.decode.link import LinkColumns, Links, decode_links, mac_text, wire_points
from netemu.record.decode.packets import VXLAN_PORT, Packets, address_text, concatenate, decode_frames, empty
from netemu.record.decode.points import PointNumbers
from netemu.record.decode.rows import Column
from netemu.record.files.table import PROTOCOL_NAMES, addresses, named

if TYPE_CHECKING:
    import polars as pl

MARKS = ("whole", "other", "truncated", "malformed")
"""packets.py's marks in words."""


def frames_table(link: LinkColumns, vxlan_ports: Iterable[int] = (VXLAN_PORT,)) -> pl.DataFrame:
    """One row a frame, host by host, in the order in which its tap took them; null for what a frame does not have.

    Columns: host, frame (its number there), point, time_ns, length (on the wire), mark (whole; other: neither IP nor
    ARP of IPv4; truncated; malformed), dst_mac, src_mac, ethertype (behind VLAN tags), vlan and priority (the outer
    tag's), proto, src, sport, dst, dport, ip_checksum, checksum (as in `record.frame`), arp_op (its number),
    arp_sender_mac, arp_sender, arp_target_mac, arp_target. Of the frame that VXLAN carries in it: vni, and with
    `inner_` before their names those from mark to dport.
    ImportError where polars is not installed, UsageError for what is no port.
    """
    import polars as pl

    ports = tuple(vxlan_ports)
    hosts = [_host(link, host, ports) for host in link.captures]
    return pl.concat(hosts) if hosts else _host(LinkColumns([HostCapture("", {})]), "", ports)


def _host(link: LinkColumns, host: str, ports: tuple[int, ...]) -> pl.DataFrame:
    """One host's rows."""
    import polars as pl

    frames, links, vxlan, numbers = link.capture(host).frames, link(host), link.vxlan(host, ports), PointNumbers()
    starts, ends = frames.offset[:-1], frames.offset[1:]
    packets = decode_frames(frames.data, starts, ends)
    point = wire_points(link.capture(host), numbers)
    checksums = frame_checksums(frames.data, starts, ends, frames.status)
    every = np.arange(len(links))
    told = {
        "host": pl.repeat(host, len(links), dtype=pl.String, eager=True),
        "frame": every,
        "point": named([str(each) for each in numbers.points], point),
        "time_ns": frames.time_ns,
        "length": frames.length,
        **_headers(links, packets, every, ends - starts),
        "ip_checksum": named(WORDS, checksums.ip),
        "checksum": named(WORDS, checksums.carried),
        "arp_op": _some(links.arp_op),
        "arp_sender_mac": _macs(links.sender_mac, links.sender >= 0),
        "arp_sender": _ipv4(links.sender),
        "arp_target_mac": _macs(links.target_mac, links.target >= 0),
        "arp_target": _ipv4(links.target),
    }
    last = len(vxlan)  # a frame of no bytes, for those that carry none
    inner = np.full(len(links), last, np.int64)
    inner[vxlan.row] = np.arange(last)
    links_inside = decode_links(frames.data, np.append(vxlan.start, 0), np.append(vxlan.end, 0))
    sizes = np.append(vxlan.end - vxlan.start, -1)[inner]
    carried = _headers(links_inside, concatenate([vxlan.packets, empty(1)]), inner, sizes)
    told["vni"] = _some(np.append(vxlan.vni, -1)[inner])
    told |= {f"inner_{name}": column for name, column in carried.items()}
    return pl.DataFrame(told)


def _headers(links: Links, packets: Packets, rows: Column, sizes: Column) -> dict[str, pl.Series]:
    """What the link and IP headers of these rows tell, of frames of these sizes (-1: there is no frame)."""
    there = sizes >= ETHERNET
    mark = np.where(packets.version[rows] > 0, packets.mark[rows], links.mark[rows]).astype(np.int64)
    return {
        "mark": named(MARKS, np.where(sizes < 0, -1, mark)),
        "dst_mac": _macs(links.dst_mac[rows], there),
        "src_mac": _macs(links.src_mac[rows], there),
        "ethertype": _some(np.where(there, links.ethertype[rows].astype(np.int32), -1)),
        "vlan": _some(links.vlan[rows]),
        "priority": _some(links.priority[rows]),
        "proto": named(PROTOCOL_NAMES, packets.proto[rows].astype(np.int64)),
        "src": addresses(packets, "src", rows),
        "sport": _some(packets.sport[rows]),
        "dst": addresses(packets, "dst", rows),
        "dport": _some(packets.dport[rows]),
    }


def _some(column: Column) -> pl.Series:
    """The numbers; null for those below 0."""
    import polars as pl

    found = pl.Series(column)
    return found.set(found < 0, None)


def _macs(column: Column, there: Column) -> pl.Series:
    each, number = np.unique(column, return_inverse=True)
    return named([mac_text(mac) for mac in each.tolist()], np.where(there, number, -1))


def _ipv4(column: Column) -> pl.Series:
    each, number = np.unique(column, return_inverse=True)
    return named([address_text(4, 0, address) if address >= 0 else None for address in each.tolist()], number)
