"""Connections' directed tuples as numbers: equal tuples have equal ones, as rows.digest has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import numpy as np

from netemu.netfilter.conntrack import Tuple
from netemu.netfilter.messages import PROTOCOLS
from netemu.record.decode.packets import Packets
from netemu.record.decode.rows import Column, chosen, is_constant, mix

_NUMBERS = {name: number for number, name in PROTOCOLS.items()}
_LOW = (1 << 64) - 1
TUPLE = ("version", "proto", "src_high", "src_low", "dst_high", "dst_low", "sport", "dport", "icmp_id")
"""The columns of packets that tell their tuples."""


def digests(packets: Packets, rows: Column | None = None) -> tuple[Column, Column]:
    """The digest of the tuple of each packet, or of those at some rows, and of its inverse.

    For an ICMP echo both ports are its id.
    """
    told = {name: getattr(packets, name) for name in TUPLE}
    if rows is not None:
        told = {name: chosen(column, rows) for name, column in told.items()}
    kind, (src, dst) = _kind(told["proto"], told["version"]), _ends(told)
    count = len(told["version"])
    return _all_rows(_directed(kind, src, dst), count), _all_rows(_directed(kind, dst, src), count)


def _ends(told: dict[str, Column]) -> Iterator[Column]:
    echo = told["icmp_id"] >= 0
    for side, port in (("src", told["sport"]), ("dst", told["dport"])):
        carried = np.where(echo, told["icmp_id"], port) if echo.any() else port
        yield _end(told[f"{side}_high"], told[f"{side}_low"], carried)


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
    kind = _kind(proto, version)
    found = _directed(kind, *ends)
    return np.stack([found, _directed(kind, *ends[::-1])]) if both else found


def _high(number: int) -> int:
    return number >> 64


def _low(number: int) -> int:
    return number & _LOW


def _end(high: Column, low: Column, port: Column) -> Column:
    high, low, port = _once(high, low, port)
    return mix(mix(mix(high) + low, 1) + port.astype(np.uint64), 2)


def _kind(proto: Column, version: Column) -> Column:
    proto, version = _once(proto, version)
    return mix(proto.astype(np.uint64) << np.uint64(8) | version, 3)


def _directed(kind: Column, src: Column, dst: Column) -> Column:
    return mix(mix(src ^ kind, 4) + dst, 5)


def _once(*columns: Column) -> Iterator[Column]:
    """Of what is the same in all rows one row: numpy spreads it."""
    return (column[:1] if len(column) and is_constant(column) else column for column in columns)


def _all_rows(found: Column, count: int) -> Column:
    return found if len(found) == count else np.repeat(found, count)
