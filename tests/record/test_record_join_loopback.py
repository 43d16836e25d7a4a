"""A host's own copy of a broadcast or multicast: part of the packet's journey, and said where it may be another's."""

from __future__ import annotations

import pytest
from record_packets import Packet, udp
from record_scene import SNATED, Host, Scene, new

from netemu.check.explain import Surroundings
from netemu.check.packets import check_packets
from netemu.check.verdict import Verdict
from netemu.record.journeys import Journey
from netemu.record.live.journeys import Live
from netemu.topology.expectation import PacketExpectation

OUT = ["A@output", "A@output.nat", "A@postrouting", "A@postrouting.nat"]
BACK = ["A@prerouting", "A@prerouting.nat", "A@input", "A@input.nat"]
OUT_STAGES = ("output", "output.nat", "postrouting", "postrouting.nat")
GOT = ["B:eth0 in", "B@prerouting", "B@prerouting.nat", "B@input", "B@input.nat"]
BROADCAST = udp("192.168.0.1:4000", "192.168.0.255:53", b"!", to_all=True)
MULTICAST = udp("192.168.0.1:4000", "239.1.2.3:53", b"!")
MULTICAST6 = udp("[fd00::1]:4000", "[ff05::5]:53", b"!")
ALL = pytest.mark.parametrize("packet", [BROADCAST, MULTICAST, MULTICAST6], ids=["broadcast", "multicast", "ipv6"])


@pytest.fixture
def lan(scene: Scene) -> tuple[Host, Host]:
    return scene.host("A", eth0="lan"), scene.host("B", eth0="lan")


def points(journey: Journey) -> list[str]:
    return [str(seen.point) for seen in journey.sightings]


def ends(journey: Journey) -> list[tuple[str, str]]:
    return [(end.kind, str(end.at)) for end in journey.ends]


def told(scene: Scene) -> list[tuple[int, bool, bool]]:
    """Of each journey: how many are alike, whether that is certain, whether the sender got it too."""
    return [(each.alike, each.certain, "A@input.nat" in points(each)) for each in scene.record().journeys]


@ALL
def test_the_copy_is_an_end_of_the_packets_journey_behind_its_receivers(scene, lan, packet):
    a, b = lan
    a.casts(packet, "eth0")
    b.gets("eth0", packet).delivered()
    (journey,) = scene.record().journeys
    assert points(journey) == [*OUT, "A:eth0 out", *GOT, *OUT[2:], *BACK]
    assert ends(journey) == [("delivered", "B@input.nat"), ("delivered", "A@input.nat")]
    assert (journey.end, journey.complete, journey.rewrites) == (journey.ends[0], True, ())
    assert (journey.alike, journey.certain) == (1, True)


@ALL
def test_a_check_of_all_requests_is_of_the_packet_alone(scene, lan, packet):
    a, b = lan
    a.casts(packet, "eth0")
    b.gets("eth0", packet).delivered()
    scene.exchange("cast", "A", packet.tuple)
    record = scene.record()
    for more in ({"at": "B:eth0 in"}, {"path": ("A:eth0 out", "B:eth0 in")}, {"at": "A@input.nat"}):
        asked = PacketExpectation(traffic="cast", packet="request.all", **more)
        check = check_packets(asked, record, Surroundings())
        assert (check.verdict, check.journeys) == (Verdict.PASS, (1,))
    missed = PacketExpectation(traffic="cast", packet="request.all", at="B:eth0 out")
    assert check_packets(missed, record, Surroundings()).verdict is Verdict.FAIL


@pytest.mark.parametrize("packet", [MULTICAST, MULTICAST6], ids=["ipv4", "ipv6"])
def test_with_a_ttl_of_0_the_copy_is_all_that_is_left_of_the_packet(scene, lan, packet: Packet):
    a, _ = lan
    a.sends(udp("192.168.0.1:1", "192.168.0.2:2"), "eth0")  # something for the wires
    a.casts(packet.but(ttl=0), "eth0")
    _, journey = scene.record().journeys
    assert points(journey) == [*(OUT[:2] if packet is MULTICAST else OUT), *OUT[2:], *BACK]
    assert ends(journey) == [("delivered", "A@input.nat")]
    assert journey.complete


def test_the_trace_id_of_a_packet_with_ttl_0_may_be_that_of_a_later_ones_copy(scene, lan):
    """It is freed at once, and its buffer is the next copy's: that is no second half of it."""
    a, _ = lan
    a.sends(udp("192.168.0.1:1", "192.168.0.2:2"), "eth0")
    for number in range(3):
        a.casts(MULTICAST.but(ttl=0, ip_id=number), "eth0", id=50 + number, ids=(49 + number, 60 + number))
    for _ in range(2):
        a.casts(MULTICAST.but(ttl=0, ip_id=9), "eth0", id=70, ids=(70, 71))
    found = scene.record().journeys[1:]
    assert [points(each) for each in found] == [[*OUT[:2], *OUT[2:], *BACK]] * 5
    assert [each.alike for each in found] == [1, 1, 1, 2, 2]


def test_a_packet_that_is_dropped_behind_its_copy_ends_there_too(scene, lan):
    a, _ = lan
    rule = a.rule("mangle", "POSTROUTING", "-A POSTROUTING -m statistic --mode nth --every 2 -j DROP")
    walk = a.makes(MULTICAST, "eth0").through("output", "output.nat")
    copy = a.walks("postrouting", MULTICAST, None, "eth0", None, start_lost=True)
    copy.through("postrouting", "postrouting.nat")
    a.walks("prerouting", MULTICAST, "eth0", None, None).delivered()
    walk.through("postrouting").matches(rule, "drop")
    (journey,) = scene.record().journeys
    assert ends(journey) == [("dropped", "A@postrouting"), ("delivered", "A@input.nat")]
    assert not journey.complete
    assert journey.end.turn is not None


def test_a_copy_that_a_rule_drops_ends_there(scene, lan):
    a, b = lan
    rule = a.rule("filter", "INPUT", "-A INPUT -j DROP")
    walk = a.makes(BROADCAST, "eth0").through("output", "output.nat")
    a.walks("postrouting", BROADCAST, None, "eth0", None, start_lost=True).through("postrouting", "postrouting.nat")
    a.walks("prerouting", BROADCAST, "eth0", None, None).through("prerouting", "prerouting.nat").matches(rule, "drop")
    walk.through("postrouting", "postrouting.nat").leaves()
    b.gets("eth0", BROADCAST).delivered()
    (journey,) = scene.record().journeys
    assert ends(journey) == [("delivered", "B@input.nat"), ("dropped", "A@prerouting.nat")]


def test_before_the_copy_stands_the_packet_as_it_was_cloned(scene, lan):
    """IPv4 clones before SNAT: the copy walks the nat chain, and the packet is rewritten by the entry it set up."""
    a, _ = lan
    rule = a.rule("nat", "POSTROUTING", "-A POSTROUTING -j SNAT --to-source 192.168.0.9")
    walk = a.makes(BROADCAST, "eth0", new(7)).through("output", "output.nat")
    copy = a.walks("postrouting", BROADCAST, None, "eth0", new(7), start_lost=True).sees("postrouting")
    copy.matches(rule).sees("postrouting.nat", new(7, *SNATED), src="192.168.0.9:4000")
    a.walks("prerouting", copy.packet, "eth0", None, copy.ct).delivered()
    walk.sees("postrouting", copy.ct).sees("postrouting.nat", src="192.168.0.9:4000").leaves()
    (journey,) = scene.record().journeys
    changes = [(each.place, each.field, each.before, each.after, each.by) for each in journey.rewrites]
    src = ("src", "192.168.0.1:4000", "192.168.0.9:4000")
    assert changes == [(3, *src, "conntrack"), (6, *src, "rule")]
    assert points(journey)[5:7] == OUT[2:]


def test_a_mangled_ttl_is_told_of_packet_and_copy(scene, lan):
    a, _ = lan
    walk = a.makes(MULTICAST, "eth0").through("output", "output.nat")
    copy = a.walks("postrouting", MULTICAST, None, "eth0", None, start_lost=True).sees("postrouting", ttl=9)
    copy.through("postrouting.nat")
    a.walks("prerouting", copy.packet, "eth0", None, None).delivered()
    walk.sees("postrouting", ttl=9).through("postrouting.nat").leaves()
    (journey,) = scene.record().journeys
    assert [(each.place, each.before, each.after) for each in journey.rewrites] == [(2, "64", "9"), (5, "64", "9")]


def test_each_copy_stands_behind_its_own_packet_where_no_wire_saw_either_leave(scene, lan):
    a, _ = lan
    for number in range(2):
        walk = a.makes(MULTICAST.but(ip_id=number), "eth0").through("output", "output.nat")
        copy = a.walks("postrouting", walk.packet, None, "eth0", None, start_lost=True).sees("postrouting", ttl=9)
        copy.through("postrouting.nat")
        a.walks("prerouting", copy.packet, "eth0", None, None).delivered()
        walk.sees("postrouting", ttl=9).through("postrouting.nat")
    found = scene.record().journeys
    assert [points(each) for each in found] == [[*OUT, *OUT[2:], *BACK]] * 2
    for each in found:
        assert [(change.place, change.before, change.after) for change in each.rewrites] == [
            (2, "64", "9"),
            (4, "64", "9"),
        ]


def test_a_forwarded_multicast_has_a_copy_too(scene, lan):
    _, b = lan
    b.interfaces[3] = "eth1"
    packet = MULTICAST
    walk = b.gets("eth0", packet, "eth1").through("prerouting", "prerouting.nat").sees("forward", ttl=63)
    b.walks("postrouting", walk.packet, None, "eth1", None, start_lost=True).through("postrouting", "postrouting.nat")
    b.walks("prerouting", walk.packet, "eth1", None, None).through("prerouting", "prerouting.nat")
    walk.through("postrouting", "postrouting.nat").leaves()
    (journey,) = scene.record().journeys
    assert ends(journey) == [("unseen", "B:eth1 out"), ("unseen", "B@prerouting.nat")]
    assert [(change.field, change.place) for change in journey.rewrites] == [("ttl", 3)]


@pytest.mark.parametrize("packet", [BROADCAST, MULTICAST, MULTICAST6, MULTICAST.but(ttl=0), MULTICAST6.but(ttl=0)])
def test_identical_packets_and_their_copies_are_told_by_order(scene, lan, packet):
    a, b = lan
    a.sends(udp("192.168.0.1:1", "192.168.0.2:2"), "eth0")
    for _ in range(3):
        a.casts(packet, "eth0")
        if packet.ttl:
            b.gets("eth0", packet).delivered()
    assert told(scene)[1:] == [(3, True, True)] * 3


def test_between_packets_with_a_copy_and_without_the_trace_decides_for_ipv4(scene, lan):
    """The copy's events stand between those of its packet."""
    a, b = lan
    for copied in (True, False, True):
        (a.casts if copied else a.sends)(MULTICAST, "eth0")
        b.gets("eth0", MULTICAST).delivered()
    assert told(scene) == [(3, True, True), (3, True, False), (3, True, True)]


def test_where_ipv6_made_fewer_copies_than_packets_it_can_not_be_told_whose_they_are(scene, lan):
    """It is made behind the packet's last event: that of the one before would look the same."""
    a, b = lan
    for copied in (True, False, True):
        (a.casts if copied else a.sends)(MULTICAST6, "eth0")
        b.gets("eth0", MULTICAST6).delivered()
    assert told(scene) == [(3, False, True), (3, False, False), (3, False, True)]


def test_the_only_packet_before_a_copy_is_its_own(scene, lan):
    a, b = lan
    a.casts(MULTICAST6, "eth0")
    b.gets("eth0", MULTICAST6).delivered()
    a.sends(MULTICAST6, "eth0")
    b.gets("eth0", MULTICAST6).delivered()
    assert told(scene) == [(2, True, True), (2, True, False)]


def test_a_frame_like_the_copy_that_comes_in_leaves_open_which_is_which(scene, lan):
    a, b = lan
    a.casts(MULTICAST, "eth0")
    b.sends(MULTICAST, "eth0")  # a repeater that sends it back as it was
    a.gets("eth0", MULTICAST).delivered()
    sent = scene.record().journeys[0]
    assert (sent.alike, sent.certain) == (2, False)


def test_one_return_of_two_copies_leaves_open_whose_it_is(scene, lan):
    a, _ = lan
    a.casts(MULTICAST, "eth0")
    a.casts(MULTICAST, "eth0", delivers=False)
    assert [certain for _, certain, _ in told(scene)] == [False, False]


@pytest.mark.parametrize(
    "packet",
    [
        udp("192.168.0.1:4000", "192.168.0.2:53", b"!"),
        udp("192.168.0.1:4000", "192.168.0.255:53", b"!", to_all=False),
        udp("[fd00::1]:4000", "[fd00::2]:53", b"!"),
    ],
)
def test_a_packet_to_one_host_whose_output_was_lost_is_no_copy_of_one_that_is_alike(scene, lan, packet):
    a, b = lan
    a.sends(packet, "eth0")
    a.walks("output", packet, None, "eth0", None, start_lost=True).through(*OUT_STAGES[2:]).leaves()
    for _ in range(2):
        b.gets("eth0", packet).delivered()
    one, other = scene.record().journeys
    assert points(one) == [*OUT, "A:eth0 out", *GOT]
    assert points(other) == [*OUT[2:], "A:eth0 out", *GOT]


def test_a_multicast_whose_output_was_lost_is_a_packet_as_it_was(scene, lan):
    a, b = lan
    a.walks("output", MULTICAST, None, "eth0", None, start_lost=True).through(*OUT_STAGES[2:]).leaves()
    b.gets("eth0", MULTICAST).delivered()
    (journey,) = scene.record().journeys
    assert points(journey) == [*OUT[2:], "A:eth0 out", *GOT]


def test_of_another_interface_is_no_copy(scene):
    a = scene.host("A", eth0="lan", eth1="other")
    a.sends(MULTICAST, "eth0")
    a.walks("output", MULTICAST, None, "eth1", None, start_lost=True).through(*OUT_STAGES[2:])
    assert [ends(each) for each in scene.record().journeys] == [
        [("unseen", "A:eth0 out")],
        [("unseen", "A@postrouting.nat")],
    ]


def test_a_copy_of_an_ipv6_fragment_is_not_the_frame_that_left(scene, lan):
    """Each fragment is copied by itself, as like its frame as can be."""
    a, b = lan
    part = udp("[fd00::1]:4000", "[ff05::5]:53", b"?" * 8, extensions=(44, b"\x11\0\0\x01" + bytes(4)))
    a.makes(MULTICAST6, "eth0").through(*OUT_STAGES)
    a.walks("postrouting", part, None, "eth0", None, start_lost=True).through(*OUT_STAGES[2:])
    a.wire("eth0", "out", part)
    b.wire("eth0", "in", part)
    found = [points(each) for each in scene.record().journeys]
    assert ["A:eth0 out", "B:eth0 in"] in found
    assert OUT[2:] in found


@ALL
def test_a_watch_tells_the_copy_with_its_packet(scene, lan, packet):
    a, b = lan
    a.casts(packet, "eth0")
    b.gets("eth0", packet).delivered()
    live = Live(scene.segment_of)
    assert live.feed(scene.captures(), 0) == []
    (completed,) = live.feed([], live.linger_ns)
    assert ends(completed.journey) == [("delivered", "B@input.nat"), ("delivered", "A@input.nat")]
    assert live.pending == 0
