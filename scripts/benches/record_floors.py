"""Floors of scripts/bench record: what the kernel leaves of a rate where a reader keeps nothing of what it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from record_measured import TAPS, Load, Outcome, measured

from netemu import Lab
from netemu.kernel.keeping.blocks import BLOCK_FRAMES
from netemu.kernel.keeping.stretch import Stretch
from netemu.kernel.taps.reader import PACE, Reader
from netemu.kernel.taps.ring import Ring
from netemu.kernel.taps.slots import Batch
from netemu.kernel.taps.trace import TraceTap

FLOOR_BUFFER, FLOOR_RING = 256 << 20, 2 << 20


class ForgetfulRing(Ring):
    """A wire tap's ring that keeps nothing of what it takes."""

    count = 0

    def _keep_all(self, blocks: NDArray[np.uint32]) -> None:
        self.count += int(blocks[:, BLOCK_FRAMES].sum())

    def _keep_stretch(self, stretch: Stretch) -> None:
        self.count += len(stretch)


async def rings(lab: Lab, load: Load, outcome: Outcome) -> None:
    """What the kernel's part of wire taps leaves of the rate: netemu's rings, and a reader that keeps nothing.

    No host has anything but its ring: no hook, no conntrack events, no proof.
    """
    taps, reader = [ForgetfulRing(lab[host].net) for host in sorted({host for host, _, _ in TAPS})], Reader()
    try:
        for tap in taps:
            tap.open()
            reader.add(tap)
        with measured(load, outcome):
            await load()
        for tap in taps:
            tap.drain()
    finally:
        reader.close()
        for tap in taps:
            tap.close()
    outcome["records"], outcome["told_lost"] = sum(tap.count for tap in taps), sum(tap.lost() for tap in taps)


class Forgetful(TraceTap):
    """A hook tap that keeps nothing of what it takes."""

    def _keep(self, batch: Batch, _keep: Callable[[], None]) -> None:
        self.count += len(batch.lengths)


async def floor(lab: Lab, load: Load, outcome: Outcome) -> None:
    """What the kernel's trace leaves of the rate: no wire taps, and a reader that keeps nothing of what it takes."""
    tap, ended = Forgetful(lab["B"].net, FLOOR_BUFFER, ask_conntrack=False), threading.Event()
    tap.open(FLOOR_RING)

    def read() -> None:
        while not ended.wait(PACE):
            tap.drain()

    tap.forget()
    reader = threading.Thread(target=read)
    try:
        with measured(load, outcome):
            reader.start()
            await load()
            ended.set()
            reader.join()
            tap.drain()
        outcome["records"], outcome["told_lost"] = tap.count, tap.lost()
    finally:
        ended.set()
        tap.close()
