"""Checksums in captures of several sides: right, wrong, and left to the device by the host that captured."""

from __future__ import annotations

import struct

from record_packets import udp

from netemu.record.sides.captured import read_captured
from netemu.record.sides.joined import join_sides
from netemu.record.sides.side import read_sides
from netemu.record.sides.walks import Sides


def capture(*packets: bytes) -> bytes:
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 101)
    return head + b"".join(struct.pack("<IIII", 5, at, *[len(each)] * 2) + each for at, each in enumerate(packets))


def test_each_side_tells_its_own_checksums_and_an_unfinished_one_is_not_wrong() -> None:
    inside = udp("192.168.1.2:5000", "198.51.100.7:53", b"a long question", ip_id=7)
    outside = udp("203.0.113.9:60000", "198.51.100.7:53", b"a long question", ip_id=7, ttl=63)
    unfinished = bytearray(inside.network + inside.transport)
    pseudo = inside.network[12:20] + bytes([0, 17, 0, len(inside.transport)])
    total = sum(struct.unpack("!6H", pseudo))
    unfinished[26:28] = ((total & 0xFFFF) + (total >> 16)).to_bytes(2, "big")
    wrong = outside.network + outside.transport[:6] + b"\1\2" + outside.transport[8:]
    files = [(name, read_captured(capture(data))) for name, data in (("in", bytes(unfinished)), ("out", wrong))]
    sides = Sides(join_sides(read_sides(files)), ["in", "out"], [[], []])
    (journey,) = sides.journeys()
    assert [(seen.ip_checksum, seen.checksum) for seen in journey.sightings] == [
        ("right", "unfinished"),
        ("right", "wrong"),
    ]
    assert [seen.wrong_checksums for seen in journey.sightings] == [(), ("udp",)]
