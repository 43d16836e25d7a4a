"""One side of a NAT: what one capture file saw on one interface, as columns, its packets numbered into flows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from netemu.record.decode.checksums import Checksums, frame_checksums
from netemu.record.decode.packets import MALFORMED, Packets
from netemu.record.decode.rows import Column, begins_run, mix, stable_order
from netemu.record.join.fragments import is_later
from netemu.record.sides.captured import Captured
from netemu.record.sides.fragments import with_their_datagrams
from netemu.record.sides.kept import Kept, decode_kept, shortest_cut

_TCP, _SYN, _ACK = 6, 0x02, 0x10
_ICMP = (1, 58)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What was seen at one point, one row a packet, by the file's own clock.

    `number` is the packet's place in its file, from 1, as Wireshark counts. `flow` numbers the point's own flows from
    0, `bit` tells their two directions apart; `first` is each flow's first row, of an ICMP error or a
    fragment without ports only if there is no other. `left_out` counts packets without IP.
    """

    name: str
    file: int
    packets: Packets
    kept: Kept
    time_ns: Column
    number: Column
    flow: Column
    bit: Column
    first: Column
    checksums: Checksums
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.time_ns)


def read_sides(files: Sequence[tuple[str, Captured]]) -> list[Side]:
    """The points of capture files: for each (name, packets) one, or one for each interface that saw packets.

    A file without packets is a point that saw nothing.

    How much of a packet is compared is what all files have of it, so that files of different snap lengths agree.
    """
    cuts = [cut for _, file in files if (cut := shortest_cut(file.data, file.start, file.end)) is not None]
    most = min(cuts, default=None)
    found = []
    for place, (name, file) in enumerate(files):
        points = file.interface.astype(np.int64) << 32 | file.device
        seen, point = np.unique(points, return_inverse=True)
        names = _names(name, seen.tolist(), file) or [name]
        for number, said in enumerate(names):
            found.append(_side(said, place, file, np.flatnonzero(point == number), most))
    return found


def _names(name: str, points: Sequence[int], file: Captured) -> list[str]:
    """`home` for a file with one point, else `home:eth0`; `home:if3` where only the interface's number is known.

    Where two would have the same name they are numbered.
    """
    if len(points) == 1:
        return [name]
    said = []
    for point in points:
        interface, device = point >> 32, point & 0xFFFFFFFF
        name_of_it = file.interfaces[interface].name or ("" if device else str(interface))
        said.append(f"{name_of_it} if{device}".strip() if device else name_of_it)
    often = Counter(said)
    return [f"{name}:{each}" if often[each] == 1 else f"{name}:{each}#{number}" for number, each in enumerate(said, 1)]


def _side(name: str, file: int, captured: Captured, rows: Column, most: int | None) -> Side:
    rows = rows[np.argsort(captured.time_ns[rows], kind="stable")]
    packets, kept = decode_kept(captured.data, captured.start[rows], captured.end[rows], most)
    usable = np.flatnonzero((packets.version > 0) & (packets.mark != MALFORMED))
    left_out = len(rows) - len(usable)
    rows, packets, kept = rows[usable], packets.select(usable), kept.select(usable)
    kept = with_their_datagrams(packets, kept, captured.time_ns[rows])
    bit = kept.src_id > kept.dst_id
    flow = _flows(packets, kept, bit)
    told = stable_order(flow * 2 + (_is_error(packets, kept) | is_later(packets.fragment)))
    first = told[np.flatnonzero(np.diff(flow[told], prepend=-1))]
    start, end = captured.start[rows], captured.end[rows]
    # at once: later, all of the file's bytes would have to be kept for them
    checksums = frame_checksums(captured.data, start, end, np.zeros(len(rows), np.uint8))
    return Side(name, file, packets, kept, captured.time_ns[rows], rows + 1, flow, bit, first, checksums, left_out)


def _is_error(packets: Packets, kept: Kept) -> Column:
    """Which packets have another's ends: ICMP errors, which quote it."""
    icmp = np.isin(packets.proto, _ICMP)
    found: Column = icmp & ((packets.proto != kept.proto) | (packets.icmp_id < 0))
    return found


def _flows(packets: Packets, kept: Kept, bit: Column) -> Column:
    """Each packet's flow. A SYN with a new sequence number begins another one of the same ends."""
    ends = mix(mix(np.minimum(kept.src_id, kept.dst_id), 7) + np.maximum(kept.src_id, kept.dst_id), 8)
    _, code = np.unique(ends, return_inverse=True)
    order = stable_order(code)
    begins = begins_run(code[order])
    place = np.empty(len(code), np.int64)
    place[order] = np.arange(len(code))
    syn = np.flatnonzero((packets.proto == _TCP) & ((packets.flags & (_SYN | _ACK)) == _SYN))
    way = code[syn] * 2 + bit[syn]
    by_way = stable_order(way)
    syn, way = syn[by_way], way[by_way]
    fresh = begins_run(way) | begins_run(packets.seq[syn])
    begins[place[syn[fresh]]] = True
    return (np.cumsum(begins) - 1)[place]
