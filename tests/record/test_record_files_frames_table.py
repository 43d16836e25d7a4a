"""The table of all frames: one row a frame of every wire, as the plain reading of one frame tells it."""

from __future__ import annotations

import random
import sys
from ipaddress import IPv4Address

import pytest
from record_checksums_plain import checksums
from record_link_plain import plain_link, plain_vxlan
from record_packets import udp
from record_scene import Scene
from test_record_arp import IS_AT, WHO_HAS
from test_record_decode_link import LINK_SEEDS
from test_record_decode_packets import SEEDS, mutated

from netemu.errors import MachineError, UsageError
from netemu.record.capture import HostCapture
from netemu.record.decode.headers import decode, split_frame
from netemu.record.decode.link import mac_text
from netemu.record.files.frames_table import MARKS
from netemu.record.frames import Frames, RawFrame
from netemu.record.record import Record, build_record


def some(value: int) -> int | None:
    return value if value >= 0 else None


def of_one(frame: bytes) -> list:
    """A frame's columns from dst_mac to dport, without its mark."""
    link, packet = plain_link(frame), split_frame(frame)
    headers = decode(packet) if packet is not None else None
    macs = [mac_text(link.dst_mac), mac_text(link.src_mac), link.ethertype] if len(frame) >= 14 else [None] * 3
    ip = (headers.proto, headers.src, headers.sport, headers.dst, headers.dport) if headers else (None,) * 5
    return [*macs, some(link.vlan), some(link.priority), *ip]


def arp_of(frame: bytes) -> list:
    link = plain_link(frame)
    if link.sender < 0:
        return [some(link.arp_op), None, None, None, None]
    sender, target = str(IPv4Address(link.sender)), str(IPv4Address(link.target))
    return [some(link.arp_op), mac_text(link.sender_mac), sender, mac_text(link.target_mac), target]


def test_every_row_tells_what_the_plain_reading_tells():
    dice = random.Random(6)
    frames = [*SEEDS, *LINK_SEEDS, *(mutated(dice, SEEDS + LINK_SEEDS) for _ in range(1000))]
    captures = [
        HostCapture(host, {1: "lo", 2: "eth0"}, Frames.of(RawFrame(time, 2, 4, frame) for frame in mine))
        for host, time, mine in (("A", 5, frames[:500]), ("B", 7, frames[500:]))
    ]
    table = build_record(captures, {}).frames_table()
    told = table.drop("mark", "inner_mark", "ip_checksum", "checksum").rows()
    for frame, known in zip(frames, table.select("ip_checksum", "checksum").rows(), strict=True):
        assert known in (("unknown", None), checksums(frame))
    assert len(told) == len(frames)
    for place, (frame, row) in enumerate(zip(frames, told, strict=True)):
        host, number, time = ("A", place, 5) if place < 500 else ("B", place - 500, 7)
        vni, inner = plain_vxlan(frame, (4789,)) or (None, b"")
        carried = of_one(inner) if vni is not None else [None] * 10
        start = [host, number, f"{host}:eth0 out", time, len(frame)]
        assert list(row) == [*start, *of_one(frame), *arp_of(frame), vni, *carried]


def test_marks_are_of_ip_where_there_is_ip_and_else_of_the_link():
    no_ports = SEEDS[0][:16] + b"\x00\x16" + SEEDS[0][18:36]
    frames = [WHO_HAS, WHO_HAS[:30], SEEDS[0], no_ports, LINK_SEEDS[-1], LINK_SEEDS[8], LINK_SEEDS[14], b""]
    capture = HostCapture("A", {}, Frames.of(RawFrame(1, 2, 0, frame) for frame in frames))
    table = build_record([capture], {}).frames_table()
    assert table["mark"].to_list() == [
        *("whole", "truncated", "whole", "truncated", "other", "whole", "whole", "truncated")
    ]
    assert table["inner_mark"].to_list() == [None] * 5 + ["whole", "whole", None]
    assert set(table["point"].to_list()) == {"A:interface 2 in"}
    assert len(MARKS) == 4


def test_the_table_answers_who_has(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    a.wire("eth0", "out", WHO_HAS)
    b.wire("eth0", "in", WHO_HAS)
    b.wire("eth0", "out", IS_AT)
    a.wire("eth0", "out", udp("10.0.0.1:1", "10.0.0.2:2"))
    table = scene.record().frames_table()
    asked = table.filter((table["arp_op"] == 1) & (table["arp_target"] == "10.0.0.2"))
    assert asked["point"].to_list() == ["A:eth0 out", "B:eth0 in"]
    assert table["proto"].to_list() == [None, "udp", None, None]


def test_vxlan_is_told_of_the_ports_that_are_asked_for(scene: Scene):
    scene.host("A", eth0="lan").wire("eth0", "in", LINK_SEEDS[10])
    record = scene.record()
    assert record.frames_table()["vni"].to_list() == [None]
    table = record.frames_table([8472])
    assert table.select("vni", "inner_src", "inner_dport").rows() == [(2, "10.42.0.1", 2)]
    with pytest.raises(UsageError, match="'0' is no UDP port"):
        record.frames_table([0])


def test_nothing_captured_is_an_empty_table_of_the_same_columns(scene: Scene):
    scene.host("A", eth0="lan").wire("eth0", "in", IS_AT)
    table = scene.record().frames_table()
    for empty in (Record().frames_table(), build_record([HostCapture("A", {})], {}).frames_table()):
        assert (empty.height, empty.schema) == (0, table.schema)


def test_without_polars_the_table_is_refused_with_what_installs_it(scene: Scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MachineError, match=r"\.venv/bin/pip install -e '\.\[frames\]'"):
        scene.record().frames_table()
