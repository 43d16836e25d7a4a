"""Expectations about conntrack entries and about rules' own counters."""

from __future__ import annotations

import pytest
from record_nodeport import CLIENT, DNAT, POD, SERVICE, SNAT, NodePort
from record_packets import tcp

from netemu.check.entries import check_counter, check_entry
from netemu.check.verdict import Check, Verdict
from netemu.topology.expectation import ConntrackExpectation, CounterExpectation

PASS, FAIL, UNPROVEN = Verdict.PASS, Verdict.FAIL, Verdict.UNPROVEN


def entry(lab: NodePort, **asked) -> Check:
    return check_entry(ConntrackExpectation(**{"traffic": "hello", "conntrack": "B", **asked}), lab.scene.record())


def counter(lab: NodePort, rule: str, packets: int, host: str = "B") -> Check:
    return check_counter(CounterExpectation(counter=host, rule=rule, packets=packets), lab.scene.record())


@pytest.mark.parametrize(
    ("asked", "actual"),
    [
        ({"original": {"src": "192.168.0.1:*"}}, {"original.src": CLIENT}),
        ({"original": {"dst": SERVICE}}, {"original.dst": SERVICE}),
        ({"reply": {"src": POD}}, {"reply.src": POD}),
        ({"reply": {"dst": "192.168.0.2:*"}}, {"reply.dst": "192.168.0.2:54522"}),
        ({"original": {"src": CLIENT, "dst": SERVICE}}, {"original.src": CLIENT, "original.dst": SERVICE}),
    ],
)
def test_a_tuple_passes_where_it_holds(hello: NodePort, asked: dict, actual: dict):
    check = entry(hello, **asked)
    assert (check.verdict, check.actual, check.reason) == (PASS, actual, "")
    assert (check.name, check.point) == ("hello conntrack at B", "conntrack at B")


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ({"original": {"src": "192.168.0.9:*"}}, "original.src"),
        ({"original": {"dst": POD}}, "original.dst"),
        ({"reply": {"src": SERVICE}}, "reply.src"),
        ({"reply": {"dst": "*:1"}}, "reply.dst"),
        ({"reply": {"src": SERVICE, "dst": "*:1"}}, "reply.src, reply.dst"),
        ({"status": ["dst-nat", "expected", "seq-adjust"]}, "expected, seq-adjust"),
    ],
)
def test_what_does_not_hold_fails_and_is_named(hello: NodePort, asked: dict, wrong: str):
    check = entry(hello, **asked)
    assert (check.verdict, check.reason) == (FAIL, wrong)


def test_the_bits_of_the_status_must_be_set_and_others_may_be(hello: NodePort):
    check = entry(hello, status=["src-nat", "dst-nat"])
    assert check.verdict is PASS
    assert check.expected == {"status": ["src-nat", "dst-nat"]}
    assert set(check.actual["status"]) > {"src-nat", "dst-nat", "assured"}


def test_a_host_that_keeps_no_entry_of_the_flow_fails(hello: NodePort):
    check = entry(hello, conntrack="C", original={"src": CLIENT})
    assert (check.verdict, check.reason) == (FAIL, "C has no entry of this flow")


def test_the_one_flow_whose_entry_differs_decides(lab: NodePort):
    lab.handshake(7)
    lab.handshake(8, "192.168.0.1:54523")
    lab.scene.exchange("hello", "A")
    check = entry(lab, original={"src": CLIENT})
    assert (check.verdict, check.actual) == (FAIL, {"original.src": "192.168.0.1:54523"})


def test_traffic_without_packets_or_not_sent_proves_nothing(lab: NodePort):
    assert entry(lab).verdict is UNPROVEN
    lab.scene.exchange("hello", "A", tcp(CLIENT, SERVICE).tuple)
    check = entry(lab, original={"src": CLIENT})
    assert (check.verdict, check.reason) == (UNPROVEN, "no packet of hello was seen")


@pytest.mark.parametrize(("host", "verdict"), [("a", UNPROVEN), ("b", UNPROVEN), ("c", PASS), ("pod", PASS)])
def test_a_lossy_tap_counts_on_the_entrys_host_and_the_senders_only(hello: NodePort, host: str, verdict: Verdict):
    getattr(hello, host).fault("conntrack", lost=1)
    assert entry(hello, original={"src": CLIENT}).verdict is verdict


def test_a_counter_that_counted_as_expected_passes(hello: NodePort):
    check = counter(hello, "DNAT", 1)
    assert (check.verdict, check.point, check.actual, check.reason) == (PASS, "B nat PREROUTING", {"packets": 1}, "")


def test_a_counter_that_counted_otherwise_fails(hello: NodePort):
    check = counter(hello, "DNAT", 2)
    assert (check.verdict, check.actual) == (FAIL, {"packets": 1})
    assert check.reason == f"{hello.dnat.text} counted 1"


@pytest.mark.parametrize(
    ("rule", "host", "reason"),
    [
        ("REDIRECT", "B", "no rules of B contain 'REDIRECT'"),
        (
            "-A P",
            "B",
            f"2 rules of B contain '-A P': name one of them, as in 'iptables {DNAT}' and 'iptables {SNAT}'",
        ),
        ("DNAT", "C", "no rules of C contain 'DNAT'"),
        ("DNAT", "nobody", "no rules of nobody contain 'DNAT'"),
    ],
)
def test_a_rule_that_is_not_there_once_fails(hello: NodePort, rule: str, host: str, reason: str):
    check = counter(hello, rule, 1, host)
    assert (check.verdict, check.reason) == (FAIL, reason)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("-A INPUT -p udp -j DROP", "ip6tables -A INPUT -p udp"),
        ("-A INPUT -p udp -j DROP", "iptables -A INPUT -p udp"),
        ("udp dport 9 counter drop", "ip6 filter INPUT udp dport 9"),
    ],
)
def test_rules_of_one_text_are_told_apart_by_what_has_them(hello: NodePort, text: str, named: str):
    for family in ("ip", "ip6"):
        hello.b.rule("filter", "INPUT", text, family=family)
    assert counter(hello, text, 0).verdict is FAIL
    check = counter(hello, named, 0)
    assert (check.verdict, check.actual) == (PASS, {"packets": 0})


def test_a_rule_without_a_counter_proves_nothing(hello: NodePort):
    hello.b.rule("nat", "POSTROUTING", "meta l4proto tcp masquerade", counts=False)
    check = counter(hello, "masquerade", 0)
    assert (check.verdict, check.reason) == (UNPROVEN, "the rule has no counter")


def test_a_counter_rests_on_no_tap(hello: NodePort):
    hello.b.fault("hooks", lost=5)
    assert counter(hello, "DNAT", 1).verdict is PASS
