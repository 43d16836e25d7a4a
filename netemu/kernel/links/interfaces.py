"""The rtnetlink messages that make and change interfaces, as bytes (linux/if_link.h, linux/veth.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from netemu.kernel.links.rtnetlink import attribute, number, text

Mode = Literal["private", "vepa", "bridge", "passthru", "source"]
MODES: dict[Mode, int] = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16}
"""macvlan's modes."""

UP = 1
"""IFF_UP."""
OPERATIONAL = 6
"""IF_OPER_UP (RFC 2863)."""
ADDRESS, NAME, MTU, LOWER, MASTER, OPERSTATE = 1, 3, 4, 5, 10, 16
_LINK_INFO, _KIND, _DATA = 18, 1, 2
_NAMESPACE, _EXTRAS = 28, 29
SEND_QUEUES, RECEIVE_QUEUES = 31, 32
_SKIP_STATISTICS = 8
_PEER = 1
_STP, _MULTICAST_SNOOPING = 5, 23
_HEAD = struct.Struct("=BxHiII")
HEAD = _HEAD.size
"""Bytes of struct ifinfomsg before a message's attributes."""
_ONE_QUEUE = number(SEND_QUEUES, 1) + number(RECEIVE_QUEUES, 1)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a veth pair, or any other interface to be made; `up` sets it up in the same request."""

    name: str
    index: int
    mac: str | None = None
    mtu: int | None = None
    master: int | None = None
    up: bool = False


def _head(index: int, flags: int = 0, change: int = 0) -> bytes:
    return _HEAD.pack(0, 0, index, flags, change)


def _end(end: End, more: bytes = b"") -> bytes:
    parts = [_head(end.index, UP if end.up else 0, UP if end.up else 0), text(NAME, end.name)]
    if end.mac is not None:
        parts.append(attribute(ADDRESS, bytes.fromhex(end.mac.replace(":", ""))))
    if end.mtu is not None:
        parts.append(number(MTU, end.mtu))
    if end.master is not None:
        parts.append(number(MASTER, end.master))
    return b"".join((*parts, more))


def _info(kind: str, data: bytes = b"") -> bytes:
    return attribute(_LINK_INFO, text(_KIND, kind) + (attribute(_DATA, data) if data else b""))


def veth(here: End, there: End, namespace: int) -> bytes:
    """A veth pair: one end here, the other in the namespace that a descriptor refers to.

    The other end can't be given a master in the same request (veth_newlink in drivers/net/veth.c).

    Each end has one queue each way. Unless told so the kernel makes one for each CPU and then takes all but the first
    away (veth_init_queues): a quarter of the pair's time with two CPUs, more with more.
    """
    peer = _end(there, number(_NAMESPACE, namespace) + _ONE_QUEUE)
    return _end(here, _ONE_QUEUE + _info("veth", attribute(_PEER, peer)))


def bridge(end: End) -> bytes:
    """A bridge without spanning tree: its ports forward at once.

    Without multicast snooping, too: a bridge that snoops joins the all-snoopers group, and its own IGMP and MLD
    reports would be in the record (br_multicast_join_snoopers in net/bridge/br_multicast.c).
    """
    return _end(end, _info("bridge", number(_STP, 0) + attribute(_MULTICAST_SNOOPING, b"\0")))


def vxlan(
    end: End,
    number_: int,
    *,
    port: int,
    lower: int | None,
    local: IPv4Address | IPv6Address | None,
    remote: IPv4Address | IPv6Address | None,
) -> bytes:
    """A VXLAN interface; `remote` is where frames to unknown stations go: one host's address, or a multicast group."""
    data = number(1, number_) + attribute(15, struct.pack("!H", port))
    if lower is not None:
        data += number(3, lower)
    if local is not None:
        data += attribute(4 if local.version == 4 else 17, local.packed)
    if remote is not None:
        data += attribute(2 if remote.version == 4 else 16, remote.packed)
    return _end(end, _info("vxlan", data))


def macvlan(end: End, lower: int, mode: Mode) -> bytes:
    """A macvlan interface on top of another."""
    return _end(end, number(LOWER, lower) + _info("macvlan", number(1, MODES[mode])))


def change(
    index: int,
    *,
    up: bool | None = None,
    master: int | None = None,
    mtu: int | None = None,
    mac: str | None = None,
) -> bytes:
    """Change what is given of an interface; a master of 0 is none."""
    parts = [_head(index) if up is None else _head(index, UP if up else 0, UP)]
    if master is not None:
        parts.append(number(MASTER, master))
    if mtu is not None:
        parts.append(number(MTU, mtu))
    if mac is not None:
        parts.append(attribute(ADDRESS, bytes.fromhex(mac.replace(":", ""))))
    return b"".join(parts)


def which(index: int = 0, name: str | None = None) -> bytes:
    """An interface by its index or its name, or (by neither) all of them; without their counters."""
    return _head(index) + (text(NAME, name) if name is not None else b"") + number(_EXTRAS, _SKIP_STATISTICS)


def index_and_state(payload: bytes) -> tuple[int, int]:
    """Which interface a message is of, and its interface flags."""
    _, _, index, flags, _ = _HEAD.unpack_from(payload)
    return index, flags
