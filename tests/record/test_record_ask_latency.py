"""How long packets took from one wire point to another."""

from __future__ import annotations

import pytest
from record_nodeport import NodePort
from record_packets import udp
from record_scene import Scene

from netemu.errors import UsageError
from netemu.record.ask.latency import Latency
from netemu.record.record import Record, build_record


@pytest.fixture
def record(scene: Scene) -> Record:
    """Eleven packets cross a wire, the n-th in n microseconds; one gets lost on it."""
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan", eth1="wan")
    for number in range(1, 12):
        packet = udp("10.0.0.1:4000", "10.0.0.2:53", bytes([number]), ip_id=number)
        a.wire("eth0", "out", packet)
        scene.now += (number - 1) * 1000
        b.wire("eth0", "in", packet)
    a.wire("eth0", "out", udp("10.0.0.1:4001", "10.0.0.2:53"))
    return scene.record()


def test_quantiles_are_values_that_were_seen_and_what_is_missing_is_counted(record: Record):
    found = record.latency("A:eth0 out", "B:eth0 in")
    assert (found.n, found.missing) == (11, 1)
    assert (found.min, found.median, found.p90, found.p99, found.max) == (1000, 6000, 10000, 11000, 11000)
    assert found.ns.tolist() == [number * 1000 for number in range(1, 12)]
    assert found.journeys.tolist() == list(range(1, 12))


def test_only_the_packets_that_are_asked_for_count(record: Record):
    assert record.latency("A:eth0 out", "B:eth0 in", nth=3).max == 3000
    assert record.latency("A:eth0 out", "B:eth0 in", "src port 4001") == Latency(
        0, 1, None, None, None, None, None, *(record.latency("A:eth0 out", "B:eth0 in", nth=99).ns,) * 2
    )


def test_a_journeys_end_can_be_asked_for_beside_the_two_points(record: Record):
    assert record.latency("A:eth0 out", "B:eth0 in", end="delivered").n == 0


def test_the_other_way_round_it_is_negative(record: Record):
    assert record.latency("B:eth0 in", "A:eth0 out", nth=2).min == -2000


def test_packets_seen_at_neither_point_are_not_missing(record: Record):
    assert (record.latency("B:eth1 in", "B:eth1 out").n, record.latency("B:eth1 in", "B:eth1 out").missing) == (0, 0)


def test_a_nated_packet_is_timed_through_its_rewrites(lab: NodePort):
    lab.handshake()
    found = lab.scene.record().latency("A:eth0 out", "pod:eth0 in", direction="original")
    assert (found.n, found.missing) == (2, 0)
    assert found.min is not None
    assert found.min > 0


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ("B@forward", "B@forward is a hook, and the kernel tells no times there"),
        ("B:eth0", "needs its way: 'B:eth0 in' or 'B:eth0 out'"),
        ("B:eth9 in", "no interface 'eth9'"),
        ("Z:eth0 in", "no host 'Z'"),
    ],
)
def test_a_point_without_times_is_refused(record: Record, point: str, told: str):
    for pair in ((point, "A:eth0 out"), ("A:eth0 out", point)):
        with pytest.raises(UsageError) as caught:
            record.latency(*pair)
        assert told in str(caught.value)


def test_records_without_packets_have_no_times():
    with pytest.raises(UsageError, match="by hand"):
        Record().latency("A:eth0 in", "A:eth0 out")
    with pytest.raises(UsageError, match="no host 'A'"):
        build_record([], {}).latency("A:eth0 in", "A:eth0 out")
