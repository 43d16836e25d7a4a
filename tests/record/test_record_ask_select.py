"""Asking a record by words: the columns choose what the journeys, looked at one by one, would."""

from __future__ import annotations

import random
from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest
from record_nodeport import CLIENT, SERVICE, NodePort
from record_packets import echo, tcp, udp
from record_scene import Scene
from record_scenes import any_captures

from netemu.errors import UsageError
from netemu.record.exchange import Exchange
from netemu.record.journeys import Journey
from netemu.record.record import Record, build_record
from netemu.record.sighting import Sighting
from netemu.topology.points import Point


def of_sighting(journey: Journey, place: int) -> dict[str, Callable]:
    """What each word means of one sighting, said plainly."""
    seen = journey.sightings[place]
    h, point = seen.headers, seen.point

    def side(address: str, port: int | None) -> Callable[[str], bool]:
        def fits(asked: str) -> bool:
            if "/" in asked:
                return ip_address(address) in ip_network(asked)
            if asked.startswith("*:"):
                return port == int(asked[2:])
            if asked.count(":") == 1:
                return f"{address}:{port}" == asked
            return address == asked

        return fits

    src, dst = side(h.src, h.sport), side(h.dst, h.dport)
    changes = [each.by for each in journey.rewrites if each.place == place and each.field != "ttl"]
    ttl = [each.by for each in journey.rewrites if each.place == place and each.field == "ttl"]
    return {
        "at": lambda value: value in (str(point), point.host, f"{point.host}:{point.interface}"),
        "proto": lambda value: value in (h.proto, "ip6" if ":" in h.src else "ip"),
        "src": src,
        "dst": dst,
        "host": lambda value: src(value) or dst(value),
        "port": lambda value: value in (h.sport, h.dport),
        "sport": lambda value: h.sport == value,
        "dport": lambda value: h.dport == value,
        "ct": lambda value: point.stage is not None and (seen.ct.state if seen.ct else "none") == value,
        "by": lambda value: value in (ttl if value == "route" else changes),
        "walked": lambda value: point.is_nat and journey.walked_at(place) == value,
    }


def of_journey(journey: Journey) -> dict[str, Callable]:
    """What each word means of a whole journey."""
    return {
        "flow": lambda value: journey.flow == value,
        "direction": lambda value: journey.direction == value,
        "nth": lambda value: journey.nth == value,
        "first": lambda value: (journey.nth == 1) == value,
        "end": lambda value: any(end.kind == value for end in journey.ends),
        "since_ns": lambda value: journey.since_ns >= value,
        "until_ns": lambda value: journey.since_ns <= value,
    }


def plainly(record: Record, words: dict, whole: bool) -> list:
    """The journeys, or else the sightings, that fit, looked at one by one."""
    found: list = []
    for journey in record.journeys:
        left = dict(words)
        if whole and left.get("walked") is False and "at" not in left:
            del left["walked"]
            if any(journey.walked_at(place) for place in range(len(journey.sightings))):
                continue
        mine = of_journey(journey)
        if not all(mine[word](value) for word, value in left.items() if word in mine):
            continue
        places = [
            place
            for place in range(len(journey.sightings))
            if all(of_sighting(journey, place)[word](value) for word, value in left.items() if word not in mine)
        ]
        found += [journey.id] if whole and places else [journey.sightings[place] for place in places if not whole]
    return found


ASKED = {
    "at": ["B", "B:eth0", "B:eth0 in", "B:eth0 out", "B@prerouting.nat", "B@postrouting.nat", "C", "A@input"],
    "proto": ["tcp", "udp", "icmp", "igmp", "ip", "ip6"],
    "src": ["192.168.0.1", "192.168.0.0/24", "192.168.0.1:4000", "*:53", "fd00::1", "fd00::/64"],
    "dst": ["192.168.0.2", "172.26.0.0/16", "172.26.0.3:8080", "*:30000", "0.0.0.0/0", "::/0"],
    "host": ["192.168.0.2", "fd00::2", "224.0.0.0/4"],
    "port": [53, 4001, 30000],
    "sport": [4000, 53],
    "dport": [53, 80],
    "ct": ["new", "established", "related", "invalid", "untracked", "none"],
    "by": ["rule", "conntrack", "route", "null-binding", "unknown"],
    "walked": [True, False],
    "flow": [1, 2],
    "direction": ["original", "reply"],
    "nth": [1, 2, 3],
    "first": [True, False],
    "end": ["delivered", "dropped", "unseen"],
    "since_ns": [1_000_010_000],
    "until_ns": [1_000_010_000],
}


@pytest.mark.parametrize("seed", range(40))
def test_what_is_chosen_by_words_is_what_fits_when_looked_at_one_by_one(seed: int):
    dice = random.Random(seed)
    captures, segment_of = any_captures(dice)
    record = build_record(captures, segment_of)
    for _ in range(40):
        words = {word: dice.choice(ASKED[word]) for word in dice.sample(sorted(ASKED), dice.choice([1, 1, 1, 2, 3]))}
        known = {name for capture in captures if capture.host == "B" for name in capture.interfaces.values()}
        assert "eth0" in known
        if words.get("flow", 0) > len(record.flows):
            with pytest.raises(UsageError, match=r"the record has no flow \d: there (are 1 to \d|is none)"):
                record.journeys(**words)
            continue
        assert list(record.journeys(**words).ids()) == plainly(record, words, whole=True), words
        assert list(record.sightings(**words)) == plainly(record, words, whole=False), words
        flows = {journey.flow for journey in record.journeys(**words)}
        assert [flow.id for flow in record.flows(**words)] == sorted(flows), words


@pytest.fixture
def record(lab: NodePort) -> Record:
    lab.handshake()
    lab.a.sends(udp("192.168.0.1:5353", "192.168.0.9:53"), "eth0")
    lab.scene.exchange("hello", "A", tcp(CLIENT, SERVICE).tuple)
    return lab.scene.record()


def test_without_words_everything_is_chosen(record: Record):
    assert record.journeys() == record.journeys
    assert record.sightings() == record.sightings
    assert record.flows() == record.flows


def test_sightings_are_those_of_all_journeys_in_order(record: Record):
    each = [seen for journey in record.journeys for seen in journey.sightings]
    assert (list(record.sightings), len(record.sightings)) == (each, len(each))
    assert (record.sightings[-1], list(record.sightings[1:3])) == (each[-1], each[1:3])
    assert len(record.sightings) < record.captured + 1
    with pytest.raises(IndexError):
        _ = record.sightings[len(each)]


def test_what_was_chosen_can_be_asked_once_more(record: Record):
    assert record.sightings(proto="tcp")(at="B@forward") == record.sightings(proto="tcp", at="B@forward")


def test_an_exchanges_packets_are_chosen_by_its_name(record: Record):
    assert {journey.flow for journey in record.journeys(traffic="hello")} == {1}
    assert len(record.journeys(traffic="hello")) == 3
    assert [flow.id for flow in record.flows(traffic="hello")] == [1]


def test_an_exchange_that_was_added_later_is_known_too(record: Record):
    record.exchanges.append(Exchange("all", "A", "", 0, 10**18))
    assert len(record.journeys(traffic="all")) == len(record.journeys)


def test_a_point_that_is_there_but_saw_nothing_chooses_nothing(record: Record):
    assert len(record.journeys(at="A@forward")) + len(record.sightings("at B:lo in")) == 0


def test_a_point_itself_can_be_given(record: Record):
    assert record.journeys(at=Point("B", stage="forward")) == record.journeys(at="B@forward")


BAD = [
    ({"prot": "tcp"}, "nothing can be asked by 'prot', did you mean 'proto'"),
    ({"at": "b@forward"}, "no host 'b', did you mean 'B'"),
    ({"at": "B@forwrd"}, "no hook stage 'forwrd', did you mean 'forward'"),
    ({"at": "B:eth7"}, "host B has no interface 'eth7', did you mean 'eth0'"),
    ({"at": "B:eth0 up"}, "'B:eth0 up' is no point"),
    ({"at": "B:"}, "'B:' is no point"),
    ({"proto": "tpc"}, "no protocol 'tpc', did you mean 'tcp'"),
    ({"src": "B"}, "'B' is a host of the lab, no address: ask with at='B'"),
    ({"dst": "10.0.0.1/33"}, "'10.0.0.1/33' is no address, network or ADDRESS:PORT"),
    ({"dst": "10.0.0.1/24"}, "has host bits set"),
    ({"port": "http"}, "'http' is no number for port"),
    ({"port": True}, "'True' is no number for port"),
    ({"ct": "NEW"}, "no conntrack state 'NEW', did you mean 'new'"),
    ({"by": "rules"}, "no cause of a rewrite 'rules', did you mean 'rule'"),
    ({"direction": "replies"}, "no direction 'replies', did you mean 'reply'"),
    ({"end": "drop"}, "no end 'drop', did you mean 'dropped'"),
    ({"traffic": "helo"}, "no traffic item 'helo' was sent while this was recorded, did you mean 'hello'"),
    ({"nth": "1st"}, "'1st' is no number for nth"),
    ({"nth": -1}, "there is no nth -1: packets are counted from 1"),
    ({"flow": 999}, "the record has no flow 999: there are 1 to 2"),
    ({"flow": 0}, "the record has no flow 0"),
    ({"sport": 70000}, "there is no port 70000: write 0 to 65535"),
    ({"port": -1}, "there is no port -1"),
    ({"proto": 256}, "there is no protocol 256: write 0 to 255"),
    ({"walked": "yes"}, "walked is True or False, not 'yes'"),
    ({"first": 1}, "first is True or False, not 1"),
]


@pytest.mark.parametrize(("words", "told"), BAD)
def test_what_is_not_there_is_refused_with_the_nearest_that_is(record: Record, words: dict, told: str):
    for ask in (record.journeys, record.sightings, record.flows):
        with pytest.raises(UsageError) as caught:
            ask(**words)
        assert told in str(caught.value)


def test_what_is_asked_first_must_be_a_text(record: Record):
    with pytest.raises(UsageError, match="not 80"):
        record.journeys(80)


def test_a_record_put_together_by_hand_cant_be_asked():
    for ask in (Record().journeys, Record().sightings, Record().flows):
        with pytest.raises(UsageError, match="by hand"):
            ask(proto="tcp")


def test_an_empty_record_is_asked_like_any_other():
    empty = build_record([], {})
    assert (len(empty.journeys(proto="tcp")), len(empty.sightings("udp")), empty.flows(walked=False)) == (0, 0, [])
    assert (len(empty.journeys(walked=False)), len(empty.journeys(by="rule"))) == (0, 0)


TEXTS: list[tuple[str, Callable[[Sighting], bool]]] = [
    ("tcp", lambda s: s.headers.proto == "tcp"),
    ("tcp and not port 8080", lambda s: s.headers.proto == "tcp" and 8080 not in (s.headers.sport, s.headers.dport)),
    ("udp port 53", lambda s: s.headers.proto == "udp" and 53 in (s.headers.sport, s.headers.dport)),
    ("tcp src port 30000", lambda s: s.headers.proto == "tcp" and s.headers.sport == 30000),
    ("src host 192.168.0.1", lambda s: s.headers.src == "192.168.0.1"),
    ("src or dst port 8080", lambda s: 8080 in (s.headers.sport, s.headers.dport)),
    ("dst || src host 192.168.0.1", lambda s: "192.168.0.1" in (s.headers.src, s.headers.dst)),
    ("src and dst net 192.168.0.0/24", lambda s: all("192.168.0." in each for each in (s.headers.src, s.headers.dst))),
    ("(vlan)", lambda s: False),
    ("vlan and tcp or udp", lambda s: s.headers.proto == "udp"),
    ("src 192.168.0.1", lambda s: s.headers.src == "192.168.0.1"),
    ("dst net 172.26.0.0/24", lambda s: s.headers.dst.startswith("172.26.0.")),
    ("172.26.0.0/24", lambda s: "172.26.0." in s.headers.src + s.headers.dst),
    ("host 192.168.0.9 or dst port 30000", lambda s: s.headers.dst == "192.168.0.9" or s.headers.dport == 30000),
    ("dst portrange 8000-8100", lambda s: 8000 <= (s.headers.dport or 0) <= 8100),
    ("syn and not ack", lambda s: "SYN" in s.headers.flags and "ACK" not in s.headers.flags),
    ("syn && ! ack", lambda s: "SYN" in s.headers.flags and "ACK" not in s.headers.flags),
    ("!(tcp||icmp)", lambda s: s.headers.proto == "udp"),
    ("udp or tcp and at C", lambda s: s.point.host == "C"),
    ("udp or (tcp and at C)", lambda s: s.headers.proto == "udp" or s.point.host == "C"),
    ("at B:eth0 out and tcp", lambda s: str(s.point) == "B:eth0 out"),
    ("at B@prerouting.nat", lambda s: str(s.point) == "B@prerouting.nat"),
    ("ip6", lambda s: False),
    ("ip and greater 60", lambda s: s.point.stage is None),
    ("less 59", lambda s: False),
    ("vlan", lambda s: False),
    ("   ", lambda s: True),
]


@pytest.mark.parametrize(("text", "fits"), TEXTS)
def test_a_text_in_pcaps_manner_says_the_same(record: Record, text: str, fits: Callable[[Sighting], bool]):
    expected = [seen for seen in record.sightings if fits(seen)]
    assert list(record.sightings(text)) == expected
    whole = [journey.id for journey in record.journeys if any(fits(seen) for seen in journey.sightings)]
    assert list(record.journeys(text).ids()) == whole


def test_vlans_and_lengths_are_looked_at_on_the_wire(scene: Scene):
    a = scene.host("A", eth0="lan")
    a.wire("eth0", "out", udp("10.0.0.1:1", "10.0.0.2:2").frame(bytes.fromhex("81000005")))
    a.wire("eth0", "out", echo("10.0.0.1", "10.0.0.2", 7, options=bytes(40)))
    a.wire("eth0", "out", tcp("[fd00::1]:1", "[fd00::2]:2"))
    record = scene.record()
    asked = ("vlan", "vlan 5", "vlan 6", "greater 61", "less 60", "ip6", "icmp", "fd00::2", "net fd00::/16")
    assert [record.journeys(text).ids() for text in asked] == [(1,), (1,), (), (2, 3), (1,), (3,), (2,), (3,), (3,)]


WRONG = [
    ("tcp prot 80", "'prot' is not expected here, write 'and' or 'or' before it, at character 5 of 'tcp prot 80'"),
    ("prt 80", "there is no word 'prt', did you mean 'port'?, at character 1 of"),
    ("tcp and", "a word, such as tcp or host 10.0.0.1, is missing, at character 8 of"),
    ("tcp and (udp", "')' is missing, at character 13 of"),
    ("tcp)", "')' is not expected here"),
    ("()", "there is no word ')'"),
    ("port", "what 'port' is to be is missing, at character 5 of"),
    ("port http", "'http' is no number for port, at character 6 of"),
    ("portrange 80", "'' is no number for port, at character 11 of"),
    ("host example.org", "is no address, network or ADDRESS:PORT"),
    ("src", "what 'src' is to be is missing"),
    ("src or port 7", "what 'src' is to be is missing, at character 5 of"),
    ("src or", "what 'src' is to be is missing"),
    ("src and dst", "what 'src and dst' is to be is missing"),
    ("vlan x", "'x' is no number for vlan, at character 1 of"),
    ("vlan 4096", "there is no vlan 4096: write 0 to 4095"),
    ("port 99999", "there is no port 99999: write 0 to 65535, at character 6 of"),
    ("portrange 1-99999", "there is no port 99999"),
    ("src tcp", "there is no word 'tcp'"),
    ("at Z@forward", "no host 'Z'"),
    ("at", "the point behind 'at' is missing"),
    ("arp", "only IP packets are followed"),
    ("tcp[13] & 2 != 0", "is no word"),
    ("tcp[tcpflags]", "write a flag's word"),
    ("and tcp", "'and' is not expected here"),
    ("less than", "'than' is no number for less"),
    ("(" * 60, "more than 50 parentheses"),
]


@pytest.mark.parametrize(("text", "told"), WRONG)
def test_a_text_that_cant_be_read_is_refused_with_its_place(record: Record, text: str, told: str):
    with pytest.raises(UsageError) as caught:
        record.journeys(text)
    assert told in str(caught.value)


@pytest.mark.parametrize("seed", range(30))
def test_no_text_whatever_raises_anything_else(record: Record, seed: int):
    dice = random.Random(seed)
    words = [
        "tcp",
        "port",
        "80",
        "(",
        ")",
        "not",
        "and",
        "or",
        "src",
        "at",
        "B",
        "in",
        "&",
        "net",
        "1.2.3.4/8",
        "é",
        "::",
    ]
    for _ in range(200):
        text = " ".join(dice.choice(words) for _ in range(dice.randrange(7)))
        try:
            record.journeys(text)
        except UsageError as error:
            assert text.strip() in str(error)  # noqa: PT017
