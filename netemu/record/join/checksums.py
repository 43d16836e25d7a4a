"""Checksums of a record's sightings, computed when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from netemu.record.capture import HostCapture
from netemu.record.decode.checksums import (
    LOOKED_AT,
    NONE,
    UNKNOWN,
    Checksums,
    OnDemand,
    frame_checksums,
    header_checksums,
)
from netemu.record.decode.rows import Column, windows

_ATTRIBUTE = 4
"""Bytes of a netlink attribute's head, with its length in the machine's own order."""


class RecordChecksums(OnDemand):
    """Rows are those of Sightings: the frames of all hosts, host by host, then what hooks saw.

    `frame` numbers each row's frame in its host's capture, `frames` and `hooks` are how many rows of either kind each
    host has; `network` tells where in its trace each of the hooks' IP headers is, `proto` is its protocol.
    """

    def __init__(
        self,
        captures: Sequence[HostCapture],
        frames: Sequence[int],
        frame: Column,
        hooks: Sequence[int],
        network: Column,
        proto: Column,
    ) -> None:
        super().__init__(sum(frames) + len(network), self._computed)
        self._captures = captures
        self._ends = np.cumsum([0, *frames])
        self._frame = frame
        self._hooks_end = np.cumsum([0, *hooks])
        self._network, self._proto = network, proto

    def _computed(self, begin: int, end: int) -> Checksums:
        wires, several = int(self._ends[-1]), []
        for place, capture in enumerate(self._captures):
            first, last = max(begin, int(self._ends[place])), min(end, int(self._ends[place + 1]))
            if first < last:
                frames, frame = capture.frames, self._frame[first:last]
                starts, ends = frames.offset[:-1][frame], frames.offset[1:][frame]
                several.append(frame_checksums(frames.data, starts, ends, frames.status[frame]))
        if end > wires:
            several.append(self._at_hooks(max(begin - wires, 0), end - wires))
        return Checksums(*(np.concatenate(each) for each in zip(*several, strict=True)))

    def _at_hooks(self, begin: int, end: int) -> Checksums:
        found = [np.empty(0, np.uint8)]
        for place, capture in enumerate(self._captures):
            first, last = max(begin, int(self._hooks_end[place])), min(end, int(self._hooks_end[place + 1]))
            if first < last:
                data, begins = capture.trace.data, self._network[first:last]
                head = windows(data, begins - _ATTRIBUTE, np.full(last - first, 2), 2)
                length = head.view(np.uint16)[:, 0].astype(np.int64) - _ATTRIBUTE
                found.append(header_checksums(data, begins, length))
        carried = np.where(np.isin(self._proto[begin:end], LOOKED_AT), UNKNOWN, NONE)
        return Checksums(np.concatenate(found), carried.astype(np.uint8))
