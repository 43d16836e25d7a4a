"""ICMP errors joined to what they quote: across NAT, among packets that are alike, and where nothing fits."""

from __future__ import annotations

import pytest
from record_packets import Packet, icmp_error, parts, tcp, udp
from record_scene import DNATED, Scene, new

from netemu.record.join.quotes import kind_of

ASKED = udp("192.168.0.1:4000", "192.168.0.2:53", b"?")


@pytest.fixture
def pair(scene: Scene) -> Scene:
    scene.host("A", eth0="lan")
    scene.host("B", eth0="lan")
    return scene


def goes(scene: Scene, packet: Packet) -> None:
    """From A to B, delivered."""
    a, b = scene.hosts
    a.sends(packet, "eth0")
    b.gets("eth0", packet).delivered()


def comes(scene: Scene, error: Packet) -> None:
    """From B to A, delivered."""
    a, b = scene.hosts
    b.sends(error, "eth0")
    a.gets("eth0", error).delivered()


def quoted(scene: Scene) -> list[tuple[int, int | None]]:
    return [(each.id, each.quotes) for each in scene.record().journeys if each.error or each.first.headers.icmp]


@pytest.mark.parametrize(
    ("proto", "type_", "code", "name"),
    [
        ("icmp", 3, 0, "net-unreachable"),
        ("icmp", 3, 3, "port-unreachable"),
        ("icmp", 3, 4, "fragmentation-needed"),
        ("icmp", 3, 13, "admin-prohibited"),
        ("icmp", 3, 99, "destination-unreachable"),
        ("icmp", 4, 0, "source-quench"),
        ("icmp", 5, 1, "redirect"),
        ("icmp", 11, 0, "time-exceeded"),
        ("icmp", 12, 0, "parameter-problem"),
        ("icmp6", 1, 0, "no-route"),
        ("icmp6", 1, 4, "port-unreachable"),
        ("icmp6", 2, 0, "packet-too-big"),
        ("icmp6", 3, 1, "reassembly-time-exceeded"),
    ],
)
def test_errors_have_the_rfcs_names(proto: str, type_: int, code: int, name: str):
    assert kind_of(proto, type_, code) == name


def test_an_error_and_the_packet_that_it_quotes_tell_of_each_other(pair: Scene):
    goes(pair, ASKED)
    comes(pair, icmp_error("192.168.0.2", "192.168.0.1", 3, ASKED))
    asked, error = pair.record().journeys
    assert (error.quotes, error.flow, error.direction, error.nth) == (asked.id, asked.flow, "reply", 0)
    assert [(said.journey, said.kind, said.host, said.among) for said in asked.errors] == [
        (error.id, "port-unreachable", "B", 1)
    ]
    assert error.error == asked.errors[0]
    assert (asked.end.kind, asked.end.why) == ("delivered", "refused")


def test_the_first_answer_stays_the_first_behind_an_error(pair: Scene):
    goes(pair, ASKED)
    comes(pair, icmp_error("192.168.0.2", "192.168.0.1", 4, ASKED))
    comes(pair, udp("192.168.0.2:53", "192.168.0.1:4000", b"!"))
    (flow,) = pair.record().flows
    (answer,) = flow.packets("reply")
    assert (answer.nth, answer.first.headers.proto) == (1, "udp")


@pytest.mark.parametrize(
    "packet",
    [
        tcp("192.168.0.1:4000", "192.168.0.2:80", seq=2**32 - 1, ip_id=9),
        tcp("[fd00::1]:4000", "[fd00::2]:80", seq=7),
        udp("[fd00::1]:4000", "[fd00::2]:53", b"????"),
        Packet("icmp", "192.168.0.1:77", "192.168.0.2", seq=3, payload=b"x" * 8),
        Packet("igmp", "192.168.0.1", "192.168.0.2", payload=b"x" * 8, ip_id=3),
        udp("192.168.0.1:4000", "192.168.0.2:53", b"?", options=b"\1\1\1\0"),
    ],
)
def test_packets_of_every_kind_are_found_by_their_quotes(pair: Scene, packet: Packet):
    goes(
        pair,
        packet.but(**({"dst": "192.168.0.2:54"} if packet.proto == "udp" and packet.src[0] != "[" else {"ttl": 9})),
    )
    goes(pair, packet.but(tos=4))
    six = packet.src.startswith("[")
    whole = packet.but(ttl=3).network + packet.transport[:8]
    comes(
        pair,
        Packet("icmp6", "[fd00::2]:0", "[fd00::1]:0", icmp=(1, 4), payload=whole)
        if six
        else Packet("icmp", "192.168.0.2", "192.168.0.1", icmp=(3, 3), payload=whole),
    )
    *_, error = pair.record().journeys
    assert error.quotes == 2


BIG = b"\0\7\0\7" * 20


@pytest.mark.parametrize("which", [0, 1], ids=["the first", "a later one"])
@pytest.mark.parametrize(
    "packet",
    [
        udp("192.168.0.1:4000", "192.168.0.2:53", BIG, ip_id=9),
        tcp("192.168.0.1:4000", "192.168.0.2:80", seq=5, ip_id=9, payload=BIG),
        Packet("icmp", "192.168.0.1:77", "192.168.0.2", seq=3, payload=BIG, ip_id=9),
        udp("[fd00::1]:4000", "[fd00::2]:53", BIG, ip_id=9 << 16),
        tcp("[fd00::1]:4000", "[fd00::2]:80", seq=5, ip_id=9 << 16, payload=BIG),
    ],
)
def test_fragments_are_found_by_their_quotes_and_told_from_those_of_another_id(
    scene: Scene, packet: Packet, which: int
):
    a, _ = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    pieces = parts(packet, 40)
    for piece in (*pieces, *parts(packet.but(ip_id=10), 40)):
        a.sends(piece, "eth0")
    quoted = pieces[which]
    six = packet.src.startswith("[")
    whole = quoted.but(ttl=1).network + (quoted.ahead[1] if six else b"") + quoted.transport[:8]
    a.gets(
        "eth0",
        Packet("icmp6", "[fd00::2]:0", "[fd00::1]:0", icmp=(3, 0), payload=whole)
        if six
        else Packet("icmp", "192.168.0.2", "192.168.0.1", icmp=(11, 0), payload=whole),
    )
    *_, error = scene.record().journeys
    assert (error.quotes, error.error.among) == (which + 1, 1)


def test_an_error_that_quotes_what_was_never_seen_quotes_nothing_and_keeps_a_flow_of_its_own(pair: Scene):
    goes(pair, ASKED)
    comes(pair, icmp_error("192.168.0.2", "192.168.0.1", 3, ASKED.but(dst="192.168.0.2:54")))
    asked, error = pair.record().journeys
    assert (error.quotes, error.error, asked.errors) == (None, None, ())
    assert (error.flow, error.nth) == (2, 1)


def test_an_error_never_quotes_a_packet_that_came_after_it(pair: Scene):
    comes(pair, icmp_error("192.168.0.2", "192.168.0.1", 3, ASKED))
    goes(pair, ASKED)
    assert quoted(pair) == [(1, None)]


def test_an_error_too_short_to_quote_anything_breaks_nothing(pair: Scene):
    goes(pair, ASKED)
    for cut in range(0, 28, 3):
        whole = icmp_error("192.168.0.2", "192.168.0.1", 3, ASKED)
        comes(pair, whole.but(payload=whole.payload[:cut]))
    assert {of for _, of in quoted(pair)} == {None}


def test_an_error_that_only_hooks_saw_quotes_nothing_that_can_be_told(pair: Scene):
    goes(pair, ASKED)
    pair.hosts[1].makes(icmp_error("192.168.0.2", "192.168.0.1", 3, ASKED), "eth0").sees("output")
    assert quoted(pair) == [(2, None)]


def test_as_many_errors_as_packets_that_are_alike_are_told_by_their_order(pair: Scene):
    for _ in range(2):
        goes(pair, ASKED)
    for _ in range(2):
        comes(pair, icmp_error("192.168.0.2", "192.168.0.1", 3, ASKED))
    assert quoted(pair) == [(3, 1), (4, 2)]
    assert [each.error.among for each in pair.record().journeys[2:]] == [2, 2]


def test_of_fewer_errors_than_packets_each_takes_the_last_one_before_it_and_says_how_many_fit(pair: Scene):
    goes(pair, ASKED)
    goes(pair, ASKED)
    comes(pair, icmp_error("192.168.0.2", "192.168.0.1", 3, ASKED))
    goes(pair, ASKED)
    assert quoted(pair) == [(3, 2)]
    assert pair.record().journeys[2].error.among == 2


def test_an_error_is_about_the_packet_that_ended_at_its_host_not_the_one_that_went_on(scene: Scene):
    """Two datagrams that share all that is quoted; the one whose TTL ran out is meant."""
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan", eth1="far")
    c = scene.host("C", eth0="far")
    packet = udp("192.168.0.1:4000", "10.0.0.9:53", b"?")
    a.sends(packet.but(ttl=1), "eth0")
    b.gets("eth0", packet.but(ttl=1)).through("prerouting", "prerouting.nat")
    a.sends(packet, "eth0")
    walk = b.gets("eth0", packet, "eth1").forwarded()
    c.gets("eth0", walk.packet).delivered()
    error = icmp_error("192.168.0.2", "192.168.0.1", 0, packet.but(ttl=1)).but(icmp=(11, 0))
    b.sends(error, "eth0")
    a.gets("eth0", error).delivered()
    first, second, last = scene.record().journeys
    assert (last.quotes, last.error.among, first.end.why, second.end.why) == (first.id, 1, "ttl", None)


def test_an_error_from_behind_dnat_is_joined_by_what_its_own_host_saw(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan", eth1="far")
    c = scene.host("C", eth0="far")
    dnat = b.rule("nat", "PREROUTING", "-A PREROUTING -j DNAT --to-destination 10.0.0.9")
    a.sends(ASKED, "eth0")
    walk = b.gets("eth0", ASKED, "eth1", new(7)).sees("prerouting").matches(dnat)
    walk.sees("prerouting.nat", new(7, *DNATED), dst="10.0.0.9:53").sees("forward", ttl=63)
    inner = walk.through("postrouting", "postrouting.nat").leaves().packet
    c.gets("eth0", inner).delivered()
    error = icmp_error("10.0.0.9", "192.168.0.1", 3, inner)
    c.sends(error, "eth0")
    b.gets("eth1", error).through("prerouting", "prerouting.nat")
    asked, said = scene.record().journeys
    assert (said.quotes, asked.errors[0].host, asked.end.at.host) == (asked.id, "C", "C")


def test_the_next_links_mtu_is_told(pair: Scene):
    goes(pair, ASKED)
    whole = icmp_error("192.168.0.2", "192.168.0.1", 4, ASKED)
    comes(pair, whole.but(seq=1400))
    assert pair.record().journeys[0].errors[0].mtu == 1400


def test_an_error_of_a_host_without_taps_is_joined_by_what_others_saw(scene: Scene):
    a = scene.host("A", eth0="lan")
    a.sends(ASKED, "eth0")
    a.gets("eth0", icmp_error("192.168.0.2", "192.168.0.1", 1, ASKED)).delivered()
    asked, error = scene.record().journeys
    assert (error.quotes, asked.errors[0].host, asked.end.why) == (asked.id, None, None)
