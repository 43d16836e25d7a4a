"""Mapping in RFC 4787's words: said where flows tell it, and not a word where they don't."""

from __future__ import annotations

from random import Random

import pytest
from sides_scene import SECOND, Packet, Way, nat

from netemu.record.sides.mapping import mapping_notes

INNER = ("192.168.1.2", 5000)
ONE, TWO = "198.51.100.1", "198.51.100.2"


def notes(*flows: tuple[str, int, int], apart: int = SECOND) -> list[str]:
    """What is said of flows of one inner end, each to (address, port), as (its outer port)."""
    made = Way(2, Random(1))
    for number, (server, port, outer) in enumerate(flows):
        flow = nat("udp", INNER, (server, port), ("203.0.113.9", outer))
        for place in range(4):
            packet = Packet("udp", ("", 0), ("", 0), bytes([number, place]) * 20)
            made.send(flow, 10**15 + number * apart + place * SECOND // 10, packet, reply=place % 2 == 1)
    return [note.said for note in mapping_notes(made.joined())]


@pytest.mark.parametrize(
    ("flows", "said"),
    [
        ([(ONE, 53, 61000), (TWO, 53, 61000)], ["endpoint-independent mapping"]),
        ([(ONE, 53, 61000), (ONE, 54, 61001)], ["address and port-dependent mapping"]),
        ([(ONE, 53, 61000), (ONE, 54, 61000), (TWO, 53, 61001)], ["address-dependent mapping"]),
        ([(ONE, 53, 61000), (TWO, 53, 61001)], ["address-dependent or address and port-dependent mapping"]),
        ([(ONE, 53, 5000), (TWO, 53, 5000)], ["port preservation"]),
        ([(ONE, 53, 61000), (ONE, 54, 61000)], []),
        ([(ONE, 53, 61000)], []),
        ([(ONE, 53, 5000)], []),
        ([(ONE, 53, 61000), (TWO, 53, 61000), (TWO, 54, 61001)], []),
    ],
)
def test_what_flows_tell_of_a_mapping_is_said_and_no_more(flows, said) -> None:
    assert notes(*flows) == said


def test_mappings_that_may_have_ended_meanwhile_tell_nothing() -> None:
    assert notes((ONE, 53, 61000), (ONE, 54, 61001), apart=300 * SECOND) == []
