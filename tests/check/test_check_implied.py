"""What is checked of every record: that traffic was answered, and that counters and trace agree."""

from __future__ import annotations

import pytest
from record_nodeport import CLIENT, POD, SERVICE, NodePort
from record_packets import tcp
from record_scene import DNATED, new

from netemu.check.explain import Surroundings
from netemu.check.implied import check_answered, check_counters_agree, check_taps
from netemu.check.verdict import Check, Verdict
from netemu.record.capture import TapHealth
from netemu.record.record import Record

PASS, FAIL, UNPROVEN = Verdict.PASS, Verdict.FAIL, Verdict.UNPROVEN
SYN = tcp(CLIENT, SERVICE)


def answered(lab: NodePort, **forwarding: bool) -> Check:
    record = lab.scene.record()
    return check_answered(record.exchanges[0], record, Surroundings(forwarding))


def agree(lab: NodePort, host: str = "B") -> Check | None:
    return check_counters_agree(host, lab.scene.record())


def test_answered_traffic_passes(hello: NodePort):
    check = answered(hello)
    assert (check.name, check.verdict, check.reason) == ("hello answered", PASS, "")


def test_unanswered_traffic_fails_with_the_point_where_its_packet_was_last_seen(lab: NodePort):
    deny = lab.b.rule("filter", "FORWARD", "-A FORWARD -j DROP")
    lab.a.sends(SYN, "eth0")
    walk = lab.b.gets("eth0", SYN, "eth0", new(7)).sees("prerouting").matches(lab.dnat)
    walk.sees("prerouting.nat", new(7, *DNATED), dst=POD).matches(deny, "drop")
    lab.scene.exchange("hello", "A", SYN.tuple, fault="no answer within 3s")
    check = answered(lab)
    assert (check.verdict, check.point, check.journey) == (FAIL, "B@prerouting.nat", 1)
    assert check.reason == (
        "no answer within 3s; request 1 was last seen at B@prerouting.nat: "
        "dropped by filter FORWARD, -A FORWARD -j DROP"
    )
    assert check.before["dst"] == POD
    assert (check.expected, check.actual) == ({"fault": None}, {"fault": "no answer within 3s"})


def test_a_reply_that_did_not_come_home_is_the_one_told_of(lab: NodePort):
    lab.first(SYN)
    lab.pod.sends(tcp(POD, "192.168.0.2:54522", "SYN ACK"), "eth0")
    lab.scene.exchange("hello", "A", SYN.tuple, fault="no answer within 3s")
    check = answered(lab)
    assert check.reason == (
        "no answer within 3s; reply 1 was last seen at pod:eth0 out: it left there, and came in nowhere"
    )
    assert check.journey == 2


def test_a_reply_that_its_own_host_dropped_is_the_one_told_of(lab: NodePort):
    deny = lab.pod.rule("filter", "OUTPUT", "-A OUTPUT -j DROP")
    lab.first(SYN)
    back = tcp(POD, "192.168.0.2:54522", "SYN ACK")
    lab.pod.makes(back, "eth0").through("output", "output.nat").matches(deny, "drop")
    lab.entry()
    lab.scene.exchange("hello", "A", SYN.tuple, fault="no answer within 3s")
    assert answered(lab).reason == (
        "no answer within 3s; reply 1 was last seen at pod@output.nat: dropped by filter OUTPUT, -A OUTPUT -j DROP"
    )


def test_where_every_packet_arrived_the_last_one_is_told_of(hello: NodePort):
    hello.scene.exchanges.clear()
    hello.scene.exchange("hello", "A", SYN.tuple, fault="connection refused")
    check = answered(hello)
    assert check.reason == "connection refused; request 2 was delivered to pod itself, last seen at pod@input.nat"


def test_traffic_of_which_no_packet_was_seen_fails_too(lab: NodePort):
    lab.scene.exchange("hello", "A", fault="network is unreachable")
    check = answered(lab)
    assert (check.verdict, check.point, check.reason) == (FAIL, "A", "network is unreachable; A sent nothing")


def test_that_a_host_sent_nothing_is_not_said_where_its_taps_were_not_alive(lab: NodePort):
    """The fault stands whatever the taps saw, but 'nothing was seen there' needs a tap known to see."""
    lab.scene.exchange("hello", "A", fault="no answer within 3s")
    lab.a.fault("wire", alive=False)
    assert "sent nothing" not in answered(lab).reason


def test_counters_that_agree_with_the_trace_pass(hello: NodePort):
    check = agree(hello)
    assert (check.verdict, check.expected, check.actual, check.reason) == (PASS, {}, {}, "")


def test_a_counter_that_disagrees_with_the_trace_leaves_it_unproven(hello: NodePort):
    hello.b.counted[hello.dnat.key] = 5
    check = agree(hello)
    assert check.verdict is UNPROVEN
    assert (check.expected, check.actual) == ({hello.dnat.text: 5}, {hello.dnat.text: 1})
    assert check.reason == f"the counter of {hello.dnat.text} says 5, the trace 1"


def test_two_rules_of_one_text_that_disagree_are_both_told(hello: NodePort):
    twin = hello.b.rule("filter", "FORWARD", "-j ACCEPT")
    other = hello.b.rule("filter", "INPUT", "-j ACCEPT")
    hello.b.counted |= {twin.key: 3, other.key: 4}
    assert sorted(agree(hello).expected.values()) == [3, 4]


def test_a_rule_of_the_raw_table_that_dropped_packets_agrees_with_the_trace(hello: NodePort):
    deny = hello.b.rule("raw", "PREROUTING", "-A PREROUTING -j DROP")
    hello.b.gets("eth0", SYN.but(ip_id=77)).matches(deny, "drop")
    check = agree(hello)
    assert (check.verdict, check.reason) == (PASS, "")


def test_a_rule_that_packets_only_pass_by_agrees_with_the_trace(hello: NodePort):
    mark = hello.b.rule("filter", "FORWARD", "-A FORWARD -j MARK --set-mark 1")
    walk = hello.b.gets("eth0", SYN.but(ip_id=77), "eth0").through("prerouting", "prerouting.nat")
    walk.matches(mark, "continue").sees("forward", ttl=63)
    assert agree(hello).verdict is PASS


def test_a_host_whose_rules_do_not_count_is_not_checked(hello: NodePort):
    hello.b.counted = dict.fromkeys(hello.b.counted)
    assert agree(hello) is None
    assert agree(hello, "A") is None
    assert agree(hello, "nobody") is None


def test_agreement_rests_on_the_hosts_own_taps(hello: NodePort):
    hello.c.fault("hooks", lost=1)
    assert agree(hello).verdict is PASS
    hello.b.fault("hooks", lost=1)
    assert agree(hello).verdict is UNPROVEN


def test_every_tap_of_every_host_that_is_sound_passes():
    record = Record(health=[TapHealth("wire", "A"), TapHealth("wire", "B")])
    assert check_taps(record, Surroundings({"A": False, "B": True})).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("health", "told"),
    [
        ([TapHealth("wire", "A", lost=3)], "A's wire tap lost 3"),
        ([TapHealth("hooks", "A", alive=False)], "A's hooks tap was not alive throughout"),
        ([TapHealth("wire", "A", note="the lab did not make br0")], "A's wire tap: the lab did not make br0"),
        ([], "A had no taps"),
    ],
)
def test_a_tap_that_lost_was_late_or_never_was_leaves_the_record_unproven(health: list[TapHealth], told: str):
    check = check_taps(Record(health=health), Surroundings({"A": False}))
    assert (check.verdict, check.reason) == (Verdict.UNPROVEN, told)
