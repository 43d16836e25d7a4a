"""All checks of a record, the verdict, and both as the JSON object that readers rely on."""

from __future__ import annotations

import json

import pytest
from record_nodeport import CLIENT, POD, SERVICE, NodePort
from record_packets import icmp_error, tcp, udp
from record_scene import Scene

from netemu.check.explain import Surroundings
from netemu.check.report import Report, check_record, report_json
from netemu.check.verdict import Check, Verdict
from netemu.topology.expectation import ConntrackExpectation, CounterExpectation, PacketExpectation

CONTRACT = {
    "": {"lab", "verdict", "checks", "journeys", "flows", "capture", "timing_ms"},
    "checks": {"name", "verdict", "point", "expected", "actual", "journey", "reason"},
    "journeys": {"id", "flow", "direction", "nth", "proto", "complete", "sightings", "rewrites", "rules"},
    "sightings": {"point", "host", "interface", "way", "time_ns", "src", "sport", "dst", "dport", "ttl", "ct"},
    "ct": {"id", "state", "direction", "status"},
    "rewrites": {"at", "field", "from", "to", "by", "rule"},
    "rules": {"host", "table", "chain", "rule", "verdict"},
    "flows": {"id", "host", "original", "reply", "status"},
    "capture": {"sightings", "lost"},
}
"""The keys of `netemu run LAB --json` as design.md has them; keys may be added, never renamed."""

EXPECT = [
    PacketExpectation(traffic="hello", packet="request.first", at="B@prerouting.nat", dst=POD, by="rule"),
    ConntrackExpectation(traffic="hello", conntrack="B", original={"dst": SERVICE}),
    CounterExpectation(counter="B", rule="DNAT", packets=1),
]


def printed(lab: NodePort, expectations=tuple(EXPECT)) -> dict:
    report = check_record("nodeport", lab.scene.record(), expectations)
    return json.loads(json.dumps(report_json(report)))


def test_each_level_has_the_keys_of_the_design(hello: NodePort):
    whole = printed(hello)
    found = {
        "": whole,
        "checks": whole["checks"][0],
        "journeys": whole["journeys"][0],
        "sightings": whole["journeys"][0]["sightings"][0],
        "ct": next(seen["ct"] for seen in whole["journeys"][0]["sightings"] if seen["ct"]),
        "rewrites": whole["journeys"][0]["rewrites"][0],
        "rules": whole["journeys"][0]["rules"][0],
        "flows": whole["flows"][0],
        "capture": whole["capture"],
    }
    assert {level: keys - set(found[level]) for level, keys in CONTRACT.items()} == {level: set() for level in CONTRACT}


def test_every_item_of_a_list_has_the_same_keys(hello: NodePort):
    whole = printed(hello)
    lists = [whole["checks"], whole["flows"], whole["journeys"], whole["counters"], whole["traffic"]]
    lists += [journey[part] for journey in whole["journeys"] for part in ("sightings", "rewrites", "rules")]
    for items in lists:
        assert len({tuple(item) for item in items}) <= 1


def test_the_values_are_those_of_the_designs_example(hello: NodePort):
    whole = printed(hello)
    first = whole["journeys"][0]
    assert (whole["lab"], whole["verdict"], whole["capture"]["lost"]) == ("nodeport", "pass", 0)
    assert {key: first[key] for key in ("id", "flow", "direction", "nth", "proto", "complete")} == {
        "id": 1,
        "flow": 1,
        "direction": "original",
        "nth": 1,
        "proto": "tcp",
        "complete": True,
    }
    seen = next(seen for seen in first["sightings"] if seen["point"] == "B@prerouting")
    assert {key: seen[key] for key in CONTRACT["sightings"]} == {
        "point": "B@prerouting",
        "host": "B",
        "interface": None,
        "way": None,
        "time_ns": None,
        "src": "192.168.0.1",
        "sport": 54522,
        "dst": "192.168.0.2",
        "dport": 30000,
        "ttl": 64,
        "ct": {"id": 7, "state": "new", "ctinfo": "NEW", "direction": "original", "status": [], "manips": []},
    }
    assert first["rewrites"][0] == {
        "at": "B@prerouting.nat",
        "field": "dst",
        "from": SERVICE,
        "to": POD,
        "by": "rule",
        "rule": hello.dnat.text,
        "told_by": "trace",
    }
    assert first["rules"][0] == {
        "host": "B",
        "table": "nat",
        "chain": "PREROUTING",
        "rule": hello.dnat.text,
        "verdict": "accept",
        "told_by": "trace",
    }
    wire = next(seen for seen in first["sightings"] if seen["point"] == "B:eth0 in")
    assert (wire["interface"], wire["way"], wire["ct"], wire["time_ns"] > 0) == ("eth0", "in", None, True)
    assert whole["flows"][0]["original"] == {
        "proto": "tcp",
        "src": "192.168.0.1",
        "sport": 54522,
        "dst": "192.168.0.2",
        "dport": 30000,
    }
    assert {"src-nat", "dst-nat", "confirmed"} <= set(whole["flows"][0]["status"])


def test_a_journey_that_a_check_names_is_in_the_report(hello: NodePort):
    whole = printed(hello)
    ids = {journey["id"] for journey in whole["journeys"]}
    assert {check["journey"] for check in whole["checks"]} - {None} <= ids
    assert {id for check in whole["checks"] for id in check["journeys"]} <= ids


def test_a_record_of_an_old_kernel_prints_what_it_lacks_as_null():
    lab = NodePort(Scene(old=True))
    lab.handshake()
    lab.scene.exchange("hello", "A", tcp(CLIENT, SERVICE).tuple)
    seen = next(seen for seen in printed(lab)["journeys"][0]["sightings"] if seen["point"] == "B@prerouting.nat")
    assert seen["ct"] == {
        "id": None,
        "state": "new",
        "ctinfo": "NEW",
        "direction": "original",
        "status": None,
        "manips": ["dst"],
    }


def test_an_empty_record_prints_and_proves_nothing(lab: NodePort):
    assert printed(lab, ())["verdict"] == "unproven"


def test_every_expectation_and_what_is_implied_is_checked(hello: NodePort):
    report = check_record("nodeport", hello.scene.record(), EXPECT)
    assert [check.name for check in report.checks] == [
        "hello answered",
        "hello request.first B@prerouting.nat",
        "hello conntrack at B",
        "counter at B: DNAT",
        "every tap sound",
        "B: trace and rule counters agree",
    ]
    assert (report.verdict, report.exit_code, report.explain()) == (Verdict.PASS, 0, "")


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [(["pass"], 0), (["pass", "fail"], 1), (["pass", "unproven"], 3), (["fail", "unproven"], 1), ([], 0)],
)
def test_the_exit_code_tells_the_verdict(verdicts: list[str], code: int, lab: NodePort):
    report = Report("x", tuple(Check(name, Verdict(name)) for name in verdicts), lab.scene.record())
    assert report.exit_code == code


def test_one_failed_expectation_fails_the_report_and_is_explained(hello: NodePort):
    wrong = PacketExpectation(traffic="hello", packet="request.first", at="B@prerouting.nat", dst=SERVICE)
    report = check_record("nodeport", hello.scene.record(), [*EXPECT, wrong])
    assert report.verdict is Verdict.FAIL
    assert report.explain() == (
        f"fail: hello request.first B@prerouting.nat: expected {{'dst': '{SERVICE}'}}, saw {{'dst': '{POD}'}}: "
        "request 1: dst at B@prerouting.nat"
    )


def test_one_lossy_tap_on_the_way_leaves_the_report_unproven(hello: NodePort):
    hello.b.fault("hooks", lost=1)
    assert check_record("nodeport", hello.scene.record(), EXPECT).verdict is Verdict.UNPROVEN


def test_unanswered_traffic_fails_the_report_without_any_expectation(lab: NodePort):
    lab.first(tcp(CLIENT, SERVICE))
    lab.scene.exchange("hello", "A", tcp(CLIENT, SERVICE).tuple, fault="no answer within 3s")
    assert check_record("nodeport", lab.scene.record(), [], Surroundings()).verdict is Verdict.FAIL


def test_a_chain_that_no_rule_of_matched_is_printed_by_its_policy_only(lab: NodePort):
    """No '-A …' text was matched there, and 'handle None' is no rule."""
    lab.b.gets("eth0", tcp(CLIENT, SERVICE)).sees("prerouting").falls_through("nat", "PREROUTING").sees(
        "prerouting.nat"
    )
    (journey,) = printed(lab, ())["journeys"]
    assert [rule["rule"] for rule in journey["rules"]] == ["policy"]


def test_times_are_rounded_to_hundredths_of_a_millisecond(lab: NodePort):
    report = Report("x", (), lab.scene.record(), {"up": 38.12345})
    assert report_json(report)["timing_ms"] == {"up": 38.12}


def test_a_journey_tells_its_ends_what_quotes_it_and_how_sure_its_joins_are(scene: Scene):
    asked = udp("192.168.0.1:4000", "10.0.0.9:53", b"?")
    b = scene.host("B", eth0="lan")
    b.gets("eth0", asked).through("prerouting", "prerouting.nat")
    b.sends(icmp_error("192.168.0.2", "192.168.0.1", 4, asked).but(seq=1400), "eth0")
    about, error = report_json(check_record("lab", scene.record(), []))["journeys"]
    said = {"journey": 2, "kind": "fragmentation-needed", "type": 3, "code": 4, "host": "B", "mtu": 1400, "among": 1}
    end = {"kind": "unseen", "at": "B@prerouting.nat", "rule": None, "why": "mtu", "arp_unanswered": None, "error": 2}
    assert (about["end"], about["ends"], about["errors"], about["quotes"]) == (end, [end], [said], None)
    assert (error["quotes"], error["error"], error["nth"], error["direction"]) == (1, said, 0, "reply")
    assert [about[key] for key in ("alike", "certain", "duplicates", "retransmits")] == [1, True, None, None]


def test_a_packet_in_a_tunnel_and_what_carries_it_name_each_other(scene: Scene):
    b = scene.host("B", eth0="lan", vx="vxlan 42")
    inner = udp("10.42.0.1:4000", "10.42.0.2:53", b"?")
    b.sends(inner, "vx")
    b.sends(udp("10.0.0.1:50000", "10.0.0.2:4789", b"\x08\0\0\0\0\0\x2a\0" + inner.frame()), "eth0")
    one, other = report_json(check_record("lab", scene.record(), []))["journeys"]
    assert one["tunnels"] == [{"at": "B:vx out", "carrier": 2, "among": 1}]
    assert (one["carried_by"], one["carries"], one["carries_among"]) == ([2], None, 0)
    assert (other["tunnels"], other["carried_by"], other["carries"], other["carries_among"]) == ([], [], 1, 1)
