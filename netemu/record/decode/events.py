"""The trace events of a host in bulk: netlink messages as columns.

A kernel writes few kinds of messages: those of one chain and rule differ only in the packet's bytes. So messages of
equal length and equal attribute headers are read together, and what they say of chain, rule and verdict is read once
for all that say it in the same bytes. `messages.trace_event` says the same of one message, plainly; a test holds the
two against each other.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from netemu.netfilter.conntrack import STATE_BITS, PacketConntrack
from netemu.netfilter.messages import GENERATION, MSG_TRACE, SUBSYS_NFTABLES, TraceEvent, trace_event
from netemu.record.decode.rows import Column, big_endian, digest, stable_order, windows
from netemu.record.frames import Datagrams

_HEADER = 16
"""Bytes of struct nlmsghdr."""
_TRACE = SUBSYS_NFTABLES << 8 | MSG_TRACE
_AT_ONCE = 1 << 15
_LAYOUTS = 64
"""How many layouts of one length are looked for; a kernel writes far fewer, and beyond each message is read alone."""
_SAID = (1, 2, 3, 4, 5, 16)
"""The attributes that tell chain, rule and verdict: table, chain, handle, type, verdict, policy."""
_ID, _NETWORK, _TRANSPORT, _IIF, _OIF = 6, 8, 9, 10, 12
_CT_ID, _CT_DIRECTION, _CT_STATUS, _CT_STATE = 18, 19, 20, 21
_KINDS = {
    "datagram": np.int32,
    "said": np.int32,
    "id": np.uint32,
    "network": np.int64,
    "network_length": np.int32,
    "transport": np.int64,
    "transport_length": np.int32,
    "iif": np.int64,
    "oif": np.int64,
    "ct_state": np.uint8,
    "ct_reply": np.bool_,
    "ct_id": np.int64,
    "ct_status": np.uint32,
}
_NONE = {"said", "iif", "oif", "ct_id"}
"""Those of which -1 stands for none; of the others 0 does."""


@dataclass(frozen=True, slots=True)
class Events:
    """One row an event, in the order in which they came; `datagram` is the place of the datagram it came in.

    `said` numbers what it says besides the packet, in `sayings`. Header bytes are at their places in `data`.
    Interfaces and `ct_id` are -1 where the event has none; `ct_state` is an NF_CT_STATE_BIT word, 0 without state.
    """

    data: Column
    sayings: tuple[TraceEvent, ...]
    datagram: Column
    said: Column
    id: Column
    network: Column
    network_length: Column
    transport: Column
    transport_length: Column
    iif: Column
    oif: Column
    ct_state: Column
    ct_reply: Column
    ct_id: Column
    ct_status: Column

    def __len__(self) -> int:
        return len(self.said)

    def conntrack(self, row: int) -> PacketConntrack | None:
        """What an event says of conntrack."""
        return packet_conntrack(
            int(self.ct_state[row]), bool(self.ct_reply[row]), int(self.ct_id[row]), int(self.ct_status[row])
        )

    def event(self, row: int) -> TraceEvent:
        """One event as a whole."""
        iif, oif = int(self.iif[row]), int(self.oif[row])
        return replace(
            self.sayings[self.said[row]],
            id=int(self.id[row]),
            network=self.bytes_at(int(self.network[row]), int(self.network_length[row])),
            transport=self.bytes_at(int(self.transport[row]), int(self.transport_length[row])),
            iif=iif if iif >= 0 else None,
            oif=oif if oif >= 0 else None,
            ct=self.conntrack(row),
        )

    def bytes_at(self, start: int, length: int) -> bytes:
        """Header bytes of an event."""
        return bytes(self.data[start : start + length])


def packet_conntrack(state: int, reply: bool, id: int, status: int) -> PacketConntrack | None:
    """What columns say of a packet's conntrack: `state` is a word of NF_CT_STATE_BITs, `id` -1 for none."""
    name = next((name for bit, name in STATE_BITS if state & bit), None)
    if name is None:
        return None
    if id < 0:
        return PacketConntrack(name)
    return PacketConntrack(name, "reply" if reply else "original", id, status)


def read_events(datagrams: Datagrams) -> Events:
    """Every trace event in a trace socket's datagrams; other messages and torn ones are left out."""
    start, length, datagram = _messages(datagrams)
    reader = _Reader(datagrams.data, start + _HEADER, length - _HEADER, datagram)
    return reader.read()


def _messages(datagrams: Datagrams) -> tuple[Column, Column, Column]:
    """Start and length of every trace message, and the datagram that it is in."""
    at, ends = datagrams.offset[:-1].astype(np.int64), datagrams.offset[1:]
    which = np.arange(len(at))
    found: list[tuple[Column, Column, Column]] = []
    while len(which):
        there = at + _HEADER <= ends[which]
        which, at = which[there], at[there]
        head = windows(datagrams.data, at, np.full(len(at), 8), 8)
        length = head.view(np.uint32)[:, 0].astype(np.int64)
        kind = head.view(np.uint16)[:, 2]
        whole = (length >= _HEADER) & (at + length <= ends[which])
        which, at, length, kind = which[whole], at[whole], length[whole], kind[whole]
        ours = (kind == _TRACE) & (length > _HEADER)
        found.append((at[ours], length[ours], which[ours]))
        at = at + ((length + 3) & ~3)
    start, lengths, datagram = (np.concatenate([part[k] for part in found] or [which]) for k in range(3))
    if sum(len(part[0]) > 0 for part in found) > 1:
        order = stable_order(datagram)
        return start[order], lengths[order], datagram[order]
    return start, lengths, datagram


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the attributes of equal messages are.

    Masks over a row's words: `heads` covers what is `told` alike in all of them, `same` what tells chain, rule and
    verdict; `constant` are the latter's bytes.
    """

    length: int
    told: Column
    heads: Column
    values: dict[int, tuple[int, int]]
    constant: Column
    same: Column

    @classmethod
    def of(cls, row: Column, length: int) -> _Layout:
        """The layout of a message of this length; the row is filled up to whole words."""
        values: dict[int, tuple[int, int]] = {}
        heads, same = np.zeros_like(row), np.zeros_like(row)
        same[0] = 255
        offset = GENERATION
        while offset + 4 <= length:
            heads[offset : offset + 4] = 255
            size, kind = row[offset : offset + 4].view(np.uint16).tolist()
            if size < 4 or offset + size > length:
                break
            values[kind & 0x3FFF] = (offset + 4, size - 4)
            offset += (size + 3) & ~3
        for kind in _SAID:
            start, size = values.get(kind, (0, 0))
            same[start : start + size] = 255
        return cls(
            length, row.view(np.uint64), heads.view(np.uint64), values, np.flatnonzero(same), same.view(np.uint64)
        )

    def number(self, matrix: Column, kind: int, size: int = 4) -> Column | None:
        """An attribute's number in each row; None if it is not there, or not of that size."""
        start, length = self.values.get(kind, (0, -1))
        if length != size:
            return None
        return matrix[:, start] if size == 1 else big_endian(matrix, start, size)


class _Reader:
    """Reads messages part by part, and remembers layouts and sayings from one part to the next."""

    def __init__(self, data: Column, start: Column, length: Column, datagram: Column) -> None:
        self.data = data
        self.start = start
        self.length = length
        self.datagram = datagram
        self.columns: dict[str, Column] = {
            name: np.full(len(start), -1, kind) if name in _NONE else np.zeros(len(start), kind)
            for name, kind in _KINDS.items()
        }
        self.layouts: dict[int, list[_Layout]] = {}
        self.numbers: dict[bytes, int] = {}
        self.sayings: list[TraceEvent] = []

    def read(self) -> Events:
        for begin in range(0, len(self.start), _AT_ONCE):
            rows = np.arange(begin, min(begin + _AT_ONCE, len(self.start)))
            lengths = self.length[rows]
            order = stable_order(lengths)
            for same in np.split(rows[order], np.flatnonzero(np.diff(lengths[order])) + 1):
                self._read_alike(same, int(self.length[same[0]]))
        self.columns["datagram"][:] = self.datagram
        kept = self.columns["said"] >= 0
        columns: dict[str, Any] = self.columns
        if not kept.all():
            columns = {name: column[kept] for name, column in columns.items()}
        return Events(self.data, tuple(self.sayings), **columns)

    def _read_alike(self, rows: Column, length: int) -> None:
        """Read messages of one length, a layout at a time."""
        matrix = windows(self.data, self.start[rows], np.full(len(rows), length), (length + 7) // 8 * 8)
        known = self.layouts.setdefault(length, [])
        for layout, mine, varying in _by_layout(matrix, length, known):
            whole = len(mine) == len(rows)
            self._read_layout(rows if whole else rows[mine], matrix if whole else matrix[mine], layout, varying)

    def _read_layout(self, rows: Column, matrix: Column, layout: _Layout, varying: Column | None) -> None:
        said = self._said(matrix, layout, _varying(matrix) if varying is None else varying)
        columns, starts = self.columns, self.start[rows]
        columns["said"][rows] = said
        if (ids := layout.number(matrix, _ID)) is not None:
            columns["id"][rows] = ids
        for name, kind in (("network", _NETWORK), ("transport", _TRANSPORT)):
            if kind in layout.values:
                place, length = layout.values[kind]
                columns[name][rows] = starts + place
                columns[f"{name}_length"][rows] = length
        for name, kind in (("iif", _IIF), ("oif", _OIF), ("ct_id", _CT_ID)):
            if (number := layout.number(matrix, kind)) is not None:
                columns[name][rows] = number
        for name, kind, size in (("ct_reply", _CT_DIRECTION, 1), ("ct_status", _CT_STATUS, 4)):
            if (number := layout.number(matrix, kind, size)) is not None:
                columns[name][rows] = number
        if (state := layout.number(matrix, _CT_STATE)) is not None:
            columns["ct_state"][rows] = state & 0x4F

    def _said(self, matrix: Column, layout: _Layout, varying: Column) -> Column:
        """The number of what each row says besides the packet; -1 where it is no event."""
        if not (varying & layout.same).any():
            return np.full(len(matrix), self._number(matrix[0], matrix[0, layout.constant], layout), np.int32)
        constant = matrix[:, layout.constant]
        _, first, inverse = np.unique(digest(constant), return_index=True, return_inverse=True)
        numbers = np.array([self._number(matrix[row], constant[row], layout) for row in first], np.int32)
        said = numbers[inverse]
        for row in np.flatnonzero((constant != constant[first[inverse]]).any(axis=1)):  # pragma: no cover
            said[row] = self._number(matrix[row], constant[row], layout)  # equal digests of unequal bytes
        return said

    def _number(self, payload: Column, constant: Column, layout: _Layout) -> int:
        spans = repr([layout.values.get(kind) for kind in (_ID, *_SAID)]).encode()
        key = spans + constant.tobytes()
        if key not in self.numbers:
            event = trace_event(payload[: layout.length].tobytes())
            self.numbers[key] = -1 if event is None else len(self.sayings)
            self.sayings += [] if event is None else [event]
        return self.numbers[key]


_Alike = tuple[_Layout, Column, Column | None]
"""A layout, the rows that have it, and which of their bits are not the same in all of them, if that was looked at."""


def _by_layout(matrix: Column, length: int, known: list[_Layout]) -> Iterator[_Alike]:
    """The rows of each layout; layouts that were not known are added while they are few."""
    left = np.arange(len(matrix))
    for layout in known:
        left = yield from _those(matrix, layout, left)
        if not len(left):
            return
    while len(left):
        layout = _Layout.of(matrix[left[0]], length)
        if len(known) < _LAYOUTS:
            known.append(layout)
            left = yield from _those(matrix, layout, left)
        else:
            yield layout, left[:1], None
            left = left[1:]


def _those(matrix: Column, layout: _Layout, left: Column) -> Generator[_Alike, None, Column]:
    rows = matrix if len(left) == len(matrix) else matrix[left]
    if not ((rows[0].view(np.uint64) ^ layout.told | (varying := _varying(rows))) & layout.heads).any():
        yield layout, left, varying
        return left[:0]
    ours = ~((rows.view(np.uint64) ^ layout.told) & layout.heads).any(axis=1)
    if ours.any():
        yield layout, left[ours], None
    return left[~ours]


def _varying(matrix: Column) -> Column:
    """The bits, in words, that are not the same in all rows."""
    words = matrix.view(np.uint64)
    return _reduced(words, np.bitwise_or) ^ _reduced(words, np.bitwise_and)


def _reduced(words: Column, by: np.ufunc) -> Column:
    """All rows as one: sixteen rows at a time, since numpy takes as long for a short row as for a long one."""
    count, width = words.shape
    some = count // 16 * 16
    together = by.reduce(words[:some].reshape(-1, 16 * width), axis=0).reshape(16, width) if some else words[:0]
    found: Column = by.reduce(np.concatenate([together, words[some:]]), axis=0)
    return found
