"""The headers that nearly all packets have: IPv4 without options and TCP or UDP, read at places that never change.

packets.py reads every packet there is, step by step; a test holds the two against each other. What is cut short, a
later fragment, or anything else out of the ordinary is left to it.
"""

from __future__ import annotations

import numpy as np

from netemu.record.decode.headers import ETHERNET, IPV4, NETWORK_SEEN, OFFSET, TRANSPORT_SEEN
from netemu.record.decode.rows import Column, constant, digest_of, same, windows

_NETWORK = 20
_TCP, _UDP = 6, 17
_LEAST = {_TCP: 14, _UDP: 8}
"""How much of a transport header must be there: TCP's up to its flags."""
_VERSION_AND_WORDS = 0x45
_KEPT = (np.tri(TRANSPORT_SEEN + 1, TRANSPORT_SEEN, -1, dtype=np.uint8) * np.uint8(255)).view(np.uint32)
_OFFSET = np.frombuffer(OFFSET.to_bytes(2, "big"), np.uint16)[0]
"""In network byte order."""
_HEAD = 8
"""Headers stand behind as much of the link header, its type at the end: so no number is in two words."""
_IP, _TRANSPORT, _WIDTH = _HEAD, _HEAD + _NETWORK, _HEAD + _NETWORK + TRANSPORT_SEEN


def regular_frames(
    data: Column, starts: Column, ends: Column, *, keys: bool = True
) -> tuple[Column, dict[str, Column]]:
    """Which of these Ethernet frames are regular, and those columns of theirs that are not what `empty` has.

    Without `keys` they have none.
    """
    room = ends - starts - ETHERNET
    words = _words(windows(data, starts + (ETHERNET - _HEAD), np.maximum(room + _HEAD, 0), _WIDTH))
    total = _number(words, _IP + 2, 2, np.int32)
    mine = _regular(words, total - _NETWORK) & (total <= room)
    mine &= _number(words, _HEAD - 2, 2, np.uint16) == IPV4
    if not mine.all():
        words, total = words.compress(mine, axis=1), total[mine]
    columns = _columns(words, total)
    columns["ethertype"] = constant(IPV4, np.uint16, len(total))
    if keys:
        columns["key"] = _identity(words, total - _NETWORK)
    return mine, columns


def regular_splits(
    data: Column, network: Column, network_length: Column, transport: Column, transport_length: Column
) -> tuple[Column, dict[str, Column]]:
    """The same of packets whose headers lie apart."""
    headers = np.empty((len(network), _WIDTH), np.uint8)
    headers[:, _IP:_TRANSPORT] = windows(data, network, network_length, _NETWORK)
    headers[:, _TRANSPORT:] = windows(data, transport, transport_length, TRANSPORT_SEEN)
    words = _words(headers)
    mine = _regular(words, transport_length) & (network_length == _NETWORK)
    if not mine.all():
        words, transport_length = words.compress(mine, axis=1), transport_length[mine]
    columns = _columns(words, _number(words, _IP + 2, 2, np.int32))
    columns["key"] = _identity(words, transport_length)
    return mine, columns


def _words(headers: Column) -> Column:
    """Rows of headers as columns, of eight bytes each: what is looked at again and again lies close together."""
    return np.ascontiguousarray(headers.view(np.uint64).T)


def _field(words: Column, place: int, size: int, order: str = "=") -> Column:
    """One number of each packet, read where it stands."""
    return words[place // 8].view(f"{order}u{size}")[place % 8 // size :: 8 // size]


def _number(words: Column, place: int, size: int, kind: type[np.generic]) -> Column:
    """One number of each packet; constant where all have the same."""
    if words.shape[1] and same(_field(words, place, size)):
        return constant(_field(words[:, :1], place, size, ">")[0], kind, words.shape[1])
    return _field(words, place, size, ">").astype(kind)


def _regular(words: Column, there: Column) -> Column:
    """By IPv4's header, and by how much is there behind it."""
    proto, enough = _field(words, _IP + 9, 1), np.zeros(words.shape[1], np.bool_)
    for number, least in _LEAST.items():
        enough |= (proto == number) & (there >= least)
    enough &= _field(words, _IP, 1) == _VERSION_AND_WORDS
    enough &= (_field(words, _IP + 6, 2) & _OFFSET) == 0
    return enough


def _columns(words: Column, total: Column) -> dict[str, Column]:
    """All columns of packets whose headers stand side by side; `total` is the length that IPv4 tells."""
    tcp = _field(words, _IP + 9, 1) == _TCP
    some = bool(tcp.any())
    sizes = np.where(tcp, (_field(words, _TRANSPORT + 12, 1) >> 4).astype(np.int32) * 4, 8) if some else 8
    found = {
        "version": constant(4, np.uint8, len(tcp)),
        "proto": _number(words, _IP + 9, 1, np.int16),
        "ttl": _number(words, _IP + 8, 1, np.uint8),
        "ip_id": _number(words, _IP + 4, 2, np.uint32),
        "fragment": _number(words, _IP + 6, 2, np.uint16),
        "src_low": _number(words, _IP + 12, 4, np.uint64),
        "dst_low": _number(words, _IP + 16, 4, np.uint64),
        "sport": _number(words, _TRANSPORT, 2, np.int32),
        "dport": _number(words, _TRANSPORT + 2, 2, np.int32),
        "length": np.maximum(total - (_NETWORK + sizes), 0),
    }
    if some:
        found["flags"] = np.where(tcp, _field(words, _TRANSPORT + 13, 1), np.uint8(0))
        found["seq"] = np.where(tcp, _number(words, _TRANSPORT + 4, 4, np.int64), np.int64(-1))
        found["ack"] = np.where(tcp, _number(words, _TRANSPORT + 8, 4, np.int64), np.int64(-1))
    return found


def _identity(words: Column, there: Column) -> Column:
    """Their key as packets.py has it, once all else is read: checksums, and what is no header, become zeros.

    There are `there` bytes behind IPv4's header.
    """
    if len(there) and int(there.min()) < TRANSPORT_SEEN:
        for place in range(_TRANSPORT, _WIDTH, 4):
            _field(words, place, 4)[:] &= _KEPT[np.minimum(there, TRANSPORT_SEEN), (place - _TRANSPORT) // 4]
    tcp = _field(words, _IP + 9, 1) == _TCP
    _field(words, _IP + 10, 2)[:] = 0
    for place, whose in ((_TRANSPORT + 16, tcp), (_TRANSPORT + 6, ~tcp)):
        _field(words, place, 2)[whose] = 0
    return digest_of(words[_HEAD // 8 :], 1) ^ seen_lengths(_NETWORK, there)


def seen_lengths(network: Column | int, transport: Column) -> Column:
    """How long headers are, as far as the nft trace has them, as a part of a packet's key."""
    seen = np.minimum(network, NETWORK_SEEN) << 8 | np.minimum(transport, TRANSPORT_SEEN)
    return seen.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
