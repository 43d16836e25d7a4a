"""What changed between two sightings, and what changed it."""

from __future__ import annotations

from netemu.netfilter.conntrack import DST_NAT_DONE, SRC_NAT_DONE, PacketConntrack
from netemu.netfilter.ruleset import Rule
from netemu.record.decode.headers import Headers
from netemu.record.join.rewrites import matched, rewrites, walked
from netemu.record.join.turn import RuleTurn
from netemu.record.sighting import Sighting
from netemu.topology.points import Point

PLAIN = Headers("tcp", "10.0.0.1", "10.0.0.2", 64, 4000, 80)
DNATED = Headers("tcp", "10.0.0.1", "10.9.9.9", 64, 4000, 8080)
SNATED = Headers("tcp", "10.0.0.2", "10.0.0.2", 64, 61000, 80)
TRACKED = PacketConntrack("new", "original", 7, 0)
SET_UP = PacketConntrack("new", "original", 7, SRC_NAT_DONE | DST_NAT_DONE)


def turn(text: str, verdict: str = "accept", nat: bool = True, chain: str = "PREROUTING") -> RuleTurn:
    rule = None if text == "policy" else Rule("ip", "nat", chain, 0, text)
    return RuleTurn("B", "ip", "nat" if nat else "filter", chain, rule, verdict, nat)


def changes(stage: str, was: Headers, now: Headers, turns=(), ct: PacketConntrack | None = TRACKED) -> list[str]:
    after = Point("B", stage=stage) if stage else Point("B", "eth0", "out")
    found = rewrites(
        Sighting(Point("B", stage="prerouting"), None, was, ct), Sighting(after, None, now, ct), list(turns)
    )
    return [f"{c.field} {c.before} => {c.after} by {c.by}: {c.rule}" for c in found]


def test_what_stays_the_same_is_no_rewrite():
    assert changes("prerouting.nat", PLAIN, PLAIN, [turn("-j DNAT")]) == []


def test_a_nat_chain_that_was_walked_and_matched_is_a_rewrite_by_rule():
    assert changes("prerouting.nat", PLAIN, DNATED, [turn("-j DNAT")]) == [
        "dst 10.0.0.2:80 => 10.9.9.9:8080 by rule: -j DNAT"
    ]


def test_the_rule_named_is_the_last_final_one_not_the_jump_to_its_chain():
    turns = [
        turn("-j KUBE-SERVICES", "jump KUBE-SERVICES"),
        turn("-j MARK", "continue"),
        turn("-j DNAT"),
        turn("policy"),
    ]
    assert changes("prerouting.nat", PLAIN, DNATED, turns) == ["dst 10.0.0.2:80 => 10.9.9.9:8080 by rule: -j DNAT"]


def test_an_address_that_changed_with_no_chain_walked_comes_from_the_entry_that_was_set_up():
    assert changes("prerouting.nat", PLAIN, DNATED, ct=SET_UP) == [
        "dst 10.0.0.2:80 => 10.9.9.9:8080 by conntrack: None"
    ]


def test_an_address_that_changed_though_no_manip_was_set_up_and_no_chain_was_seen_is_nobodys():
    """Rules of iptables-legacy are not in the trace: a packet that they rewrote was not rewritten from its entry."""
    assert changes("prerouting.nat", PLAIN, DNATED) == ["dst 10.0.0.2:80 => 10.9.9.9:8080 by unknown: None"]


def test_a_filter_rule_on_the_way_is_not_taken_for_the_one_that_rewrote():
    turns = [turn("-j ACCEPT", nat=False, chain="FORWARD")]
    assert changes("postrouting.nat", PLAIN, SNATED, turns, SET_UP) == [
        "src 10.0.0.1:4000 => 10.0.0.2:61000 by conntrack: None"
    ]


def test_a_port_changed_by_a_chain_that_matched_nothing_is_a_null_binding():
    clash = Headers("tcp", "10.0.0.1", "10.0.0.2", 64, 1024, 80)
    assert changes("postrouting.nat", PLAIN, clash, [turn("policy")]) == [
        "src 10.0.0.1:4000 => 10.0.0.1:1024 by null-binding: None"
    ]


def test_a_falling_ttl_is_routing():
    routed = Headers("tcp", "10.0.0.1", "10.0.0.2", 63, 4000, 80)
    assert changes("forward", PLAIN, routed) == ["ttl 64 => 63 by route: None"]


def test_both_ends_can_change_at_once():
    twice = Headers("tcp", "10.0.0.2", "10.9.9.9", 64, 61000, 8080)
    assert [change.split()[0] for change in changes("input.nat", PLAIN, twice)] == ["dst", "src"]


def test_an_address_that_changed_where_no_nat_happens_is_of_unknown_cause():
    assert changes("forward", PLAIN, DNATED) == ["dst 10.0.0.2:80 => 10.9.9.9:8080 by unknown: None"]
    assert changes("", PLAIN, DNATED) == ["dst 10.0.0.2:80 => 10.9.9.9:8080 by unknown: None"]


def test_an_address_that_changed_without_any_entry_is_of_unknown_cause():
    assert changes("prerouting.nat", PLAIN, DNATED, ct=None) == ["dst 10.0.0.2:80 => 10.9.9.9:8080 by unknown: None"]


def test_walked_and_matched_tell_apart_a_walk_and_a_match():
    assert (walked([]), walked([turn("-j ACCEPT", nat=False)]), walked([turn("policy")])) == (False, False, True)
    assert matched([turn("policy"), turn("-j MARK", "continue")]) is None
