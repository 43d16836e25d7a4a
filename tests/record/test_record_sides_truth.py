"""Whatever passes NATs, no packet is joined to another one: held against a truth that is kept aside."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from sides_scene import SECOND, Flow, Packet, Way, nat

from netemu.record.sides.joined import JoinedSides
from netemu.record.sides.missing import Missing, missing


def random_flows(random: Random, sides: int, count: int) -> list[Flow]:
    """Clients of one network, NAT'd once for each side but the first; ports are used again and crossed on purpose."""
    servers = [(f"198.51.100.{n}", port) for n in (1, 2) for port in (80, 53)]
    used: set[object] = set()
    flows = []
    while len(flows) < count:
        proto = random.choice(["tcp", "udp", "icmp"])
        server = (random.choice(servers)[0], 0) if proto == "icmp" else random.choice(servers)
        ends = [(f"192.168.1.{random.randint(2, 4)}", random.randint(5000, 5003))]
        ends += [(f"203.0.113.{place}", random.randint(5000, 5020)) for place in range(1, sides)]
        taken = {(place, proto, end, server) for place, end in enumerate(ends)}
        if taken & used:
            continue
        used |= taken
        flows.append(nat(proto, ends[0], server, *ends[1:]))
    return flows


def tell(random: Random, sides: int, missed: float = 0.0) -> Way:
    """A story with loss, reordering, retransmission, datagrams that are alike, and clocks that disagree.

    Each capture misses a share of what passes it.
    """
    span = random.choice([SECOND, 60 * SECOND])
    way = Way(
        sides,
        random,
        [0] + [random.randint(-(10**14), 10**14) for _ in range(1, sides)],
        [0.0] + [random.choice([0.0, 1e-5, -5e-5]) for _ in range(1, sides)],
    )
    base = 10**15
    for flow in random_flows(random, sides, random.randint(1, 8)):
        start = base + random.randint(0, span)
        alike = bytes(random.choice(b"ab") for _ in range(random.randint(0, 2)))
        seq, ip_id = random.getrandbits(32), random.getrandbits(16)
        for place in range(random.randint(1, 12)):
            time = start + (SECOND // 10 + place * random.randint(0, span // 20) if place else 0)
            reply = place > 0 and random.random() < 0.4
            packet = Packet(flow.proto, ("", 0), ("", 0), seq=seq, ack=seq ^ 99, flags=0x02 if place == 0 else 0x10)
            if flow.proto == "tcp":
                seq = (seq + random.randint(0, 500)) % 2**32
                payload, flags = b"x" * random.randint(0, 9), packet.flags
                packet = Packet("tcp", ("", 0), ("", 0), payload, ip_id + place & 0xFFFF, 64, seq, 5, flags)
            elif flow.proto == "udp":
                payload = alike if random.random() < 0.3 else random.randbytes(12)
                packet = Packet("udp", ("", 0), ("", 0), payload, 0)
            else:
                packet = Packet("icmp", ("", 0), ("", 0), random.randbytes(8), 0, 64, place, echo_reply=reply)
            for _ in range(random.choice([1, 1, 1, 2])):
                lost = random.randrange(sides - 1) if random.random() < 0.15 else None
                if reply and lost is not None:
                    lost += 1
                unseen = tuple(side for side in range(sides) if missed and random.random() < missed)
                way.send(flow, time, packet, reply=reply, lost_after=lost, missed=unseen)
                time += random.randint(0, 10**7)
    return way


def wrong_joins(way: Way, joined: JoinedSides) -> list[list[int | None]]:
    """Journeys of two packets' sightings; of packets alike, only those of two flows or directions."""
    found = []
    for number in range(len(joined.rows)):
        told = [each for each in way.told(joined, number) if each is not None]
        stories = {way.stories[each] for each in told}
        marked = bool(joined.by_order[number])
        if len(stories) > 1 or (len(set(told)) > 1 and not marked):
            found.append(told)
    return found


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 4))
def test_no_packet_is_ever_joined_to_another_one(seed: int, sides: int) -> None:
    way = tell(Random(seed), sides)
    joined = way.joined()
    assert wrong_joins(way, joined) == []


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 4))
def test_captures_that_miss_packets_never_join_two_flows_or_directions(seed: int, sides: int) -> None:
    """Of packets that are the same bit by bit, each capture may have another one: nothing could tell."""
    way = tell(Random(seed), sides, missed=0.1)
    joined = way.joined()
    for number in range(len(joined.rows)):
        told = [each for each in way.told(joined, number) if each is not None]
        assert len({way.stories[each] for each in told}) == 1


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 3))
def test_every_packet_has_one_journey_and_lost_is_said_only_of_the_lost(seed: int, sides: int) -> None:
    way = tell(Random(seed), sides)
    joined = way.joined()
    for place, side in enumerate(joined.sides):
        rows = joined.rows[:, place]
        assert sorted(rows[rows >= 0].tolist()) == list(range(len(side)))
    for number, states in enumerate(missing(joined).tolist()):
        told = [each for each in way.told(joined, number) if each is not None]
        if Missing.LOST in states:
            assert all(each in way.lost for each in told)
        assert Missing.MISSED not in states, "no capture missed any"
