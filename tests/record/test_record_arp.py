"""ARP of a record: who asked for whom, who answered, and asking for some of it."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from record_nodeport import NodePort
from record_packets import udp
from record_scene import Scene
from scapy.layers.l2 import ARP, Dot1Q, Ether

from netemu.errors import UsageError
from netemu.record.arp import ArpSighting, ArpSightings
from netemu.record.capture import BROADCAST
from netemu.record.record import Record, build_record
from netemu.topology.points import Point

A, B, NOBODY = "02:00:00:00:00:01", "02:00:00:00:00:02", "00:00:00:00:00:00"
WHO_HAS = bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=A) / ARP(hwsrc=A, psrc="10.0.0.1", hwdst=NOBODY, pdst="10.0.0.2"))
IS_AT = bytes(Ether(dst=A, src=B) / ARP(op=2, hwsrc=B, psrc="10.0.0.2", hwdst=A, pdst="10.0.0.1"))
INVERSE = bytes(
    Ether(dst=A, src=B) / Dot1Q(vlan=7) / ARP(op=8, hwsrc=B, psrc="10.0.9.2", hwdst=A, pdst="255.255.255.255")
)
BROKEN = (IS_AT[:40], IS_AT[:18] + b"\x07" + IS_AT[19:])


@pytest.fixture
def record(scene: Scene) -> Record:
    """A asks B, which answers; on another wire of B's something else is asked. Some frames are damaged."""
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan", eth1="other")
    a.wire("eth0", "out", WHO_HAS)
    b.wire("eth0", "in", WHO_HAS, BROADCAST)
    b.wire("eth0", "out", IS_AT)
    a.wire("eth0", "in", IS_AT)
    a.sends(udp("10.0.0.1:1", "10.0.0.2:2"), "eth0")
    for frame in BROKEN:
        a.wire("eth0", "in", frame)
    b.wire("eth1", "in", INVERSE)
    return scene.record()


def told(sightings: ArpSightings) -> list[str]:
    return [f"{seen.point} {seen.op} {seen.target}" for seen in sightings]


def test_messages_come_in_order_of_time_from_all_hosts(record: Record):
    assert told(record.arp) == [
        "A:eth0 out request 10.0.0.2",
        "B:eth0 in request 10.0.0.2",
        "B:eth0 out reply 10.0.0.1",
        "A:eth0 in reply 10.0.0.1",
        "B:eth1 in 8 255.255.255.255",
    ]
    assert (len(record.arp), repr(record.arp)) == (5, "<5 ARP sightings>")


def test_a_sighting_says_what_its_message_says(record: Record):
    assert record.arp[0] == ArpSighting(
        Point("A", "eth0", "out"), 1_000_001_000, "request", A, "10.0.0.1", NOBODY, "10.0.0.2"
    )
    assert record.arp[2] == ArpSighting(Point("B", "eth0", "out"), 1_000_003_000, "reply", B, "10.0.0.2", A, "10.0.0.1")


def test_it_is_a_sequence(record: Record):
    assert record.arp[-1].op == "8"
    assert told(record.arp[1:3]) == told(record.arp)[1:3]
    assert record.arp[::-1] == list(record.arp)[::-1]
    assert record.arp != list(record.arp)[1:]
    assert record.arp != "ARP"
    assert record.arp[0] in record.arp
    with pytest.raises(IndexError):
        record.arp[5]


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ({"at": "A"}, [0, 3]),
        ({"at": "B:eth0"}, [1, 2]),
        ({"at": "B:eth0 in"}, [1]),
        ({"at": Point("B", "eth1", "in")}, [4]),
        ({"at": "B:lo"}, []),
        ({"op": "request"}, [0, 1]),
        ({"op": "reply", "at": "A"}, [3]),
        ({"op": 8}, [4]),
        ({"op": "8"}, [4]),
        ({"op": 3}, []),
        ({"sender": "10.0.0.2"}, [2, 3]),
        ({"sender": "10.0.0.0/24", "at": "B"}, [1, 2]),
        ({"sender": "0.0.0.0/0"}, [0, 1, 2, 3, 4]),
        ({"target": "10.0.0.2"}, [0, 1]),
        ({"target": ip_network("255.255.255.255")}, [4]),
        ({"sender": "10.0.0.1", "target": "10.0.0.1"}, []),
    ],
)
def test_messages_are_asked_for_by_words(record: Record, words: dict, places: list[int]):
    assert list(record.arp(**words)) == [record.arp[place] for place in places]


def test_what_was_asked_for_can_be_asked_again(record: Record):
    assert told(record.arp(op="request")(at="B")) == ["B:eth0 in request 10.0.0.2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"sendr": "10.0.0.1"}, "by 'sendr', did you mean 'sender'"),
        ({"at": "b"}, "no host 'b', did you mean 'B'"),
        ({"at": "B:eth7"}, "host B has no interface 'eth7'"),
        ({"at": "B@prerouting"}, "seen on wires alone, not at a hook"),
        ({"at": "B:eth0 up"}, "is no point"),
        ({"op": "answer"}, "no ARP operation 'answer'"),
        ({"op": -1}, "no ARP operation '-1'"),
        ({"sender": "B"}, "'B' is no IPv4 address or network"),
        ({"sender": "10.0.0.1/24"}, "host bits set"),
        ({"target": "fd00::1"}, "IPv6 asks by ICMPv6"),
    ],
)
def test_what_is_not_there_is_refused(record: Record, words: dict, message: str):
    with pytest.raises(UsageError) as caught:
        record.arp(**words)
    assert message in str(caught.value)


def test_no_captures_have_no_messages():
    assert (list(build_record([], {}).arp), list(Record().arp), list(Record().arp(op="reply"))) == ([], [], [])


def test_a_record_of_ip_alone_has_no_arp(lab: NodePort):
    lab.handshake()
    assert list(lab.scene.record().arp) == []


def test_messages_are_there_again_in_a_saved_record(record: Record, tmp_path):
    record.save(str(tmp_path / "saved"))
    assert Record.load(str(tmp_path / "saved")).arp == record.arp


def asks(mac: str, who: str, whom: str) -> bytes:
    return bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=mac) / ARP(hwsrc=mac, psrc=who, hwdst=NOBODY, pdst=whom))


def says(mac: str, who: str, to: str, whom: str) -> bytes:
    return bytes(Ether(dst=to, src=mac) / ARP(op=2, hwsrc=mac, psrc=who, hwdst=to, pdst=whom))


def test_an_exchange_is_a_request_with_its_answer_and_who_sent_that(record: Record):
    (exchange,) = record.arp.exchanges()
    assert (str(exchange.point), exchange.sender, exchange.target) == ("A:eth0 out", "10.0.0.1", "10.0.0.2")
    assert (exchange.answered, exchange.mac, exchange.hosts) == (True, B, ("B",))
    assert told(exchange.requests) == ["A:eth0 out request 10.0.0.2"]
    assert told(exchange.replies) == ["A:eth0 in reply 10.0.0.1"]
    assert record.arp.exchanges(answered=False) == []
    assert record.arp.exchanges(target="10.0.0.2", at="A") == [exchange]
    assert record.arp.exchanges(target="10.0.0.3") == []


def test_requests_without_an_answer_are_one_exchange_and_the_next_answered_one_is_another(scene: Scene):
    a = scene.host("A", eth0="lan")
    for _ in range(3):
        a.wire("eth0", "out", WHO_HAS)
    a.wire("eth0", "in", IS_AT)
    a.wire("eth0", "out", WHO_HAS)
    a.wire("eth0", "out", asks(A, "10.0.0.1", "10.0.0.1"))
    first, second = scene.record().arp.exchanges()
    assert (len(first.requests), first.answered, first.hosts) == (3, True, ())
    assert (len(second.requests), second.answered, second.mac) == (1, False, None)


def test_two_that_answer_are_both_told_and_who_only_passes_an_answer_on_is_not(scene: Scene):
    a, b, c = scene.host("A", eth0="lan"), scene.host("B", eth0="lan"), scene.host("C", eth0="lan", eth1="far")
    other = "02:00:00:00:00:09"
    a.wire("eth0", "out", WHO_HAS)
    b.wire("eth0", "out", IS_AT)
    a.wire("eth0", "in", IS_AT)
    c.wire("eth1", "in", says(other, "10.0.0.2", A, "10.0.0.1"))
    c.wire("eth0", "out", says(other, "10.0.0.2", A, "10.0.0.1"))
    a.wire("eth0", "in", says(other, "10.0.0.2", A, "10.0.0.1"))
    (exchange,) = scene.record().arp.exchanges()
    assert [seen.sender_mac for seen in exchange.replies] == [B, other]
    assert exchange.hosts == ("B",)


def test_an_asker_without_taps_is_told_by_who_got_its_request(scene: Scene):
    b = scene.host("B", eth0="lan")
    b.wire("eth0", "in", WHO_HAS, BROADCAST)
    b.wire("eth0", "out", IS_AT)
    (exchange,) = scene.record().arp.exchanges()
    assert (str(exchange.point), exchange.answered, exchange.hosts) == ("B:eth0 in", True, ("B",))
