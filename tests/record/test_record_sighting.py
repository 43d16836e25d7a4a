"""One packet at one point: a plain value, which knows where its bytes are."""

from __future__ import annotations

import dataclasses
import random
import tracemalloc
from ipaddress import ip_address

import numpy as np
import pytest
from record_nodeport import NodePort
from record_packets import Packet, tcp, udp
from record_scene import Scene
from record_scenes import any_captures

from netemu.errors import UsageError
from netemu.record.decode.headers import Headers
from netemu.record.record import build_record
from netemu.record.sighting import Sighting
from netemu.topology.points import Point


def test_equal_sightings_are_equal_and_none_can_be_changed():
    headers = Headers("udp", "10.0.0.1", "10.0.0.2", 64, 1, 2)
    seen = Sighting(Point("B", stage="forward"), None, headers)
    assert seen == Sighting(Point("B", stage="forward"), None, headers)
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen.time_ns = 1


def test_where_its_bytes_are_is_no_part_of_what_it_is(lab: NodePort):
    lab.handshake()
    one, other = lab.scene.record(), lab.scene.record()
    assert one.sightings == other.sightings
    assert {hash(seen) for seen in one.sightings} == {hash(seen) for seen in other.sightings}
    assert "source" not in repr(one.sightings[0])


def test_on_a_wire_its_bytes_are_the_frame_and_its_packet_begins_with_ether(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    a.wire("eth0", "out", b"\xff" * 60)
    packet = udp("10.0.0.1:4000", "10.0.0.2:53", b"question")
    a.wire("eth0", "out", packet)
    b.wire("eth0", "in", packet)
    for seen in scene.record().sightings:
        assert seen.data == packet.frame()
        assert [layer.__name__ for layer in seen.packet().layers()][:3] == ["Ether", "IP", "UDP"]
        assert bytes(seen.packet()) == seen.data


@pytest.mark.parametrize(
    "packet",
    [
        tcp("192.168.0.1:4000", "192.168.0.2:80", "SYN", seq=7, payload=b"left out"),
        tcp("[fd00::1]:4000", "[fd00::2]:80", "SYN", seq=7),
        udp("192.168.0.1:4000", "192.168.0.2:80", options=bytes(8)),
    ],
)
def test_at_a_hook_its_bytes_are_the_headers_that_the_trace_carries(scene: Scene, packet: Packet):
    b = scene.host("B", eth0="lan")
    b.gets("eth0", udp("10.0.0.1:1", "10.0.0.2:2")).delivered()
    b.gets("eth0", packet).delivered()
    for seen in scene.record().sightings("src port 4000", at="B@input"):
        assert seen.data == packet.network[:40] + packet.transport[:20]
        made = seen.packet()
        assert (made.name, made.src, made.sport, made.dport) == (
            *("IPv6" if ":" in seen.headers.src else "IP", seen.headers.src),
            *(4000, 80),
        )


@pytest.mark.parametrize("seed", range(20))
def test_the_bytes_of_any_sighting_are_those_of_its_headers(seed: int):
    captures, segment_of = any_captures(random.Random(seed))
    for seen in build_record(captures, segment_of).sightings:
        data = seen.data if seen.point.stage is not None else seen.data[14:]
        version = 6 if ":" in seen.headers.src else 4
        assert data[0] >> 4 == version
        if version == 6 and len(data) < 40:
            assert seen.point.stage is not None
            assert len(data) == 20
            assert seen.packet().dst == seen.headers.dst
            continue
        where = (12, 16) if version == 4 else (8, 24)
        size = (where[1] - where[0]) if version == 4 else 16
        sides = [str(ip_address(data[at : at + size])) for at in (where[0], where[0] + size)]
        assert sides == [seen.headers.src, seen.headers.dst]
        assert seen.packet() is not None


def test_one_made_by_hand_has_no_bytes():
    seen = Sighting(Point("B", stage="forward"), None, Headers("udp", "10.0.0.1", "10.0.0.2", 64, 1, 2))
    for ask in (lambda: seen.data, seen.packet):
        with pytest.raises(UsageError, match="B@forward is of no record"):
            ask()


def test_asking_for_the_states_of_few_takes_no_memory_for_all(lab: NodePort):
    """It did: as often as packets were looked at in parts, so that it took the longer the more there were."""
    lab.handshake()
    seen = lab.scene.record().journeys.seen
    rows = np.array([0, seen.wires, seen.wires + 2])
    told = [[seen.states_of(rows).tolist(), *(each.tolist() for each in seen.turns_of(rows))]]
    more = np.zeros(1_000_000, np.int32)
    seen = dataclasses.replace(
        seen,
        ct=np.append(seen.ct, more),
        turns_first=np.append(seen.turns_first, more),
        turns_count=np.append(seen.turns_count, more),
    )
    tracemalloc.start()
    told.append([seen.states_of(rows).tolist(), *(each.tolist() for each in seen.turns_of(rows))])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert told[0] == told[1]
    assert told[0][0][0] == -1
    assert told[0][2][0] == 0
    assert most < len(more)
