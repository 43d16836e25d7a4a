"""What an interface does to the packets it sends: netem and tbf as rtnetlink messages (linux/pkt_sched.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from netemu.kernel.links.rtnetlink import attribute, text

NETEM, TBF = "netem", "tbf"
_HEAD = struct.Struct("=BxxxiIII")
_ROOT = 0xFFFFFFFF
_KIND, _OPTIONS = 1, 2
_REORDER, _CORRUPT, _RATE, _RATE64, _LATENCY64, _JITTER64 = 3, 4, 6, 8, 10, 11
_PARAMETERS, _TBF_RATE64, _BURST = 1, 4, 6
_QUEUE = 1000
"""Packets that netem holds unless told otherwise, as tc has it."""
_ETHERNET_HEADER = 14
_LONGEST_WAIT = 0.05
"""Seconds of its rate that a token bucket's queue holds unless told otherwise."""
_ETHERNET = 1
_BUCKET = 1 << 16
"""The handle 1: of a token bucket, whose class 1:1 its queue is in; what the kernel chooses begins at 8000:."""
_MOST = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Shape:
    """Properties of one direction of a link. Shares are from 0 to 1; `rate` is bits a second, `queue` packets."""

    delay_ns: int = 0
    jitter_ns: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0
    rate: int | None = None
    queue: int | None = None

    @property
    def kind(self) -> str:
        """The queueing discipline that does it: tbf where only a rate is asked for, which more kernels have."""
        other = self.delay_ns or self.jitter_ns or self.loss or self.duplicate or self.corrupt or self.reorder
        return TBF if self.rate is not None and not other else NETEM


def root(index: int, shape: Shape, mtu: int) -> bytes:
    """The interface's own queueing discipline, in the place of what is there, of any kind."""
    if shape.kind == TBF:
        handle, options = _BUCKET, _tbf(shape, mtu + _ETHERNET_HEADER)
    else:
        handle, options = 0, _netem(shape)
    return _HEAD.pack(0, index, handle, _ROOT, 0) + text(_KIND, shape.kind) + attribute(_OPTIONS, options)


def queue(index: int, shape: Shape, mtu: int) -> bytes:
    """What waits in a token bucket: so many packets, where that is asked for, else so many bytes.

    A bucket's own queue counts bytes only, in which 250 short packets wait where ten long ones are asked for.
    """
    kind, limit = ("bfifo", _bytes(shape, mtu + _ETHERNET_HEADER)) if shape.queue is None else ("pfifo", shape.queue)
    options = struct.pack("=I", limit)
    return _HEAD.pack(0, index, 0, _BUCKET + 1, 0) + text(_KIND, kind) + attribute(_OPTIONS, options)


def no_root(index: int) -> bytes:
    """Take the interface's own queueing discipline away."""
    return _HEAD.pack(0, index, 0, _ROOT, 0)


def every() -> bytes:
    """All of a namespace, for a dump."""
    return _HEAD.pack(0, 0, 0, 0, 0)


def _share(value: float) -> int:
    return min(_MOST, round(value * _MOST))


def _netem(shape: Shape) -> bytes:
    """struct tc_netem_qopt, then what came later: all of it, since what is left out stays as it was.

    With a share reordered, netem wants a gap (tc sets 1 as well).
    """
    queue = _QUEUE if shape.queue is None else shape.queue
    whole = (shape.rate or 0) // 8
    return b"".join(
        (
            struct.pack("=IIIIII", 0, queue, _share(shape.loss), 1 if shape.reorder else 0, _share(shape.duplicate), 0),
            attribute(_LATENCY64, struct.pack("=q", shape.delay_ns)),
            attribute(_JITTER64, struct.pack("=q", shape.jitter_ns)),
            attribute(_REORDER, struct.pack("=II", _share(shape.reorder), 0)),
            attribute(_CORRUPT, struct.pack("=II", _share(shape.corrupt), 0)),
            attribute(_RATE, struct.pack("=IiIi", min(whole, _MOST), 0, 0, 0)),
            attribute(_RATE64, struct.pack("=Q", whole)) if whole > _MOST else b"",
        )
    )


def _tbf(shape: Shape, frame: int) -> bytes:
    """A bucket of 4 ms of the rate, which is the timer's step on slow kernels, and of two frames at least.

    The kernel makes a queue of so many bytes in it as its limit says, or hands that on to the queue that is in it
    (fifo_set_limit in sch_fifo.c). The bucket is told in bytes and kept as 64 bits of nanoseconds, so it is right at
    any rate; the burst that `tc` shows is 32 bits of 64 ns each, and wraps where filling the bucket takes over 274 s.
    """
    whole = max(1, (shape.rate or 0) // 8)
    burst = min(_MOST, max(whole // 250, 2 * frame))
    rate = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, min(whole, _MOST))
    return b"".join(
        (
            attribute(_PARAMETERS, rate + bytes(12) + struct.pack("=III", _bytes(shape, frame), 0, 0)),
            attribute(_BURST, struct.pack("=I", burst)),
            attribute(_TBF_RATE64, struct.pack("=Q", whole)) if whole > _MOST else b"",
        )
    )


def _bytes(shape: Shape, frame: int) -> int:
    """How many bytes wait in a token bucket at most: room for the packets of `queue`, until its own queue is there."""
    if shape.queue is not None:
        return min(_MOST, shape.queue * frame)
    return min(_MOST, max(int((shape.rate or 0) // 8 * _LONGEST_WAIT), 10 * frame))
