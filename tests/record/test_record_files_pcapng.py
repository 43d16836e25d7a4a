"""pcapng as written is what other programs read, and no file makes the reader do more than refuse."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import PcapNgReader

from netemu.record.files.pcapng import (
    RAW_IP,
    CapturedPacket,
    CaptureFormatError,
    CaptureInterface,
    header,
    packet,
    read,
    write,
)

POINTS = [CaptureInterface("B:eth0", description="wire"), CaptureInterface("B@prerouting.nat", RAW_IP)]
TIME = 1_700_000_000_123_456_789


packets = st.builds(
    CapturedPacket,
    interface=st.integers(0, 1),
    time_ns=st.integers(0, 2**63),
    data=st.binary(max_size=70),
    length=st.integers(0, 2**31),
    outgoing=st.sampled_from([None, True, False]),
    comment=st.text(max_size=30),
)


@given(st.lists(packets, max_size=8))
def test_what_was_written_reads_back_equal(given: list[CapturedPacket]) -> None:
    interfaces, found = read(b"".join(write(POINTS, given)))
    assert [(each.name, each.linktype) for each in interfaces] == [("B:eth0", 1), ("B@prerouting.nat", RAW_IP)]
    assert interfaces[0].description == "wire"
    assert found == given


def test_scapy_reads_the_interface_the_time_the_comment_and_the_direction() -> None:
    what = CapturedPacket(0, TIME, b"\xff" * 61, 1400, outgoing=True, comment="journey 3: dst rewritten ⇒ pod")
    (found,) = PcapNgReader(io.BytesIO(b"".join(write(POINTS, [what]))))
    assert bytes(found) == what.data
    assert found.sniffed_on == "B:eth0"
    assert found.wirelen == 1400
    assert int(found.time * 10**9) == TIME
    assert found.direction == 2
    assert "dst rewritten ⇒ pod" in found.comment.decode()


def test_what_a_tap_lost_is_in_the_interface_statistics() -> None:
    lossy = [CaptureInterface("B:eth0", seen=7, dropped=3)]
    data = b"".join(write(lossy, []))
    kind, size = struct.unpack_from("=II", data, len(header(lossy)))
    assert kind == 5
    assert struct.pack("=HHQHHQ", 4, 8, 7, 5, 8, 3) in data[-size:]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_a_pcap_file_of_either_byte_order_and_unit_reads(order: str, magic: int, unit: int) -> None:
    head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    body = struct.pack(f"{order}IIII", 5, 9, 3, 60) + b"abc"
    interfaces, found = read(head + body + body[:10])
    assert [each.linktype for each in interfaces] == [1]
    assert found == [CapturedPacket(0, 5_000_000_000 + 9 * unit, b"abc", 60)]


def test_a_big_endian_section_reads() -> None:
    section = struct.pack(">IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    interface = struct.pack(">IIHHII", 1, 20, 101, 0, 0, 20)
    frame = struct.pack(">IIIIIII4sI", 6, 36, 0, 0, 7, 4, 4, b"data", 36)
    assert read(section + interface + frame)[1] == [CapturedPacket(0, 7000, b"data", 4)]


def test_a_last_packet_that_was_cut_off_is_left_out() -> None:
    what = CapturedPacket(0, TIME, b"whole", 5)
    data = header(POINTS) + packet(what) + packet(what)[:-6]
    assert read(data)[1] == [what]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "neither"),
        (b"GIF89a", "neither"),
        (header([]) + packet(CapturedPacket(0, 0, b"", 0)), "interface 0"),
        (header(POINTS) + struct.pack("=III", 6, 12, 12), "too short"),
        (header(POINTS) + struct.pack("=III", 6, 7, 12), "7 bytes"),
        (struct.pack("<III", 0x0A0D0D0A, 28, 5), "byte order"),
        (struct.pack("<I", 0xA1B2C3D4), "header"),
    ],
)
def test_what_is_no_capture_is_refused_with_its_reason(data: bytes, said: str) -> None:
    with pytest.raises(CaptureFormatError, match=said):
        read(data)


@given(st.data(), st.lists(packets, min_size=1, max_size=3))
def test_no_mutation_makes_the_reader_raise_anything_else(data: st.DataObject, given: list[CapturedPacket]) -> None:
    whole = bytearray(b"".join(write(POINTS, given)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(whole))
    except CaptureFormatError:
        pass
