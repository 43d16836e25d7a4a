"""The headers that nearly all packets have: IPv4 without options and TCP or UDP, read at places that never change.

packets.py reads every packet there is, step by step; a test holds the two against each other. What is cut short, a
later fragment, or anything else out of the ordinary is left to it.
"""

from __future__ import annotations

import numpy as np

from netemu.record.decode.headers import ETHERNET, IPV4, NETWORK_SEEN, OFFSET, TRANSPORT_SEEN
from netemu.record.decode.rows import Column, big_endian, constant, digest, windows

_NETWORK = 20
_BOTH = _NETWORK + TRANSPORT_SEEN
_TCP, _UDP = 6, 17
_LEAST = {_TCP: 14, _UDP: 8}
"""How much of a transport header must be there: TCP's up to its flags."""
_VERSION_AND_WORDS = 0x45
_KEPT = np.tri(TRANSPORT_SEEN + 1, TRANSPORT_SEEN, -1, dtype=np.uint8) * np.uint8(255)


def regular_frames(
    data: Column, starts: Column, ends: Column, *, keys: bool = True
) -> tuple[Column, dict[str, Column]]:
    """Which of these Ethernet frames are regular, and those columns of theirs that are not what `empty` has.

    Without `keys` they have none.
    """
    room = np.maximum(ends - starts - ETHERNET, 0)
    link = windows(data, starts + ETHERNET - 2, np.maximum(ends - starts - ETHERNET + 2, 0), 2)
    headers = windows(data, starts + ETHERNET, room, _BOTH)
    total = big_endian(headers, 2, 2).astype(np.int64)
    mine = _regular(headers, total - _NETWORK) & (big_endian(link, 0, 2) == IPV4) & (total <= room)
    if not mine.all():
        headers, total = headers[mine], total[mine]
    columns = _columns(headers, total - _NETWORK, keys=keys)
    columns["ethertype"] = constant(IPV4, np.uint16, len(headers))
    return mine, columns


def regular_splits(
    data: Column, network: Column, network_length: Column, transport: Column, transport_length: Column
) -> tuple[Column, dict[str, Column]]:
    """The same of packets whose headers lie apart."""
    headers = np.empty((len(network), _BOTH), np.uint8)
    headers[:, :_NETWORK] = windows(data, network, network_length, _NETWORK)
    headers[:, _NETWORK:] = windows(data, transport, transport_length, TRANSPORT_SEEN)
    mine = _regular(headers, transport_length) & (network_length == _NETWORK)
    if not mine.all():
        headers, transport_length = headers[mine], transport_length[mine]
    return mine, _columns(headers, transport_length)


def _regular(headers: Column, there: Column) -> Column:
    """By IPv4's header, and by how much is there behind it."""
    proto = headers[:, 9]
    mine = (headers[:, 0] == _VERSION_AND_WORDS) & ((big_endian(headers, 6, 2) & OFFSET) == 0)
    enough = np.zeros(256, np.int64)
    for number, least in _LEAST.items():
        enough[number] = least
    needed = enough[proto]
    return mine & (needed > 0) & (there >= needed)


def _columns(headers: Column, there: Column, *, keys: bool = True) -> dict[str, Column]:
    """All columns of packets whose headers stand side by side in rows; there are `there` bytes behind IPv4's."""
    number, total = headers[:, 9].astype(np.int16), big_endian(headers, 2, 2).astype(np.int32)
    tcp = number == _TCP
    sizes = np.where(tcp, (headers[:, 32] >> 4).astype(np.int32) * 4, 8)
    found: dict[str, Column] = {
        "version": constant(4, np.uint8, len(headers)),
        "proto": number,
        "ttl": headers[:, 8].copy(),
        "ip_id": big_endian(headers, 4, 2).astype(np.uint32),
        "fragment": big_endian(headers, 6, 2),
        "src_low": big_endian(headers, 12, 4).astype(np.uint64),
        "dst_low": big_endian(headers, 16, 4).astype(np.uint64),
        "sport": big_endian(headers, 20, 2).astype(np.int32),
        "dport": big_endian(headers, 22, 2).astype(np.int32),
        "length": np.maximum(total - _NETWORK - sizes, 0),
    }
    if tcp.any():
        found["flags"] = np.where(tcp, headers[:, 33], np.uint8(0))
        found["seq"] = np.where(tcp, big_endian(headers, 24, 4), np.int64(-1))
        found["ack"] = np.where(tcp, big_endian(headers, 28, 4), np.int64(-1))
    if keys:
        found["key"] = _identity(headers, tcp, there)
    return found


def _identity(headers: Column, tcp: Column, there: Column) -> Column:
    """Their key as packets.py has it. Changes the headers: checksums, and what is no header, become zeros."""
    if len(there) and int(there.min()) < TRANSPORT_SEEN:
        headers[:, _NETWORK:] &= _KEPT[np.minimum(there, TRANSPORT_SEEN)]
    headers[:, 10:12] = 0
    for place, whose in ((36, tcp), (26, ~tcp)):
        if whose.all():
            headers[:, place : place + 2] = 0
        elif whose.any():
            headers[whose, place : place + 2] = 0
    return digest(headers, 1) ^ seen_lengths(np.full(len(headers), _NETWORK), there)


def seen_lengths(network: Column, transport: Column) -> Column:
    """How long headers are, as far as the nft trace has them, as a part of a packet's key."""
    seen = np.minimum(network, NETWORK_SEEN) << 8 | np.minimum(transport, TRANSPORT_SEEN)
    return seen.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
