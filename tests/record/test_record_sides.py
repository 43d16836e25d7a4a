"""Sides joined: what is joined, what is only marked, and what is said of packets that one side did not see."""

from __future__ import annotations

import struct
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sides_scene import SECOND, Flow, Packet, Way, nat

from netemu.check.sides_report import sides_json
from netemu.record.files.pcapng import CapturedPacket, CaptureInterface, write
from netemu.record.sides.captured import read_captured
from netemu.record.sides.chain import Chain
from netemu.record.sides.joined import JoinedSides, join_sides
from netemu.record.sides.missing import Missing, missing
from netemu.record.sides.side import read_sides
from netemu.record.sides.walks import Sides

NOBODY = ("", 0)
CLIENT, OTHER, SERVER = ("192.168.1.2", 5000), ("192.168.1.3", 5000), ("198.51.100.7", 80)
OUTER, OTHER_OUTER = ("203.0.113.9", 61000), ("203.0.113.9", 5000)
START = 10**15


def way(sides: int = 2, **more) -> Way:
    return Way(sides, Random(1), **more)


def tcp(seq: int, **more) -> Packet:
    return Packet("tcp", NOBODY, NOBODY, seq=seq, ip_id=seq & 0xFFFF, **more)


def udp(payload: bytes, **more) -> Packet:
    return Packet("udp", NOBODY, NOBODY, payload, **more)


def chat(made: Way, flow: Flow, time: int = START, count: int = 4, first: int = 100, **more) -> None:
    """Requests and replies in turn."""
    for place in range(count):
        made.send(flow, time + place * SECOND // 10, tcp(first + place), reply=place % 2 == 1, **more)


def together(made: Way, joined: JoinedSides) -> list[list[int | None]]:
    return sorted((made.told(joined, number) for number in range(len(joined.rows))), key=str)


def test_ports_that_nat_gave_to_another_client_join_nothing_wrong() -> None:
    made = way()
    one, other = nat("tcp", CLIENT, SERVER, OUTER), nat("tcp", OTHER, SERVER, OTHER_OUTER)
    chat(made, one, first=100)
    chat(made, other, START + SECOND, first=900)
    joined = made.joined()
    assert [joined.tuple_at(flow, 0).source for flow in joined.joined] == ["192.168.1.2:5000", "192.168.1.3:5000"]
    assert [joined.tuple_at(flow, 1).source for flow in joined.joined] == ["203.0.113.9:61000", "203.0.113.9:5000"]


def test_a_tuple_that_is_used_again_is_another_flow() -> None:
    made = way()
    flow = nat("tcp", CLIENT, SERVER, OUTER)
    for time, seq in ((START, 10), (START + SECOND, 500), (START + 2 * SECOND, 500)):
        made.send(flow, time, tcp(seq, flags=0x02))
    assert len(made.joined().joined) == 2


@pytest.mark.parametrize(
    "flow",
    [
        Flow("tcp", (CLIENT, CLIENT), (("203.0.113.9", 8080), ("10.0.0.5", 80))),
        Flow("tcp", (CLIENT, ("10.0.0.1", 7000)), (("203.0.113.9", 8080), ("10.0.0.5", 80))),
        Flow("tcp", (CLIENT, CLIENT), (SERVER, SERVER)),
    ],
    ids=["dnat", "both ends", "no nat"],
)
def test_flows_are_joined_whichever_end_nat_changes(flow: Flow) -> None:
    made = way()
    chat(made, flow)
    joined = made.joined()
    assert together(made, joined) == [[n, n] for n in range(4)]
    assert [joined.tuple_at(0, place).destination for place in (0, 1)] == [f"{a}:{p}" for a, p in flow.servers]


def test_one_probe_sent_to_several_servers_is_told_apart_by_the_end_that_was_kept() -> None:
    made = way()
    for number in range(3):
        made.send(nat("udp", CLIENT, (f"198.51.100.{number}", 9), OUTER), START + number, udp(b"probe"))
    joined = made.joined()
    assert together(made, joined) == [[n, n] for n in range(3)]
    assert joined.weak.all(), "one datagram is thin evidence"


def test_one_probe_of_two_clients_to_one_server_is_joined_to_neither() -> None:
    made = way()
    made.send(nat("udp", CLIENT, SERVER, OUTER), START, udp(b"probe"))
    made.send(nat("udp", OTHER, SERVER, OTHER_OUTER), START, udp(b"probe"))
    joined = made.joined()
    assert len(joined.joined) == 0
    assert len(joined.rows) == 4


def test_a_lone_datagram_whose_both_ends_changed_is_not_joined() -> None:
    made = way()
    made.send(Flow("udp", (CLIENT, OUTER), (SERVER, ("10.0.0.5", 8080))), START, udp(b"probe"))
    assert len(made.joined().joined) == 0


def test_alike_packets_are_joined_by_order_and_marked() -> None:
    made = way()
    flow = nat("udp", CLIENT, SERVER, OUTER)
    chat(made, nat("tcp", CLIENT, SERVER, OUTER))
    for place in range(3):
        made.send(flow, START + place * SECOND // 10, udp(b"again"))
    made.send(flow, START, udp(b"another"))
    joined = made.joined()
    assert together(made, joined) == [[n, n] for n in range(8)]
    assert joined.by_order.sum() == 3


def test_of_alike_packets_in_unequal_numbers_none_is_joined_and_it_is_said() -> None:
    made = way()
    flow = nat("udp", CLIENT, SERVER, OUTER)
    chat(made, nat("tcp", CLIENT, SERVER, OUTER), count=20)
    for place in range(3):
        made.send(flow, START + place * SECOND // 10, udp(b"again"), lost_after=0 if place == 1 else None)
    made.send(flow, START, udp(b"another"))
    joined = made.joined()
    alone = (joined.rows >= 0).sum(axis=1) == 1
    assert alone.sum() == 5
    assert set(missing(joined)[alone].max(axis=1).tolist()) == {Missing.AMBIGUOUS}


def test_alike_packets_are_not_joined_where_time_speaks_against_it() -> None:
    made = way(offsets=[0, 7200 * SECOND])
    flow = nat("udp", CLIENT, SERVER, OUTER)
    chat(made, nat("tcp", CLIENT, SERVER, OUTER), count=20)
    made.send(flow, START, udp(b"the first thing said"))
    for place in range(4):  # the first capture began late, the second ended early: two each, but not the same two
        made.send(flow, START + place * 60 * SECOND, udp(b"\0"), missed=(0,) if place < 2 else (1,))
    joined = made.joined()
    assert not joined.by_order.any()
    assert all(len({n for n in told if n is not None}) == 1 for told in together(made, joined))


def test_a_packet_that_the_middle_capture_missed_is_still_one_journey() -> None:
    made = way(3)
    flow = nat("tcp", CLIENT, SERVER, OUTER, ("203.0.113.77", 7))
    chat(made, flow, count=6)
    made.send(flow, START, tcp(999), missed=(1,))
    joined = made.joined()
    assert together(made, joined)[-1] == [6, None, 6]
    assert Missing.MISSED in missing(joined)


def test_a_flow_that_the_middle_capture_never_saw_is_joined_past_it() -> None:
    made = way(3)
    chat(made, nat("tcp", CLIENT, SERVER, OUTER, OUTER), missed=(1,))
    chat(made, nat("tcp", OTHER, SERVER, OTHER_OUTER, OTHER_OUTER), first=900)
    joined = made.joined()
    assert sorted((joined.flows >= 0).sum(axis=1).tolist()) == [2, 3]
    assert not missing(joined).any(), "a side that never saw a flow misses none of its packets"


def test_lost_is_said_only_while_the_other_capture_surely_ran() -> None:
    made = way(offsets=[0, -10 * SECOND])
    flow = nat("tcp", CLIENT, SERVER, OUTER)
    chat(made, flow, START, 10)
    made.send(flow, START + SECOND // 2, tcp(700), lost_after=0)
    made.send(flow, START + 90 * SECOND, tcp(800), lost_after=0)
    joined = made.joined()
    found = {made.told(joined, n)[0]: states.max() for n, states in enumerate(missing(joined))}
    assert (found[10], found[11]) == (Missing.LOST, Missing.NOT_CAPTURED_THEN)


def test_where_the_clocks_cannot_be_compared_nothing_is_said_to_be_lost() -> None:
    made = way()
    flow = nat("tcp", CLIENT, SERVER, OUTER)
    for place in range(5):
        made.send(flow, START + place * SECOND, tcp(place), lost_after=0 if place == 2 else None)
    joined = made.joined()
    assert joined.clocks[1].offset_ns is None
    assert set(missing(joined).ravel().tolist()) == {Missing.NONE, Missing.UNKNOWN}


def test_ttl_tells_the_way_where_the_files_come_in_the_wrong_order() -> None:
    made = way()
    chat(made, nat("tcp", CLIENT, SERVER, OUTER))
    one, other = made.captures()
    sides = read_sides([("isp", read_captured(other)), ("home", read_captured(one))])
    joined = join_sides(sides)
    assert (joined.forward.tolist(), joined.assumed.tolist()) == ([False], [False])
    assert abs(joined.clocks[1].offset_ns) <= joined.clocks[1].uncertainty_ns


def test_without_a_ttl_that_falls_the_client_is_taken_to_be_at_the_first_file_and_it_is_said() -> None:
    made = way()
    flow = nat("tcp", CLIENT, SERVER, OUTER)
    chat(made, flow)
    for file in made.files:  # a bridge that rewrites, as far as TTL tells
        file[:] = [(time, data[:8] + b"\x40" + data[9:], number) for time, data, number in file]
    joined = made.joined()
    assert (joined.forward.tolist(), joined.assumed.tolist()) == ([True], [True])


def test_each_interface_of_a_file_is_a_side_of_its_own() -> None:
    made = way()
    chat(made, nat("tcp", CLIENT, SERVER, OUTER))
    raw = [
        CapturedPacket(place, time, data, len(data)) for place, file in enumerate(made.files) for time, data, _ in file
    ]
    points = [CaptureInterface("eth0", 101), CaptureInterface("eth1", 101), CaptureInterface("unused", 101)]
    sides = read_sides([("router", read_captured(b"".join(write(points, raw))))])
    assert [side.name for side in sides] == ["router:eth0", "router:eth1"]


def test_each_interface_of_a_cooked_capture_is_a_side_of_its_own() -> None:
    made = way()
    chat(made, nat("tcp", CLIENT, SERVER, OUTER))
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 276)
    rows = [
        (time, struct.pack("!HHIHBB8x", 0x800, 0, place + 2, 1, 0, 6) + data)
        for place, file in enumerate(made.files)
        for time, data, _ in file
    ]
    body = b"".join(struct.pack("<IIII", t // SECOND, t % SECOND, len(d), len(d)) + d for t, d in sorted(rows))
    sides = read_sides([("router", read_captured(head + body))])
    assert [side.name for side in sides] == ["router:if2", "router:if3"]
    assert len(join_sides(sides).joined) == 1


@settings(deadline=None, max_examples=150)
@given(st.data(), st.integers(0, 2**32))
def test_damaged_captures_are_joined_as_far_as_they_go_and_raise_nothing(data: st.DataObject, seed: int) -> None:
    made = way(2)
    chat(made, nat("tcp", CLIENT, SERVER, OUTER), START, 6)
    chat(made, nat("udp", OTHER, SERVER, OTHER_OUTER), START, 6, 50)
    random, files = Random(seed), []
    for number, whole in enumerate(made.captures()):
        changed = bytearray(whole)
        for _ in range(data.draw(st.integers(0, 9))):
            changed[random.randrange(24, len(changed))] = random.randrange(256)
        files.append((f"side{number}", read_captured(bytes(changed))))
    sides = Sides(join_sides(read_sides(files)), ["one", "two"], [[], []])
    told = sides_json(sides)
    assert sum(len(journey["sightings"]) for journey in told["journeys"]) == told["capture"]["sightings"]


def test_a_file_without_packets_is_a_side_that_saw_nothing() -> None:
    made = way(3)
    chat(made, nat("tcp", CLIENT, SERVER, OUTER, OUTER), missed=(2,))
    joined = made.joined()
    assert [len(side) for side in joined.sides] == [4, 4, 0]
    assert joined.clocks[2].offset_ns is None
    assert len(joined.joined) == 1


def test_where_two_flows_have_as_much_evidence_neither_is_joined() -> None:
    made = way()
    flow = nat("tcp", CLIENT, SERVER, OUTER)
    for time, seq in ((START, 100), (START + 5 * SECOND, 500)):  # the first capture missed both SYNs: one flow to it
        made.send(flow, time, tcp(seq, flags=0x02), missed=(0,))
        chat(made, flow, time + SECOND, first=seq + 1)
    joined = made.joined()
    assert len(joined.joined) == 0
    assert joined.unclear_flows[0].all()
    assert joined.unclear_flows[1].all()


def test_a_join_that_would_give_one_packet_two_sightings_on_one_side_is_refused() -> None:
    chain = Chain([2, 2, 2])
    first, second = np.array([0]), np.array([1])
    assert chain.join(0, first, 1, first).all()
    assert chain.join(1, first, 2, first).all()
    assert chain.join(0, first, 2, first).all(), "joined already"
    assert not chain.join(0, first, 2, second).any()
    assert chain.table(3)[1].tolist() == [[0, 0, 0], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
