"""Selections: made once for all expectations, of columns and of lists alike, and no journey is made for each flow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from record_nodeport import CLIENT, NodePort
from record_packets import tcp, udp
from record_scene import Scene

from netemu.check.explain import Surroundings
from netemu.check.packets import check_packets
from netemu.check.report import check_record
from netemu.check.selections import Selections
from netemu.record.flows import Flow
from netemu.record.journeys import Journeys
from netemu.record.record import Record
from netemu.topology.expectation import PacketExpectation


def of_lists(record: Record) -> Record:
    return replace(record, flows=[Flow(f.id, f.original, f.entries, list(f.journeys)) for f in record.flows])


@pytest.fixture
def two(scene: Scene) -> Record:
    """Packets of two flows by turns."""
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    for number in range(6):
        packet = udp(f"192.168.0.1:{4000 + number % 2}", "192.168.0.2:53", bytes([number]), ip_id=number)
        a.wire("eth0", "out", packet)
        b.wire("eth0", "in", packet)
    scene.exchange("hello", "A")
    return scene.record()


@pytest.mark.parametrize(
    ("packet", "ids"),
    [
        ("request.all", [1, 3, 5, 2, 4, 6]),
        ("request.first", [1, 2]),
        ("request.nth", [3, 5, 4, 6]),
        ("request.2", [3, 4]),
        ("reply.all", []),
    ],
)
def test_packets_are_selected_flow_by_flow(two: Record, packet: str, ids: list[int]):
    for record in (two, of_lists(two)):
        assert [each.id for each in Selections(record).packets(record.exchanges[0], packet)] == ids


def test_what_was_selected_once_is_selected_no_more(two: Record):
    selections = Selections(two)
    assert selections.packets(two.exchanges[0], "request.all") is selections.packets(two.exchanges[0], "request.all")


def test_an_expectation_of_many_flows_makes_few_journeys(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    for number in range(200):
        packet = udp(f"192.168.0.1:{4000 + number}", "192.168.0.2:53", ip_id=number)
        a.wire("eth0", "out", packet)
        b.wire("eth0", "in", packet)
    scene.exchange("hello", "A")
    record, made, make = scene.record(), [], Journeys._make
    monkeypatch.setattr(Journeys, "_make", lambda self, number: made.append(number) or make(self, number))
    expectations = [
        PacketExpectation(traffic="hello", packet="request.all", at=at, ttl=64) for at in ("A:eth0 out", "B:eth0 in")
    ]
    report = check_record("lab", record, expectations)
    assert [str(check.verdict) for check in report.checks[1:3]] == ["pass", "pass"]
    assert [len(check.journeys) for check in report.checks[1:3]] == [200, 200]
    assert len(made) == 1


@pytest.mark.parametrize("at", ["B:eth0 in", "C:eth0 in"])
def test_the_first_packet_that_parts_decides_flow_by_flow(lab: NodePort, at: str):
    for number in range(4):
        lab.a.wire("eth0", "out", packet := tcp(CLIENT, "192.168.0.2:80", seq=number, ip_id=number, ttl=64 - number))
        lab.b.wire("eth0", "in", packet)
    lab.scene.exchange("hello", "A")
    record = lab.scene.record()
    expectation = PacketExpectation(traffic="hello", packet="request.all", at=at, ttl=64)
    check = check_packets(expectation, record, Surroundings())
    assert check.verdict == "fail"
    assert check.journey == (2 if at == "B:eth0 in" else 1)
    assert check == check_packets(expectation, of_lists(record), Surroundings())
