"""What a packet's comment in a capture file tells: which packet it is, what became of it, and why."""

from __future__ import annotations

from record_packets import icmp_error, tcp, udp
from record_scene import Scene

from netemu.record.files.pcapng import read

ASKED = udp("192.168.0.1:4000", "192.168.0.2:53", b"?")


def comments(scene: Scene) -> dict[str, list[str]]:
    """By the point where each packet was."""
    interfaces, packets = read(b"".join(scene.record().pcapng()))
    found: dict[str, list[str]] = {}
    for packet in packets:
        found.setdefault(interfaces[packet.interface].name, []).append(packet.comment)
    return found


def test_an_error_says_what_it_quotes_and_the_packet_how_it_ended():
    scene = Scene()
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    a.sends(ASKED, "eth0")
    b.gets("eth0", ASKED).delivered()
    error = icmp_error("192.168.0.2", "192.168.0.1", 3, ASKED)
    b.sends(error, "eth0")
    a.gets("eth0", error).delivered()
    told = comments(scene)
    assert told["B@input.nat"] == ["journey 1, flow 1, request 1; delivered, error port-unreachable in journey 2"]
    assert told["A@input.nat"] == ["journey 2, flow 1, error port-unreachable, quotes journey 1; delivered"]
    assert told["B@prerouting"] == ["journey 1, flow 1, request 1"]


def test_a_packet_that_was_dropped_says_by_what_and_one_that_is_gone_that():
    scene = Scene()
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    deny = b.rule("filter", "INPUT", "-A INPUT -j DROP")
    a.sends(ASKED, "eth0")
    b.gets("eth0", ASKED).through("prerouting", "prerouting.nat").matches(deny, "drop")
    a.sends(ASKED.but(ip_id=9), "eth0")
    told = comments(scene)
    assert told["B@prerouting.nat"] == ["journey 1, flow 1, request 1; dropped by filter INPUT: -A INPUT -j DROP"]
    assert told["A:eth0"][1] == "journey 2, flow 1, request 2; not seen any further"


def test_a_segment_that_is_sent_again_says_what_it_repeats():
    scene = Scene()
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    for number in range(2):
        packet = tcp("192.168.0.1:4000", "192.168.0.2:80", seq=5, ip_id=number)
        a.sends(packet, "eth0")
        b.gets("eth0", packet).delivered()
    assert comments(scene)["A:eth0"] == [
        "journey 1, flow 1, request 1",
        "journey 2, flow 1, request 2; repeats journey 1",
    ]
