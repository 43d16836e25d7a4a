"""Connections' directed tuples as numbers: equal tuples have equal ones, as rows.digest has it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import numpy as np

from netemu.netfilter.conntrack import Tuple
from netemu.netfilter.messages import PROTOCOLS
from netemu.record.decode.packets import Packets
from netemu.record.decode.rows import Column, mix

_NUMBERS = {name: number for number, name in PROTOCOLS.items()}
_LOW = (1 << 64) - 1


def digests(packets: Packets) -> tuple[Column, Column]:
    """The digest of each packet's tuple, and of its inverse; for an ICMP echo both ports are its id."""
    echo = packets.icmp_id >= 0
    sport, dport = (np.where(echo, packets.icmp_id, port) for port in (packets.sport, packets.dport))
    return _both(
        packets.proto,
        packets.version,
        _end(packets.src_high, packets.src_low, sport),
        _end(packets.dst_high, packets.dst_low, dport),
    )


def digests_of(tuples: Sequence[Tuple], *, both: bool = False) -> Column:
    """The digest of each tuple; with `both` a second row with those of their inverses."""
    ends = []
    for address, port in (("src", "sport"), ("dst", "dport")):
        whole = [int(ip_address(getattr(each, address))) for each in tuples]
        ports = [-1 if (number := getattr(each, port)) is None else number for each in tuples]
        high, low = (np.array([part(number) for number in whole], np.uint64) for part in (_high, _low))
        ends.append(_end(high, low, np.array(ports, np.int32)))
    proto = np.array([_NUMBERS[each.proto] if each.proto in _NUMBERS else int(each.proto) for each in tuples], np.int16)
    version = np.array([6 if ":" in each.src else 4 for each in tuples], np.uint8)
    found = _both(proto, version, *ends)
    return np.stack(found) if both else found[0]


def _high(number: int) -> int:
    return number >> 64


def _low(number: int) -> int:
    return number & _LOW


def _end(high: Column, low: Column, port: Column) -> Column:
    return mix(mix(mix(high) + low, 1) + port.astype(np.uint64), 2)


def _both(proto: Column, version: Column, src: Column, dst: Column) -> tuple[Column, Column]:
    kind = mix(proto.astype(np.uint64) << np.uint64(8) | version, 3)
    return mix(mix(src ^ kind, 4) + dst, 5), mix(mix(dst ^ kind, 4) + src, 5)
