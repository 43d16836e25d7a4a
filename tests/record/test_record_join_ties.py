"""What ties a pass to its frames, and what does not: damaged frames found by dice (test_record_columns.py)."""

from __future__ import annotations

from dataclasses import replace

from record_packets import tcp, udp
from record_scene import Scene

from netemu.record.record import build_record

EMPTY = udp("192.168.0.1:4000", "192.168.0.2:53", ip_id=5)
SYN = tcp("192.168.0.1:4000", "192.168.0.2:80", ip_id=5)
HOOKS = ["A@output", "A@output.nat", "A@postrouting", "A@postrouting.nat"]


def test_a_frame_that_ends_before_its_checksum_is_not_the_packet_that_has_one(scene: Scene):
    a = scene.host("A", eth0="lan")
    a.sends(EMPTY, "eth0")
    a.frames[0] = replace(a.frames[0], data=a.frames[0].data[: 14 + 20 + 6])
    assert scene.stories() == [
        [*HOOKS, "unseen at A@postrouting.nat"],
        ["A:eth0 out", "unseen at A:eth0 out"],
    ]


def test_a_frame_as_long_as_the_packet_is_no_fragment_of_it_whatever_it_says(scene: Scene):
    a = scene.host("A", eth0="lan")
    a.sends(SYN, "eth0")
    damaged = bytearray(a.frames[0].data)
    damaged[20] |= 0x20  # more fragments follow
    a.frames[0] = replace(a.frames[0], data=bytes(damaged))
    assert scene.stories() == [
        [*HOOKS, "unseen at A@postrouting.nat"],
        ["A:eth0 out", "unseen at A:eth0 out"],
    ]


def test_a_frame_without_ports_is_of_no_flow_of_which_a_later_fragment_was_seen(scene: Scene):
    """On a journey that begins with its packet's ports, a later fragment's tuple without them is not the flow's."""
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    a.sends(SYN, "eth0")
    later = bytearray(SYN.frame())
    later[20:22] = (1).to_bytes(2, "big")
    walk = b.gets("eth0", SYN).through("prerouting", "prerouting.nat")
    b.trace[-1] = b.trace[-1].replace(SYN.network[:8], bytes(later[14:22]))
    walk.through("input", "input.nat")
    a.wire("eth0", "out", SYN.but(ip_id=6).frame()[: 14 + 20 + 4])
    record = build_record(scene.captures(), scene.segment_of)
    assert [len(flow.journeys) for flow in record.flows] == [1, 1]
