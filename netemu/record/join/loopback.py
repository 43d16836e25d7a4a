"""A broadcast's or multicast's copy for its own host: on no wire, in two passes that do not bear the packet's trace id.

The kernel clones a packet that its own host is to get too. The clone goes through POSTROUTING by itself, is put back
on the interface that the packet leaves by (dev_loopback_xmit, which packet sockets do not see: PACKET_LOOPBACK), and
comes in through PREROUTING. IPv4 makes it before the packet's own POSTROUTING (ip_mc_output), so that its events stand
between those of the packet; IPv6 behind that (ip6_finish_output2). A multicast whose TTL is 0 goes no further itself:
the copy is all that is left of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from netemu.record.capture import OUTGOING
from netemu.record.decode.rows import Column, found_in, mix, numbered
from netemu.record.join.sayings import STAGE_CODE, START_CODE
from netemu.record.join.sightings import Sightings

if TYPE_CHECKING:
    from netemu.record.join.ties import Passes

_POSTROUTING, _LAST = STAGE_CODE["postrouting"], STAGE_CODE["postrouting.nat"]
_FRAGMENT = 44
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Copies:
    """One row a copy; numbers are those of passes, -1 for none.

    The pass `leaves` is the copy's through POSTROUTING, `comes` the one in which it comes in. It is a copy of the
    packet of the pass `of`, and was made after so many sightings of that (`after`). The passes `parts` are of
    fragments' copies: IPv6 copies each fragment by itself, and they are not followed. The passes `alike_of` could not
    be told from as many others as `alike` says, themselves included, where copies were joined to them; `rivals` is 0
    where order decides, else a number that those share of which it can't be told whose copy is whose.
    """

    leaves: Column
    of: Column
    after: Column
    comes: Column
    parts: Column
    alike_of: Column
    alike: Column
    rivals: Column

    def __len__(self) -> int:
        return len(self.leaves)

    @property
    def tied(self) -> Column:
        """The passes that begin no journey of their own."""
        return np.concatenate([self.leaves, self.comes[self.comes >= 0]])


@dataclass(frozen=True, slots=True)
class _Made:
    """Packets that may have been cloned: what they were then (`code`), and between which places in the trace."""

    number: Column
    after: Column
    code: Column
    opened: Column
    closed: Column


def own_copies(seen: Sightings, passes: Passes, came: Column) -> Copies:
    """The copies that hosts made for themselves; `came` is the frame that each pass came from (-1: none).

    What begins at postrouting and fits no packet of its host to several is none.
    """
    none = np.empty(0, np.int64)
    begun = np.flatnonzero((passes.start == 0) & (passes.count > 0) & (passes.oif >= 0))
    stage = np.array([STAGE_CODE.get(str(point.stage), -1) for point in seen.points], np.int64)
    begun = begun[stage[seen.point[passes.first[begun]]] == _POSTROUTING]
    begun = begun[_to_several(seen, passes, begun)]
    if not len(begun):
        return Copies(*(none,) * 7, np.empty(0, np.uint64))
    first = passes.first[begun]
    part = (seen.packets.version[first] == 6) & (seen.packets.proto[first] == _FRAGMENT)
    parts, begun = begun[part], begun[~part]
    made = _made(seen, passes, stage, begun)
    first = passes.first[begun]
    codes = _coded(seen.packets.key[first], passes.host[begun], passes.oif[begun])
    of, sure = _whose(made, codes, seen.network[first - seen.wires])
    leaves, whose = begun[of >= 0], of[of >= 0]
    asked = found_in(made.code, codes[of >= 0])
    alike_of, group = made.number[asked], made.code[asked]
    alike = np.bincount(numbered(group))[numbered(group)] if len(group) else none
    rivals = np.where(np.isin(group, codes[~sure]), group | np.uint64(1), np.uint64(0))
    comes, unsure = _coming_in(seen, passes, leaves, came)
    both = np.isin(alike_of, made.number[whose[unsure]])
    rivals = np.where((rivals == 0) & both, group | np.uint64(1), rivals)
    alike = np.where(both, np.maximum(alike, 2), alike)
    return Copies(leaves, made.number[whose], made.after[whose], comes, parts, alike_of, alike, rivals)


def _to_several(seen: Sightings, passes: Passes, rows: Column) -> Column:
    """Which passes are of packets to several: by the address, or by the MAC address that their host sends to it."""
    packets, last = seen.packets, passes.first[rows] + passes.count[rows] - 1
    low, old = packets.dst_low[last], packets.version[last] == 4
    new = packets.dst_high[last] >> np.uint64(56) == 0xFF
    several = np.where(old, (low >> np.uint64(28) == 14) | (low == 0xFFFFFFFF), new)
    asked = low[old & ~several]
    if not len(asked) or not seen.wires:
        return several
    frames = np.flatnonzero((seen.kind == OUTGOING) & np.isin(packets.dst_low[: seen.wires], np.unique(asked)))
    frames = frames[packets.version[frames] == 4]
    codes = _coded(packets.dst_low[frames], seen.host_of_points()[seen.point[frames]])
    codes, place = np.unique(codes, return_index=True)
    to_a_group = np.array([bool(seen.bytes_of(row)[0] & 1) for row in frames[place].tolist()], np.bool_)
    return several | (old & np.isin(_coded(low, passes.host[rows]), codes[to_a_group]))


def _made(seen: Sightings, passes: Passes, stage: Column, begun: Column) -> _Made:
    """The packets of these passes' destinations that went through POSTROUTING themselves, or have a TTL of 0."""
    packets, last = seen.packets, passes.first + passes.count - 1
    mine = np.flatnonzero(passes.count > 0)
    near = (last[mine], np.maximum(last[mine] - 1, passes.first[mine]))  # where it is as its copy shows it
    wanted = np.unique(packets.dst_low[passes.first[begun]])
    mine = mine[np.isin(packets.dst_low[near[0]], wanted) | np.isin(packets.dst_low[near[1]], wanted)]
    first, end, ending = passes.first[mine], last[mine], passes.last_stage[mine]
    lead = stage[seen.point[np.maximum(end - 1, first)]] == _POSTROUTING
    at = np.where((ending == _LAST) & lead, end - 1, end)  # its sighting at postrouting
    own = np.isin(ending, (_POSTROUTING, _LAST)) & (stage[seen.point[at]] == _POSTROUTING)
    spent = ~np.isin(ending, (_POSTROUTING, _LAST)) & (packets.ttl[end] == 0)
    old = packets.version[end] == 4
    fits = np.where(old, (own & (at > first)) | spent, (ending == _LAST) & (stage[seen.point[first]] < _POSTROUTING))
    when = np.where(old & own, at, end)  # the packet as the copy shows it
    after = np.where(old & own, at, end + 1) - first
    opened = np.append(seen.network, 0)[np.where(fits, first + after - 1 - seen.wires, -1)]
    closed = np.where(old & own, np.append(seen.network, 0)[at - seen.wires], _NEVER)
    code = _coded(packets.key[when], passes.host[mine], passes.oif[mine])
    return _Made(*(each[fits] for each in (mine, after, code, opened, closed)))


def _whose(made: _Made, codes: Column, at: Column) -> tuple[Column, Column]:
    """For each copy that appears `at` a place the row of its packet in `made` (-1: none), and whether that is sure.

    Where as many packets were made as copies, the n-th is the n-th's; else it is that of the last one made before it,
    and is sure if that is the only one left.
    """
    of, sure = np.full(len(codes), -1, np.int64), np.ones(len(codes), np.bool_)
    waiting = _by_code(made.code, made.opened)
    for code, copies in _by_code(codes, at).items():
        packets = waiting.get(code, [])
        if len(packets) == len(copies):
            pairs = list(zip(copies, packets, strict=True))
            if all(made.opened[packet] < at[copy] < made.closed[packet] for copy, packet in pairs):
                of[copies] = packets
                continue
        left: list[int] = []
        ahead = iter([*packets, -1])
        packet = next(ahead)
        for copy in copies:
            while packet >= 0 and made.opened[packet] < at[copy]:
                left.append(packet)
                packet = next(ahead)
            if (mine := _last_open(left, made.closed, at[copy])) is not None:
                of[copy] = mine
                if (other := _last_open(left, made.closed, at[copy])) is not None:
                    sure[copy] = False
                    left.append(other)
    return of, sure


def _last_open(packets: list[int], closed: Column, at: int) -> int | None:
    """Take the last of these packets that a copy which appears `at` a place may be of; the closed ones are let go."""
    while packets:
        last = packets.pop()
        if closed[last] > at:
            return last
    return None


def _coming_in(seen: Sightings, passes: Passes, leaves: Column, came: Column) -> tuple[Column, Column]:
    """The pass in which each copy comes in (-1: none), the n-th in the n-th, and where others may be meant."""
    packets, last = seen.packets, passes.first[leaves] + passes.count[leaves] - 1
    code = _coded(packets.key[last], passes.host[leaves], passes.oif[leaves])
    entering = np.flatnonzero((passes.start == START_CODE["prerouting"]) & (passes.arrived != 0) & (passes.iif >= 0))
    entering = entering[found_in(passes.arrived[entering], packets.key[last])]
    entered = _coded(passes.arrived[entering], passes.host[entering], passes.iif[entering])
    bare = came[entering] < 0
    waiting = _by_code(entered[bare], entering[bare])
    comes, unsure = np.full(len(leaves), -1, np.int64), np.isin(code, entered[~bare])
    for each, copies in _by_code(code, leaves).items():
        through = [copy for copy in copies if passes.last_stage[leaves[copy]] == _LAST]
        found = entering[bare][waiting.get(each, [])].tolist()
        unsure[copies] |= bool(found) and len(found) != len(through)
        for copy, into in zip(through, found, strict=False):
            comes[copy] = into if into > leaves[copy] else -1
    return comes, unsure


def _by_code(codes: Column, at: Column) -> dict[int, list[int]]:
    """The rows of each code, in order of `at`."""
    found: dict[int, list[int]] = {}
    order = np.argsort(at, kind="stable")
    for row, code in zip(order.tolist(), codes[order].tolist(), strict=True):
        found.setdefault(code, []).append(row)
    return found


def _coded(keys: Column, host: Column, interface: Column | int = 0) -> Column:
    place = host.astype(np.uint64) << np.uint64(32) | np.asarray(interface).astype(np.uint64)
    return mix(keys ^ mix(place))
