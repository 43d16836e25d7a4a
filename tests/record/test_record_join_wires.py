"""Frames paired where the ends of a wire saw the same in one order, against the same ones told apart by their bytes."""

from __future__ import annotations

from random import Random

import pytest
from record_packets import udp
from record_scene import Scene

from netemu.record.decode.points import PointNumbers
from netemu.record.join import wires
from netemu.record.join.passes import read_passes
from netemu.record.join.sightings import Sightings, sightings
from netemu.record.join.wires import Segments, join_wires


def seen_of(scene: Scene) -> Sightings:
    captures = scene.captures()
    return sightings(captures, [read_passes(capture) for capture in captures], PointNumbers())


def pairs(scene: Scene) -> tuple[dict[int, list[int]], list[int]]:
    """The frames that came in of each that left, in their order; then those that order alone tells apart."""
    seen = seen_of(scene)
    senders, receivers, odd = join_wires(seen, Segments.of(seen, scene.segment_of))
    changes = (senders[1:] != senders[:-1]).sum() + (len(senders) > 0)
    assert changes == len(set(senders.tolist())), "one sender's pairs do not stand together"
    got: dict[int, list[int]] = {}
    for sender, receiver in zip(senders.tolist(), receivers.tolist(), strict=True):
        got.setdefault(sender, []).append(receiver)
    return got, odd.tolist()


def told_by_bytes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[int, list[int]], list[int]]:
    with monkeypatch.context() as patched:
        patched.setattr(wires, "_POINTS_LOOKED_FOR", 0)
        return pairs(scene)


def some_scene(dice: Random) -> Scene:
    """Frames on up to two segments: to one member or all, lost, come twice, sent twice, or out of their order."""
    scene = Scene()
    segments = {"eth0": "lan", "eth1": dice.choice(["wan", "lan"]), "eth2": "lan"}
    hosts = [scene.host(name, **segments) for name in "ABCD"[: dice.randint(2, 4)]]
    senders, losing = hosts[: dice.randint(1, 2)], dice.random() < 0.5
    for number in range(dice.randint(1, 12)):
        sender, interface = dice.choice(senders), dice.choice(["eth0", "eth1"] if losing else ["eth0"])
        packet = udp("10.0.0.1:4000", "10.0.0.2:53", bytes([number if dice.random() < 0.95 else 0]), ip_id=5)
        sender.wire(interface, "out", packet)
        others = [host for host in hosts if host is not sender]
        for other in others if dice.random() < 0.5 else others[:1]:
            for way in dice.sample(["eth0", "eth2"], dice.choice([1, 1, 2])) if interface == "eth0" else ["eth1"]:
                if not losing or dice.random() < 0.9:
                    other.wire(way, "in", packet)
        if losing and dice.random() < 0.1:
            dice.choice(hosts).wire(interface, "in", packet)
    return scene


def test_what_is_paired_in_step_is_what_the_bytes_tell(monkeypatch: pytest.MonkeyPatch):
    stepped = 0
    for seed in range(600):
        scene = some_scene(Random(seed))
        assert pairs(scene) == told_by_bytes(scene, monkeypatch), seed
        seen = seen_of(scene)
        rest = wires._in_step(seen, Segments.of(seen, scene.segment_of)).rest
        stepped += rest is not None and not len(rest)
    assert stepped > 30, "hardly any scene is one that this is about"


def test_a_segment_in_step_leaves_nothing_to_look_for_and_one_that_lost_a_frame_all_of_its_own():
    scene = Scene()
    a, b, c = scene.host("A", eth0="lan"), scene.host("B", eth0="lan", eth1="wan"), scene.host("C", eth0="wan")
    for number in range(3):
        packet = udp("10.0.0.1:4000", "10.0.0.2:53", bytes([number]))
        a.wire("eth0", "out", packet)
        b.wire("eth0", "in", packet)
        b.wire("eth1", "out", packet)
        if number != 1:
            c.wire("eth0", "in", packet)
    seen = seen_of(scene)
    rest = wires._in_step(seen, Segments.of(seen, scene.segment_of)).rest
    assert rest is not None
    assert [str(seen.points[point]) for point in seen.point[rest]] == ["B:eth1 out"] * 3 + ["C:eth0 in"] * 2
    assert sum(map(len, pairs(scene)[0].values())) == 5


def test_two_interfaces_of_one_host_get_a_frame_in_the_order_in_which_they_got_it(monkeypatch: pytest.MonkeyPatch):
    scene = Scene()
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan", eth1="lan")
    for number, order in enumerate([("eth0", "eth1"), ("eth1", "eth0")]):
        packet = udp("10.0.0.1:4000", "10.0.0.255:53", bytes([number]), ip_id=5)
        a.wire("eth0", "out", packet)
        for interface in order:
            b.wire(interface, "in", packet)
    assert pairs(scene) == told_by_bytes(scene, monkeypatch) == ({0: [2, 3], 1: [4, 5]}, [])
