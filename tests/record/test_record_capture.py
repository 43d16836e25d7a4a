"""What taps hand over: when one is believed, and the numbers it is written in."""

from __future__ import annotations

import socket

import pytest

from netemu.record.capture import BROADCAST, HOST, MULTICAST, OTHERHOST, OUTGOING, HostCapture, TapHealth


def test_the_packet_types_are_the_systems_own():
    names = ("HOST", "BROADCAST", "MULTICAST", "OTHERHOST", "OUTGOING")
    theirs = [getattr(socket, f"PACKET_{name}") for name in names]
    assert theirs == [HOST, BROADCAST, MULTICAST, OTHERHOST, OUTGOING]


@pytest.mark.parametrize(("lost", "alive", "sound"), [(0, True, True), (1, True, False), (0, False, False)])
def test_a_tap_is_sound_if_it_lost_nothing_and_was_alive(lost: int, alive: bool, sound: bool):
    assert TapHealth("wire", "B", lost, alive).sound is sound


def test_two_empty_captures_share_nothing():
    one, two = HostCapture("A", {1: "lo"}), HostCapture("B", {1: "lo"})
    one.states["prerouting", 1] = None
    assert (len(two.frames), len(two.trace), two.states) == (0, 0, {})
