"""Expectations about packets, held against records."""

from __future__ import annotations

from dataclasses import replace

import pytest
from record_nodeport import CLIENT, POD, SERVICE, NodePort
from record_packets import tcp, udp
from record_scene import BOTH_NATED, DNATED, Ct, Scene, established, new

from netemu.check.explain import Surroundings
from netemu.check.packets import check_packets
from netemu.check.verdict import Check, Verdict
from netemu.netfilter.conntrack import PacketConntrack
from netemu.topology.expectation import PacketExpectation

NOWHERE = Surroundings()
PASS, FAIL, UNPROVEN = Verdict.PASS, Verdict.FAIL, Verdict.UNPROVEN
THERE = ["A:eth0 out", "B:eth0 in", "B:eth0 out", "C:eth0 in", "C:cni0 out", "pod:eth0 in"]


def hold(scene: Scene, packet: str = "request.first", around: Surroundings = NOWHERE, **asked) -> Check:
    """Check one expectation about the traffic `hello`."""
    return check_packets(PacketExpectation(traffic="hello", packet=packet, **asked), scene.record(), around)


@pytest.mark.parametrize(
    ("packet", "at", "asked", "actual"),
    [
        ("request.first", "B@prerouting", {"src": "192.168.0.1:*"}, {"src": CLIENT}),
        ("request.first", "B@prerouting", {"dst": SERVICE}, {"dst": SERVICE}),
        ("request.first", "B@prerouting", {"dst": "*:30000"}, {"dst": SERVICE}),
        ("request.first", "B@forward", {"ttl": 63}, {"ttl": 63}),
        ("request.first", "B@prerouting.nat", {"by": "rule"}, {"by": "rule"}),
        ("request.first", "B@forward", {"by": "route"}, {"by": "route"}),
        ("request.first", "B@prerouting.nat", {"dst": POD, "by": "rule"}, {"dst": POD, "by": "rule"}),
        ("request.first", "B@prerouting", {"ct": "new"}, {"ct": "new"}),
        ("request.first", "C@prerouting", {"ct": "none"}, {"ct": "none"}),
        ("request.first", "B@prerouting", {"direction": "original"}, {"direction": "original"}),
        ("request.first", "B@prerouting", {"manip": "none"}, {"manip": "none"}),
        ("request.first", "B@prerouting.nat", {"manip": "dst"}, {"manip": "dst"}),
        ("request.first", "B@postrouting.nat", {"manip": "both"}, {"manip": "both"}),
        ("request.first", "B@postrouting.nat", {"walked": True}, {"walked": True}),
        ("request.nth", "B@postrouting.nat", {"walked": False}, {"walked": False}),
        ("request.nth", "B@prerouting.nat", {"by": "conntrack"}, {"by": "conntrack"}),
        ("reply.first", "B@prerouting.nat", {"dst": "192.168.0.1:*"}, {"dst": CLIENT}),
        ("reply.first", "B@postrouting.nat", {"src": SERVICE}, {"src": SERVICE}),
        ("reply.first", "B@prerouting", {"ct": "established"}, {"ct": "established"}),
        ("reply.first", "B@prerouting", {"direction": "reply"}, {"direction": "reply"}),
        ("reply.first", "A:eth0 in", {"ttl": 62}, {"ttl": 62}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_field_passes_where_it_holds(hello: NodePort, packet: str, at: str, asked: dict, actual: dict):
    check = hold(hello.scene, packet, at=at, **asked)
    assert (check.verdict, check.point, check.expected, check.actual, check.reason) == (PASS, at, asked, actual, "")


@pytest.mark.parametrize(
    ("packet", "at", "asked", "actual"),
    [
        ("request.first", "B@prerouting", {"src": "192.168.0.9:*"}, {"src": CLIENT}),
        ("request.first", "B@prerouting", {"src": "*:1"}, {"src": CLIENT}),
        ("request.first", "B@prerouting", {"dst": POD}, {"dst": SERVICE}),
        ("request.first", "B@prerouting", {"ttl": 63}, {"ttl": 64}),
        ("request.first", "B@prerouting.nat", {"by": "conntrack"}, {"by": "rule"}),
        ("request.first", "B@prerouting", {"by": "rule"}, {"by": None}),
        ("request.first", "B@forward", {"by": "rule"}, {"by": None}),
        ("request.first", "B@prerouting.nat", {"src": CLIENT, "by": "rule"}, {"src": CLIENT, "by": None}),
        (
            "request.first",
            "B@prerouting.nat",
            {"rule": "REDIRECT"},
            {"rule": "-A PREROUTING -p tcp -j DNAT --to-destination 172.26.0.3:8080"},
        ),
        ("request.nth", "B@prerouting.nat", {"rule": "DNAT"}, {"rule": None}),
        ("request.first", "B@prerouting", {"ct": "established"}, {"ct": "new"}),
        ("request.first", "C@prerouting", {"ct": "new"}, {"ct": "none"}),
        ("request.first", "B@prerouting", {"direction": "reply"}, {"direction": "original"}),
        ("request.first", "C@prerouting", {"direction": "original"}, {"direction": None}),
        ("request.first", "B@prerouting", {"manip": "both"}, {"manip": "none"}),
        ("request.first", "B@prerouting.nat", {"walked": False}, {"walked": True}),
        ("request.nth", "B@prerouting.nat", {"walked": True}, {"walked": False}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_field_fails_where_it_does_not_hold(hello: NodePort, packet: str, at: str, asked: dict, actual: dict):
    check = hold(hello.scene, packet, at=at, **asked)
    assert (check.verdict, check.point, check.expected, check.actual) == (FAIL, at, asked, actual)
    assert check.reason.endswith(f"{list(asked)[-1]} at {at}")


def test_a_rule_is_asked_for_by_a_part_of_its_text(hello: NodePort):
    check = hold(hello.scene, at="B@prerouting.nat", by="rule", rule="--to-destination 172.26.0.3:8080")
    assert (check.verdict, check.actual["rule"]) == (PASS, hello.dnat.text)


def test_a_failure_shows_the_packet_just_before_the_point(hello: NodePort):
    check = hold(hello.scene, at="B@prerouting.nat", dst=SERVICE)
    assert check.before == {"point": "B@prerouting", "src": CLIENT, "dst": SERVICE, "ttl": 64, "ct": "NEW"}
    assert check.reason == "request 1: dst at B@prerouting.nat"
    assert check.journey == 1


def test_several_wrong_fields_are_all_named(hello: NodePort):
    check = hold(hello.scene, at="B@prerouting.nat", src="1.1.1.1", dst=SERVICE, ttl=64)
    assert check.reason == "request 1: src, dst at B@prerouting.nat"


@pytest.mark.parametrize(
    ("packet", "journeys"),
    [
        ("request.first", (1,)),
        ("request.nth", (3,)),
        ("request.all", (1, 3)),
        ("request.2", (3,)),
        ("reply.first", (2,)),
        ("reply.all", (2,)),
    ],
)
def test_a_selector_selects_its_packets(hello: NodePort, packet: str, journeys: tuple[int, ...]):
    assert hold(hello.scene, packet, at="B:eth0 in").journeys == journeys


def test_the_first_packet_of_every_flow_of_the_item_is_asked(lab: NodePort):
    lab.handshake(7)
    lab.handshake(8, "192.168.0.1:54523")
    lab.scene.exchange("hello", "A")
    assert hold(lab.scene, at="B@prerouting.nat", by="rule").journeys == (1, 4)


def test_the_one_packet_that_parts_from_the_expectation_decides(hello: NodePort):
    check = hold(hello.scene, "request.all", at="B@prerouting.nat", by="rule")
    assert (check.verdict, check.journey, check.journeys, check.actual) == (FAIL, 3, (1, 3), {"by": "conntrack"})


@pytest.mark.parametrize("packet", ["request.3", "reply.nth", "reply.2"])
def test_where_nothing_is_selected_nothing_is_proven(hello: NodePort, packet: str):
    check = hold(hello.scene, packet, at="B@prerouting", ct="new")
    assert (check.verdict, check.journeys, check.expected) == (UNPROVEN, (), {"ct": "new"})
    assert check.reason == f"no {packet} was seen; request 2 was delivered to pod itself, last seen at pod@input.nat"


def test_traffic_that_left_no_packet_proves_nothing(lab: NodePort):
    lab.scene.exchange("hello", "A", tcp(CLIENT, SERVICE).tuple)
    check = hold(lab.scene, at="B@prerouting", ct="new")
    assert (check.verdict, check.reason) == (UNPROVEN, "no packet of hello was seen")


def test_traffic_that_was_not_sent_proves_nothing(lab: NodePort):
    check = hold(lab.scene, at="B@prerouting", ct="new")
    assert (check.verdict, check.reason) == (UNPROVEN, "traffic hello was not sent in this record")


def test_a_path_that_is_crossed_passes(hello: NodePort):
    check = hold(hello.scene, path=THERE)
    assert (check.verdict, check.point, check.actual) == (PASS, "pod:eth0 in", {"path": THERE})


def test_a_path_that_parts_in_the_middle_fails_at_the_first_point_that_differs(hello: NodePort):
    wanted = [*THERE[:4], "C:cni1 out", "pod:eth0 in"]
    check = hold(hello.scene, path=wanted)
    assert (check.verdict, check.point) == (FAIL, "C:cni1 out")
    assert check.reason == "request 1 was at C:cni0 out instead"
    assert check.before["point"] == "C:eth0 in"


def test_a_path_that_goes_on_fails_where_it_should_have_ended(hello: NodePort):
    check = hold(hello.scene, path=THERE[:4])
    assert (check.verdict, check.point, check.reason) == (FAIL, "C:cni0 out", "request 1 went on to C:cni0 out")


def cut_short(lab: NodePort) -> None:
    """A's SYN comes to B, whose FORWARD policy drops it."""
    syn = tcp(CLIENT, SERVICE)
    lab.a.sends(syn, "eth0")
    walk = lab.b.gets("eth0", syn, "eth0", new(7)).sees("prerouting").matches(lab.dnat)
    walk.sees("prerouting.nat", new(7, *DNATED), dst=POD).falls_through("filter", "FORWARD", "drop")
    lab.scene.exchange("hello", "A", syn.tuple, fault="no answer within 3s")


def test_a_path_that_is_cut_short_fails_where_the_packet_was_due_next_and_says_why(lab: NodePort):
    cut_short(lab)
    check = hold(lab.scene, path=THERE)
    assert (check.verdict, check.point, check.actual) == (FAIL, "B:eth0 out", {"path": THERE[:2]})
    assert check.reason == (
        "request 1 never came to B:eth0 out: last seen at B@prerouting.nat: dropped by filter FORWARD, policy"
    )
    assert check.before["point"] == "B:eth0 in"


def test_a_point_that_was_never_reached_fails_with_the_last_seen_point_and_why(lab: NodePort):
    cut_short(lab)
    check = hold(lab.scene, at="C@prerouting", src="192.168.0.2:*")
    assert (check.verdict, check.actual, check.before["point"]) == (FAIL, {}, "B@prerouting.nat")
    assert check.reason == (
        "request 1 never came to C@prerouting: last seen at B@prerouting.nat: dropped by filter FORWARD, policy"
    )


def test_a_host_that_does_not_forward_is_the_reason_where_the_topology_says_so(lab: NodePort):
    syn = tcp(CLIENT, POD)
    lab.a.sends(syn, "eth0")
    lab.b.gets("eth0", syn).through("prerouting", "prerouting.nat")
    lab.scene.exchange("hello", "A", syn.tuple)
    check = hold(lab.scene, at="C:eth0 in", around=Surroundings({"B": False}))
    assert check.verdict is FAIL
    assert check.reason.endswith("last seen at B@prerouting.nat: B does not forward (forwarding: false)")


@pytest.mark.parametrize("host", ["A", "B", "C", "pod"])
@pytest.mark.parametrize("fault", [{"lost": 2}, {"alive": False}], ids=["lost", "not alive"])
@pytest.mark.parametrize("asked", [{"at": "B@prerouting.nat", "by": "rule"}, {"path": THERE}], ids=["point", "path"])
def test_a_tap_of_a_touched_host_that_is_unsound_leaves_it_unproven(hello: NodePort, host, fault, asked):
    getattr(hello, host.lower()).fault("hooks", **fault)
    check = hold(hello.scene, **asked)
    assert (check.verdict, check.reason.startswith(f"{host}'s hooks tap")) == (UNPROVEN, True)


def test_an_unsound_tap_of_an_untouched_host_has_no_effect(hello: NodePort):
    far = hello.scene.host("far", eth0="elsewhere")
    far.fault("wire", lost=9)
    assert hold(hello.scene, at="B@prerouting.nat", by="rule").verdict is PASS


def test_a_packet_not_seen_at_a_point_whose_tap_was_not_alive_is_unproven(lab: NodePort):
    cut_short(lab)
    lab.c.fault("hooks", alive=False)
    assert hold(lab.scene, at="C@prerouting", src="192.168.0.2:*").verdict is UNPROVEN


def test_a_path_over_a_host_whose_tap_was_not_alive_is_unproven_though_nothing_was_seen_there(lab: NodePort):
    """'Nothing was seen there' needs a tap known to see."""
    syn = tcp(CLIENT, SERVICE)
    lab.a.sends(syn, "eth0")
    lab.scene.exchange("hello", "A", syn.tuple)
    lab.b.fault("wire", alive=False)
    assert hold(lab.scene, path=THERE).verdict is UNPROVEN


def test_nothing_selected_and_a_lossy_tap_tells_of_the_tap(lab: NodePort):
    lab.scene.exchange("hello", "A", tcp(CLIENT, SERVICE).tuple)
    lab.a.fault("wire", lost=1)
    check = hold(lab.scene, at="B@prerouting", ct="new")
    assert (check.verdict, "A's wire tap lost 1" in check.reason) == (UNPROVEN, True)


def tracked(lab: NodePort, ct: Ct | None) -> None:
    syn = tcp(CLIENT, SERVICE)
    lab.a.sends(syn, "eth0")
    lab.b.gets("eth0", syn, ct=ct).delivered()
    lab.scene.exchange("hello", "A", syn.tuple)


def test_manips_that_this_kernels_taps_cannot_tell_are_unproven(lab: NodePort):
    """A state without status and without the tap rules that would tell the manips."""
    tracked(lab, None)
    record = lab.scene.record()
    journey = record.journeys[0]
    journey.sightings = tuple(replace(seen, ct=PacketConntrack("new", "original")) for seen in journey.sightings)
    asked = PacketExpectation(traffic="hello", packet="request.first", at="B@prerouting", manip="none")
    check = check_packets(asked, record, NOWHERE)
    assert (check.verdict, check.actual) == (UNPROVEN, {"manip": "unknown"})
    assert check.reason == "request 1: manip can't be told at B@prerouting"
    worse = check_packets(asked.model_copy(update={"ttl": 1}), record, NOWHERE)
    assert worse.verdict is FAIL


def test_where_nothing_is_told_of_conntrack_its_manips_are_unknown(lab: NodePort):
    tracked(lab, None)
    check = hold(lab.scene, at="B@prerouting", manip="none")
    assert (check.verdict, check.actual) == (UNPROVEN, {"manip": "unknown"})


@pytest.mark.parametrize("ct", [Ct("untracked"), Ct("invalid")], ids=["untracked", "invalid"])
def test_a_packet_without_an_entry_has_no_manip_set_up(lab: NodePort, ct: Ct | None):
    tracked(lab, ct)
    check = hold(lab.scene, at="B@prerouting", manip="none")
    assert (check.verdict, check.actual) == (PASS, {"manip": "none"})


@pytest.mark.parametrize("old", [False, True], ids=["6.16 and later", "before 6.16"])
def test_the_nodeports_own_expectations_hold_on_every_kernel(old: bool):
    lab = NodePort(Scene(old))
    lab.handshake()
    lab.scene.exchange("hello", "A", tcp(CLIENT, SERVICE).tuple)
    for packet, asked in (
        ("request.first", {"at": "B@prerouting", "dst": SERVICE, "ct": "new", "manip": "none"}),
        ("request.first", {"at": "B@prerouting.nat", "dst": POD, "by": "rule", "manip": "dst", "walked": True}),
        ("request.first", {"at": "B@postrouting.nat", "src": "192.168.0.2:*", "by": "rule", "manip": "both"}),
        ("reply.first", {"at": "B@prerouting.nat", "dst": CLIENT, "by": "conntrack", "direction": "reply"}),
        ("reply.first", {"at": "B@postrouting.nat", "src": SERVICE, "by": "conntrack", "ct": "established"}),
        ("request.nth", {"at": "B@prerouting.nat", "dst": POD, "by": "conntrack", "manip": "both", "walked": False}),
    ):
        check = hold(lab.scene, packet, **asked)
        assert (packet, asked, check.verdict) == (packet, asked, PASS), check.reason


def test_the_second_datagram_in_new_is_not_walked(lab: NodePort):
    asked = udp(CLIENT, SERVICE)
    lab.first(asked)
    lab.later(asked, new(7, *BOTH_NATED))
    lab.scene.exchange("hello", "A", asked.tuple)
    check = hold(lab.scene, "request.2", at="B@prerouting.nat", ct="new", walked=False, by="conntrack", dst=POD)
    assert (check.verdict, check.reason) == (PASS, "")


def test_an_established_packet_has_its_state_at_every_stage(hello: NodePort):
    for stage in ("prerouting", "prerouting.nat", "forward", "postrouting", "postrouting.nat"):
        assert hold(hello.scene, "request.2", at=f"B@{stage}", ct=established(7).state).verdict is PASS


def test_a_check_is_named_after_its_traffic_its_packet_and_its_place(hello: NodePort):
    assert hold(hello.scene, at="B@forward", ttl=63).name == "hello request.first B@forward"
    assert hold(hello.scene, path=THERE).name == "hello request.first path to pod:eth0"


def test_expected_and_actual_hold_the_same_keys(hello: NodePort):
    for packet, asked in (
        (
            "request.first",
            {"at": "B@prerouting.nat", "src": CLIENT, "dst": POD, "by": "rule", "rule": "DNAT", "ttl": 9},
        ),
        ("request.first", {"path": THERE[:2]}),
        ("request.all", {"at": "B@postrouting.nat", "manip": "both", "walked": True, "direction": "original"}),
    ):
        check = hold(hello.scene, packet, **asked)
        assert list(check.expected) == list(check.actual)


def two_alike(scene: Scene) -> None:
    """Two datagrams, equal to the last byte: both left A, one came to B."""
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    asked = udp("192.168.0.1:4000", "192.168.0.2:53", b"?")
    a.sends(asked, "eth0")
    a.sends(asked, "eth0")
    b.gets("eth0", asked).delivered()
    scene.exchange("ask", "A", asked.tuple)


@pytest.mark.parametrize(
    ("packet", "at", "verdict"),
    [
        ("request.1", "B:eth0 in", "unproven"),  # the one that came, or the other?
        ("request.2", "B:eth0 in", "unproven"),
        ("request.all", "B:eth0 in", "fail"),  # whichever it was, one did not come
        ("request.1", "A:eth0 out", "pass"),  # both give the same
    ],
)
def test_a_packet_that_cannot_be_told_from_another_is_judged_as_both(scene: Scene, packet, at, verdict):
    two_alike(scene)
    asked = PacketExpectation(traffic="ask", packet=packet, at=at, ttl=64)
    check = check_packets(asked, scene.record(), Surroundings())
    assert str(check.verdict) == verdict
    if verdict == "unproven":
        assert "can't be told from others that are equal to it" in check.reason
