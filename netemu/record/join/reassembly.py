"""Fragments put together again: in which pass a packet goes on whole, and which parts came to nothing.

A host that tracks puts fragments together before its first stage, an IPv4 packet's own host behind prerouting. The
trace shows it: the pass of the part that came last goes on with the whole packet, those of the others end there. An
IPv6 packet's own host does it behind its last stage (ip6_frag_rcv), which no trace shows. What came there is held
against what the kernel makes of it (ip6_frag_queue, inet_frag_queue_insert): what lies within what is there already is
thrown away, what lies across its edge discards all that is there (RFC 5722). All are waited for only so long
(fragment_timers.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from netemu.record.decode.headers import MORE
from netemu.record.decode.rows import Column, numbered
from netemu.record.join.fragment_timers import FragmentTimers, at_the_latest
from netemu.record.join.fragments import at, is_fragment, sizes, starts
from netemu.record.join.sayings import STAGE_CODE
from netemu.record.join.sightings import Sightings

_DELIVERED = STAGE_CODE["input.nat"]
_FRAGMENT_HEADER = 44


@dataclass(frozen=True, slots=True)
class Reassembly:
    """What became of passes of parts: one truth value a pass, and which parts were put together.

    `together`: its host put it together with others, in another's pass: no end of the packet. `unfinished`: it came to
    its host's sockets' door, but its packet never came to be whole there. `row` are the frames of parts that a host put
    together, `run` numbers what it put together; `overlaps` tells of each of the rows that parts of its run overlap,
    `alike` how many packets with the same id were put together there.
    """

    together: Column
    unfinished: Column
    row: Column
    run: Column
    overlaps: Column
    alike: Column


def put_together(
    seen: Sightings, host: Column, came: Column, last: Column, last_stage: Column, timers: FragmentTimers
) -> Reassembly:
    """What hosts put together, as long as their `timers` ran.

    `host`, the frame that each pass `came` from, the row of its `last` sighting and that one's stage (-1 for none) are
    the passes'.
    """
    packets, nothing = seen.packets, np.empty(0, np.int64)
    together, unfinished = np.zeros((2, len(came)), np.bool_)
    if not is_fragment(packets.fragment).any() and not (packets.proto == _FRAGMENT_HEADER).any():
        return Reassembly(together, unfinished, nothing, nothing, nothing > 0, nothing)
    part = (came >= 0) & is_fragment(np.append(packets.fragment, 0)[came])
    still = is_fragment(np.append(packets.fragment, 0)[last]) | (np.append(packets.proto, -1)[last] == _FRAGMENT_HEADER)
    arrived = (last >= 0) & still & (last_stage == _DELIVERED)
    unfinished[arrived] = True
    whole = (last >= 0) & ~still
    some = np.flatnonzero(part & ~arrived)
    six = packets.version[came[some]] == 6
    timer = np.where(six, timers.tracked_ipv6[host[some]], timers.ipv4[host[some]])
    taken, run, goes_on = _by_kernel(seen, host, came, some, whole[some], at_the_latest(timer))
    there = np.flatnonzero(part & arrived)
    queued, number, completes = _by_queue(seen, host, came, there, timers.ipv6[host[there]])
    unfinished[queued[completes]] = False
    goes_on, both = np.append(goes_on, completes), np.append(taken, queued)
    together[both[~goes_on]] = True
    unfinished[together] = False
    run = np.append(run, number + int(run.max(initial=-1)) + 1)
    row = came[both]
    code = at(packets, row, host[both])
    return Reassembly(together, unfinished, row, run, _overlaps(seen, row, run)[run], _how_many(code, run))


def _by_kernel(
    seen: Sightings, host: Column, came: Column, passes: Column, whole: Column, wait_ns: Column
) -> tuple[Column, Column, Column]:
    """The passes of parts that went into a packet whose pass goes on `whole`, its number, and which of them that is.

    That it did so tells that its timer was running, if it may still have been.
    """
    code = at(seen.packets, came[passes], host[passes])
    order = np.lexsort((passes, seen.time_ns[came[passes]], code))
    passes, whole, code, wait_ns = passes[order], whole[order], code[order], wait_ns[order]
    begins = np.ones(len(passes), np.bool_)
    begins[1:] = (code[1:] != code[:-1]) | whole[:-1]
    _begin_anew(begins, seen.time_ns[came[passes]], wait_ns)
    run = np.cumsum(begins) - 1
    complete = np.zeros(len(passes), np.bool_)
    complete[run[whole]] = True
    kept = complete[run]
    return passes[kept], numbered(run[kept]), whole[kept]


def _begin_anew(begins: Column, time_ns: Column, wait_ns: Column) -> None:
    """Let a run begin where the one before was waited for too long, too."""
    first = np.flatnonzero(begins)
    count = np.diff(first, append=len(begins))
    for run in np.flatnonzero(time_ns[first + count - 1] - time_ns[first] > wait_ns[first]).tolist():
        begun = int(first[run])
        for place in range(begun, begun + int(count[run])):
            if time_ns[place] - time_ns[begun] > wait_ns[begun]:
                begun, begins[place] = place, True


def _by_queue(
    seen: Sightings, host: Column, came: Column, passes: Column, wait_ns: Column
) -> tuple[Column, Column, Column]:
    """The same of passes of parts that their host took behind its last stage: which of those became whole packets."""
    row = came[passes]
    code = at(seen.packets, row, host[passes])
    order = np.lexsort((passes, seen.time_ns[row], code))
    passes, row, group, wait_ns = passes[order], row[order], numbered(code[order]), wait_ns[order]
    start, more = starts(seen.packets, row), (seen.packets.fragment[row] & MORE) != 0
    end = start + sizes(seen, row)
    kinds = int(group[-1]) + 1 if len(group) else 0
    arranged = np.lexsort((start, group))
    same = group[arranged][1:] == group[arranged][:-1]
    crowded = np.zeros(kinds, np.bool_)
    crowded[group[arranged][1:][same & (start[arranged][1:] < end[arranged][:-1])]] = True
    time = seen.time_ns[row]
    edges = np.searchsorted(group, np.arange(kinds + 1))
    if kinds:
        crowded |= time[edges[1:] - 1] - time[edges[:-1]] > wait_ns[edges[:-1]]
    length, final = np.zeros((2, kinds), np.int64)
    np.add.at(length, group, end - start)
    np.maximum.at(final, group[~more], end[~more])
    whole = ~crowded & (final > 0) & (length == final) & (np.bincount(group[~more], minlength=kinds) == 1)
    run = np.where(whole[group], group, -1)
    completes = whole[group] & (np.append(group[1:], -1) != group)
    known = kinds
    for each in np.flatnonzero(crowded).tolist():
        mine = slice(edges[each], edges[each + 1])
        parts = zip(start[mine].tolist(), end[mine].tolist(), more[mine].tolist(), strict=True)
        runs, lasts = queue(list(parts), time[mine].tolist(), int(wait_ns[mine][0]))
        run[mine] = [known + number if number >= 0 else -1 for number in runs]
        completes[mine] = lasts
        known += len(runs)
    kept = run >= 0
    return passes[kept], numbered(run[kept]), completes[kept]


def queue(
    parts: list[tuple[int, int, bool]], times_ns: Sequence[int] = (), wait_ns: int = 0
) -> tuple[list[int], list[bool]]:
    """What becomes of a packet's parts, each where it begins and ends and whether more follow, in order of coming.

    Told when they came, each packet is waited for only so long from its first part on.
    Of each the number of the packet that it went into (-1: of none), and whether it was the last that was missing.
    """
    run, lasts = [-1] * len(parts), [False] * len(parts)
    open_: list[int] = []
    held: list[tuple[int, int]] = []
    total, length, packets = -1, 0, 0
    for place, (start, end, more) in enumerate(parts):
        if open_ and times_ns and times_ns[place] - times_ns[open_[0]] > wait_ns:
            open_, held, total, length = [], [], -1, 0
        within = any(begin <= start and end <= stop for begin, stop in held)
        across = not within and any(start < stop and begin < end for begin, stop in held)
        beyond = (total >= 0 and (end > total or (not more and end != total))) or (not more and end < length)
        if start == end or beyond or across:
            open_, held, total, length = [], [], -1, 0
            continue
        open_.append(place)
        total = total if more else end
        length = max(length, end)
        if within:
            continue
        held = _merged([*held, (start, end)])
        if held == [(0, total)]:
            for each in open_:
                run[each] = packets
            lasts[place] = True
            open_, held, total, length = [], [], -1, 0
            packets += 1
    return run, lasts


def _merged(held: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for begin, end in sorted(held):
        if found and found[-1][1] == begin:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found


def _overlaps(seen: Sightings, row: Column, run: Column) -> Column:
    """Of each run, whether its parts lie over each other; the same frame twice does not."""
    found = np.zeros(int(run.max(initial=-1)) + 1, np.bool_)
    first = firsts(seen, row, run)
    row, run = row[first], run[first]
    start = starts(seen.packets, row)
    order = np.lexsort((start, run))
    start, run, end = start[order], run[order], (start + sizes(seen, row))[order]
    found[run[1:][(run[1:] == run[:-1]) & (start[1:] < end[:-1])]] = True
    return found


def firsts(seen: Sightings, row: Column, run: Column) -> Column:
    """The places of the parts of each run, without those that are another one to the last byte."""
    order = np.lexsort((seen.time_ns[row], seen.digest[row], run))
    digest, run = seen.digest[row][order], run[order]
    again = np.zeros(len(order), np.bool_)
    again[1:] = (digest[1:] == digest[:-1]) & (run[1:] == run[:-1])
    return np.sort(order[~again])


def _how_many(code: Column, run: Column) -> Column:
    """Of each part, how many packets were put together of parts like it."""
    like = numbered(code)
    pairs = np.unique(np.stack([like, run]), axis=1)[0] if len(run) else like
    return np.bincount(pairs, minlength=1)[like] if len(run) else like
