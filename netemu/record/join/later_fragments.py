"""IPv6's later fragments at hooks: the trace has the first 20 bytes of their header alone; their frames tell the rest.

nf_tables finds no transport header in such a packet, and takes its offset to be 0 (nf_tables_trace.c): the event has
no network header, and as its transport header the IPv6 header's beginning, up to the source's third word. That is
compared with the frames at the interface that the packet came in by (or, of one that its host made, went out by); of
fragments that are equal there the n-th event is of the n-th frame. What has no frame stays untold.
"""

from __future__ import annotations

import numpy as np

from netemu.record.capture import OTHERHOST, OUTGOING, HostCapture
from netemu.record.decode.events import Events
from netemu.record.decode.headers import OFFSET, TRANSPORT_SEEN
from netemu.record.decode.packets import Packets, Places, decode_splits, empty, locate
from netemu.record.decode.rows import Column, digest, mix, nth_to_nth, windows

_TOLD, _HEADER = TRANSPORT_SEEN, 40


def without_headers(events: Events, tap: Column) -> Column:
    """Those of a tap's events that are of a later fragment: no network header, and where the transport's is, IPv6's."""
    rows = np.flatnonzero(tap & (events.network_length == 0) & (events.transport_length == _TOLD))
    return rows[events.data[events.transport[rows]] >> 4 == 6] if len(rows) else rows


def told_by_frames(capture: HostCapture, events: Events, bare: Column, of_pass: Column) -> tuple[Column, Packets]:
    """Which of the events `bare` are told, by their places there, and their packets as headers.

    `of_pass` is the pass of each; those of a pass stand together, in order.
    """
    begins = np.flatnonzero(np.diff(of_pass, prepend=-1))
    lasts = np.append(begins[1:], len(bare)) - 1
    counts = lasts - begins + 1
    came = events.iif[bare[begins]]
    asked = np.where(came >= 0, begins, lasts)
    interface = np.where(came >= 0, came, events.oif[bare[asked]])
    wanted = _coded(
        windows(events.data, events.transport[bare[asked]], np.full(len(asked), _TOLD), _TOLD), interface, came < 0
    )
    places, frames, codes = _later_frames(capture)
    frame = np.repeat(nth_to_nth(codes, wanted), counts)
    told = np.flatnonzero(frame >= 0)
    return told, _composed(capture, events, bare[told], places, frames[frame[told]])


def _later_frames(capture: HostCapture) -> tuple[Places, Column, Column]:
    """Where the headers of a host's frames are, which are later fragments of IPv6, and by what events know those."""
    frames = capture.frames
    places = locate(frames.data, frames.offset[:-1], frames.offset[1:])
    rows = np.flatnonzero(
        (places.network_length == _HEADER) & ((places.fragment & OFFSET) != 0) & (frames.kind != OTHERHOST)
    )
    head = windows(frames.data, places.network[rows], np.full(len(rows), _TOLD), _TOLD)
    return places, rows, _coded(head, frames.interface[rows].astype(np.int64), frames.kind[rows] == OUTGOING)


def _coded(head: Column, interface: Column, out: Column) -> Column:
    return mix(digest(head, 3) ^ mix(interface.astype(np.uint64) << np.uint64(1) | out))


def _composed(capture: HostCapture, events: Events, event: Column, places: Places, frame: Column) -> Packets:
    """The headers of what events are of: as far as they tell it as they do, behind that as their frames do."""
    if not len(event):
        return empty(0)
    data, rest = capture.frames.data, np.full(len(event), _HEADER - _TOLD)
    network = np.hstack(
        [
            windows(events.data, events.transport[event], np.full(len(event), _TOLD), _TOLD),
            windows(data, places.network[frame] + _TOLD, rest, _HEADER - _TOLD),
        ]
    )
    length = places.transport_length[frame]
    both = np.hstack([network, windows(data, places.transport[frame], length, TRANSPORT_SEEN)])
    start = np.arange(len(event)) * both.shape[1]
    return decode_splits(
        both.ravel(),
        start,
        np.full(len(event), _HEADER),
        start + _HEADER,
        length,
        places.behind[frame],
        places.fragment[frame],
        places.ident[frame],
    )
