"""What a nat rule surely does not match or make, read off its text; all else is possible."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.netfilter.conntrack import Tuple
from netemu.netfilter.legacy import could_make, could_match, ends_walk, reachable, terms
from netemu.netfilter.ruleset import Rule

SYN = Tuple("tcp", "192.168.0.1", 40000, "192.168.0.2", 30000)
PING = Tuple("icmp", "192.168.0.1", 7, "192.168.0.2", 7)
SIX = Tuple("udp", "fd00::1", 40000, "fd00::2", 53)


@pytest.mark.parametrize(
    ("text", "packet", "expected"),
    [
        ("-A PREROUTING -d 192.168.0.2/32 -p tcp -m tcp --dport 30000 -j X", SYN, True),
        ("-A PREROUTING -d 192.168.0.3/32 -p tcp -m tcp --dport 30000 -j X", SYN, False),
        ("-A PREROUTING ! -d 192.168.0.3/32 -p tcp -j X", SYN, True),
        ("-A PREROUTING ! -d 192.168.0.0/24 -j X", SYN, False),
        ("-A PREROUTING -s 192.168.0.0/24 -j X", SYN, True),
        ("-A PREROUTING -s 10.0.0.0/8 -j X", SYN, False),
        ("-A PREROUTING -p udp -m udp --dport 30000 -j X", SYN, False),
        ("-A PREROUTING ! -p udp -j X", SYN, True),
        ("-A PREROUTING -p tcp -m tcp --dport 30001 -j X", SYN, False),
        ("-A PREROUTING -p tcp -m tcp ! --dport 30001 -j X", SYN, True),
        ("-A PREROUTING -p tcp -m tcp --dport 29000:31000 -j X", SYN, True),
        ("-A PREROUTING -p tcp -m tcp --dport :1023 -j X", SYN, False),
        ("-A PREROUTING -p tcp -m multiport --dports 80,30000 -j X", SYN, True),
        ("-A PREROUTING -p tcp -m multiport --dports 80,443,1000:2000 -j X", SYN, False),
        ("-A PREROUTING -p icmp -m icmp --icmp-type 8 -j X", PING, True),
        ("-A PREROUTING -p tcp -j X", PING, False),
        ("-A PREROUTING -p 17 -j X", SIX, True),
        ("-A PREROUTING -p ipv6-icmp -j X", SIX, False),
        ("-A PREROUTING -d fd00::/64 -p udp -m udp --dport 53 -j X", SIX, True),
        ("-A PREROUTING -i eth7 -m mark --mark 0x1 -m statistic --mode nth --every 2 -j X", SYN, True),
        ('-A PREROUTING -p tcp -m comment --comment "-p udp --dport 1" -j X', SYN, True),
        ('-A PREROUTING -p udp -m comment --comment "no end -j X', SYN, True),
    ],
)
def test_a_rule_does_not_match_only_where_a_criterion_surely_fails(text, packet, expected):
    assert could_match(terms(text), packet) is expected


@pytest.mark.parametrize(
    ("text", "manip", "address", "port", "expected"),
    [
        ("-A X -j DNAT --to-destination 172.26.0.3:8080", "dst", "172.26.0.3", 8080, True),
        ("-A X -j DNAT --to-destination 172.26.0.3:8080", "dst", "172.26.0.3", 8081, False),
        ("-A X -j DNAT --to-destination 172.26.0.3:8080", "dst", "172.26.0.4", 8080, False),
        ("-A X -j DNAT --to-destination 172.26.0.3", "dst", "172.26.0.3", 30000, True),
        ("-A X -j DNAT --to-destination 172.26.0.3-172.26.0.9:80-90", "dst", "172.26.0.5", 85, True),
        ("-A X -j DNAT --to-destination 172.26.0.3-172.26.0.9:80-90", "dst", "172.26.0.10", 85, False),
        ("-A X -j DNAT --to-destination :8080", "dst", "192.168.0.2", 8080, True),
        ("-A X -j DNAT --to-destination 172.26.0.3:80-90/8080", "dst", "172.26.0.3", 81, True),
        ("-A X -j SNAT --to-source 192.168.0.2", "dst", "192.168.0.2", 30000, False),
        ("-A X -j SNAT --to-source 192.168.0.2", "src", "192.168.0.2", 40000, True),
        ("-A X -j MASQUERADE", "src", "10.9.8.7", 1024, True),
        ("-A X -j REDIRECT --to-ports 8080", "dst", "127.0.0.1", 8080, True),
        ("-A X -j ACCEPT", "dst", "192.168.0.2", 30000, True),
        ("-A X -j ACCEPT", "dst", "172.26.0.3", 30000, False),
        ("-A X -j LOG", "dst", "192.168.0.2", 30000, False),
        ("-A X -j RETURN", "dst", "192.168.0.2", 30000, False),
        ("-A X -j NEWTARGET --to 1", "dst", "1.2.3.4", 5, True),
        ("-A X -j NETMAP --to 10.0.0.0/8", "src", "10.0.0.1", 5, True),
    ],
)
def test_a_rule_can_not_have_made_what_its_target_does_not_make(text, manip, address, port, expected):
    before = SYN
    after = (
        Tuple("tcp", address, port, SYN.dst, SYN.dport)
        if manip == "src"
        else Tuple("tcp", SYN.src, SYN.sport, address, port)
    )
    assert could_make(terms(text), manip, before, after) is expected


def test_ipv6_destinations_with_and_without_ports_are_understood():
    after = Tuple("udp", "fd00::1", 40000, "fd00::9", 5353)
    assert could_make(terms("-A X -j DNAT --to-destination [fd00::9]:5353"), "dst", SIX, after)
    assert not could_make(terms("-A X -j DNAT --to-destination [fd00::9]:53"), "dst", SIX, after)
    assert could_make(terms("-A X -j DNAT --to-destination fd00::9"), "dst", SIX, after)
    assert not could_make(terms("-A X -j DNAT --to-destination fd00::8"), "dst", SIX, after)


def test_chains_are_reached_by_jumps_and_gotos_however_deep():
    texts = ["-A PREROUTING -j A", "-A A -g B", "-A B -j DNAT --to-destination 1.2.3.4", "-A C -j B", "-A B -j A"]
    rules = [Rule("ip", "nat", text.split()[1], place, text) for place, text in enumerate(texts)]
    found = reachable(rules)
    assert found["PREROUTING"] == {"PREROUTING", "A", "B"}
    assert found["OUTPUT"] == {"OUTPUT"}
    assert [ends_walk(terms(text), found) for text in texts] == [False, False, True, False, False]


@given(st.text(), st.sampled_from([SYN, PING, SIX]))
def test_no_text_makes_it_raise(text, packet):
    rule = terms("-A X " + text)
    could_match(rule, packet)
    could_make(rule, "dst", packet, packet)
