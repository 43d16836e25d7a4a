"""How a lab is recorded: which frames its taps take, how much of each, and how much they may hold."""

from __future__ import annotations

from pydantic import Field, field_validator

from netemu.topology.strict import Strict
from netemu.topology.units import Size, size

SHORTEST, LONGEST = 64, 262_144
"""Bytes of a frame that are always taken (the headers of most), and what is longer than any frame."""
_LARGEST_SOCKET = 1 << 30
_SMALLEST_RING = 8 << 10
"""Bytes of two blocks of a page each: packet_set_ring in net/packet/af_packet.c takes whole pages alone."""


class Recording(Strict):
    """How a lab is recorded; without anything said, everything is, whole. What is None is as `lab.taps` has it."""

    filter: str = Field(default="", description="which frames are taken, in pcap's language; all unless given")
    snap_length: int = Field(
        default=LONGEST, ge=SHORTEST, le=LONGEST, strict=True, description="how many bytes of each frame are taken"
    )
    ring: Size | None = Field(default=None, description="each host's ring of frames, as in 8MiB")
    buffer: Size | None = Field(default=None, description="what each socket of events may hold, as in 64MiB")
    memory: Size | None = Field(default=None, description="what all taps keep in memory together, as in 1GiB")
    folder: str | None = Field(
        default=None,
        min_length=1,
        description="where the files are that hold more than that, relative to the topology file",
    )

    @field_validator("ring")
    @classmethod
    def _no_less_than_its_blocks(cls, value: str | None) -> str | None:
        if value is not None and size(value) < _SMALLEST_RING:
            raise ValueError(f"'{value}' is less than two pages, a ring's smallest blocks: 8KiB is the least")
        return value

    @field_validator("buffer")
    @classmethod
    def _no_more_than_a_socket_holds(cls, value: str | None) -> str | None:
        if value is not None and size(value) > _LARGEST_SOCKET:
            raise ValueError(f"'{value}' is more than a socket can hold: 1GiB is the most")
        return value
